"""What an engine computes: powers and products of many residues at once.

Everything above this interface speaks of keys and ciphertexts; everything below of residues.
Results are canonical (below the modulus), so every engine gives identical bytes. A *ring* is the
integers modulo ``modulus ** digits``; two digits are the form ``x0 + x1 * modulus`` in which a
power modulo N^2 costs little more than half of what it costs directly (``docs/claims/engines.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.paillier.residues import Rows

Digits = Literal[1, 2]


class FixedBase(Protocol):
    """Powers of one base, from a table that is built once."""

    def powers(self, exponents: Rows, messages: Rows | None = None) -> Rows:
        """Return ``base^e * (1 + modulus * factor * m)`` for each secret exponent and message.

        Args:
            exponents: Each below ``2 ** exponent_bits``; any width.
            messages: As many, each below ``modulus ** 2``; only in a ring of two digits.
        """
        ...


class Ring(Protocol):
    """Integers modulo ``modulus ** digits``.

    Attributes:
        modulus: Odd.
        digits: 1 or 2.
        width: Bytes of a residue.
    """

    modulus: int
    digits: Digits
    width: int

    def fixed_base(self, base: int, exponent_bits: int, *, factor: int = 1) -> FixedBase:
        """Return powers of ``base`` for exponents of up to ``exponent_bits`` bits.

        Args:
            base: A unit.
            exponent_bits: Longest exponent.
            factor: Multiplies every message of :meth:`FixedBase.powers`.
        """
        ...

    def power(self, bases: Rows, exponent: int) -> Rows:
        """Return each base to one non-negative, possibly secret exponent.

        Bases may be as long as ``modulus ** 4``; they are reduced.
        """
        ...

    def product(self, vectors: Sequence[Rows]) -> Rows:
        """Return the coordinate-wise product of vectors of residues of equal length."""
        ...

    def fold(self, rows: Rows) -> int:
        """Return the product of all rows, each a residue."""
        ...

    def bucket_products(self, rows: Rows, choices: Rows, buckets: int) -> Rows:
        """Return the product of the rows in each bucket, 1 where a bucket is empty.

        Every column of ``choices`` sorts the rows anew. Addresses depend on the choices, so they
        must be the caller's own: this is no place for another's secrets.

        Args:
            rows: Residues.
            choices: A line a row, a column a sorting; each below ``buckets``.
            buckets: 1 to 256.

        Returns:
            ``columns * buckets`` residues, the buckets of one column behind each other.
        """
        ...

    def multi_power(self, bases: Rows, exponents: Rows) -> int:
        """Return the product of each base to its own *public* exponent."""
        ...


class Engine(Protocol):
    """A way to compute in rings.

    Attributes:
        name: ``gmp``, ``avx2`` or ``ifma``.
    """

    name: str

    def ring(self, modulus: int, digits: Digits = 1) -> Ring:
        """Return the integers modulo ``modulus ** digits``; kept, so ask again at will."""
        ...
