"""Exact samples of the discrete Laplace distribution, from the system's generator, in integers.

P(x) is proportional to exp(-|x| s/t) over all integers: the two-sided geometric distribution. With
s/t = epsilon it makes a count differentially private whose sensitivity is one. The sampler is
Algorithm 2 of Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy"
(NeurIPS 2020, arXiv:2004.00010); Bernoulli(exp(-n/d)) is its Algorithm 1. There is no
floating-point number anywhere, so none of the attacks on rounded noise (Mironov 2012) has a place
to begin. How long a sample takes depends on the sample.
"""

from __future__ import annotations

from fusion.crypto import rng


def _exponential_coin(numerator: int, denominator: int) -> bool:
    """Return True with probability exp(-numerator/denominator), the fraction being from 0 to 1."""
    k = 1
    while rng.below(denominator * k) < numerator:
        k += 1
    return k % 2 == 1


def discrete_laplace(s: int, t: int) -> int:
    """Return an integer x with probability proportional to exp(-|x| s/t).

    Args:
        s: Positive; with ``t`` it states epsilon = s/t exactly.
        t: Positive.

    Raises:
        ValueError: One of them is not positive.
    """
    if s < 1 or t < 1:
        message = "a scale is a fraction of positive integers"
        raise ValueError(message)
    while True:
        within = rng.below(t)
        if not _exponential_coin(within, t):
            continue
        whole = 0
        while _exponential_coin(1, 1):
            whole += 1
        size = (within + t * whole) // s
        negative = rng.bits(1) == 1
        # Zero has one sign, not two.
        if not (negative and size == 0):
            return -size if negative else size
