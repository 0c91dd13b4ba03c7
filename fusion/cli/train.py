"""``fusion train``: order a run of a study, or hand it to the hub, and follow it."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.files import check_writable
from fusion.cli.runs import Runs, at_hub, at_node, follow, take_up, write_report
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Study = Annotated[
    Path | None, typer.Argument(metavar="STUDY.toml", help="The study; see examples.")
]


Folder = Annotated[
    Path,
    typer.Option(
        "--hub",
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The hub's folder, else $FUSION_HOME or this one.",
    ),
]
Node = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="The folder of the operator's node, which orders the run."
    ),
]
Order = Annotated[
    Path | None,
    typer.Option("--order", metavar="FILE", help="At the hub: an order from fusion order sign."),
]
Job = Annotated[
    str, typer.Option("--follow", metavar="JOB", help="Follow a run that was started before.")
]
Stop = Annotated[
    str, typer.Option("--stop", metavar="JOB", help="End a run before its next round, follow it.")
]


def train(  # noqa: PLR0913 - one parameter an option
    study: Study = None,
    *,
    folder: Folder = Path(),
    home: Node = None,
    order: Order = None,
    job: Job = "",
    stop: Stop = "",
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report of the run as HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Order a run of a study at the operator's node, or start it at the hub, and follow it.

    A study that names an operator runs only by that operator's order.

    The study is checked before anything starts.
    Ctrl-C stops the watching, not the run.
    """
    from fusion.services.homes import NodeHome, open_home

    opened = open_home(folder if home is None else home)
    check_writable(report)
    if (study is not None, job != "", stop != "").count(True) != 1:
        message = "Name a study, or a run to follow or to stop."
        raise InputInvalid(message, hint="fusion train STUDY.toml")
    if isinstance(opened, NodeHome):
        if order is not None:
            message = "A node orders its own runs: an order in a file is for the hub."
            raise InputInvalid(message, hint="There: fusion train STUDY.toml --order FILE")
        source: AbstractContextManager[Runs] = at_node(opened)
    else:
        source = at_hub(opened, order)
    with source as runs:
        job = take_up(runs, study=study, job=job, stop=stop, detach=detach, as_json=as_json)
        if not job:
            return
        code = follow(runs, job)
        record = runs.record(job)
    if report is not None:
        from fusion.services.run_basis import basis_of

        record = {**record, **basis_of(opened, record)}
    finish(record, report=report, as_json=as_json)
    raise typer.Exit(code)


def finish(record: Mapping[str, Any], *, report: Path | None, as_json: bool) -> None:
    """Print a run's closing lines and write its report."""
    from fusion.cli.progress import key_words, metric_words, privacy_facts
    from fusion.cli.vertical_lines import alignment_facts, vertical_facts
    from fusion.reports import alignment
    from fusion.reports.training import render

    if report is not None:
        aligns = record.get("kind") == "alignment"
        write_report(report, alignment.render(record, {}) if aligns else render(record))
    if as_json:
        output.document("fusion.run/1", record)
        return
    if record.get("kind") == "alignment":
        output.facts(alignment_facts(record))
        return
    if record.get("kind") == "vertical":
        output.facts(vertical_facts(record))
        return
    last: Mapping[str, Any] = max(
        record.get("metrics", []), key=lambda event: int(event.get("round", 0)), default={}
    )
    output.facts(
        [
            ("study", record.get("study")),
            ("job", record.get("job")),
            ("status", f"{record.get('status')} {record.get('message') or ''}".strip()),
            ("key", key_words(record.get("key") or {})),
            ("model", metric_words(last)),
            *privacy_facts(record),
        ]
    )
