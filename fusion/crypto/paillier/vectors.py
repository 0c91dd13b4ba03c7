"""Encrypted vectors: one typed object for an encrypted contribution, and the bytes it travels as.

A vector knows its key, its layout (scale, clip, value and guard bits, slots), the randomiser that
blinded it, the round it belongs to and how many contributions are in it; adding more than the
guard bits have room for is refused.

Wire format, little-endian, fixed width: ``BNYV`` | version 2 | degree 1 | randomiser id 1 |
short exponent's bits, 2 bytes | ciphertext width, 2 | value bits, 1 | guard bits, 1 | slots, 2 |
contributors that there is room for, 4 | contributions in it, 4 | count, 4 | key fingerprint, 32 |
layout digest, 32 | round binding, 32 | ciphertexts. The degree is the scheme: 1 is Paillier's, 2
Damgård and Jurik's. The header is compared as a whole and the length checked before a ciphertext is
looked at; every ciphertext must be a unit other than 1 (a non-unit would factor N or crash a
decryption).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import gmpy2

from fusion.crypto.paillier import damgard_jurik, packing
from fusion.crypto.paillier.keys import RANDOMISER
from fusion.crypto.paillier.randomisers import IDS, Djn
from fusion.crypto.paillier.residues import not_below, rows_from
from fusion.errors import InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.packing import Layout
    from fusion.crypto.paillier.randomisers import Randomiser
    from fusion.crypto.paillier.residues import Rows

_HEADER: Final = struct.Struct("<4sBBBHHBBHIII32s32s32s")
_MAGIC: Final = b"BNYV"
_VERSION: Final = 2
MAX_CIPHERTEXTS: Final = 1 << 20
"""More ciphertexts than this in one vector are refused before anything is allocated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedVector:
    """Ciphertexts under one key, of one layout, bound to one round.

    Attributes:
        key: The public key.
        layout: Scale, clip, bits and slots.
        randomiser: Name of what blinds the ciphertexts.
        binding: 32 bytes that name the round (the digest of its manifest).
        contributions: How many contributions were added up in it.
        rows: ``layout.plaintexts`` units modulo N^(layout.degree + 1).
    """

    key: PublicKey
    layout: Layout
    randomiser: str
    binding: bytes
    contributions: int
    rows: Rows

    def __post_init__(self) -> None:
        """Refuse what no header could say.

        Raises:
            MessageInvalid: A count, the binding's length or the shape of the rows is off.
        """
        width = damgard_jurik.ciphertext_bytes(self.key, self.layout.degree)
        shape = (self.layout.plaintexts, width)
        if len(self.binding) != 32 or self.rows.shape != shape or shape[0] > MAX_CIPHERTEXTS:
            msg = (
                f"A vector needs a 32-byte binding and {shape[0]} ciphertexts of {shape[1]} bytes, "
                f"at most {MAX_CIPHERTEXTS}."
            )
            raise MessageInvalid(msg)
        if not 1 <= self.contributions <= self.layout.contributors:
            msg = (
                f"A sum of {self.contributions} contributions exceeds the "
                f"{self.layout.contributors} that its guard bits have room for."
            )
            raise MessageInvalid(msg, hint="Declare more contributors in the layout.")

    def to_bytes(self) -> bytes:
        """Serialise in the format above."""
        head = header(self.key, self.layout, self.binding, self.randomiser, self.contributions)
        return head + self.rows.tobytes()


def header(
    key: PublicKey, layout: Layout, binding: bytes, randomiser: str, contributions: int
) -> bytes:
    """Return the only header that a vector of these parameters can have."""
    name, _, bits = randomiser.partition("exponent-")
    return _HEADER.pack(
        _MAGIC, _VERSION, layout.degree, IDS[f"{name}exponent" if bits else name], int(bits or 0),
        damgard_jurik.ciphertext_bytes(key, layout.degree), layout.value_bits, layout.guard_bits,
        layout.slots, layout.contributors, contributions, layout.plaintexts,
        bytes.fromhex(key.fingerprint), bytes.fromhex(layout.digest), binding,
    )  # fmt: skip


def encrypt(
    key: PublicKey,
    layout: Layout,
    binding: bytes,
    slots: NDArray[np.uint64],
    randomiser: Randomiser | None = None,
) -> EncryptedVector:
    """Pack and encrypt the slot values of one contribution.

    Args:
        key: The public key.
        layout: As agreed.
        binding: 32 bytes that name the round.
        slots: From :func:`~fusion.crypto.paillier.packing.quantise`.
        randomiser: ``djn-half`` of the layout's degree if not given.

    Raises:
        InputInvalid: The randomiser is of another degree than the layout.
    """
    blind = randomiser or (Djn(key) if layout.degree == 1 else damgard_jurik.DjnSquared(key))
    if blind.degree != layout.degree:
        msg = f"A layout of degree {layout.degree} was given a randomiser of {blind.degree}."
        raise InputInvalid(msg)
    return EncryptedVector(
        key=key,
        layout=layout,
        randomiser=blind.name,
        binding=binding,
        contributions=1,
        rows=blind.encrypt(packing.pack(layout, slots)),
    )


def encrypt_with(
    key: PublicKey, layout: Layout, binding: bytes, plaintexts: Rows, exponents: Rows
) -> EncryptedVector:
    """Encrypt packed plaintexts with exponents that the caller keeps, to prove what it knows.

    Args:
        key: The public key.
        layout: As agreed.
        binding: 32 bytes that name the round.
        plaintexts: Below N; from :func:`~fusion.crypto.paillier.packing.pack`, masked or not.
        exponents: From :meth:`~fusion.crypto.paillier.randomisers.Djn.exponents`, each used once.
    """
    blind = Djn(key)
    return EncryptedVector(
        key=key,
        layout=layout,
        randomiser=blind.name,
        binding=binding,
        contributions=1,
        rows=blind.encrypt_with(plaintexts, exponents),
    )


def vector_size(key: PublicKey, layout: Layout) -> int:
    """Bytes of a serialised vector."""
    return _HEADER.size + layout.plaintexts * damgard_jurik.ciphertext_bytes(key, layout.degree)


def parse(
    key: PublicKey,
    layout: Layout,
    data: bytes,
    *,
    binding: bytes,
    randomiser: str = RANDOMISER,
    contributions: int = 1,
) -> EncryptedVector:
    """Read a vector that must be for this key, this layout and this round.

    Raises:
        MessageInvalid: Anything in the header or the length differs, or a ciphertext is 0, 1, not
            below N^(degree + 1) or not a unit.
    """
    if len(data) != vector_size(key, layout):
        msg = f"An encrypted vector has {len(data)} bytes; {vector_size(key, layout)} are expected."
        raise MessageInvalid(msg)
    if data[: _HEADER.size] != header(key, layout, binding, randomiser, contributions):
        msg = "An encrypted vector is for another key, round, layout or format."
        raise MessageInvalid(msg)
    rows = rows_from(
        memoryview(data)[_HEADER.size :], damgard_jurik.ciphertext_bytes(key, layout.degree)
    )
    check_units(key, rows, layout.degree)
    return EncryptedVector(
        key=key,
        layout=layout,
        randomiser=randomiser,
        binding=binding,
        contributions=contributions,
        rows=rows,
    )


def check_units(key: PublicKey, rows: Rows, degree: int = 1) -> None:
    """Check that every row is a unit modulo N^(degree + 1) other than 1.

    One gcd for all: a product is a unit exactly if every factor is.

    Raises:
        MessageInvalid: One of them is not.
    """
    low = (rows[:, 0] <= 1) & ~rows[:, 1:].any(axis=1)
    if low.any() or not_below(rows, key.modulus ** (degree + 1)).size:
        msg = f"A ciphertext lies outside 2 to N^{degree + 1} - 1."
        raise MessageInvalid(msg)
    if gmpy2.gcd(damgard_jurik.product_ring(key, degree).fold(rows), key.n) != 1:
        msg = "A ciphertext is not invertible modulo N."
        raise MessageInvalid(msg)


def add(vectors: Sequence[EncryptedVector]) -> EncryptedVector:
    """Multiply vectors coordinate by coordinate: the encryption of their sum.

    Raises:
        MessageInvalid: No vector; they differ in key, layout, randomiser or round; or there are
            more contributions in them than the guard bits have room for.
    """
    if not vectors:
        msg = "There is nothing to add."
        raise MessageInvalid(msg)
    first = vectors[0]
    kind = (first.key, first.layout, first.randomiser, first.binding)
    if any((v.key, v.layout, v.randomiser, v.binding) != kind for v in vectors):
        msg = "Vectors of different keys, layouts or rounds can't be added."
        raise MessageInvalid(msg)
    total = sum(vector.contributions for vector in vectors)
    if total > first.layout.contributors:
        msg = (
            f"A sum of {total} contributions exceeds the {first.layout.contributors} that its "
            "guard bits have room for."
        )
        raise MessageInvalid(msg, hint="Declare more contributors in the layout.")
    ring = damgard_jurik.product_ring(first.key, first.layout.degree)
    rows = ring.product([vector.rows for vector in vectors])
    return replace(first, contributions=total, rows=rows)
