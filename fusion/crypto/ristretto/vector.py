"""ristretto255 on AVX-512 IFMA or AVX2: several points at a time, by kernels made with llvmlite.

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
from fusion.crypto.paillier.engines.kernels.shape import AVX2, IFMA
from fusion.crypto.paillier.engines.processor import Code, compile_program, reason_against
from fusion.crypto.ristretto import curve, field
from fusion.crypto.ristretto.field import form_of
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

    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.ristretto.field import Form

SHAPES: Final = {shape.name: shape for shape in (IFMA, AVX2)}
_BATCHES: Final = 64
"""Of one call, so that what it reads and writes stays cached."""
_WORDS: Final = 4


def unavailable(name: str) -> str | None:
    """Say why the engine of this name can't run here, or None."""
    return reason_against(SHAPES[name])


class VectorGroup:
    """ristretto255 by generated kernels."""

    def __init__(self, shape: Shape, threads: int | None = None) -> None:
        """Compile, or take what was compiled before, and compare with libsodium.

        Args:
            shape: The vector unit, which this machine has.
            threads: That share an array; by default as many as there are processors.

        Raises:
            ValueError: The kernels give other bytes: this engine is not to be used.
        """
        self.name = shape.name
        self._lanes = shape.lanes
        self._form = form_of(shape)
        self._run = _functions(shape)
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
        halves = [_limbs(words[:, at], self._form) for at in range(2)]
        rows = _in_lanes(np.concatenate(halves, axis=1), self._lanes)
        out = aligned((len(rows), self._form.size, self._lanes))

        def work(first: int, batches: int) -> None:
            self._run["from_uniform"](_at(rows[first:]), _at(out[first:]), batches)

        self.workers.share(len(rows), _BATCHES, work)
        return _bytes(out, count, self._form)

    def multiply(self, scalar: Scalar, points: bytes) -> bytes:
        """See :class:`~fusion.crypto.ristretto.group.Group`."""
        count = count_of(points, POINT_BYTES)
        words = np.frombuffer(points, "<u8").reshape(count, _WORDS)
        rows = _in_lanes(_limbs(words, self._form), self._lanes)
        out, good = aligned(rows.shape), aligned((len(rows), self._lanes))
        digits = np.array(curve.digits_of(int.from_bytes(scalar.held, "little")), np.uint64)

        def work(first: int, batches: int) -> None:
            self._run["multiply"](
                _at(rows[first:]), _at(digits), _at(out[first:]), _at(good[first:]), batches
            )

        self.workers.share(len(rows), _BATCHES, work)
        digits[:] = 0
        made = _bytes(out, count, self._form)
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


def _limbs(words: NDArray[np.uint64], form: Form) -> NDArray[np.uint64]:
    """Cut residues of four words, without their top bit, into limbs: ``(count, limbs)``."""
    out = np.empty((len(words), form.size), np.uint64)
    for at, (offset, width) in enumerate(zip(form.offsets(), form.widths, strict=True)):
        word, shift = divmod(offset, 64)
        limb = words[:, word] >> np.uint64(shift)
        if shift + width > 64:
            limb = limb | words[:, word + 1] << np.uint64(64 - shift)
        out[:, at] = limb & np.uint64((1 << width) - 1)
    return out


def _in_lanes(limbs: NDArray[np.uint64], lanes: int) -> NDArray[np.uint64]:
    """Put residues side by side: ``(batches, limbs, lanes)``; what is missing is zero."""
    count, size = limbs.shape
    out = aligned((-(-count // lanes), size, lanes))
    padded = np.zeros((len(out) * lanes, size), np.uint64)
    padded[:count] = limbs
    out[:] = padded.reshape(-1, lanes, size).transpose(0, 2, 1)
    return out


def _bytes(rows: NDArray[np.uint64], count: int, form: Form) -> bytes:
    """Return canonical residues as 32 bytes each, little-endian."""
    limbs = rows.transpose(0, 2, 1).reshape(-1, form.size)[:count]
    words = np.zeros((count, _WORDS), "<u8")
    for at, (offset, width) in enumerate(zip(form.offsets(), form.widths, strict=True)):
        word, shift = divmod(offset, 64)
        words[:, word] |= limbs[:, at] << np.uint64(shift)
        if shift + width > 64:
            words[:, word + 1] |= limbs[:, at] >> np.uint64(64 - shift)
    return words.tobytes()


def _at(array: NDArray[Any]) -> int:
    return array.ctypes.data


@lru_cache(maxsize=2)
def _functions(shape: Shape) -> dict[str, Callable[..., None]]:
    """Return the kernels, compiled once a process, kept between processes."""

    def make() -> bytes:
        # llvmlite's builder is imported only by who compiles.
        from fusion.crypto.paillier.engines.kernels.llvm import LlvmProgram  # noqa: PLC0415

        program = LlvmProgram(shape)
        curve.Curve(program)
        return compile_program(program.module, shape)

    key = hashlib.sha256(metadata.version("llvmlite").encode())
    machinery = Path(kernels.__file__)
    sources = (curve.__file__, field.__file__, machinery.with_name("llvm.py"))
    for source in (*sources, machinery.parent.parent.joinpath("processor.py")):
        key.update(Path(source).read_bytes())
    name = f"ristretto255:{shape.name}:".encode() + key.digest()
    return Code(objects.kept(name, make, objects.folder()), shape).functions(curve.SIGNATURES)
