"""An organisation's side of what several do together: what the hub asks of it, and its answers.

Two kinds of work, which a study says: records are aligned, or they are and a model is trained.

============  ==================================================================================
prepare       agree to a study, or say why not, before a row is read; tells how it stands
begin         begin an attempt, from the newest step that all have or by aligning records
look          tells how it stands
finish        keep the part of a model: all have theirs
leave         forget the run
============  ==================================================================================

A party never believes the hub about what it may do: study, order and permits are measured here.
The hub decides when an attempt begins and from which step, and nothing else.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Final

from federated.cohort import Failure, Reply, Request
from federated.requests import number, text
from federated.vertical.agreeing import Agreement, StrangerRefused, agree
from federated.vertical.evidence import VerticalEvidence
from federated.vertical.job import VerticalJob
from federated.vertical.keeping import Mark, kept_jobs, sweep
from federated.vertical.products import facts_of_run
from federated.vertical.study import joint_from_canonical
from fusion.errors import (
    FusionError,
    InputInvalid,
    IsolationBusy,
    JobUnknown,
    MessageInvalid,
    Refused,
)
from fusion.services.outward import HUB, outward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.vertical.agreeing import VerticalSeat
    from federated.vertical.attempts import AttemptedJob

_JOB: Final = re.compile(r"job-[0-9a-f]{12}")
"""As hubs name them; what a party keeps of its runs takes no other name."""
MAX_JOBS: Final = 4
KINDS: Final = ("prepare", "begin", "look", "finish", "leave")


class VerticalParty:
    """Answers the requests of vertical runs."""

    def __init__(self, seat: VerticalSeat) -> None:
        """Take a seat."""
        self._seat = seat
        self._log = VerticalEvidence(seat.log, seat.clock)
        self._jobs: dict[str, AttemptedJob] = {}
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
            with self._turn(name):
                return Reply(self._seat.organisation, answer(name, request.head))
        except FusionError as error:
            self._seat.note(f"{request.kind} refused: {error}")
            for detail in getattr(error, "__notes__", []):  # for this party alone
                self._seat.note(f"  {detail}")
            told = outward(error, self._seat.organisation, (*HUB, InputInvalid))
            return Reply(self._seat.organisation, failure=Failure.of(told))

    def _turn(self, name: str) -> threading.Lock:
        return self._turns[hash(name) % len(self._turns)]

    def close(self) -> None:
        """End what is under way; what is kept stays."""
        for job in list(self._jobs.values()):
            job.end()

    # ------------------------------------------------------------------ requests

    def _prepare(self, name: str, head: Mapping[str, Any]) -> dict[str, Any]:
        study = joint_from_canonical(text(head, "study").encode())
        order = text(head, "order").encode() if "order" in head else None
        for left in sweep(self._seat.node, self._seat.clock.now(), self._end_left):
            self._seat.note(f"job {left}: nobody went on with it; what was kept of it is removed")
        kept = self._seat.log.job(name)
        if self._log.is_over(name):
            raise Refused(f"Job {name} has ended.", hint="Start a new job.")
        if kept is not None and kept != (study.canonical(), ""):
            raise Refused(f"Job {name} was set up with another study.", hint="Start a new job.")
        if name not in self._jobs:
            self._check_room()
            try:
                self._remember(name, agree(self._seat, self._log, Agreement(name, study, order)))
            except StrangerRefused:
                raise  # nothing is logged of it: any member could fill the log
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
        if not isinstance(job, VerticalJob):
            raise Refused(f"{name} trains nothing.")
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
        self._forget(name, text(head, "status"))
        return {}

    def _forget(self, name: str, status: str) -> None:
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is not None:
            job.end()
        # Over before what was counted and bound of it is gone: it could be run anew in between.
        self._log.ended(name, done=status == "done")
        if job is not None:
            job.close()
        # What an earlier process of this node was permitted, and never began.
        self._seat.charges.give_back(name)
        self._seat.keeping(name).clear()
        self._seat.note(f"job {name}: {status}")

    def catch_up(self, ending: Callable[[str], str]) -> None:
        """Forget the jobs that have ended while nobody here heard of it.

        Args:
            ending: Returns how a job has ended, as the hub knows; empty if it has not.

        Raises:
            FusionError: As `ending`.
        """
        left = self._seat.charges.jobs() | kept_jobs(self._seat.node)
        for name in sorted(filter(_JOB.fullmatch, left)):
            if self._log.is_sum(name):
                continue  # what of it has left, its own party knows
            status = "unfinished" if self._log.is_over(name) else ending(name)
            if status:
                with self._turn(name):
                    self._forget(name, status)

    # ------------------------------------------------------------------ jobs

    def _end_left(self, name: str) -> None:
        """End a job that nobody went on with: it is never agreed to again."""
        with self._lock:
            job = self._jobs.pop(name, None)
        if job is not None:
            job.end()
        self._log.ended(name, done=False)
        self._seat.charges.give_back(name)

    def _check_room(self) -> None:
        """Return if another job may be agreed to: none that works is ended for it.

        Raises:
            IsolationBusy: As many as there may be are working.
        """
        with self._lock:
            if sum(job.works for job in self._jobs.values()) >= MAX_JOBS:
                raise IsolationBusy(
                    f"{MAX_JOBS} joint jobs are under way at {self._seat.organisation}.",
                    hint="Run it again when one of them has ended.",
                )

    def _remember(self, name: str, job: AttemptedJob) -> None:
        with self._lock:
            idle = [each for each, other in self._jobs.items() if not other.works]
            self._jobs[name] = job
            late = [self._jobs.pop(each) for each in idle[: max(0, len(self._jobs) - MAX_JOBS)]]
        for each in late:
            each.end()

    def _job(self, name: str) -> AttemptedJob:
        job = self._jobs.get(name)
        if job is None:
            msg = f"{self._seat.organisation} was not set up for job {name}."
            raise JobUnknown(msg, hint="The hub sets the party up again.")
        return job
