"""One party's part in a run of a vertical study, attempt after attempt, in a thread of its own.

The hub begins an attempt and looks how it stands; what parties say to each other goes over
conversations. An attempt that ends because somebody could not be heard is followed by another, from
the newest mark that all have; one that ends because a rule was broken is the last.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from federated.cohort import Failure
from federated.frames import read_frame, write_frame
from federated.protocols.vertical.outbox import MachineTalker
from federated.vertical.aligning import Alignment
from federated.vertical.binding import Binding
from federated.vertical.keeping import ALIGNED, COUNTED, COUNTS, JUDGED, PART, TRIED, Mark, States
from federated.vertical.model_section import Boosting, Scorecard
from federated.vertical.own_table import read_rows, write_rows
from federated.vertical.scorecard_work import ScorecardWork
from federated.vertical.tables import training_rows
from federated.vertical.work import BoostingWork, LinearWork
from fusion.crypto.hashing import digest
from fusion.errors import (
    DataInvalid,
    FusionError,
    MessageInvalid,
    ModelWithheld,
    PartyFailed,
    Refused,
)
from fusion.grants.leakage import Code as LeakCode
from fusion.grants.leakage import verdict
from fusion.link.talk import MAX_ATTEMPTS
from fusion.services.conversing import Patience, is_connection
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from federated.vertical.aligning import Aligned
    from federated.vertical.keeping import Keeping
    from federated.vertical.own_table import OwnTable
    from federated.vertical.standings import Ending
    from federated.vertical.study import VerticalStudy
    from federated.vertical.work import Rows, Work
    from fusion.services.conversing import Conversations, Talk, Talker

_LOG: Final = logging.getLogger("banyan.vertical")

FEWEST: Final = 2
"""Records to train on: of one alone nothing varies."""

State = Literal["ready", "aligning", "training", "done", "failed"]


class Permission(Protocol):
    """Under which a party works: looked at before anything leaves, and while it works.

    Attributes:
        grant: Id of the grant; empty where it works without.
    """

    @property
    def grant(self) -> str:
        """See the class."""
        ...

    def watch(self) -> None:
        """Return if the work may go on.

        Raises:
            GrantRefused: It may not.
        """
        ...

    def begin(self) -> None:
        """Say that something is about to leave."""
        ...

    def give_up(self) -> None:
        """Give back what was charged, if nothing has left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a party brings to a run.

    Attributes:
        me: The party.
        job: The run.
        federation: Where.
        study: The study.
        table: Its table.
        permissions: Under which it works.
        keeping: What it keeps of the run.
        conversations: How it talks with the others.
        hold: Raises if the set may not be aligned because of earlier runs; called before anything
            of it leaves.
        log_aligned: Told of an alignment, before its result is used.
        note: Told what the owner should know.
    """

    me: str
    job: str
    federation: str
    study: VerticalStudy
    table: OwnTable
    permissions: tuple[Permission, ...]
    keeping: Keeping
    conversations: Conversations
    hold: Callable[[], None]
    log_aligned: Callable[[int, Aligned], None]
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a party's part stands, as it tells the hub.

    Attributes:
        state: What it does.
        attempt: In which attempt.
        step: Trees or epochs that are finished.
        rows: How many common rows train, and how many judge, once they are known.
        bytes: Of messages sent in this attempt.
        part: SHA-256 of the finished part.
        quality: Measures, at the label party.
        failure: Why it ended.
        kind: Of the failure: see :data:`federated.vertical.standings.Ending`.
        blames: The other party that the failure is about.
    """

    state: State = "ready"
    attempt: int = 0
    step: int = 0
    rows: tuple[int, int] | None = None
    bytes: int = 0
    part: str = ""
    quality: dict[str, Any] | None = None
    failure: Failure | None = None
    kind: Ending = "final"
    blames: str = ""

    def document(self, marks: list[Mark]) -> dict[str, Any]:
        """Return it as JSON values, with the marks from which the party could go on."""
        failure = self.failure
        return {
            "state": self.state,
            "attempt": self.attempt,
            "step": self.step,
            "rows": None if self.rows is None else list(self.rows),
            "bytes": self.bytes,
            "part": self.part,
            "quality": self.quality,
            "failure": None
            if failure is None
            else {
                "code": failure.code,
                "message": failure.message,
                "exit_code": failure.exit_code,
                "kind": self.kind,
                "blames": self.blames,
            },
            "marks": [list(mark) for mark in marks],
        }


@dataclass(slots=True)
class _Attempt:
    """A thread that works on one attempt."""

    number: int
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def end(self) -> None:
        """Have it end, and wait for that."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join()


class VerticalJob:
    """See the module; its methods may be called from several threads."""

    def __init__(self, brought: Brought) -> None:
        """Take what the party brings; a part that was finished before a crash is found again."""
        self._brought = brought
        self._states = States(brought.keeping)
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None
        self._talk: Talk | None = None
        self._standing = self._restored() or Standing()

    @property
    def study(self) -> VerticalStudy:
        """The study."""
        return self._brought.study

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            GrantRefused: It may not.
        """
        for permission in self._brought.permissions:
            permission.watch()

    @property
    def works(self) -> bool:
        """Whether an attempt is under way."""
        return self._standing.state in {"aligning", "training"}

    @property
    def grants(self) -> tuple[str, ...]:
        """Ids of the grants under which it works."""
        found = (permission.grant for permission in self._brought.permissions)
        return tuple(dict.fromkeys(grant for grant in found if grant))

    def standing(self) -> dict[str, Any]:
        """Return how it stands, as JSON values."""
        standing, talk = self._standing, self._talk
        if talk is not None:
            standing = replace(standing, bytes=standing.bytes + talk.bytes()[0])
        return standing.document(self._states.marks())

    @property
    def leaks(self) -> dict[str, Any] | None:
        """What the finished model tells, held to the study's promises; at the label party."""
        kept = self._states.keeping.get(PART)
        return None if kept is None else read_frame(kept)[0]["leaks"]

    @property
    def part(self) -> bytes | None:
        """The finished part; None before the end."""
        kept = self._states.keeping.get(PART) if self._standing.state == "done" else None
        return None if kept is None else read_frame(kept)[1]["part"]

    def begin(self, number: int, start: Mark | None) -> None:
        """Begin an attempt; the one before ends. Asked again for the same, nothing changes.

        Args:
            number: Of the attempt, from 1.
            start: From where it goes on; None to align first.

        Raises:
            MessageInvalid: No attempt has that number.
            Refused: There was a later attempt, or nothing is kept at the mark.
            GrantRefused: The work may not go on.
        """
        if not 0 < number <= MAX_ATTEMPTS:
            raise MessageInvalid(f"No attempt has the number {number}.")
        with self._lock:
            before = self._attempt
            if before is not None and number <= before.number:
                if number == before.number:
                    return
                raise Refused(f"Attempt {number} comes after attempt {before.number}.")
            self.check()
            if before is not None:
                before.end()
            if start is not None and start not in self._states.marks():
                raise Refused(
                    f"Nothing is kept after step {start.step} of attempt {start.attempt}."
                )
            self._attempt = attempt = _Attempt(number)
            state: State = "aligning" if start is None else "training"
            step = 0 if start is None else start.step
            self._standing = Standing(state, number, step)
            attempt.thread = threading.Thread(
                target=self._run, args=(attempt, start), name=f"vertical {number}", daemon=True
            )
            attempt.thread.start()

    def end(self) -> None:
        """End what is under way, keep what is kept."""
        with self._lock:
            if self._attempt is not None:
                self._attempt.end()

    def close(self) -> None:
        """End what is under way and forget the run; a charge is given back if nothing has left."""
        self.end()
        for permission in self._brought.permissions:
            permission.give_up()
        self._states.keeping.clear()

    # ------------------------------------------------------------------ in the thread

    def _run(self, attempt: _Attempt, start: Mark | None) -> None:
        try:
            self._work(attempt, start)
        except FusionError as error:
            kind: Ending = "echo" if isinstance(error, PartyFailed) else "final"
            if is_connection(error):
                kind = "again"
            self._fail(attempt, Failure.of(error), kind, getattr(error, "party", ""))
            if not isinstance(error, PartyFailed):
                self._brought.note(f"job {self._brought.job}: {error}")
        except Exception as error:  # noqa: BLE001 - a thread's end: the hub has to hear of it
            # What went wrong may quote data: it stays in the organisation's own log.
            _LOG.error("a vertical run failed unexpectedly", exc_info=error)
            failure = Failure("F-000", "It failed unexpectedly; its log says why.", 1)
            self._fail(attempt, failure, "final", "")

    def _fail(self, attempt: _Attempt, failure: Failure, kind: Ending, blames: str) -> None:
        if self._attempt is attempt:
            self._standing = replace(
                self._standing, state="failed", failure=failure, kind=kind, blames=blames
            )

    def _work(self, attempt: _Attempt, start: Mark | None) -> None:
        brought, study = self._brought, self._brought.study
        self._states.count(TRIED)
        if start is None:
            places = self._aligned(attempt)
        else:
            self._states.back_to(start)
            places = read_rows(brought.table, self._states.rows() or b"")
        training = training_rows(len(places), study.test_fraction, study.seed)
        counts = int(training.sum()), int((~training).sum())
        if counts[0] < FEWEST:
            raise DataInvalid(
                f"Fewer than {FEWEST} common records train.",
                hint="`minimum_intersection` keeps a run with so few from beginning.",
            )
        self._standing = replace(self._standing, state="training")
        work = self._begun(attempt, brought.table.rows(places, training), start)
        # The dealer of a linear model begins when rows are known: not while others count.
        self._standing = replace(self._standing, rows=counts)
        if start is not None and start.step:
            work.go_on(self._states, start)
        self._train(attempt, work)
        self._finish(attempt, work)

    def _begun(self, attempt: _Attempt, rows: Rows, start: Mark | None) -> Work:
        """Return the work on the model, as far as it comes before the first step."""
        brought, study = self._brought, self._brought.study
        if isinstance(study.model, Boosting):
            terms = digest(
                "banyan/vertical-terms/v2", brought.federation.encode(), brought.job.encode(),
                bytes.fromhex(study.digest()), str(attempt.number).encode(),
            )  # fmt: skip
            return BoostingWork(
                study.cast, brought.me, study.model, rows, seed=study.seed, terms=terms
            )
        if isinstance(study.model, Scorecard):
            widths = {str(each.organisation): len(each.columns) for each in study.parties}
            card = ScorecardWork(
                study.cast, brought.me, study.model, rows, seed=study.seed, widths=widths
            )
            self._hold_to_support(card.support)
            self._count(attempt, card, start)
            return card
        work = LinearWork(study.cast, brought.me, study.model, rows, seed=study.seed)
        self._hold_to_support(work.support)
        return work

    def _count(self, attempt: _Attempt, work: ScorecardWork, start: Mark | None) -> None:
        """Count events of bins, once over the aligned rows: also if a later attempt goes on."""
        kept = self._states.keeping.get(COUNTS)
        if start is not None and start.step and kept is not None:
            work.counted(kept)
            return
        self._states.count(COUNTED)
        bind = partial(Binding(self._states.keeping).bind, "count")
        machine, peers = work.counting(bind)
        talker = MachineTalker(machine, peers, machine.start(), lambda: machine.done)
        self._carry(attempt, "count", talker)
        self._states.keeping.put(COUNTS, work.count())

    def _hold_to_support(self, smallest: int) -> None:
        """Look at the own columns before anything is trained: nobody else can.

        Raises:
            ModelWithheld: L-03: a weight would rest on fewer rows than the study promises.
        """
        limit = self._brought.study.promises.smallest_leaf
        if limit is not None and smallest < limit:
            raise ModelWithheld(
                f"A weight of {self._brought.me} would rest on fewer than {limit} rows.",
                hint="Leave out columns in which a value, or a missing one, is rare.",
                code=LeakCode.LEAF,
            )

    def _aligned(self, attempt: _Attempt) -> NDArray[np.int64]:
        brought = self._brought
        prepared = brought.table.prepared
        self._states.hold_to(brought.table.digest)
        self._states.count(ALIGNED)
        brought.hold()
        aligned = Alignment(
            brought.study.meeting(brought.federation, brought.job),
            brought.me,
            prepared.keys,
            maskers(len(prepared.keys)),
            partial(self._carry, attempt),
            Binding(self._states.keeping),
        ).run()
        brought.log_aligned(attempt.number, aligned)
        places = brought.table.places(aligned.keys)
        self._states.aligned(attempt.number, write_rows(brought.table, places))
        return places

    def _carry(self, attempt: _Attempt, stage: str, talker: Talker) -> None:
        brought = self._brought
        for permission in brought.permissions:
            permission.watch()
            permission.begin()
        talk = brought.conversations.open(
            f"{brought.job}.{stage}",
            attempt.number,
            talker,
            patience=Patience(silence=brought.study.patience),
            check=self.check,
        )
        self._talk = talk
        try:
            talk.wait(attempt.stop)
        finally:
            talk.join()
            sent, _ = talk.bytes()
            self._talk = None
            self._standing = replace(self._standing, bytes=self._standing.bytes + sent)

    def _train(self, attempt: _Attempt, work: Work) -> None:
        study, me = self._brought.study, self._brought.me
        peers = study.cast.peers(me, linear=not isinstance(study.model, Boosting))
        done = work.step

        def after() -> None:
            nonlocal done
            if work.step > done:
                done = work.step
                work.keep(self._states, Mark(done, attempt.number))
                self._standing = replace(self._standing, step=done)

        machine = work.machine
        talker = MachineTalker(machine, peers, work.opening(), lambda: machine.done, after)
        self._carry(attempt, "train", talker)
        judging = work.judging()
        if judging is not None:
            self._states.count(JUDGED)
            judge, peers = judging
            talker = MachineTalker(judge, peers, judge.start(), lambda: judge.done)
            self._carry(attempt, "judge", talker)

    def _finish(self, attempt: _Attempt, work: Work) -> None:
        """Keep the finished part, unless the model tells more than the study promised.

        Raises:
            ModelWithheld: It does: nobody keeps a part of it.
        """
        limits = self._brought.study.promises
        leaks = work.leaks(limits.smallest_leaf)
        if leaks is not None:
            leaks.check(limits)
        part = work.part()
        found = replace(
            self._standing,
            state="done",
            step=max(work.step, self._standing.step),
            part=hashlib.sha256(part).hexdigest(),
            quality=work.quality(),
        )
        head = {
            "attempt": attempt.number, "step": found.step, "rows": list(found.rows or ()),
            "part": found.part, "quality": found.quality,
            "leaks": None if leaks is None else {
                "report": leaks.document(), "verdict": verdict(leaks, limits),
            },
        }  # fmt: skip
        self._states.keeping.put(PART, write_frame(head, {"part": part}))
        self._standing = found

    def _restored(self) -> Standing | None:
        """Return how a part that was finished stands; one that is not well formed is none."""
        kept = self._states.keeping.get(PART)
        if kept is None:
            return None
        try:
            head, blobs = read_frame(kept)
            train, held = head["rows"]
            if "leaks" not in head or hashlib.sha256(blobs["part"]).hexdigest() != head["part"]:
                raise MessageInvalid("A part is another than was finished.")
            standing = Standing(
                "done", int(head["attempt"]), int(head["step"]), (int(train), int(held)), 0,
                head["part"], head["quality"],
            )  # fmt: skip
        except (FusionError, KeyError, TypeError, ValueError):
            self._brought.note(f"job {self._brought.job}: the part that was kept is none")
            return None
        self._attempt = _Attempt(standing.attempt)
        return standing
