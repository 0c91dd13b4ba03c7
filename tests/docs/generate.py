"""Writes the pages that are made from the code: ``./dev docs`` calls it.

``tests/docs/test_generated.py`` fails while a page differs from what this module makes.
"""

from __future__ import annotations

import inspect
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

import click
import typer.main

from fusion import errors
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_HEAD = "<!-- Made by ./dev docs; do not edit. -->\n"


@lru_cache(maxsize=1)
def command_tree() -> click.Command:
    """Return the command line as click sees it; nobody changes it."""
    # Imported here: a broken command line must not keep the other pages from being made.
    from fusion.cli.app import app  # noqa: PLC0415

    return typer.main.get_command(app)


def commands(
    command: click.Command, path: tuple[str, ...] = ("fusion",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every visible verb with the words that lead to it, depth first."""
    if isinstance(command, click.Group):
        for word, child in sorted(command.commands.items()):
            if not child.hidden:
                yield from commands(child, (*path, word))
    else:
        yield path, command


def _metavar(parameter: click.Parameter) -> str:
    """Return how a value is written in the usage line."""
    if isinstance(parameter.type, click.Choice):
        return "|".join(str(choice) for choice in parameter.type.choices)
    text = parameter.metavar or parameter.type.name or "value"
    return text.upper().strip("[]<>")


def _usage(path: tuple[str, ...], command: click.Command) -> str:
    """Return the words of a call, required arguments bare, the rest in brackets."""
    words = list(path)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            word = (parameter.metavar or parameter.name or "").upper().strip("[]<>.")
            word = f"{word}..." if parameter.nargs == -1 else word
            words.append(word if parameter.required else f"[{word}]")
        elif isinstance(parameter, click.Option) and parameter.required:
            words.append(f"{parameter.opts[0]} {_metavar(parameter)}")
    return " ".join([*words, "[OPTIONS]"])


def _default(option: click.Option) -> str:
    """Return the default as text, empty when there is none to speak of."""
    value = option.default
    if (
        option.is_flag
        or value is None
        or callable(value)
        or not isinstance(value, str | int | float)
    ):
        return ""
    return f" Default: `{value}`."


def _options(command: click.Command) -> list[str]:
    """Return the table of options."""
    rows = []
    for option in command.params:
        if not isinstance(option, click.Option) or option.hidden or "--help" in option.opts:
            continue
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag else f" `{_metavar(option)}`".replace("|", "\\|")
        text = " ".join((option.help or "").split()).replace("|", "\\|")
        rows.append(f"| {names}{value} | {text}{_default(option)} |")
    return ["| option | meaning |", "|---|---|", *rows, ""] if rows else []


def cli_page() -> str:
    """Make docs/cli.md."""
    lines = [
        _HEAD,
        "# The command line",
        "",
        "Results go to stdout, everything else to stderr; `--json` prints exactly one document. A",
        "verb that fails before it printed its own prints one of the schema `fusion.error/1`:",
        "`code`, `message`, `hint` and `exit_code`; stderr has the same for people. A verb that",
        "prints its own (findings of `doctor`, the record of a run, a decision) prints that alone:",
        "what failed is in it, or in the exit code. Where somebody interrupts, nothing is printed.",
        "What each exit code means is on the page of [errors](errors.md).",
        "",
        "In a checkout, `./dev setup` puts `fusion` into `.venv`, and `. .venv/bin/activate` puts",
        "it on the path. Without that, `./dev fusion` is the same from any folder.",
        "",
    ]
    for path, command in commands(command_tree()):
        lines += [f"## {' '.join(path)}", ""]
        lines += [inspect.cleandoc(command.help or "").replace("\f", ""), ""]
        lines += ["```text", _usage(path, command), "```", ""]
        lines += _options(command)
    return "\n".join(lines).rstrip() + "\n"


def _leaves(kind: type[errors.FusionError]) -> Iterator[type[errors.FusionError]]:
    """Yield an error class and all below it, in the order of their codes."""
    yield kind
    for child in sorted(kind.__subclasses__(), key=lambda item: item.code):
        if child.__module__ == errors.__name__:
            yield from _leaves(child)


def errors_page() -> str:
    """Make docs/errors.md."""
    lines = [
        _HEAD,
        "# Errors and exit codes",
        "",
        "A message says what did not happen and why; a hint says what to do about it. Neither ever",
        "carries a protected value. Codes are stable: scripts may rely on them.",
        "",
        "| exit code | when |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | failed unexpectedly; run again with `--debug` |",
        "| 2 | wrong usage, or what was typed or written can't be used |",
        "| 3 | the machine lacks something |",
        "| 4 | a rule said no |",
        "| 5 | something that has to be authentic is not |",
        "| 6 | a party did not answer, or too few did |",
        "| 130 | interrupted |",
        "",
        "| code | exit | name | when |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {kind.code} | {kind.exit_code} | `{kind.__name__}` "
        f"| {(inspect.getdoc(kind) or '').splitlines()[0]} |"
        for kind in _leaves(errors.FusionError)
    ]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"docs/cli.md": cli_page, "docs/errors.md": errors_page}


def main() -> None:
    """Write every page that differs."""
    for target, make in PAGES.items():
        path = ROOT / target
        text = make()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
