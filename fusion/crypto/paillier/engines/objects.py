"""Compiled kernels kept between processes, so that a node pays for compiling once.

A kept object is machine code: it is loaded only from a folder and a file that this user owns and
nobody else may write, and only if its digest, over the key it was made for and every byte, agrees.
Anything else is compiled again and replaced. The digest finds damage and mix-ups, not an attacker
who may write this user's files; that one could change the program itself.

``FUSION_PAILLIER_CACHE`` names the folder; ``off`` keeps nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.crypto import rng

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE: Final = "FUSION_PAILLIER_CACHE"
_MAX_BYTES: Final = 16 << 20
_DIGEST: Final = hashlib.sha256


def folder() -> Path | None:
    """Return where objects are kept, or None."""
    named = os.environ.get(VARIABLE)
    if named == "off":
        return None
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "banyan" / "paillier"
    home = os.environ.get("HOME")
    return Path(home) / ".cache" / "banyan" / "paillier" if home else None


def kept(key: bytes, make: Callable[[], bytes], where: Path | None) -> bytes:
    """Return the object for ``key``: from ``where`` if it is there and sound, else made anew.

    Args:
        key: Everything that the object depends on.
        make: Makes it.
        where: The folder, or None.
    """
    if where is None:
        return make()
    path = where / f"{_DIGEST(key).hexdigest()}.o"
    found = _read(path, key)
    if found is not None:
        return found
    made = make()
    with contextlib.suppress(OSError):  # a full or read-only disk only costs time
        _write(path, key, made)
    return made


def _read(path: Path, key: bytes) -> bytes | None:
    """Return a sound object, or None."""
    try:
        if not _private(path.parent.lstat()):
            return None
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not (stat.S_ISREG(about.st_mode) and _private(about)) or about.st_size > _MAX_BYTES:
            return None
        data = file.read(_MAX_BYTES)
    digest, body = data[: _DIGEST().digest_size], data[_DIGEST().digest_size :]
    return body if hmac.compare_digest(digest, _name(key, body)) else None


def _private(about: os.stat_result) -> bool:
    """Whether this user owns it and nobody else may write it."""
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


def _name(key: bytes, body: bytes) -> bytes:
    return _DIGEST(_DIGEST(key).digest() + body).digest()


def _write(path: Path, key: bytes, body: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _private(path.parent.lstat()):
        return
    draft = path.with_name(f"{path.name}.{rng.token(8).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_name(key, body) + body)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
