"""The Merkle tree of a log (RFC 6962, section 2; RFC 9162 has the same tree).

Hashes of complete subtrees never change as a log grows, so a log keeps exactly these, by level and
index, and every root and proof of any size is put together from a logarithmic number of them.
Verification raises and returns nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from fusion.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    Subtree = Callable[[int, int], bytes]
    """Returns the hash of the complete subtree of 2^level leaves that starts at index * 2^level."""

HASH_BYTES: Final = 32
EMPTY: Final = hashlib.sha256(b"").digest()
"""Root of a log without entries."""

MAX_SIZE: Final = 1 << 48
"""Larger logs are refused before anything is computed from their size."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def completed(index: int, leaf: bytes, subtree: Subtree) -> Iterator[tuple[int, int, bytes]]:
    """Yield ``(level, index, hash)`` of every subtree that leaf ``index`` completes, itself first.

    Args:
        index: Of the leaf, which must be the next one.
        leaf: Its hash.
        subtree: Knows every complete subtree of the leaves before.
    """
    level, value = 0, leaf
    yield level, index, value
    while index & 1:
        value = node_hash(subtree(level, index - 1), value)
        level, index = level + 1, index >> 1
        yield level, index, value


def completed_by(
    first: int, leaves: Sequence[bytes], subtree: Subtree
) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield what many leaves complete together, level by level: ``(level, first index, hashes)``.

    Args:
        first: Index of the first leaf, which must be the next one.
        leaves: Their hashes.
        subtree: Knows every complete subtree of the leaves before.
    """
    sha256 = hashlib.sha256
    level, place, hashes = 0, first, list(leaves)
    while hashes:
        yield level, place, hashes
        if place & 1:
            hashes = [subtree(level, place - 1), *hashes]
        pairs = zip(hashes[::2], hashes[1::2], strict=False)
        hashes = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        level, place = level + 1, place >> 1


def root(size: int, subtree: Subtree) -> bytes:
    """Return the root of the first ``size`` entries."""
    return _range(0, size, subtree)


def roots_of(leaves: Iterable[bytes], sizes: Collection[int]) -> dict[int, bytes]:
    """Return the roots of the first n leaves for each n of ``sizes`` that there are leaves for."""
    found = {0: EMPTY} if 0 in sizes else {}
    stack: list[bytes] = []
    sha256 = hashlib.sha256
    for number, leaf in enumerate(leaves, 1):
        value, carried = leaf, number
        while not carried & 1:
            value = sha256(b"\1" + stack.pop() + value).digest()
            carried >>= 1
        stack.append(value)
        if number in sizes:
            whole = stack[-1]
            for left in reversed(stack[:-1]):
                whole = node_hash(left, whole)
            found[number] = whole
    return found


def _range(start: int, stop: int, subtree: Subtree) -> bytes:
    """Hash of the leaves from ``start`` below ``stop``; start is where such a subtree may be."""
    count = stop - start
    if count == 0:
        return EMPTY
    if count & (count - 1) == 0 and start % count == 0:
        level = count.bit_length() - 1
        return subtree(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range(start, middle, subtree), _range(middle, stop, subtree))


def _split(count: int) -> int:
    """Largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that entry ``index`` is in the log of ``size`` (RFC 6962, 2.1.1).

    Raises:
        ValueError: There is no such entry in a log of this size.
    """
    if not 0 <= index < size:
        msg = f"There is no entry {index} in a log of {size}."
        raise ValueError(msg)
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the log of ``new`` extends the log of ``old`` (RFC 6962, 2.1.2).

    Raises:
        ValueError: Not ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        msg = f"A log of {new} does not extend one of {old}."
        raise ValueError(msg)
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, stop, whole = 0, new, True
    while old - start != stop - start:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append(_range(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(_range(start, stop, subtree))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Check that a leaf is entry ``index`` of the log with this size and root (RFC 9162, 2.1.3.2).

    Raises:
        VerificationFailed: It is not shown to be.
    """
    _check_sizes(index, size - 1)
    number, last, value = index, size - 1, leaf
    for sibling in _checked(proof):
        if last == 0:
            raise _wrong(f"The proof that entry {index} is in a log of {size} is too long.")
        if number & 1 or number == last:
            value = node_hash(sibling, value)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        number, last = number >> 1, last >> 1
    if last != 0 or not hmac.compare_digest(value, expected):
        raise _wrong(f"Entry {index} is not shown to be in this log of {size}.")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that a log only grew from one root to the other (RFC 9162, 2.1.4.2).

    Raises:
        VerificationFailed: It is not shown to have.
    """
    _check_sizes(old, new)
    fork = f"The log of {new} is not shown to extend that of {old}: it was changed, or it forked."
    path = list(_checked(proof))
    if old in {0, new}:
        start = EMPTY if old == 0 else new_root
        if path or not hmac.compare_digest(old_root, start):
            raise _wrong(fork)
        return
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    before, after = _climb(old - 1, new - 1, path, fork)
    found = hmac.compare_digest(before, old_root) and hmac.compare_digest(after, new_root)
    if not found:
        raise _wrong(fork)


def _climb(number: int, last: int, path: list[bytes], fork: str) -> tuple[bytes, bytes]:
    """Put both roots together from one path."""
    if not path:
        raise _wrong(fork)
    while number & 1:
        number, last = number >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _wrong(fork)
        if number & 1 or number == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        number, last = number >> 1, last >> 1
    if last != 0:
        raise _wrong(fork)
    return before, after


def _check_sizes(small: int, large: int) -> None:
    if not 0 <= small <= large < MAX_SIZE:
        raise _wrong("A proof speaks of sizes that no log has.")


def _checked(proof: Sequence[bytes]) -> Sequence[bytes]:
    if len(proof) > 2 * MAX_SIZE.bit_length() or any(len(h) != HASH_BYTES for h in proof):
        raise _wrong("A proof is too long, or holds what is no hash.")
    return proof


def _wrong(message: str) -> VerificationFailed:
    return VerificationFailed(message)
