"""Help as plain text: typer escapes its brackets as if for a markup that we leave off."""

from __future__ import annotations

from typing import Any, TypeVar

import typer

_Command = TypeVar("_Command")


class _Plain(list[str]):
    """What a help text is written into; shows a bracket as a bracket."""

    def append(self, text: str, /) -> None:
        """Take one piece of text."""
        super().append(text.replace("\\[", "["))


class _Context(typer.Context):
    def make_formatter(self) -> Any:  # noqa: ANN401 - click's, which typer brings and we do not name
        """Return what lays the help out."""
        formatter = super().make_formatter()
        formatter.buffer = _Plain()
        return formatter


def plain_help(command: _Command) -> _Command:
    """Have a command of typer's, and all below it, show help as plain text; return it."""
    command.context_class = _Context  # type: ignore[attr-defined]
    # click says what may have been meant; typer would say it once more.
    if hasattr(command, "suggest_commands"):
        command.suggest_commands = False
    for each in getattr(command, "commands", {}).values():
        plain_help(each)
    return command
