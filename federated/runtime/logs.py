"""Where a serving process writes what nobody foresaw: its stderr, which is its log.

A party is told only that something failed, because the text of an error may quote data. What it was
has to be somewhere: here, at the organisation itself.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

LOGGER: Final = "banyan"


class _Stderr(logging.Handler):
    """Writes to what is stderr at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback goes with it."""
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Nobody reads the log any more: no reason to fail at work.
            self.handleError(record)


def log_to_stderr() -> None:
    """Write this process's log lines to stderr; doing it again changes nothing."""
    logger = logging.getLogger(LOGGER)
    if any(isinstance(handler, _Stderr) for handler in logger.handlers):
        return
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
