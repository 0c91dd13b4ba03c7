"""SHA-256 with a domain and length-prefixed parts.

The domain keeps a digest made for one purpose from being taken for another; the prefixes keep
``("ab", "c")`` and ``("a", "bc")`` apart.
"""

from __future__ import annotations

import hashlib


def digest(domain: str, *parts: bytes) -> bytes:
    """Return 32 bytes that name ``parts`` within ``domain``."""
    state = hashlib.sha256()
    for part in (domain.encode(), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def hexdigest(domain: str, *parts: bytes) -> str:
    """Return :func:`digest` as 64 hexadecimal digits."""
    return digest(domain, *parts).hex()
