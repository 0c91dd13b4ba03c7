"""What a statement makes happen that nobody foresaw: one text for who asks, a line for the owner.

Analysis follows from the statement and the policy alone, so that what it raises tells nothing of
data; but its text can quote the statement, and its trace is long. Whoever found such a statement
could send it on and on: of each organisation only so many are logged.
"""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError, QueryFailed

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

MAX_LINE: Final = 200
"""Characters of an exception's text in the log."""


@contextmanager
def one_text(log: logging.Logger, caller: str, counted: Callable[[str], bool]) -> Iterator[None]:
    """Raise what is foreseen as it is, and one error for everything else.

    Args:
        log: Of the owner.
        caller: Whose statement is looked at.
        counted: Counts one more of an organisation and says whether it is logged.

    Raises:
        FusionError: As it was raised within.
        QueryFailed: Something else was raised within.
    """
    try:
        yield
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - whoever asks gets one text
        if counted(caller):
            log.warning("a statement of %s could not be analysed: %s", caller, _in_short(error))
        raise QueryFailed from None


def _in_short(error: Exception) -> str:
    """Return an exception and where it was raised, in a line of bounded length."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error!r:.{MAX_LINE}} at {Path(last.filename).name}:{last.lineno}"
