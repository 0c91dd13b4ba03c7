"""What one piece of work may use, in named units, with a ceiling on each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from fusion.errors import InputInvalid
from fusion.wire.limits import MEBI

MAX_REQUEST_BYTES: Final = 16 * MEBI
"""What a worker is handed, beside its inputs."""

MAX_INPUTS: Final = 64
"""Files that a worker is shown."""

LOG_BYTES: Final = 64 * 1024
"""The end of a worker's standard error that is kept for the owner."""

PRINTED_BYTES: Final = MEBI
"""All that a worker may print on standard error; past it, it is killed."""

START_SECONDS: Final = 60.0
"""From starting a worker until it says that it is ready."""

KILL_SECONDS: Final = 0.5
"""From the end of a limit until a killed worker has to be gone, on a machine not overloaded."""

GONE_SECONDS: Final = 30.0
"""For how long a place is held for a killed worker whose memory the kernel has not freed yet."""

_CEILINGS: Final = {
    "wall_seconds": 86_400,
    "cpu_seconds": 86_400,
    "memory_bytes": 1 << 42,
    "scratch_bytes": 1 << 42,
    "scratch_files": 1 << 20,
    "open_files": 4096,
    "threads": 256,
    "output_bytes": 256 * MEBI,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one piece of work; none of them can be raised from inside.

    Attributes:
        wall_seconds: From handing over the request to the whole answer; then the worker is killed.
        cpu_seconds: Processor time of all its threads (RLIMIT_CPU, whole seconds, rounded up).
        memory_bytes: Address space beyond that of an idle worker (RLIMIT_AS).
        scratch_bytes: Size of its scratch folder; 0 gives it none. Under Landlock there is none.
        scratch_files: Files and folders in the scratch folder.
        open_files: Descriptors (RLIMIT_NOFILE).
        threads: Threads (RLIMIT_NPROC); it can't have a second process.
        output_bytes: The answer.
    """

    wall_seconds: float = 30.0
    cpu_seconds: float = 60.0
    memory_bytes: int = 1024 * MEBI
    scratch_bytes: int = 0
    scratch_files: int = 256
    open_files: int = 128
    threads: int = 16
    output_bytes: int = 4 * MEBI

    def __post_init__(self) -> None:
        """Refuse what is no bound.

        Raises:
            InputInvalid: A limit is not above zero (scratch: below zero), or beyond its ceiling.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "scratch_bytes" else 1e-3
            if not least <= value <= _CEILINGS[field.name]:
                most = _CEILINGS[field.name]
                msg = f"{field.name} is {value}; it has to be above 0, {most} at most."
                raise InputInvalid(msg)
