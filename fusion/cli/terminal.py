"""The query shell at a terminal: editing, history, completion and colours by prompt_toolkit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.output import create_output
from pygments.lexers.sql import SqlLexer

from fusion.cli import output as shown
from fusion.cli.shell import COMMANDS
from fusion.errors import FusionError
from fusion.services.completing import candidates
from fusion.services.statements import is_blank, split

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

    from fusion.cli.shell import Shell


class _Completer(Completer):
    """Asks :mod:`fusion.services.completing`."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yield what could be typed next; after a space only when that is asked for."""
        before = document.text_before_cursor
        if complete_event.text_inserted and (not before or before[-1].isspace()):
            return
        for each in candidates(
            document.text, document.cursor_position, self._shell.described, COMMANDS
        ):
            yield Completion(each.text, -each.length, display_meta=each.about)


def run(
    shell: Shell,
    dataset: str,
    history: Path,
    *,
    keys: Input | None = None,
    to: Output | None = None,
) -> None:
    """Take statements and commands from a terminal until its user leaves.

    Args:
        shell: Carries them out.
        dataset: Of which they are asked.
        history: Keeps what was typed.
        keys: What is typed; None for the terminal's.
        to: Where it is shown; None for the terminal.
    """
    session: PromptSession[str] = PromptSession(
        f"{shown.clean(dataset)}> ",
        multiline=Condition(lambda: not _whole(session.default_buffer.text)),
        prompt_continuation=_continued,
        history=FileHistory(str(history)),
        auto_suggest=AutoSuggestFromHistory(),
        completer=_Completer(shell),
        complete_in_thread=False,
        lexer=PygmentsLexer(SqlLexer),
        input=keys,
        # stdout may be a file: what is typed is still seen.
        output=to or create_output(always_prefer_tty=True),
    )
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        try:
            if not all(shell.feed(line) for line in f"{text}\n".splitlines(keepends=True)):
                return
            shell.finish()
        except FusionError as error:
            shown.failure(error)
        except KeyboardInterrupt:
            shown.note("interrupted")


def _whole(text: str) -> bool:
    """Return whether Enter ends what is typed: a command, a statement with its end, or nothing."""
    return (
        text.lstrip().startswith("\\")
        or is_blank(text)
        or (bool(split(text)[0]) and is_blank(split(text)[1]))
    )


def _continued(width: int, _number: int, _wrapped: Any) -> str:  # noqa: ANN401 - as it is called
    return "." * max(0, width - 1) + " "
