"""Doing a joint job at the hub, of training or of alignment: from its folder to its end."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from federated.cohort import Request
from federated.ending import conclude, done, ended_by
from federated.vertical.align_run import AlignmentCoordinator
from federated.vertical.coordinator import JointRun
from federated.vertical.dealing import ask_to_deal, is_asked
from federated.vertical.evidence import log_attempt, log_start
from federated.vertical.study import parse_vertical
from federated.vertical.tally import FILE, Tally
from federated.vertical.train_run import TrainingCoordinator
from fusion.alignment.study import AlignmentStudy, parse_study
from fusion.errors import FusionError
from fusion.identity.members import AUTHORITY
from fusion.services.ledger import Book

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Cohort
    from federated.ending import Emit
    from federated.jobs import JobFolder
    from federated.vertical.coordinator import Coordinator
    from federated.vertical.study import JointStudy
    from fusion.ports import Clock
    from fusion.services.homes import HubHome
    from fusion.types import OrgId

LEAVE_SECONDS: Final = 10.0
ALIGNMENT: Final = "alignment"
"""The kind of job that aligns records by themselves."""


def do_joint(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
    pause: Callable[[float], None],
) -> None:
    """Run a joint job to its end and write down how it ended; only a crash leaves it open.

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
    study = _study_of(job)
    roster = hub.roster()
    cohort = cohort_of({org: roster.member(org).fleet_key for org in study.organisations})  # type: ignore[misc]
    journal = job.journal()
    run = JointRun(
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
        tally=Tally(job.path / FILE),
    )
    ended = journal.last_round()
    if ended is None:
        log_start(book, job.name, study)
        emit(start_event(job.name, study))
        ending = done()
        try:
            _coordinator(run, job, clock).work()
        except FusionError as error:
            ending = ended_by(error)
        # Parties that were told of an end agree to the job no more: it is not tried again.
        journal.keep_round(0, ending)
    else:
        ending = dict(ended[1])
    _close(run, ending["status"])
    return ending


def _study_of(job: JobFolder) -> JointStudy:
    text = job.study.read_text("utf-8")
    if job.state()["kind"] == ALIGNMENT:
        return parse_study(text, job.origin)
    return parse_vertical(text, job.origin)


def _coordinator(run: JointRun[Any], job: JobFolder, clock: Clock) -> Coordinator[Any]:
    study = run.study
    if isinstance(study, AlignmentStudy):
        return AlignmentCoordinator(run)

    def deal(attempt: int, rows: int, step: int) -> None:
        if study.cast.dealer:
            ask_to_deal(job, attempt, rows, step)

    return TrainingCoordinator(
        run,
        deal,
        dealt=lambda attempt: study.cast.dealer is None or is_asked(job, attempt),
        made=lambda: clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _close(run: JointRun[Any], status: str) -> None:
    """Have the parties forget the run; who is away is not waited for."""
    request = Request("leave", {"job": run.job, "status": status})
    with suppress(FusionError):
        run.cohort.ask(dict.fromkeys(run.study.organisations, request), seconds=LEAVE_SECONDS)


def _gone(hub: HubHome, study: JointStudy) -> bool:
    """Whether an organisation that the study needs is a member no longer."""
    active = {member.id for member in hub.roster().active}
    return not active.issuperset({*study.organisations, study.operator} - {AUTHORITY})


def start_event(job: str, study: JointStudy) -> dict[str, Any]:
    """Return what is known before anything is asked."""
    if isinstance(study, AlignmentStudy):
        return {
            "event": "start",
            "kind": ALIGNMENT,
            "job": job,
            "study": study.name,
            "outcome": study.alignment.outcome,
            "protocol": study.alignment.protocol or "masking",
            "organisations": list(study.organisations),
            "operator": study.operator,
        }
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
        "purpose": study.purpose,
        "steps": model.steps,
        "unit": model.unit,
    }
