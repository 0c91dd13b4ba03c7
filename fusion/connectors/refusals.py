"""What is said of a data file that can't be read: the same by whoever reads it.

pyarrow's messages quote cells, so none of them leaves this package. A refusal may travel to other
organisations: what it says about the file beyond the rule is a note of the error (PEP 678).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusion.connectors.headers import complaint
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READABLE: Final = "CSV with a header row (.csv) and Parquet (.parquet) can be read."


def refused(path: Path, problem: str, hint: str, note: str, column: str = "") -> DataInvalid:
    """Return a refusal with a note that is for the owner of the file only."""
    key = f"columns.{column}" if column else ""
    error = DataInvalid(f"The data file {path.name} {problem}.", hint=hint, study_key=key)
    error.add_note(note)
    return error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make refusals of what goes wrong with a file.

    Raises:
        DataInvalid: It is missing, empty, damaged, or can't be read.
    """
    import pyarrow as pa  # noqa: PLC0415 - 30 MB that a waiting node need not hold

    try:
        if path.stat().st_size == 0:
            raise refused(path, "is empty", READABLE, str(path))
        yield
    except FileNotFoundError:
        hint = "Give the path of the file as this machine sees it."
        raise refused(path, "does not exist", hint, str(path)) from None
    except OSError as error:
        reason = error.strerror or "input error"
        raise refused(path, f"can't be read ({reason})", READABLE, str(path)) from None
    except (pa.ArrowException, UnicodeError):
        if path.suffix.lower() == ".csv":
            raise complaint(path) from None
        problem = "is damaged, or not what its name says"
        raise refused(path, problem, READABLE, str(path)) from None
