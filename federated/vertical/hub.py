"""Doing a vertical job at the hub: from its folder to its end, however it ends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from federated.cohort import Request
from federated.ending import conclude, done, ended_by
from federated.vertical.coordinator import Coordinator, VerticalRun
from federated.vertical.dealing import ask_to_deal, is_asked
from federated.vertical.evidence import log_attempt, log_start
from federated.vertical.study import parse_vertical
from fusion.errors import FusionError
from fusion.identity.members import AUTHORITY
from fusion.services.ledger import Book

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Cohort
    from federated.ending import Emit
    from federated.jobs import JobFolder
    from federated.vertical.study import VerticalStudy
    from fusion.ports import Clock
    from fusion.services.homes import HubHome
    from fusion.types import OrgId

LEAVE_SECONDS = 10.0


def do_vertical(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
    pause: Callable[[float], None],
) -> None:
    """Run a vertical job to its end and write down how it ended; only a crash leaves it open.

    Args:
        hub: The hub's folder.
        job: The job's folder; the caller holds its lock.
        cohort_of: Makes the cohort from each organisation's fleet key.
        clock: Time.
        pause: Waits some seconds.
    """
    book = Book(hub, clock)

    def work(emit: Emit) -> dict[str, Any]:
        return _worked(hub, job, cohort_of, clock, pause, book, emit)

    conclude(job, book, clock, work)


def _worked(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
    pause: Callable[[float], None],
    book: Book,
    emit: Emit,
) -> dict[str, Any]:
    """Run a job; return how it has ended."""
    study = parse_vertical(job.study.read_text("utf-8"), job.origin)
    roster = hub.roster()
    cohort = cohort_of({org: roster.member(org).fleet_key for org in study.organisations})  # type: ignore[misc]
    journal = job.journal()
    run = VerticalRun(
        job=job.name,
        study=study,
        order=job.order(),
        cohort=cohort,
        clock=clock,
        pause=pause,
        emit=emit,
        stopping=lambda: job.stop_wanted.exists() or _gone(hub, study),
        next_attempt=lambda: journal.next_attempt(0),
        began=lambda attempt, step: log_attempt(book, job.name, attempt, step),
        deal=lambda attempt, rows, step: (
            ask_to_deal(job, attempt, rows, step) if study.cast.dealer else None
        ),
        dealt=lambda attempt: study.cast.dealer is None or is_asked(job, attempt),
        made=lambda: clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    ended = journal.last_round()
    if ended is None:
        log_start(book, job.name, study)
        emit(start_event(job.name, study))
        ending = done()
        try:
            model = Coordinator(run).work()
            emit({"event": "model", **model})
        except FusionError as error:
            ending = ended_by(error)
        # Parties that were told of an end agree to the job no more: it is not tried again.
        journal.keep_round(0, ending)
    else:
        ending = dict(ended[1])
    _close(run, ending["status"])
    return ending


def _close(run: VerticalRun, status: str) -> None:
    """Have the parties forget the run; who is away is not waited for."""
    request = Request("leave", {"job": run.job, "status": status})
    with suppress(FusionError):
        run.cohort.ask(dict.fromkeys(run.study.organisations, request), seconds=LEAVE_SECONDS)  # type: ignore[arg-type]


def _gone(hub: HubHome, study: VerticalStudy) -> bool:
    """Whether an organisation that the study needs is a member no longer."""
    active = {member.id for member in hub.roster().active}
    return not active.issuperset({*study.organisations, study.operator} - {AUTHORITY})


def start_event(job: str, study: VerticalStudy) -> dict[str, Any]:
    """Return what is known before anything is asked."""
    model = study.model
    return {
        "event": "start",
        "kind": "vertical",
        "job": job,
        "study": study.name,
        "model": model.kind,
        "backend": model.backend,
        "organisations": list(study.organisations),
        "label_party": study.cast.label,
        "operator": study.operator,
        "steps": model.steps,
        "unit": model.unit,
    }
