"""The kernels of one shape: made, compiled and kept by group and size, once a process."""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines import kernels, objects
from fusion.crypto.paillier.engines.kernels import buckets, comb, power, products
from fusion.crypto.paillier.engines.processor import Code, compile_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.crypto.paillier.engines.engine import Digits
    from fusion.crypto.paillier.engines.kernels.shape import Shape, Size

GROUPS: Final = {"products": products, "power": power, "comb": comb, "buckets": buckets}
"""What is compiled together, and when its first function is needed."""


@lru_cache(maxsize=1)
def _generator() -> bytes:
    """Digest of everything that the object code depends on, besides its parameters."""
    state = hashlib.sha256(metadata.version("llvmlite").encode())
    for source in sorted(Path(kernels.__file__).parent.glob("*.py")):
        state.update(source.name.encode() + b"\0" + source.read_bytes())
    state.update(Path(__file__).with_name("processor.py").read_bytes())
    return state.digest()


class Compiled:
    """Functions by group, size and digits."""

    def __init__(self, shape: Shape) -> None:
        """Start with none."""
        self._shape = shape
        self._made: dict[tuple[str, Size, int], dict[str, Callable[..., None]]] = {}
        self._lock = threading.Lock()

    def functions(self, group: str, size: Size, digits: Digits) -> dict[str, Callable[..., None]]:
        """Return a group's functions; several threads may ask at once, one compiles."""
        key = (group, size, digits)
        with self._lock:
            if key not in self._made:
                self._made[key] = self._load(group, size, digits)
            return self._made[key]

    def _load(self, group: str, size: Size, digits: Digits) -> dict[str, Callable[..., None]]:
        def make() -> bytes:
            # llvmlite's builder is imported only by who compiles.
            from fusion.crypto.paillier.engines.kernels.llvm import (  # noqa: PLC0415
                LlvmProgram,
            )

            program = LlvmProgram(self._shape)
            GROUPS[group].define(program, size, digits)
            return compile_program(program.module, self._shape)

        name = f"{self._shape.name}:{group}:{size.limbs}:{size.rows}:{digits}".encode()
        code = Code(objects.kept(_generator() + name, make, objects.folder()), self._shape)
        return code.functions(GROUPS[group].SIGNATURES)
