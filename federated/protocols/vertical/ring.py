"""Fixed point numbers in the integers modulo 2^64, and what two share-holders do with them.

A number x is ``round(x * 2^f) mod 2^64``; it is *shared* when two parties hold words that add up to
it. Adding, and multiplying with a public integer, are local. Three things need a dealer:

- the product of one party's matrix with a shared vector: :class:`Blinded`, Beaver's trick (CRYPTO
  1991) with the matrix blinded once and the vector anew each time;
- dropping fraction bits: :func:`truncated`, after Escudero et al. (CRYPTO 2020): right
  to one unit of the last place, and it can't fail, as truncating each share alone can;
- a function of one variable: :class:`Series`, a Fourier sum whose sines of the secret mask are
  dealt, so that one opening of the masked argument is all that is exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Words = NDArray[np.uint64]
    Floats = NDArray[np.float64]

WORD_BITS: Final = 64
HEADROOM_BITS: Final = 62
"""A number to be truncated is below 2^62 in size."""


def fixed(values: Floats, bits: int) -> Words:
    """Write numbers with so many fraction bits."""
    return np.rint(values * float(1 << bits)).astype(np.int64).view(np.uint64)


def real(words: Words, bits: int) -> Floats:
    """Read numbers with so many fraction bits."""
    return np.asarray(words.view(np.int64) / float(1 << bits))


def times(words: Words, factor: int) -> Words:
    """Multiply with a public integer."""
    return words * np.uint64(factor % (1 << WORD_BITS))


def forward(matrix: Words, vector: Words) -> Words:
    """Return ``matrix @ vector`` modulo 2^64."""
    return np.asarray(np.einsum("ij,j->i", matrix, vector))


def backward(matrix: Words, vector: Words) -> Words:
    """Return ``matrix.T @ vector`` modulo 2^64."""
    return np.asarray(np.einsum("i,ij->j", vector, matrix))


# ------------------------------------------------------------------------------ truncation


@dataclass(frozen=True, slots=True)
class Cut:
    """A share of what a truncation needs: a mask r, its middle and its highest bit.

    Attributes:
        mask: Share of r.
        middle: Share of ``(r mod 2^63) >> bits``.
        top: Share of the highest bit of r.
    """

    mask: Words
    middle: Words
    top: Words


def cut_values(mask: Words, bits: int) -> tuple[Words, Words]:
    """Return what ``middle`` and ``top`` add up to, for the dealer."""
    return (mask & np.uint64((1 << 63) - 1)) >> np.uint64(bits), mask >> np.uint64(63)


def masked(share: Words, cut: Cut, *, first: bool) -> Words:
    """Return the share of what is opened.

    Args:
        share: Of the number.
        cut: The masks.
        first: Whether this is the share-holder that adds public numbers.
    """
    words = share + cut.mask
    return words + np.uint64(1 << HEADROOM_BITS) if first else words


def truncated(opened: Words, cut: Cut, bits: int, *, first: bool) -> Words:
    """Return the share of the number without its last ``bits`` bits.

    ``x + 2^62`` is below 2^63, so whether adding r modulo 2^63 wrapped shows in the highest bits of
    what was opened and of r; one is public, the other is shared.

    Args:
        opened: The sum of both :func:`masked` shares.
        cut: The masks.
        bits: Bits to drop, 1 to 61.
        first: As in :func:`masked`.
    """
    shift = np.uint64(bits)
    low, high = opened & np.uint64((1 << 63) - 1), opened >> np.uint64(63)
    # high XOR top = high + top - 2 high top
    wrapped = cut.top - np.uint64(2) * high * cut.top
    share = (wrapped << np.uint64(63 - bits)) - cut.middle
    if first:
        share = share + (low >> shift) + (high << np.uint64(63 - bits))
        share = share - np.uint64(1 << (HEADROOM_BITS - bits))
    return share


# ------------------------------------------------------------------------------ functions


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """``f(z) ~ a0 + sum of s_k sin(k w (z - c)) + c_k cos(k w (z - c))``, ``w = 2 pi / period``.

    The period is a power of two, so that an angle is an argument modulo a power of two, and a mask
    that is uniform there hides the argument perfectly. Outside ``[low, high]`` the sum is not f.

    Attributes:
        low: Where the fit begins.
        high: Where it ends.
        period_bits: The period is ``2 ** period_bits``.
        constant: a0.
        sines: s_1, s_2, ...
        cosines: c_1, c_2, ...
        error: Largest distance from f on ``[low, high]``, as computed in floating point.
    """

    low: float
    high: float
    period_bits: int
    constant: float
    sines: Floats
    cosines: Floats
    error: float

    @property
    def centre(self) -> float:
        """Middle of the range."""
        return (self.low + self.high) / 2

    @property
    def harmonics(self) -> int:
        """How many frequencies."""
        return len(self.sines)

    def at(self, z: Floats) -> Floats:
        """Return the sum, in floating point."""
        angle = np.outer(z - self.centre, self._frequencies)
        return np.asarray(self.constant + np.sin(angle) @ self.sines + np.cos(angle) @ self.cosines)

    @property
    def _frequencies(self) -> Floats:
        return np.arange(1.0, self.harmonics + 1) * (2 * np.pi / (1 << self.period_bits))

    def modulus_bits(self, bits: int) -> int:
        """Return the bits of an argument that matter, if it has ``bits`` fraction bits."""
        return bits + self.period_bits

    def waves(self, words: Words, bits: int) -> Floats:
        """Return sines, then cosines, of all frequencies: ``(2 * harmonics, len(words))``.

        Args:
            words: Arguments with ``bits`` fraction bits; what is above the period is left out.
            bits: Fraction bits.
        """
        width = self.modulus_bits(bits)
        angle = (words & np.uint64((1 << width) - 1)) * (2 * np.pi / float(1 << width))
        turn = np.exp(1j * angle)
        out = np.empty((2 * self.harmonics, len(words)))
        power = turn.copy()
        for k in range(self.harmonics):
            out[k], out[self.harmonics + k] = power.imag, power.real
            power *= turn
        return out

    def share(self, opened: Words, dealt: Words, bits: int, coefficient_bits: int) -> Words:
        """Return a share of ``f(z) - a0``.

        With ``t = z + r`` public: ``sin k(t - r) = sin kt cos kr - cos kt sin kr``, and so on; the
        waves of r are dealt in shares.

        Args:
            opened: t, with ``bits`` fraction bits.
            dealt: Shares of the waves of r, as :meth:`waves` has them.
            bits: Fraction bits of the argument.
            coefficient_bits: Fraction bits of the public factors; the result has those of ``dealt``
                in addition.
        """
        shifted = opened - fixed(np.array(self.centre), bits)
        waves, count = self.waves(shifted, bits), self.harmonics
        sine, cosine = waves[:count], waves[count:]
        s, c = self.sines[:, None], self.cosines[:, None]
        factors = fixed(
            np.concatenate([c * sine - s * cosine, s * sine + c * cosine]), coefficient_bits
        )
        total = np.zeros(len(opened), np.uint64)
        for factor, wave in zip(factors, dealt, strict=True):
            total += factor * wave
        return total


def series(
    function: Callable[[Floats], Floats],
    low: float,
    high: float,
    *,
    period_bits: int,
    harmonics: int,
    smallest: float,
    odd: bool = False,
) -> Series:
    """Fit a Fourier sum to a function on an interval inside the period, by least squares.

    Args:
        function: f.
        low: Where the interval begins.
        high: Where it ends.
        period_bits: The period is ``2 ** period_bits``, longer than the interval.
        harmonics: Frequencies.
        smallest: Singular values below this share of the largest are left out, which keeps
            coefficients, and with them the rounding errors of shares, small.
        odd: Whether f less its middle value is odd about the centre, so that sines suffice.
    """
    z = np.linspace(low, high, 4001)
    k = np.arange(1, harmonics + 1) * (2 * np.pi / (1 << period_bits))
    angle = np.outer(z - (low + high) / 2, k)
    columns = [np.ones((len(z), 1)), np.sin(angle)] + ([] if odd else [np.cos(angle)])
    basis = np.hstack(columns)
    wanted = function(z)
    found, *_ = np.linalg.lstsq(basis, wanted, rcond=smallest)
    error = float(np.abs(basis @ found - wanted).max())
    sines = found[1 : harmonics + 1]
    cosines = np.zeros(harmonics) if odd else found[harmonics + 1 :]
    return Series(low, high, period_bits, float(found[0]), sines, cosines, error)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-z)))


@cache
def sigmoid() -> Series:
    """Return the logistic function's; fitted once a process, where it is first needed."""
    return series(_sigmoid, -24.0, 24.0, period_bits=6, harmonics=20, smallest=1e-4, odd=True)


@cache
def exponential() -> Series:
    """Return the exponential function's; fitted once a process, where it is first needed."""
    return series(np.exp, -7.0, 4.0, period_bits=4, harmonics=12, smallest=1e-5)
