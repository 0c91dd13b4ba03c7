"""An owner's node and Python jobs: take them for review, run what was approved, hand out tables.

A run passes the verdict of the owner, then a grant and its budget, then one confined worker; what
it returns passes the rules of release, or waits for the owner's eyes. Before data is at hand every
refusal follows from documents; from then on there is one text, in steps of time.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.crypto import rng
from fusion.errors import (
    GrantRefused,
    InputInvalid,
    IsolationBusy,
    MemberRevoked,
    MessageInvalid,
    PythonRefused,
    QueryRefused,
    WorkFailed,
)
from fusion.grants.approval import check_allows, refusal
from fusion.grants.document import moment_of
from fusion.grants.python_job import PythonJob, check_returns, check_script, script_digest
from fusion.grants.request import Request, charge_name
from fusion.grants.signing import stamp
from fusion.ledger import entry as entries
from fusion.services import python_messages as messages
from fusion.services.python_messages import Held, Reply, Submitted
from fusion.services.python_review import log_release
from fusion.services.python_shelf import MAX_WAITING, RunRecord, Shelf
from fusion.services.query_messages import Refusal
from fusion.types import OrgId
from sandbox.python_copies import Copies
from sandbox.python_run import Errand, Place, execute, named
from sandbox.python_tables import check_files, check_fits, check_mode, columns_read
from sandbox.spent import check_refusals_of_job
from sandbox.timing import Watch, pad

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from fusion.grants.permit import Permit
    from fusion.ports import Clock, Stop
    from fusion.services.grants import GrantDesk, Kept
    from fusion.services.homes import NodeHome
    from fusion.services.ledger import Book
    from fusion.services.python_shelf import Shelved
    from sandbox.attached import Attached
    from sandbox.history.guard import History
    from sandbox.isolate import Isolation
    from sandbox.turns import Turns

OWNER_LOG: Final = logging.getLogger("banyan.python")
"""Why jobs failed. Nothing of it leaves the owner; it can hold what the data made happen."""

EPSILON_MICRO: Final = 1
"""What a run is charged of a grant's epsilon: the least there is, as for a query."""

_OUTWARD: Final = (
    PythonRefused, QueryRefused, GrantRefused, MemberRevoked, IsolationBusy, MessageInvalid,
)  # fmt: skip
"""What may leave as it is: decided from documents and load. All else is one."""


def python_reply(caller: str, work: Callable[[], bytes]) -> bytes:
    """Return what some work replies; whatever it raises is one that may leave."""
    try:
        return work()
    except _OUTWARD as error:
        return messages.to_bytes(Reply(refusal=Refusal.of(error)))
    except WorkFailed as error:
        return messages.to_bytes(Reply(refusal=Refusal.of(error.outward())))
    except Exception:  # noqa: BLE001 - the edge: whoever asks gets one text
        OWNER_LOG.warning("a job of %s ended unexpectedly", caller, exc_info=True)
        return messages.to_bytes(Reply(refusal=Refusal.of(WorkFailed())))


@dataclass(frozen=True, slots=True)
class Shared:
    """What is shared with what answers queries at the node.

    Attributes:
        node: The owner's node.
        say: Writes a line to the node's own log.
        clock: Time.
        isolation: Where scripts run.
        places: In which scripts and queries take turns, each until its answer leaves.
        book: The node's log of evidence.
        desk: Looks at what was permitted, and closes charges.
        secret: Of the node.
        closing: Set when the node goes down.
        attached: Returns the policy that holds for a dataset.
        grants: Returns the grants for queries of an organisation and a dataset.
        history: Returns the history of what was released.
        admit: Decides and charges; raises what refuses it.
    """

    node: NodeHome
    say: Callable[[str], None]
    clock: Clock
    isolation: Isolation
    places: Turns
    book: Book
    desk: GrantDesk
    secret: bytes
    closing: threading.Event
    attached: Callable[[str], Attached]
    grants: Callable[[str, str], Sequence[Kept]]
    history: Callable[[Attached], History]
    admit: Callable[[Request], Permit]


class PythonService:
    """What an owner's node does about Python jobs; safe to be called by many threads."""

    def __init__(self, shared: Shared) -> None:
        """Take up what was left: a run that a crash has ended has failed."""
        self._at = shared
        node = shared.node
        self._shelf = Shelf(node)
        self._copies = Copies(node.path / "python")
        with self._shelf.lock():
            for record in self._shelf.runs():
                if record.state == "running":
                    ended = {"state": "failed", "why": "the node went down"}
                    self._shelf.keep_run(record.model_copy(update=ended))

    def close(self) -> None:
        """Drop what was copied."""
        self._copies.close()

    def replied(self, caller: str, asked: bytes, stop: Stop) -> bytes:
        """Answer a message.

        Raises:
            FusionError: Whatever it is; :func:`python_reply` says what leaves of it.
        """
        found = messages.asked_of(asked)
        if found.submit is not None:
            return messages.to_bytes(Reply(submitted=self._submitted(caller, found.submit)))
        if found.collect is not None:
            with self._shelf.lock():
                return self._collected(caller, found.collect.run)
        if found.run is None:
            raise AssertionError
        return self._run(caller, found.run, found.seconds, stop)

    # ------------------------------------------------------------------ before data

    def _submitted(self, caller: str, sent: messages.Submission) -> Submitted:
        found = self._granted(caller, sent.dataset, sent.purpose)
        check_files(found)
        try:
            check_script(sent.script.encode())
        except InputInvalid as error:
            raise MessageInvalid(error.message, hint=error.hint) from None
        check_returns(sent.returns)
        check_fits(found.policy, sent.returns)
        job = PythonJob(
            owner=OrgId(found.owner),
            assignee=OrgId(caller),
            dataset=found.dataset,
            revision=found.revision,
            policy=found.policy.digest,
            schema_digest=found.schema_digest,
            purpose=sent.purpose,
            script=script_digest(sent.script),
            returns=sent.returns,
        )
        with self._shelf.lock():
            known = self._shelf.job(job.digest)
            if known is None:
                own = [each for each in self._shelf.jobs() if each.job.assignee == caller]
                if sum(each.verdict is None for each in own) >= MAX_WAITING:
                    raise refusal("P-07")
                at = self._at.book.now()
                entry = entries.PythonSubmitted(
                    at=at, organisation=caller, job=job.digest, script=job.script
                )
                self._at.book.once(f"python-submitted:{job.digest}", entry)
                self._shelf.keep(job, sent.script, sent.note, at)
                self._at.say(f"{caller} submitted the Python job {job.digest[:16]} for review")
        return Submitted(
            job=job.digest,
            revision=job.revision,
            policy=job.policy,
            schema_digest=job.schema_digest,
            state="waiting" if known is None else known.state,
        )

    def _granted(self, caller: str, dataset: str, purpose: str) -> Attached:
        """Return the policy of a dataset; who has no grant that holds is told nothing of it."""
        found = self._at.attached(dataset)
        self._at.desk.check_some_holds(_request("p", caller, found, found.columns, purpose, None))
        return found

    def _collected(self, caller: str, run: str) -> bytes:
        """Return the bytes of a run's table; the caller holds the lock."""
        record = self._shelf.run(run)
        if record is None or record.assignee != caller or record.state == "running":
            raise refusal("P-10")
        if record.state == "held":
            return messages.to_bytes(Reply(held=Held(run=record.run)))
        if record.state == "failed":
            raise WorkFailed
        if record.state != "withheld":
            # Before it counts as collected: what the grant no longer lets go is not gone.
            self._check_holds(record)
        if not record.collected:
            self._shelf.keep_run(record.model_copy(update={"collected": True}))
        if record.state == "withheld":
            raise refusal("P-09")
        return self._shelf.table(record)

    def _check_holds(self, record: RunRecord) -> None:
        """Look at what the run was permitted under as it is now.

        Raises:
            GrantRefused: It was revoked, or is over.
        """
        kept = [each for each in self._at.grants(record.assignee, record.dataset)
                if each.signed.id == record.grant]  # fmt: skip
        owner = self._at.node.config.id
        if not kept or kept[0].revoked:
            raise GrantRefused(
                f"{owner}: the grant was revoked.",
                hint="propose a new grant with the same terms, to be signed by all.",
                code="G-02",
            )
        now = self._at.clock.now()
        if now >= moment_of(kept[0].signed.grant.not_after):
            raise GrantRefused(
                f"{owner}: the grant has ended, it is {stamp(now)}.",
                hint="propose a new grant with the same terms and a later end, "
                "to be signed by all.",
                code="G-04",
            )

    def _run(self, caller: str, asked: messages.Run, seconds: int, stop: Stop) -> bytes:
        found = self._at.attached(asked.dataset)
        with self._at.places.turn(caller, stop, seconds):
            return self._run_in_place(caller, asked, found, seconds, stop)

    def _run_in_place(
        self, caller: str, asked: messages.Run, found: Attached, seconds: int, stop: Stop
    ) -> bytes:
        with self._shelf.lock():
            job = self._shelf.job(asked.job)
            about = None if job is None else (job.job.assignee, job.job.dataset)
            if job is None or about != (caller, asked.dataset):
                self._granted(caller, asked.dataset, "")
                raise refusal("P-01")
            waiting = {"held", "released", "withheld"}
            runs = self._shelf.runs(job.job.digest)
            left = [each for each in runs if not each.collected and each.state in waiting]
            if left:
                return self._collected(caller, left[0].run)
            permit, record = self._begun(job, found)
        began = time.monotonic()
        try:
            watch = Watch(self._at.desk, permit, stop, seconds, self._at.closing)
            return self._ended(job, found, permit, record, watch)
        finally:
            pad(began, self._at.closing)

    def _begun(self, job: Shelved, found: Attached) -> tuple[Permit, RunRecord]:
        """Look at the verdict, charge, and write down that a run begins; under the lock."""
        digest = job.verdict_digest
        begun = sum(each.verdict == digest for each in self._shelf.runs(job.job.digest))
        verdict = check_allows(job.verdict, begun, self._at.clock.now())
        own = job.job
        check_mode(found.policy, verdict)
        about = (own.revision, own.policy, own.schema_digest)
        if about != (found.revision, found.policy.digest, found.schema_digest):
            raise refusal("P-06")
        columns = tuple(sorted(map(found.named, columns_read(found.policy, own.returns))))
        check_refusals_of_job(own, found, self._at.history(found), self._month())
        name = f"p-{rng.token(16).hex()}"
        permit = self._at.admit(_request(name, own.assignee, found, columns, own.purpose, own))
        key = charge_name(permit.request)
        record = RunRecord(
            run=name,
            job=own.digest,
            assignee=own.assignee,
            dataset=own.dataset,
            grant=permit.grant,
            verdict=digest,
            reservation=hashlib.sha256(key.encode()).hexdigest(),
            state="running",
            at=self._at.book.now(),
        )
        entry = entries.PythonRun(
            at=record.at,
            organisation=own.assignee,
            job=own.digest,
            verdict=digest,
            reservation=record.reservation,
        )
        self._shelf.keep_run(record)
        self._at.book.once(f"python-run:{record.reservation}", entry)
        return permit, record

    def _month(self) -> str:
        return self._at.clock.now().strftime("%Y-%m")

    # ------------------------------------------------------------------ with data at hand

    def _ended(
        self, job: Shelved, found: Attached, permit: Permit, record: RunRecord, watch: Watch
    ) -> bytes:
        """Run what was permitted; whatever is raised from here on may leave as it is."""
        log = b""

        def ended(ending: str, code: int | None, seconds: float, printed: bytes) -> None:
            nonlocal record, log
            how = {"ending": ending, "exit_code": code, "milliseconds": round(1000 * seconds)}
            record, log = record.model_copy(update=how), printed

        try:
            inputs = self._copies.of(found, job.job.returns, watch)
            table = execute(
                permit,
                job,
                found,
                inputs,
                Place(
                    self._at.isolation,
                    self._at.history(found),
                    self._at.secret,
                    self._month(),
                ),
                Errand(watch.seconds, ended, record.assignee, watch),
            )
            data = messages.to_bytes(Reply(table=named(table, record.run)))
            if len(data) > messages.MAX_REPLY_BYTES:
                raise MessageInvalid("A table is larger than a reply may be.")  # noqa: TRY301
            # A revocation that came in the meantime holds.
            self._at.desk.check(permit)
            self._at.desk.commit(permit)
            return self._kept(job, record, data, log)
        except Exception as error:  # noqa: BLE001 - one text for whatever data made happen
            refused = watch.refused or (
                error if isinstance(error, GrantRefused | MemberRevoked) else None
            )
            why = refused.code if refused else type(error).__name__
            details = getattr(error, "details", "")
            log = log or str(details).encode()
            OWNER_LOG.warning("%s of %s failed: %r", record.run, record.assignee, error)
            self._at.say(f"{record.run} of {record.assignee} failed: {why}")
            with self._shelf.lock():
                self._shelf.keep_output(record, None, log)
                failed = {"state": "failed", "why": f"{why}: {details or error}"[:2000]}
                self._shelf.keep_run(record.model_copy(update=failed))
            raise (refused or WorkFailed()) from None

    def _kept(self, job: Shelved, record: RunRecord, data: bytes, log: bytes) -> bytes:
        """Keep a table; log it and return it where it may leave by itself."""
        checked = job.verdict is None or job.verdict.release != "automatic"
        state = "held" if checked else "answered"
        done = {"digest": hashlib.sha256(data).hexdigest(), "state": state,
                "collected": not checked}  # fmt: skip
        record = record.model_copy(update=done)
        with self._shelf.lock():
            self._shelf.keep_output(record, data, log)
            if not checked:
                log_release(self._at.book, record, checked=False)
            self._shelf.keep_run(record)
        if checked:
            self._at.say(f"the table of {record.run} waits to be looked at")
            return messages.to_bytes(Reply(held=Held(run=record.run)))
        return data


def _request(
    name: str,
    caller: str,
    found: Attached,
    columns: tuple[str, ...],
    purpose: str,
    job: PythonJob | None,
) -> Request:
    """Return what is asked, as a grant is asked about it: made here, of what is known here."""
    return Request(
        job=name,
        assignee=OrgId(caller),
        party=OrgId(found.owner),
        action="query",
        dataset=found.dataset,
        columns=columns,
        needed=columns,
        schema_digest=found.schema_digest,
        purpose=purpose or "none",
        epsilon_micro=EPSILON_MICRO,
        rows=1 if job is None else job.returns.max_rows,
        output="python",
        code=None if job is None else job.digest,
        study=None if job is None else job.digest,
    )
