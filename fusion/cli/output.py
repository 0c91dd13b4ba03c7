"""What the command line says: results on stdout, everything else on stderr, and in which words.

Voice: one line what, one line what to do (``-> ...``); no capitals for emphasis, no stack trace
unless asked for. Whatever comes from elsewhere is stripped of control characters first, so that
no name can move a terminal's cursor.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fusion.errors import FusionError

# Control characters, those that turn the direction of a text, and those that nobody sees.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)

# With what may stand about it: 59 ms, 12.5 %, 40 of 50, 3-5, a dash for none.
_NUMBER = re.compile(r"[-+~<>=± ]*\d[\d.,/:e+-]*( ?(%|[a-zA-Zµ]{1,3}))?|[-–—]")
_PIPE_COLUMNS = 120
_LOOK_SECONDS = 1.0


class OutputUnwritableError(OSError):
    """Stdout takes nothing more: a full disk, for one. A reader that has left is another matter."""


class _Stdout(io.TextIOWrapper):
    """Stdout that says of a failure that it is its own, whoever writes: this, click or rich."""

    def write(self, text: str, /) -> int:
        """Take text."""
        with _said_whose():
            return super().write(text)

    def flush(self) -> None:
        """Hand on what was taken."""
        with _said_whose():
            super().flush()


@contextmanager
def _said_whose() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputUnwritableError(error.errno, error.strerror) from error


def watch_stdout() -> None:
    """Tell output that can't be written from other files that can't be."""
    plain = sys.stdout
    if isinstance(plain, io.TextIOWrapper):
        plain.flush()
        encoding, errors, by_lines = plain.encoding, plain.errors, plain.line_buffering
        sys.stdout = _Stdout(plain.detach(), encoding, errors, line_buffering=by_lines)


class _Call:
    """What one command line has printed."""

    documented = False


_call = _Call()


def begin() -> None:
    """Begin a command line: it has printed no document yet."""
    _call.documented = False


def documented() -> bool:
    """Return whether the command line has printed its document."""
    return _call.documented


def clean(text: object) -> str:
    """Return text that a terminal shows and does not obey."""
    return _CONTROL.sub(" ", str(text))


def soften_streams() -> None:
    """Keep a terminal that can't show a character from ending the program."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        reconfigure = getattr(stream, "reconfigure", None)
        if encoding != "utf8" and reconfigure is not None:
            reconfigure(errors="replace")


def result(text: str) -> None:
    """Print a line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def document(schema: str, content: Mapping[str, Any]) -> None:
    """Print the one JSON document of a ``--json`` call."""
    text = json.dumps({"schema": schema, **content}, indent=2, ensure_ascii=False)
    # The same values, with escapes for what a terminal would obey or not show.
    text = "\n".join(_CONTROL.sub(_escaped, line) for line in text.split("\n"))
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    _call.documented = True


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def note(text: str) -> None:
    """Print a line about the work to stderr."""
    sys.stderr.write(f"{clean(text)}\n")
    sys.stderr.flush()


def lines(text: str) -> None:
    """Print several lines to stderr."""
    for line in text.splitlines():
        note(line)


def failure(error: FusionError) -> None:
    """Print an error as ``code: message``, its details for the user's own eyes, and its hint."""
    note(f"{error.code}: {error.message}")
    for detail in getattr(error, "__notes__", []):
        note(f"   {detail}")
    if error.hint:
        note(f"-> {error.hint}")


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        result(f"{clean(name):<{width}}  {clean(value)}".rstrip())


def sheet(title: str, pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values as one framed table, as wide as the terminal."""
    # Imported when it is wanted: --help stays quick.
    from rich.box import ROUNDED  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    frame = Table(title=Text(clean(title)), title_justify="left", box=ROUNDED, show_header=False)
    frame.add_column(style="bold", no_wrap=True)
    frame.add_column(overflow="fold")
    for name, value in pairs:
        frame.add_row(Text(clean(name)), Text(clean(value)))
    # A pipe has no width: nothing is folded for a reader that is a program.
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(file=sys.stdout, width=width, highlight=False, markup=False).print(frame)
    sys.stdout.flush()


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to stdout: the first column and texts left, columns of numbers right."""
    lines = [[clean(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    sides = ["<", *(_side([line[i] for line in lines[1:]]) for i in range(1, len(heads)))]
    for line in lines:
        cells = (
            f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)
        )
        result("  ".join(cells).rstrip())


def _side(cells: Sequence[str]) -> str:
    some = [cell for cell in cells if cell]
    return ">" if some and all(_NUMBER.fullmatch(cell) for cell in some) else "<"


@contextmanager
def progress(label: str, stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Show one line that changes, on a terminal; nothing elsewhere.

    Yields:
        Takes the newest state of the work.
    """
    out = stream or sys.stderr
    live = out.isatty()

    def show(state: str) -> None:
        if live:
            out.write(f"\r\x1b[2K{label}: {clean(state)}")
            out.flush()

    try:
        yield show
    finally:
        if live:
            out.write("\r\x1b[2K")
            out.flush()


@contextmanager
def waiting(label: str, stream: TextIO | None = None) -> Iterator[None]:
    """Show on a terminal for how long something goes on that tells nothing of itself."""
    over, began = threading.Event(), time.monotonic()
    with progress(label, stream) as show:

        def count() -> None:
            while not over.wait(_LOOK_SECONDS):
                show(f"{time.monotonic() - began:.0f} s")

        counting = threading.Thread(target=count, name="waiting", daemon=True)
        counting.start()
        try:
            yield
        finally:
            over.set()
            counting.join()
