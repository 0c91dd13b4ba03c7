"""From a program to functions: what this processor can run, compiling, and calling.

LLVM does not raise where it can't go on, it aborts the process, so everything is asked before:
whether llvmlite is there, whether the processor has the instructions, whether memory may be made
executable. Calls release the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusion.crypto.paillier.engines.kernels.shape import Shape

_PR_GET_MDWE: Final = 66
_OPTIMISATION: Final = 2
_KINDS: Final = {"p": ctypes.c_void_p, "i": ctypes.c_int64}


@lru_cache(maxsize=1)
def _binding() -> Any:  # noqa: ANN401 -- an optional module
    """Return llvmlite's binding, initialised; None without llvmlite."""
    try:
        import llvmlite.binding as llvm  # noqa: PLC0415 -- 50 MB that only vector engines need
    except ImportError:
        return None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def reason_against(shape: Shape) -> str | None:
    """Say why this machine can't run code for ``shape``, or None."""
    if sys.platform != "linux":
        return "the vector engines are for Linux"
    llvm = _binding()
    if llvm is None:
        return "llvmlite is not installed"
    features = llvm.get_host_cpu_features()
    missing = [name for name in shape.needs if not features.get(name, False)]
    if missing:
        return f"the processor lacks {', '.join(missing)}"
    return _reason_against_executable_memory()


def _reason_against_executable_memory() -> str | None:
    """Try what compiled code needs: writable memory made executable afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_GET_MDWE, 0, 0, 0, 0) > 0:
        return "memory may not be made executable (MemoryDenyWriteExecute)"
    page = mmap.mmap(-1, mmap.PAGESIZE)
    try:
        start = ctypes.addressof(ctypes.c_char.from_buffer(page))
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        if libc.mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, executable) != 0:
            return "memory may not be made executable"
        libc.mprotect(ctypes.c_void_p(start), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        page.close()
    return None


def compile_program(module: Any, shape: Shape) -> bytes:  # noqa: ANN401 -- llvmlite is untyped
    """Return the object code of a module, for exactly the instructions ``shape`` names."""
    llvm = _binding()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return bytes(_target(shape).emit_object(parsed))


def _target(shape: Shape) -> Any:  # noqa: ANN401 -- llvmlite is untyped
    return (
        _binding()
        .Target.from_default_triple()
        .create_target_machine(cpu=shape.cpu, features=shape.features, opt=_OPTIMISATION, jit=True)
    )


class Code:
    """Object code in memory.

    Whoever holds one of its functions holds it: a function of a collected engine would crash.
    """

    def __init__(self, data: bytes, shape: Shape) -> None:
        """Load what :func:`compile_program` returned, in this process or another."""
        llvm = _binding()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(shape))
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._engine.finalize_object()

    def functions(self, signatures: Mapping[str, str]) -> dict[str, Callable[..., None]]:
        """Return the functions of these names and argument letters."""
        made: dict[str, Callable[..., None]] = {}
        for name, letters in signatures.items():
            kind = ctypes.CFUNCTYPE(None, *[_KINDS[letter] for letter in letters])
            function = kind(self._engine.get_function_address(name))
            function._code = self  # type: ignore[attr-defined]  # noqa: SLF001 -- see the class
            made[name] = function
        return made
