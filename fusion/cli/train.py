"""``fusion train``: order a run of a study, or hand it to the hub, and follow it."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.files import check_writable, read_bounded
from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from fusion.services.homes import HubHome, NodeHome

MAX_STUDY_BYTES = 1 << 20
QUIET_SECONDS = 3.0
"""A run that says nothing for this long may have lost its hub."""

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
        if stop or order is not None:
            message = "A node's own run has no order in a file, and is stopped at the hub."
            raise InputInvalid(message, hint="There: fusion train --stop JOB, or --order FILE")
        source: AbstractContextManager[_Runs] = _at_node(opened)
    else:
        source = _at_hub(opened, order)
    with source as runs:
        if stop:
            runs.stop(stop)
            job = stop
        if study is not None:
            job = runs.start(read_study(study), str(study))
        if detach:
            if as_json:
                output.document("fusion.job/1", {"job": job})
            else:
                output.result(job)
            return
        code = _follow(runs, job)
        record = runs.record(job)
    finish(record, report=report, as_json=as_json)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Runs as they are seen from the hub, or from the node that ordered them.

    Attributes:
        start: Starts a study from its text and its file's name; returns the job.
        follow: Yields the events of a job until the stop; told what to call when it is quiet.
        record: Returns what a job has come to.
        stop: Asks a job to end.
        where: Options that name the folder, for a hint.
        is_away: Whether nothing will come for now, and what to do about it; asked when it is quiet.
    """

    start: Callable[[str, str], str]
    follow: Callable[[str, threading.Event, Callable[[float], None]], Iterable[Mapping[str, Any]]]
    record: Callable[[str], Mapping[str, Any]]
    stop: Callable[[str], None]
    where: str
    is_away: Callable[[], str]


@contextmanager
def _at_hub(hub: HubHome, order: Path | None) -> Iterator[_Runs]:
    from fusion.grants.order import MAX_ORDER_BYTES
    from fusion.services import engines
    from fusion.services.processes import is_up

    engine = engines.training()
    signed = None if order is None else read_bounded(order, MAX_ORDER_BYTES)
    away = f"the hub is not up; the run goes on when it is: fusion hub up {hub.path}"
    yield _Runs(
        start=lambda text, origin: engine.train(hub, text, origin, signed),
        follow=lambda job, stop, quiet: engine.follow(hub, job, stop=stop, on_quiet=quiet),
        record=lambda job: engine.result(hub, job),
        stop=lambda job: engine.stop(hub, job),
        where=f"--hub {hub.path}",
        is_away=lambda: "" if is_up(hub.ready) else away,
    )


@contextmanager
def _at_node(node: NodeHome) -> Iterator[_Runs]:
    from fusion.services import engines, orders
    from fusion.services.dialling import link_of

    seen: list[Mapping[str, Any]] = []

    def follow(
        job: str, stop: threading.Event, quiet: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        for event in orders.follow(link, job, stop=stop, on_quiet=quiet):
            seen.append(event)
            yield event

    def nothing(_: str) -> None:
        """Refused before: a run is stopped at the hub."""

    with link_of(node) as link:
        yield _Runs(
            start=lambda text, origin: orders.hand_in(node, link, text, origin),
            follow=follow,
            record=lambda _: engines.training().record(seen),
            stop=nothing,
            where=f"--home {node.path}",
            is_away=lambda: "the hub does not answer; the run goes on without being watched",
        )


def _follow(runs: _Runs, job: str) -> int:
    """Show the run's events up to its end; return its exit code."""
    from fusion.cli.live import TrainingView

    stop = threading.Event()
    told = False

    def on_quiet(seconds: float) -> None:
        nonlocal told
        if seconds >= QUIET_SECONDS and not told and (away := runs.is_away()):
            told = True
            view.say(away)

    with TrainingView() as view:
        try:
            for event in runs.follow(job, stop, on_quiet):
                told = False
                view.feed(event)
        except KeyboardInterrupt:
            again = f"fusion train --follow {job} {runs.where}"
            output.note(f"the run goes on; watch it again with: {again}")
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
    from fusion.cli.vertical_lines import vertical_facts
    from fusion.reports.training import render
    from fusion.services.files import write_atomic

    if report is not None:
        try:
            write_atomic(report, render(record).encode(), 0o644)
            output.note(f"report: {report}")
        except EnvironmentUnfit as error:
            # It could be written when this began; the result is printed all the same.
            output.note(f"the report is not there: {error.message}")
    if as_json:
        output.document("fusion.run/1", record)
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
