"""An organisation's side of vertical runs: what the hub asks of it, and what it answers.

============  ==================================================================================
prepare       agree to a study, or say why not, before a row is read; tells how it stands
begin         begin an attempt, from the newest step that all have or by aligning records
look          tells how it stands
finish        keep the part: all have theirs
leave         forget the run
============  ==================================================================================

A party never believes the hub about what it may do: study, order and permits are measured here.
The hub decides when an attempt begins and from which step, and nothing else.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from federated.cohort import Failure, Reply, Request
from federated.orders import take_order
from federated.requests import number, text
from federated.vertical.evidence import VerticalEvidence
from federated.vertical.job import Brought, VerticalJob
from federated.vertical.keeping import Mark
from federated.vertical.own_table import own_table
from federated.vertical.permits import take_leaves
from federated.vertical.products import facts_of_run
from federated.vertical.study import VerticalStudy
from fusion.errors import FusionError, IsolationBusy, JobUnknown, MessageInvalid, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from federated.evidence import PartyLog
    from federated.leave import Desk
    from federated.vertical.keeping import Keeping
    from federated.vertical.own_table import OwnTable
    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.conversing import Conversations
    from fusion.services.model_facts import ModelFacts
    from fusion.types import OrgId

_JOB: Final = re.compile(r"job-[0-9a-f]{12}")
"""As hubs name them; what a party keeps of its runs takes no other name."""
MAX_JOBS: Final = 4
KINDS: Final = ("prepare", "begin", "look", "finish", "leave")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalSeat:
    """What an organisation brings to every vertical run.

    Attributes:
        organisation: Its identifier.
        roster: Returns the roster as the organisation knows it now.
        log: What must survive a restart, and the log of evidence.
        file: Returns the file of a dataset, by its name.
        schema: Returns the digest of a dataset's schema.
        studies: Digests of the studies that are allowed; empty when all are.
        clock: Time.
        note: Writes a line to the organisation's own log.
        desk: Where it decides what its grants allow; ``None`` if it works without grants.
        keeping: Returns what it keeps of a job.
        conversations: How it talks with others.
        hold: Told study, job, the grant of the alignment and the own keys; raises if earlier runs
            forbid it.
        keep_part: Keeps a finished part; returns its version.
    """

    organisation: OrgId
    roster: Callable[[], Roster]
    log: PartyLog
    file: Callable[[str], Path]
    schema: Callable[[str], str]
    studies: frozenset[str] = frozenset()
    clock: Clock
    note: Callable[[str], None]
    desk: Desk | None
    keeping: Callable[[str], Keeping]
    conversations: Conversations
    hold: Callable[[VerticalStudy, str, str, Sequence[str]], None]
    keep_part: Callable[[ModelFacts, bytes], int]


class VerticalParty:
    """Answers the requests of vertical runs."""

    def __init__(self, seat: VerticalSeat) -> None:
        """Take a seat."""
        self._seat = seat
        self._log = VerticalEvidence(seat.log, seat.clock)
        self._jobs: dict[str, VerticalJob] = {}
        # A few for all jobs: whoever makes names up makes none of them.
        self._turns = [threading.Lock() for _ in range(64)]
        self._lock = threading.Lock()

    def handle(self, request: Request) -> Reply:
        """Answer one request; a refusal is an answer, and is noted in the own log."""
        answer = {
            "prepare": self._prepare,
            "begin": self._begin,
            "look": self._look,
            "finish": self._finish,
            "leave": self._leave,
        }[request.kind]
        try:
            name = text(request.head, "job")
            if not _JOB.fullmatch(name):
                raise MessageInvalid("A request names no job.")
            # Requests of one job are answered one after the other.
            with self._turns[hash(name) % len(self._turns)]:
                return Reply(self._seat.organisation, answer(name, request.head))
        except FusionError as error:
            self._seat.note(f"{request.kind} refused: {error}")
            return Reply(self._seat.organisation, failure=Failure.of(error))

    def close(self) -> None:
        """End what is under way; what is kept stays."""
        for job in list(self._jobs.values()):
            job.end()

    # ------------------------------------------------------------------ requests

    def _prepare(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        study = VerticalStudy.from_canonical(text(head, "study").encode())
        order = text(head, "order").encode() if "order" in head else None
        kept = self._seat.log.job(name)
        if self._log.is_over(name):
            raise Refused(f"Job {name} has ended.", hint="Start a new job.")
        if kept is not None and kept != (study.canonical(), ""):
            raise Refused(f"Job {name} was set up with another study.", hint="Start a new job.")
        if name not in self._jobs:
            self._check_room()
            try:
                self._remember(name, self._agree(name, study, order))
            except FusionError as error:
                self._log.refused(name, study, error.code)
                raise
        job = self._jobs[name]
        job.check()
        if kept is None:
            self._log.agreed(name, study)
            self._seat.note(f"job {name}: study {study.name} ({study.digest()[:16]}) agreed to")
        return {"standing": job.standing()}

    def _begin(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        job = self._job(name)
        start = head.get("start")
        mark = None
        if start is not None:
            if not isinstance(start, dict):
                raise MessageInvalid("A request does not say from where to go on.")
            mark = Mark(number(start, "step"), number(start, "attempt"))
        job.begin(number(head, "attempt"), mark)
        return {"standing": job.standing()}

    def _look(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        del head
        return {"standing": self._job(name).standing()}

    def _finish(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the part; only of the attempt, and with the digest, that this party knows."""
        job, me = self._job(name), self._seat.organisation
        job.check()
        standing, part = job.standing(), job.part
        if part is None or standing["attempt"] != number(head, "attempt"):
            raise Refused(f"{me} has no part of this attempt of {name}.")
        facts = facts_of_run(
            me, name, job.study, standing, head,
            schema=self._seat.schema(job.study.party(me).dataset), grants=job.grants,
            leaks=job.leaks,
        )  # fmt: skip
        self._log.trained(name, standing["attempt"], standing["step"], standing["part"])
        version = self._seat.keep_part(facts, part)
        self._seat.note(f"job {name}: model {facts.shared.name}/{version} ({facts.id[:16]}) kept")
        return {"model": facts.id, "name": facts.shared.name, "version": version}

    def _leave(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        status = text(head, "status")
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is not None:
            job.close()
        self._seat.keeping(name).clear()
        self._log.ended(name, done=status == "done")
        self._seat.note(f"job {name}: {status}")
        return {}

    # ------------------------------------------------------------------ jobs

    def _check_room(self) -> None:
        """Return if another job may be agreed to: none that works is ended for it.

        Raises:
            IsolationBusy: As many as there may be are working.
        """
        with self._lock:
            if sum(job.works for job in self._jobs.values()) >= MAX_JOBS:
                raise IsolationBusy(
                    f"{MAX_JOBS} vertical runs are under way at {self._seat.organisation}.",
                    hint="Run it again when one of them has ended.",
                )

    def _remember(self, name: str, job: VerticalJob) -> None:
        with self._lock:
            idle = [each for each, other in self._jobs.items() if not other.works]
            self._jobs[name] = job
            late = [self._jobs.pop(each) for each in idle[: max(0, len(self._jobs) - MAX_JOBS)]]
        for each in late:
            each.end()

    def _job(self, name: str) -> VerticalJob:
        job = self._jobs.get(name)
        if job is None:
            msg = f"{self._seat.organisation} was not set up for job {name}."
            raise JobUnknown(msg, hint="The hub sets the party up again.")
        return job

    def _held(self, study: VerticalStudy, job: str, grant: str, table: OwnTable) -> None:
        if grant:  # who works without grants is held to nothing
            self._seat.hold(study, job, grant, table.prepared.keys)

    def _agree(self, name: str, study: VerticalStudy, order: bytes | None) -> VerticalJob:
        seat = self._seat
        roster = seat.roster()
        party = study.party(seat.organisation)
        for other in study.organisations:
            roster.member(other)
        if seat.studies and study.digest() not in seat.studies:
            msg = f"{seat.organisation} has not allowed the study {study.name} ({study.digest()})."
            raise Refused(msg, hint="Its operator adds the digest to `studies` in node.toml.")
        take_order(self._log, roster, name, study, order, seat.clock)
        # Charged before data is read: whether a table fits is an answer too.
        leaves = take_leaves(seat.desk, seat.organisation, name, study, seat.clock)
        table = own_table(study, seat.organisation, seat.file(party.dataset))
        report = table.prepared.report
        seat.note(
            f"job {name}: {report.keys} keys of {report.rows} rows "
            f"({report.missing} missing, {sum(report.invalid.values())} invalid)"
        )
        return VerticalJob(
            Brought(
                me=seat.organisation,
                job=name,
                federation=roster.federation,
                study=study,
                table=table,
                permissions=leaves,
                keeping=seat.keeping(name),
                conversations=seat.conversations,
                hold=lambda: self._held(study, name, leaves[0].grant, table),
                log_aligned=lambda attempt, aligned: self._log.aligned(name, attempt, aligned),
                note=seat.note,
            )
        )
