"""The inside of a worker: imports, waits, confines itself, does one piece of work, ends.

``python -I -B -u -m sandbox.worker KIND ENTRY``. It speaks over two pipes, and the other end
believes nothing that comes back:

    standard input   head: 4 bytes length, canonical JSON (inputs, limits)
                     request: 8 bytes length, bytes
    standard output  one byte READY after the imports, then the answer: one byte STATUS, 8 bytes
                     length, bytes, and the end

Everything up to the request is our own code and comes from the node. Before the request is looked
at, limits are set, files are given up (under Landlock; bubblewrap did it before) and system calls
are filtered, in this order, none of which can be undone. What the work prints goes to standard
error, which only the data's owner ever reads.
"""

from __future__ import annotations

import ctypes
import gc
import math
import mmap
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.wire import canonical
from sandbox import landlock, memory, seccomp
from sandbox.entries import load

if TYPE_CHECKING:
    from sandbox.entries import Execute

READY: Final = b"R"
DONE, OUT_OF_MEMORY, FAILED = b"+", b"m", b"-"
MAX_HEAD_BYTES: Final = 64 * 1024
_STACK_BYTES: Final = 8 << 20
_PAGE: Final = 4096
_PR_SET_DUMPABLE: Final = 4
# The processes beside the work that count with it: bubblewrap's first one and the main thread.
_OWN_PROCESSES: Final = 2


def main(kind: str, entry: str) -> None:
    """Serve one request and end the process."""
    if os.getuid() == 0 or os.geteuid() == 0:
        sys.exit("a worker never runs as root")
    execute = load(entry)
    memory.keep_freed()
    gc.freeze()  # what was imported is not looked through again
    os.write(1, READY)
    head = canonical.decode(_exactly(int.from_bytes(_exactly(4), "big"), MAX_HEAD_BYTES))
    size = int.from_bytes(_exactly(8), "big")
    answer = os.dup(1)
    os.dup2(2, 1)
    inputs = {name: Path(path) for name, path in head["inputs"].items()}
    _confine(kind, head, inputs)
    request = _exactly(size, size)
    os.close(0)
    _answer(answer, *_work(execute, request, inputs))
    os._exit(0)  # no thread, hook or finaliser of the work gets another turn


def _work(execute: Execute, request: bytes, inputs: dict[str, Path]) -> tuple[bytes, bytes]:
    try:
        return DONE, bytes(execute(request, inputs))
    except MemoryError:
        status = OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001 - the edge of the process: SystemExit is no way out either
        status = FAILED
        traceback.print_exc()
    return status, b""


def _answer(descriptor: int, status: bytes, content: bytes) -> None:
    left = memoryview(status + len(content).to_bytes(8, "big") + content)
    while left:
        left = left[os.write(descriptor, left) :]


def _exactly(count: int, most: int = 8) -> bytes:
    """Read so many bytes of standard input; its end is the end of this process."""
    if count > most:
        sys.exit("a head is too long")
    parts = bytearray()
    while len(parts) < count:
        part = os.read(0, min(count - len(parts), 1 << 20))
        if not part:
            sys.exit(0)
        parts += part
    return bytes(parts)


def _confine(kind: str, head: dict[str, Any], inputs: dict[str, Path]) -> None:
    """Give up what the work must not have; an error here ends the process."""
    # Other processes of the same account can't look into its memory from here on (ptrace(2)).
    if ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        sys.exit("a worker can't hide its memory")
    limits = head["limits"]
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: math.ceil(limits["cpu_ms"] / 1000),
        resource.RLIMIT_FSIZE: limits["scratch_bytes"],
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["threads"] + _OWN_PROCESSES + head["others"],
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_AS: _address_space() + limits["memory_bytes"],
    }
    for what, most in bounds.items():
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
    if kind == "landlock":
        devices = [Path(name) for name in ("/dev/null", "/dev/zero", "/dev/urandom")]
        read = [*inputs.values(), *devices, *landlock.own_limits()]
        landlock.restrict(read, [Path(name) for name in head["code"]])
    seccomp.confine(os.getpid())


def _address_space() -> int:
    """Return how many bytes of address space are in use (getrlimit(2), RLIMIT_AS).

    Found by the kernel's own verdict on one more page, because a worker has no /proc to look into.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 47
    while high - low > _PAGE:
        middle = (low + high) // 2 // _PAGE * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (middle, before[1]))
        try:
            mmap.mmap(-1, _PAGE).close()
        except (OSError, MemoryError):
            low = middle
        else:
            high = middle
    resource.setrlimit(resource.RLIMIT_AS, before)
    return high


if __name__ == "__main__":
    main(*sys.argv[1:3])
