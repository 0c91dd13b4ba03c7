"""``fusion simulate``: try a study with all parties in one process before deploying it."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.cli.files import check_writable
from fusion.cli.train import finish, read_study
from fusion.errors import InputInvalid

app = typer.Typer(help="Try a study with all parties in one process.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Try a study with all parties in one process; nothing leaves this machine."""


@app.command("horizontal")
def horizontal(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study.")],
    *,
    party: Annotated[
        list[str],
        typer.Option(metavar="[ID=]FILE", help="One party's table; its name is the party's id."),
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The label, if not the study's.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report of the run as HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run the whole protocol, with a key of its own, over tables with the same columns."""
    from fusion.cli.live import TrainingView
    from fusion.services import engines

    check_writable(report)
    text = read_study(study)
    parties = [_party(item) for item in party]
    names = [name for name, _ in parties]
    if len(set(names)) != len(names):
        raise InputInvalid("Two parties have the same id.", hint="Write --party ID=FILE.")
    with TrainingView() as view:
        record = engines.training().simulate(
            text, str(study), parties, label=label, on_event=view.feed
        )
    finish(record, report=report, as_json=as_json)
    raise typer.Exit(view.progress.exit_code)


def _party(text: str) -> tuple[str, Path]:
    """Read ``ID=FILE`` or ``FILE``."""
    name, mark, file = text.partition("=")
    path = Path(file if mark else text)
    return (name if mark else path.stem.lower()), path
