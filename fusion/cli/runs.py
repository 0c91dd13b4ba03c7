"""Runs as a terminal follows them: at the hub, or at the node that ordered them."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.errors import EnvironmentUnfit, FusionError, HubRefused, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.engine_ports import Work
    from fusion.services.homes import HubHome, NodeHome

MAX_STUDY_BYTES = 1 << 20
OVER = ("done", "failed", "stopped")
QUIET_SECONDS = 3.0
"""A run that says nothing for this long may have lost its hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Runs as they are seen from the hub, or from the node that ordered them.

    Attributes:
        start: Starts a study from its text and its file's name; returns the job.
        follow: Yields the events of a job until the stop; told what to call when it is quiet.
        record: Returns what a job has come to.
        stop: Asks a job to end; returns how it has ended already, if it has.
        where: Options that name the folder, for a hint.
        is_away: Whether nothing will come for now, and what to do about it; asked when it is quiet.
    """

    start: Callable[[str, str], str]
    follow: Callable[[str, threading.Event, Callable[[float], None]], Iterable[Mapping[str, Any]]]
    record: Callable[[str], Mapping[str, Any]]
    stop: Callable[[str], str]
    where: str
    is_away: Callable[[], str]


@contextmanager
def at_hub(hub: HubHome, order: Path | None = None) -> Iterator[Runs]:
    """Yield the runs of a hub.

    Args:
        hub: Its folder.
        order: An order from elsewhere, for a run that is started.
    """
    from fusion.grants.order import MAX_ORDER_BYTES
    from fusion.services import engines
    from fusion.services.processes import is_up

    engine = engines.training()
    signed = None if order is None else read_bounded(order, MAX_ORDER_BYTES)

    def end(job: str) -> str:
        try:
            engine.stop(hub, job)
        except InputInvalid:
            status = str(engine.result(hub, job).get("status"))
            if status not in OVER:
                raise
            return status
        return ""

    away = f"the hub is not up; the run goes on when it is: fusion hub up {hub.path}"
    yield Runs(
        start=lambda text, origin: engine.train(hub, text, origin, signed),
        follow=lambda job, stop, quiet: engine.follow(hub, job, stop=stop, on_quiet=quiet),
        record=lambda job: engine.result(hub, job),
        stop=end,
        where=f"--hub {hub.path}",
        is_away=lambda: "" if is_up(hub.ready) else away,
    )


@contextmanager
def at_node(node: NodeHome, work: Work = "train") -> Iterator[Runs]:
    """Yield the runs that a node orders; those that are started are for this work."""
    from fusion.services import engines, orders
    from fusion.services.dialling import link_of

    seen: list[Mapping[str, Any]] = []

    def watch(
        job: str, stop: threading.Event, quiet: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        for event in orders.follow(link, job, stop=stop, on_quiet=quiet):
            seen.append(event)
            yield event

    def end(job: str) -> str:
        try:
            orders.stop(link, job)
        except HubRefused:
            with suppress(InputInvalid):  # of a job of somebody else the hub has said enough
                if found := orders.ended(link, job):
                    return found
            raise
        return ""

    with link_of(node) as link:
        yield Runs(
            start=lambda text, origin: orders.hand_in(node, link, text, origin, work),
            follow=watch,
            record=lambda _: engines.training().record(seen),
            stop=end,
            where=f"--home {node.path}",
            is_away=lambda: "the hub does not answer; the run goes on without being watched",
        )


def follow(runs: Runs, job: str, verb: str = "train") -> int:
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
            again = f"fusion {verb} --follow {job} {runs.where}"
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


def take_up(
    runs: Runs, *, study: Path | None, job: str, stop: str, detach: bool, as_json: bool
) -> str:
    """Start a study, or stop or take up a run; return the run to follow, or nothing if detached.

    Args:
        runs: Where.
        study: The file of a study to start.
        job: A run to take up.
        stop: A run to stop.
        detach: Print the run's name and follow nothing.
        as_json: Print it as a document.

    Raises:
        InputInvalid: The file can't be read, or there is no such run.
    """
    if stop:
        if ended := runs.stop(stop):
            output.note(f"{stop} has ended already, as {ended}: nothing is left to stop")
        job = stop
    if study is not None:
        job = runs.start(read_study(study), str(study))
    if not detach:
        return job
    if as_json:
        output.document("fusion.job/1", {"job": job})
    else:
        output.result(job)
    return ""


def write_report(path: Path, page: str) -> None:
    """Write a run's page; if that fails, say so: its result is printed all the same."""
    from fusion.services.files import write_atomic

    try:
        write_atomic(path, page.encode(), 0o644)
        output.note(f"report: {path}")
    except EnvironmentUnfit as error:
        # It could be written when this began.
        output.note(f"the report is not there: {error.message}")
