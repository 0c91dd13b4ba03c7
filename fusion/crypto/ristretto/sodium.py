"""ristretto255 by libsodium, which the package ``rbcl`` carries; constant-time in the scalar.

``rbcl`` keeps the library as text, writes it to a temporary file when it is imported, loads it and
leaves the file behind: the file is removed here, where it is loaded. Where it can't be loaded (a
temporary folder without the right to execute), the system's libsodium is used, from 1.0.18 on.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fusion.crypto.ristretto.group import (
    POINT_BYTES,
    UNIFORM_BYTES,
    PointRefused,
    Scalar,
    are_canonical,
    count_of,
    fault_of,
)
from fusion.errors import EnvironmentUnfit

_NEEDED: Final = (
    "crypto_core_ristretto255_from_hash",
    "crypto_core_ristretto255_is_valid_point",
    "crypto_scalarmult_ristretto255",
)


class SodiumGroup:
    """libsodium's ristretto255, one call a point."""

    name = "sodium"

    def __init__(self) -> None:
        """Load the library.

        Raises:
            EnvironmentUnfit: Neither ``rbcl`` nor a libsodium of this machine can be loaded.
        """
        library = _library()
        self._hash = _typed(library, _NEEDED[0], 2)
        self._valid = _typed(library, _NEEDED[1], 1)
        self._multiply = _typed(library, _NEEDED[2], 3)

    def from_uniform(self, digests: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Group`."""
        count = count_of(digests, UNIFORM_BYTES)
        out = ctypes.create_string_buffer(count * POINT_BYTES)
        to, start = ctypes.addressof(out), _address(digests)
        for at in range(count):
            self._hash(to + at * POINT_BYTES, start + at * UNIFORM_BYTES)
        return bytes(out)

    def multiply(self, scalar: Scalar, points: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Group`."""
        count = count_of(points, POINT_BYTES)
        out = ctypes.create_string_buffer(count * POINT_BYTES)
        held = (ctypes.c_char * len(scalar.held)).from_buffer(scalar.held)
        to, start, secret = ctypes.addressof(out), _address(points), ctypes.addressof(held)
        run, spelling = self._multiply, are_canonical(points).tolist()
        for at in range(0, count * POINT_BYTES, POINT_BYTES):
            if not spelling[at // POINT_BYTES] or run(to + at, secret, start + at):
                raise PointRefused(at // POINT_BYTES, self._fault(points[at : at + POINT_BYTES]))
        return bytes(out)

    def valid(self, point: bytes) -> bool:
        """Whether 32 bytes decode; the identity does."""
        return bool(self._valid(_address(point)))

    def check(self, points: bytes) -> None:
        """Return if every point could be multiplied: about a tenth of the work of doing so.

        Raises:
            PointRefused: One does not decode, or is the identity.
        """
        run, start, zero = self._valid, _address(points), bytes(POINT_BYTES)
        for at, canonical in enumerate(are_canonical(points).tolist()):
            first = at * POINT_BYTES
            point = points[first : first + POINT_BYTES]
            if not canonical or point == zero or not run(start + first):
                raise PointRefused(at, self._fault(point))

    def _fault(self, point: bytes) -> Any:  # noqa: ANN401 - a Fault
        # A scalar that was wiped gives the identity with every point.
        return fault_of(point, self.valid) or "identity"


def _address(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _typed(library: ctypes.CDLL, name: str, arguments: int) -> Any:  # noqa: ANN401 - a C function
    found = getattr(library, name)
    found.argtypes = [ctypes.c_void_p] * arguments
    found.restype = ctypes.c_int
    return found


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    for find in (_carried, _of_the_system):
        library = find()
        if library is not None and all(hasattr(library, name) for name in _NEEDED):
            library.sodium_init()
            return library
    raise EnvironmentUnfit(
        "No library with ristretto255 can be loaded.",
        hint="Let the temporary folder hold executables ($TMPDIR), or install libsodium 1.0.18.",
    )


def _carried() -> ctypes.CDLL | None:
    """Return the library that ``rbcl`` carries, and remove the file it was loaded from."""
    try:
        # When needed: importing it writes a file and loads it.
        import rbcl  # noqa: F401, PLC0415
    except (ImportError, OSError):
        return None
    module = sys.modules.get("rbcl._sodium")
    if module is None:
        return None
    with contextlib.suppress(OSError):
        Path(module.lib_path).unlink()
    library: ctypes.CDLL = module._sodium  # noqa: SLF001 - its only name
    return library


def _of_the_system() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("sodium")
    try:
        return ctypes.CDLL(name) if name else None
    except OSError:
        return None
