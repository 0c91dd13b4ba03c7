"""Encrypted vectors: encrypt packed integers, multiply vectors, and the bytes they travel as.

Wire format, fixed width, big-endian: ``BNYV`` | version 1 | randomiser id 1 | ciphertext width,
2 bytes | count, 4 bytes | key fingerprint, 32 bytes | round binding, 32 bytes | ciphertexts.
Lengths are checked before anything is parsed; every ciphertext must be a unit other than 1
(a non-unit would factor N or crash a decryption).

What leaks: the table look-ups below index by bits of the secret exponent, so a process on the
same core may learn them through the cache. See ``docs/limitations.md``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import gmpy2
from gmpy2 import mpz

from fusion.crypto import rng
from fusion.errors import MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gmpy2 import mpz as Integer

    from fusion.crypto.paillier.keys import PublicKey

_HEADER: Final = struct.Struct(">4sBBHI32s32s")
_MAGIC: Final = b"BNYV"
_VERSION: Final = 1
_RANDOMISER_ID: Final = 1
_WINDOW_BITS: Final = 6
MAX_CIPHERTEXTS: Final = 1 << 20
"""More ciphertexts than this in one vector are refused before parsing."""


@dataclass(frozen=True, slots=True)
class EncryptedVector:
    """Ciphertexts under one key, bound to one round.

    Attributes:
        key: The public key.
        binding: 32 bytes that name the round (the digest of its manifest).
        ciphertexts: Units modulo N^2.
    """

    key: PublicKey
    binding: bytes
    ciphertexts: tuple[Integer, ...]

    def to_bytes(self) -> bytes:
        """Serialise in the format above."""
        return serialise(self.key, self.binding, self.ciphertexts, len(self.ciphertexts))


@lru_cache(maxsize=4)
def _powers(key: PublicKey) -> tuple[tuple[Integer, ...], ...]:
    """``rows[i][d] = h^(d * 2^(6 i)) mod N^2``: 12.6 MB at 3072 bits, built in about 0.15 s."""
    modulus = key.n_squared
    rows = []
    base = key.randomiser_base
    for _ in range(-(-key.randomiser_bits // _WINDOW_BITS)):
        row = [mpz(1), base]
        for _ in range((1 << _WINDOW_BITS) - 2):
            row.append(row[-1] * base % modulus)
        rows.append(tuple(row))
        base = row[-1] * base % modulus
    return tuple(rows)


def randomiser(key: PublicKey) -> Integer:
    """Return a fresh ``h^rho mod N^2``, rho uniform in half the key's length."""
    modulus = key.n_squared
    rho = rng.bits(key.randomiser_bits)
    mask = (1 << _WINDOW_BITS) - 1
    result = mpz(1)
    for row in _powers(key):
        result = result * row[rho & mask] % modulus
        rho >>= _WINDOW_BITS
    return result


def encrypt(key: PublicKey, plaintext: int) -> Integer:
    """Return a fresh encryption of ``0 <= plaintext < N``.

    Raises:
        MessageInvalid: The plaintext is out of range.
    """
    if not 0 <= plaintext < key.modulus:
        msg = "A plaintext must lie between 0 and N - 1."
        raise MessageInvalid(msg)
    return (1 + plaintext * key.n) * randomiser(key) % key.n_squared


def encrypt_packed(key: PublicKey, binding: bytes, plaintexts: Iterable[int], count: int) -> bytes:
    """Encrypt ``count`` integers straight into wire bytes, one at a time, in bounded memory."""
    return serialise(key, binding, (encrypt(key, value) for value in plaintexts), count)


def serialise(key: PublicKey, binding: bytes, ciphertexts: Iterable[Integer], count: int) -> bytes:
    """Write the header and ``count`` fixed-width ciphertexts.

    Raises:
        MessageInvalid: The iterable does not yield ``count`` items, or the binding's length is off.
    """
    if len(binding) != 32 or not 1 <= count <= MAX_CIPHERTEXTS:
        msg = "A vector needs a 32-byte binding and 1 to 2^20 ciphertexts."
        raise MessageInvalid(msg)
    width = key.ciphertext_bytes
    out = bytearray(_HEADER.size + count * width)
    _HEADER.pack_into(
        out, 0, _MAGIC, _VERSION, _RANDOMISER_ID, width, count,
        bytes.fromhex(key.fingerprint), binding,
    )  # fmt: skip
    done = 0
    for done, value in enumerate(ciphertexts, start=1):
        if done > count:
            break
        start = _HEADER.size + (done - 1) * width
        out[start : start + width] = int(value).to_bytes(width, "big")
    if done != count:
        msg = f"{done} ciphertexts were given, {count} were announced."
        raise MessageInvalid(msg)
    return bytes(out)


def vector_size(key: PublicKey, count: int) -> int:
    """Bytes of a serialised vector of ``count`` ciphertexts."""
    return _HEADER.size + count * key.ciphertext_bytes


def parse(key: PublicKey, data: bytes, *, binding: bytes, count: int) -> EncryptedVector:
    """Read a vector that must be for this key, this round and of this many ciphertexts.

    Raises:
        MessageInvalid: Anything in the header or the length differs, or a ciphertext is 0, 1, not
            below N^2 or not a unit.
    """
    if len(data) != vector_size(key, count):
        msg = f"An encrypted vector has {len(data)} bytes; {vector_size(key, count)} were expected."
        raise MessageInvalid(msg)
    header = _HEADER.unpack_from(data)
    width = key.ciphertext_bytes
    expected = (
        _MAGIC, _VERSION, _RANDOMISER_ID, width, count, bytes.fromhex(key.fingerprint), binding,
    )  # fmt: skip
    if header != expected:
        msg = "An encrypted vector is for another key, round, format or size."
        raise MessageInvalid(msg)
    view = memoryview(data)
    values = tuple(
        mpz(int.from_bytes(view[start : start + width], "big"))
        for start in range(_HEADER.size, len(data), width)
    )
    _check_units(key, values)
    return EncryptedVector(key, binding, values)


def _check_units(key: PublicKey, values: Sequence[Integer]) -> None:
    """One gcd for the whole vector: the product is a unit exactly if every factor is."""
    product = mpz(1)
    for value in values:
        if not 1 < value < key.n_squared:
            msg = "A ciphertext lies outside 2 to N^2 - 1."
            raise MessageInvalid(msg)
        product = product * (value % key.n) % key.n
    if gmpy2.gcd(product, key.n) != 1:
        msg = "A ciphertext is not invertible modulo N."
        raise MessageInvalid(msg)


def product(vectors: Sequence[EncryptedVector]) -> EncryptedVector:
    """Multiply vectors coordinate by coordinate: the encryption of their sum.

    Raises:
        MessageInvalid: No vector, or they differ in key, round or length.
    """
    if not vectors:
        msg = "There is nothing to add."
        raise MessageInvalid(msg)
    first = vectors[0]
    total = list(first.ciphertexts)
    modulus = first.key.n_squared
    for vector in vectors[1:]:
        if (vector.key, vector.binding, len(vector.ciphertexts)) != (
            first.key, first.binding, len(total),
        ):  # fmt: skip
            msg = "Vectors of different keys, rounds or lengths can't be added."
            raise MessageInvalid(msg)
        for index, value in enumerate(vector.ciphertexts):
            total[index] = total[index] * value % modulus
    return EncryptedVector(first.key, first.binding, tuple(total))
