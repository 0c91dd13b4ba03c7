"""A disk that is full while tables are frozen: told as that, and nothing of the attempt is left.

Whoever writes raises the system's own error; of DuckDB's :func:`refused` finds it. One place, where
the folder is known, tells the owner.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REFUSALS: Final = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM,
)  # fmt: skip
_ENGINE: Final = (duckdb.IOException, duckdb.TransactionException, duckdb.OutOfMemoryException)
"""What DuckDB raises where it can't write: a file, its log at a commit, or what it puts aside."""

_PUT_ASIDE: Final = "max_temp_directory_size"
"""In its message where the disk has no room for that; the limit is the room there is."""


def refused(error: Exception) -> OSError | None:
    """Return the system's refusal to write that an error stands for; None if it is another."""
    if isinstance(error, OSError):
        return error if error.errno in _REFUSALS else None
    text = str(error)
    if not isinstance(error, _ENGINE) or not ("Could not write" in text or _PUT_ASIDE in text):
        return None
    why = next((each for each in _REFUSALS if os.strerror(each) in text), errno.ENOSPC)
    return OSError(why, os.strerror(why))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell the owner of the tables that are written into a folder that the system refused to.

    Raises:
        EnvironmentUnfit: It did; what was written is left to whoever made the folder.
    """
    try:
        yield
    except OSError as error:
        why = refused(error)
        if why is None:
            raise
        raise EnvironmentUnfit(
            f"Tables can't be written to {folder}: {os.strerror(why.errno or 0)}.",
            hint="Make room on its disk, six times what the tables take, and do it again. "
            "What was attached before holds until then.",
        ) from error


@contextmanager
def emptied_on_failure(folder: Path, holding: Path, signed: bytes) -> Iterator[None]:
    """Remove what is in a folder of a revision that does not come to hold.

    The folder itself stays: the history may have begun the revision, and its number is not used
    again.

    Args:
        folder: Of the revision.
        holding: File that says which revision holds.
        signed: What it has in it once this one does.
    """
    try:
        yield
    except BaseException:
        if holding.exists() and holding.read_bytes() == signed:
            raise  # an interrupt, or a folder that can't be synchronised, came too late
        for each in folder.iterdir():
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        raise
