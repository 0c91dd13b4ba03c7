"""Exact samples of the discrete Gaussian: integers only, from the operating system's generator.

N_Z(0, s²) has the probability of an integer i proportional to exp(-i²/(2s²)) (Canonne, Kamath and
Steinke, "The Discrete Gaussian for Differential Privacy", NeurIPS 2020, definition 1). No float is
anywhere near: a float sampler's last bits tell what it was added to (Mironov, CCS 2012).

For an integer s the rejection of Karney ("Sampling exactly from the normal distribution", ACM TOMS
42:3, 2016, algorithm D) needs ratios of integers below 2⁵⁷ only: draw k with probability
proportional to exp(-k²/2), j uniform below s, a sign, and keep ±(k·s + j) with probability
exp(-j(2ks + j)/(2s²)). Each coin of probability exp(-a/b) is tossed as in algorithm 1 of Canonne,
Kamath and Steinke. All coins of a batch are tossed at once, as arrays.

How long it takes depends on the coins and on s, which is public; never on a value of data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.crypto import rng
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Flags = NDArray[np.bool_]

MAX_SIGMA: Final = 1 << 25
"""Largest s: (2k + 2)·s² times the turns of a coin has to stay below 2⁶⁴."""
_LARGEST_K: Final = 62
"""Beyond it exp(-k²/2) is below 2^-2770; such a proposal is dropped."""
_BATCH: Final = 1 << 16
"""Samples a batch: its arrays stay in the cache."""


def discrete_gaussian(sigma: int, size: int) -> NDArray[np.int64]:
    """Return independent samples of N_Z(0, sigma²).

    Args:
        sigma: The parameter s, an integer; the standard deviation is at most s, and nearly s.
        size: How many.

    Returns:
        Shape ``(size,)``.

    Raises:
        InputInvalid: ``sigma`` is not from 1 to :data:`MAX_SIGMA`, or ``size`` is negative.
    """
    if not 1 <= sigma <= MAX_SIGMA or size < 0:
        msg = f"A discrete Gaussian has a sigma from 1 to {MAX_SIGMA} and a size from 0 up."
        raise InputInvalid(msg)
    out = np.empty(size, np.int64)
    done = 0
    while done < size:
        wanted = min(_BATCH, size - done)
        # About half of the proposals are kept; what is too much is thrown away.
        kept = _proposals(sigma, 2 * wanted + 64)[:wanted]
        out[done : done + kept.size] = kept
        done += kept.size
    return out


def _proposals(sigma: int, count: int) -> NDArray[np.int64]:
    """Return the samples that are left of ``count`` proposals."""
    k = _half_normal(count)
    j = _below(np.full(k.size, sigma, np.uint64))
    minus = (_words(k.size) & np.uint64(1)).astype(np.bool_)
    # Zero has two signs and counts once.
    kept = np.flatnonzero(~(minus & (k == 0) & (j == 0)))
    k, j, minus = k[kept], j[kept], minus[kept]
    s = np.uint64(sigma)
    # exp(-j(2ks + j)/(2s²)) as k + 1 coins, each of a probability of at least exp(-1).
    turns = k + np.uint64(1)
    kept = np.flatnonzero(
        _all_heads(j * (np.uint64(2) * k * s + j), np.uint64(2) * turns * s * s, turns)
    )
    value = (k[kept] * s + j[kept]).astype(np.int64)
    return np.where(minus[kept], -value, value)


def _half_normal(count: int) -> Words:
    """Return what is left of ``count`` proposals of k, distributed as exp(-k²/2) from 0 up."""
    one, two = np.ones(count, np.uint64), np.full(count, 2, np.uint64)
    k = np.zeros(count, np.uint64)
    alive = np.arange(count)
    while alive.size:
        alive = alive[_exp_coin(one[alive], two[alive])]
        k[alive] += np.uint64(1)
    k = k[k <= _LARGEST_K]
    # k is geometric, exp(-k/2); exp(-k(k-1)/2) is missing.
    missing = k * (k - (k > 0).astype(np.uint64))
    return k[_all_heads(one[: k.size], two[: k.size], missing)]


def _all_heads(a: Words, b: Words, turns: Words) -> Flags:
    """Toss ``turns`` coins of probability exp(-a/b) each; return where all are heads."""
    heads = np.ones(a.size, np.bool_)
    alive = np.flatnonzero(turns > 0)
    tossed = 0
    while alive.size:
        fell = _exp_coin(a[alive], b[alive])
        heads[alive[~fell]] = False
        tossed += 1
        alive = alive[fell]
        alive = alive[turns[alive] > tossed]
    return heads


def _exp_coin(a: Words, b: Words) -> Flags:
    """Toss coins of probability exp(-a/b) for a/b in [0, 1], exactly.

    Algorithm 1 of Canonne, Kamath and Steinke: the number of coins of probability a/b, a/2b, a/3b…
    up to and with the first that shows tails is odd with probability exp(-a/b).
    """
    odd = np.zeros(a.size, np.bool_)
    alive = np.arange(a.size)
    bottom = b.copy()
    while alive.size:
        odd[alive] = ~odd[alive]
        # A coin gets to its 64th turn with a probability of 1/63!, below 2^-289.
        heads = _below(bottom) < a[alive]
        alive, bottom = alive[heads], bottom[heads] + b[alive[heads]]
    return odd


def _below(n: Words) -> Words:
    """Return uniform integers, each in [0, n)."""
    drawn = _words(n.size)
    out = drawn % n
    # What lies in the last, incomplete copy of [0, n) below 2⁶⁴ is drawn again.
    again = np.flatnonzero(drawn - out > np.uint64(0) - n)
    while again.size:
        drawn = _words(again.size)
        rest = drawn % n[again]
        out[again] = rest
        again = again[drawn - rest > np.uint64(0) - n[again]]
    return out


def _words(count: int) -> Words:
    """Return uniform 64-bit words."""
    return np.frombuffer(rng.token(8 * count), np.uint64)
