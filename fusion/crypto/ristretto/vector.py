"""ristretto255 on AVX-512 IFMA: eight points at a time, by kernels generated with llvmlite.

What a kernel gives is compared with libsodium's before the engine is first used.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.crypto.paillier.engines import kernels, objects
from fusion.crypto.paillier.engines.arrays import Workers, aligned
from fusion.crypto.paillier.engines.kernels.shape import IFMA
from fusion.crypto.paillier.engines.processor import Code, compile_program, reason_against
from fusion.crypto.ristretto import curve, field
from fusion.crypto.ristretto.field import LIMBS, RADIX
from fusion.crypto.ristretto.group import (
    ORDER,
    POINT_BYTES,
    UNIFORM_BYTES,
    PointRefused,
    Scalar,
    are_canonical,
    count_of,
    fault_of,
)
from fusion.crypto.ristretto.sodium import SodiumGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LANES: Final = 8
_BATCHES: Final = 64
"""Of one call, so that what it reads and writes stays cached."""
_WORDS: Final = 4
_MASK: Final = np.uint64((1 << RADIX) - 1)
_SHIFTS: Final = ((0, 0), (51, 13), (38, 26), (25, 39))
"""Of limb k: how far word k - 1 goes down and word k up."""


def unavailable() -> str | None:
    """Say why this engine can't run here, or None."""
    return reason_against(IFMA)


class VectorGroup:
    """ristretto255 by generated kernels."""

    name = "vector"

    def __init__(self, threads: int | None = None) -> None:
        """Compile, or take what was compiled before, and compare with libsodium.

        Args:
            threads: That share an array; by default as many as there are processors.

        Raises:
            ValueError: The kernels give other bytes: this engine is not to be used.
        """
        self._run = _functions()
        self.workers = Workers(threads)
        self._sodium = SodiumGroup()
        self._compare()

    def _compare(self) -> None:
        digests = b"".join(hashlib.sha512(bytes([at])).digest() for at in range(11))
        scalars = [Scalar.fresh(), *(Scalar(n.to_bytes(32, "little")) for n in (1, 8, ORDER - 1))]
        points = self.from_uniform(digests)
        same = points == self._sodium.from_uniform(digests) and all(
            self.multiply(scalar, points) == self._sodium.multiply(scalar, points)
            for scalar in scalars
        )
        if not same:
            raise ValueError("the vector kernels of ristretto255 do not agree with libsodium")

    def from_uniform(self, digests: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Group`."""
        count = count_of(digests, UNIFORM_BYTES)
        words = np.frombuffer(digests, "<u8").reshape(count, 2, _WORDS)
        halves = np.stack([_limbs(words[:, at]) for at in range(2)], axis=1)
        out = aligned((-(-count // LANES), LIMBS, LANES))
        rows = _in_lanes(halves.reshape(count, 2 * LIMBS))

        def work(first: int, batches: int) -> None:
            self._run["from_uniform"](_at(rows[first:]), _at(out[first:]), batches)

        self.workers.share(len(rows), _BATCHES, work)
        return _bytes(out, count)

    def multiply(self, scalar: Scalar, points: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Group`."""
        count = count_of(points, POINT_BYTES)
        words = np.frombuffer(points, "<u8").reshape(count, _WORDS)
        rows = _in_lanes(_limbs(words))
        out, good = aligned(rows.shape), aligned((len(rows), LANES))
        digits = np.array(curve.digits_of(int.from_bytes(scalar.held, "little")), np.uint64)

        def work(first: int, batches: int) -> None:
            self._run["multiply"](
                _at(rows[first:]), _at(digits), _at(out[first:]), _at(good[first:]), batches
            )

        self.workers.share(len(rows), _BATCHES, work)
        digits[:] = 0
        made = _bytes(out, count)
        self._check(points, words, good, made)
        return made

    def _check(
        self, points: bytes, words: NDArray[np.uint64], good: NDArray[np.uint64], made: bytes
    ) -> None:
        """Refuse the first point that did not decode, or gave the identity."""
        canonical = are_canonical(points)
        decoded = good.reshape(-1)[: len(words)] != 0
        something = np.frombuffer(made, "<u8").reshape(-1, _WORDS).any(axis=1)
        bad = np.flatnonzero(~(canonical & decoded & something))
        if len(bad):
            at = int(bad[0])
            point = points[at * POINT_BYTES : (at + 1) * POINT_BYTES]
            # A scalar that was wiped gives the identity with every point.
            raise PointRefused(at, fault_of(point, self._sodium.valid) or "identity")


def _limbs(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Cut residues of four words, without their top bit, into limbs: ``(count, 5)``."""
    out = np.empty((len(words), LIMBS), np.uint64)
    out[:, 0] = words[:, 0] & _MASK
    for at in range(1, _WORDS):
        down, up = _SHIFTS[at]
        low = words[:, at - 1] >> np.uint64(down)
        out[:, at] = (low | words[:, at] << np.uint64(up)) & _MASK
    out[:, 4] = words[:, 3] >> np.uint64(12) & _MASK
    return out


def _in_lanes(limbs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put residues side by side: ``(batches, limbs, 8)``; what is missing is zero."""
    count, size = limbs.shape
    out = aligned((-(-count // LANES), size, LANES))
    padded = np.zeros((len(out) * LANES, size), np.uint64)
    padded[:count] = limbs
    out[:] = padded.reshape(-1, LANES, size).transpose(0, 2, 1)
    return out


def _bytes(rows: NDArray[np.uint64], count: int) -> bytes:
    """Return canonical residues as 32 bytes each, little-endian."""
    limbs = rows.transpose(0, 2, 1).reshape(-1, LIMBS)[:count]
    words = np.empty((count, _WORDS), "<u8")
    for at in range(_WORDS):
        words[:, at] = limbs[:, at] >> np.uint64(13 * at) | limbs[:, at + 1] << np.uint64(
            51 - 13 * at
        )
    return words.tobytes()


def _at(array: NDArray[Any]) -> int:
    return array.ctypes.data


@lru_cache(maxsize=1)
def _functions() -> dict[str, Callable[..., None]]:
    """Return the kernels, compiled once a process, kept between processes."""

    def make() -> bytes:
        # llvmlite's builder is imported only by who compiles.
        from fusion.crypto.paillier.engines.kernels.llvm import LlvmProgram  # noqa: PLC0415

        program = LlvmProgram(IFMA)
        curve.Curve(program)
        return compile_program(program.module, IFMA)

    key = hashlib.sha256(metadata.version("llvmlite").encode())
    machinery = Path(kernels.__file__)
    sources = (curve.__file__, field.__file__, machinery.with_name("llvm.py"))
    for source in (*sources, machinery.parent.parent.joinpath("processor.py")):
        key.update(Path(source).read_bytes())
    name = b"ristretto255:" + key.digest()
    return Code(objects.kept(name, make, objects.folder()), IFMA).functions(curve.SIGNATURES)
