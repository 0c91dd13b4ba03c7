"""RFC 6962 once more, from its text: the tree, and what its proofs prove, by recursion.

The product keeps complete subtrees and verifies by walking up from the leaf (RFC 9162's
algorithms). Here is nothing but the definitions of RFC 6962, sections 2.1 to 2.1.2, read backwards:
each proof is split as its definition puts it together. The two have no line in common, and no
product code is imported, so that a mistake in one is not in the other.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Sequence


class Wrong(Exception):
    """A proof does not prove what it should."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(entries: Sequence[bytes]) -> bytes:
    """Merkle Tree Hash (section 2.1)."""
    n = len(entries)
    if n == 0:
        return sha256(b"")
    if n == 1:
        return sha256(b"\x00" + entries[0])
    k = split(n)
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:]))


def root_of_path(m: int, n: int, entry: bytes, path: Sequence[bytes]) -> bytes:
    """Return the hash of n entries of which the m-th is ``entry``, by PATH (section 2.1.1)."""
    if not 0 <= m < n:
        raise Wrong
    if n == 1:
        if path:
            raise Wrong
        return sha256(b"\x00" + entry)
    if not path:
        raise Wrong
    k = split(n)
    *below, sibling = path
    if m < k:
        return sha256(b"\x01" + root_of_path(m, k, entry, below) + sibling)
    return sha256(b"\x01" + sibling + root_of_path(m - k, n - k, entry, below))


def check_inclusion(m: int, n: int, entry: bytes, path: Sequence[bytes], root: bytes) -> None:
    if root_of_path(m, n, entry, path) != root:
        raise Wrong


def roots_of_proof(
    m: int, n: int, proof: Sequence[bytes], whole: bytes | None
) -> tuple[bytes, bytes]:
    """Return the hashes of the first m and of all n entries, by SUBPROOF (section 2.1.2).

    ``whole`` is the older root where the older tree is a subtree that the verifier knows (b is
    true), None where it is not.
    """
    if m == n:
        if whole is not None:
            if proof:
                raise Wrong
            return whole, whole
        if len(proof) != 1:
            raise Wrong
        return proof[0], proof[0]
    if not proof:
        raise Wrong
    k = split(n)
    *below, sibling = proof
    if m <= k:
        old, new = roots_of_proof(m, k, below, whole)
        return old, sha256(b"\x01" + new + sibling)
    old, new = roots_of_proof(m - k, n - k, below, None)
    return sha256(b"\x01" + sibling + old), sha256(b"\x01" + sibling + new)


def check_consistency(
    m: int, n: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    if not 0 < m <= n or roots_of_proof(m, n, proof, old_root) != (old_root, new_root):
        raise Wrong


def check_note(note: bytes, name: str, key: bytes, *, witness: bool) -> tuple[str, int, bytes]:
    """Verify one signature of a note (C2SP signed-note, tlog-cosignature); return what it says."""
    text, _, signatures = note.decode().partition("\n\n")
    origin, size, root = text.split("\n")
    kind = b"\x04" if witness else b"\x01"
    expected = sha256(name.encode() + b"\n" + kind + key)[:4]
    for line in signatures.splitlines():
        dash, signer, data = line.split(" ")
        raw = base64.b64decode(data)
        if (dash, signer, raw[:4]) != ("\u2014", name, expected):
            continue
        signed, signature = f"{text}\n".encode(), raw[4:]
        if witness:
            time, signature = int.from_bytes(raw[4:12], "big"), raw[12:]
            signed = f"cosignature/v1\ntime {time}\n".encode() + signed
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
        return origin, int(size), base64.b64decode(root)
    raise Wrong
