"""The files that a command line names: read within bounds, checked before they are written."""

from __future__ import annotations

import os
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


def check_writable(path: Path | None) -> None:
    """Check that a result can be written to ``path``, before any work is done for it.

    Raises:
        InputInvalid: It is a folder, or there is no folder for it that can be written to.
    """
    if path is None:
        return
    folder = path.parent
    if path.is_dir():
        problem = "it is a folder"
    elif not folder.is_dir():
        problem = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"{folder} can't be written to"
    else:
        return
    raise InputInvalid(
        f"{path} can't be written: {problem}.", hint="Name a file in a folder of yours."
    )


def check_new(path: Path | None) -> None:
    """Check that a result can be written to ``path``, and takes the place of no file.

    Raises:
        InputInvalid: It is there already, or :func:`check_writable` refuses it.
    """
    if path is not None and (path.exists() or path.is_symlink()) and not path.is_dir():
        raise InputInvalid(f"{path} is there already.", hint="Name a file that is not.")
    check_writable(path)
