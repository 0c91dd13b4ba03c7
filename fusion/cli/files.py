"""Reads the files that a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from pathlib import Path


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's content.

    Raises:
        InputInvalid: It can't be read, or is larger than ``limit`` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputInvalid(
            f"{path} can't be read: {error.strerror}.", hint="Check the name of the file."
        ) from error
    if len(data) > limit:
        raise InputInvalid(f"{path} is larger than {limit} bytes.", hint="Is it the right file?")
    return data
