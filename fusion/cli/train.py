"""``fusion train``: hand a study to the hub and follow the run."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.files import check_writable, read_bounded
from fusion.errors import FusionError, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.ports import TrainingEngine
    from fusion.services.homes import HubHome

MAX_STUDY_BYTES = 1 << 20
QUIET_SECONDS = 3.0
"""A run that says nothing for this long may have lost its hub."""

Study = Annotated[
    Path | None, typer.Argument(metavar="STUDY.toml", help="The study; see examples.")
]


def train(
    study: Study = None,
    *,
    folder: Annotated[
        Path,
        typer.Option(
            "--hub",
            metavar="DIR",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="The hub's folder, else $FUSION_HOME or this one.",
        ),
    ] = Path(),
    job: Annotated[
        str, typer.Option("--follow", metavar="JOB", help="Follow a run that was started before.")
    ] = "",
    stop: Annotated[
        str,
        typer.Option("--stop", metavar="JOB", help="End a run before its next round, follow it."),
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Start the run and return.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report of the run as HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a joint model and follow the run.

    The study is checked before anything starts.
    Ctrl-C stops the watching, not the run.
    """
    from fusion.services import engines
    from fusion.services.homes import HubHome

    hub = HubHome.open(folder)
    check_writable(report)
    if (study is not None, job != "", stop != "").count(True) != 1:
        message = "Name a study, or a run to follow or to stop."
        raise InputInvalid(message, hint="fusion train STUDY.toml")
    engine = engines.training()
    if stop:
        engine.stop(hub, stop)
        job = stop
    if study is not None:
        job = engine.train(hub, read_study(study), str(study))
    if detach:
        if as_json:
            output.document("fusion.job/1", {"job": job})
        else:
            output.result(job)
        return
    code = _follow(engine, hub, job)
    record = engine.result(hub, job)
    finish(record, report=report, as_json=as_json)
    raise typer.Exit(code)


def _follow(engine: TrainingEngine, hub: HubHome, job: str) -> int:
    """Show the run's events up to its end; return its exit code."""
    from fusion.cli.live import TrainingView
    from fusion.services.processes import is_up

    stop = threading.Event()
    told = False

    def on_quiet(seconds: float) -> None:
        nonlocal told
        if seconds >= QUIET_SECONDS and not told and not is_up(hub.ready):
            told = True
            view.say(f"the hub is not up; the run goes on when it is: fusion hub up {hub.path}")

    with TrainingView() as view:
        try:
            for event in engine.follow(hub, job, stop=stop, on_quiet=on_quiet):
                told = False
                view.feed(event)
        except KeyboardInterrupt:
            output.note(f"the run goes on; watch it again with: fusion train --follow {job}")
            raise
        finally:
            stop.set()
        if view.progress.status:
            return view.progress.exit_code
    raise FusionError(f"The record of {job} breaks off.", hint="Is the hub still up?")


def read_study(path: Path) -> str:
    """Read a study file.

    Raises:
        InputInvalid: It can't be read, is too large or is not text.
    """
    data = read_bounded(path, MAX_STUDY_BYTES)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputInvalid(
            f"{path} is not UTF-8 text.", hint="Name a study file, such as study.toml."
        ) from error


def finish(record: Mapping[str, Any], *, report: Path | None, as_json: bool) -> None:
    """Print a run's closing lines and write its report."""
    from fusion.cli.progress import key_words, metric_words, privacy_facts
    from fusion.reports.training import render
    from fusion.services.files import write_atomic

    if report is not None:
        try:
            write_atomic(report, render(record).encode(), 0o644)
            output.note(f"report: {report}")
        except OSError as error:
            # It could be written when this began; the result is printed all the same.
            output.note(f"the report could not be written to {report}: {error.strerror}")
    if as_json:
        output.document("fusion.run/1", record)
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
