"""The functions that a worker may be started for; there is no way to name another.

Each is ``execute(request: bytes, inputs: Mapping[str, Path]) -> bytes``. It runs confined, once,
and its process ends after it. What it returns is untrusted to the caller, whatever the function is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Execute = Callable[[bytes, Mapping[str, Path]], bytes]

ENTRIES: Final = frozenset(
    {
        "sandbox.engine:execute",
        "sandbox.probe:execute",
        "sandbox.python_job:execute",
        "sandbox.sets:execute",
        "sandbox.storing:execute",
    }
)
"""``module:function`` of each."""


def check_entry(name: str) -> str:
    """Return the name if it is of one of ours.

    Raises:
        InputInvalid: It is not.
    """
    if name not in ENTRIES:
        msg = "A worker can't be started for this function: it is not on the list."
        raise InputInvalid(msg)
    return name


def load(name: str) -> Execute:
    """Import and return one of the functions; for the worker.

    Raises:
        InputInvalid: It is not on the list.
    """
    module, function = check_entry(name).split(":")
    found: Execute = getattr(import_module(module), function)
    return found
