"""One party's part in a job of several parties, attempt after attempt, in a thread of its own.

The hub begins an attempt and looks how it stands; what parties say to each other goes over
conversations. An attempt that ends because somebody could not be heard is followed by another, from
the newest mark that all have; one that ends because a rule was broken is the last.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from federated.cohort import Failure
from federated.vertical.keeping import Mark, States
from federated.vertical.permits import begin_together
from fusion.errors import FusionError, MessageInvalid, PartyFailed, Refused
from fusion.link.talk import MAX_ATTEMPTS
from fusion.services.conversing import Patience, is_connection
from fusion.services.outward import outward

if TYPE_CHECKING:
    from collections.abc import Callable

    from federated.vertical.keeping import Keeping
    from federated.vertical.standings import Ending
    from fusion.services.conversing import Conversations, Talk
    from fusion.services.talker import Talker

_LOG: Final = logging.getLogger("banyan.vertical")

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


class Waits(Protocol):
    """A study, as far as it says how long parties wait for each other; seconds."""

    @property
    def patience(self) -> float:
        """For which one may be silent."""
        ...

    @property
    def standstill(self) -> float:
        """For which nothing may come of parties none of which says that it works."""
        ...

    @property
    def longest_step(self) -> float:
        """For which nothing may come, whatever they say."""
        ...


def patience_of(study: Waits) -> Patience:
    """Return how long a study's parties, and who deals for them, wait for each other."""
    return Patience(silence=study.patience, standstill=study.standstill, longest=study.longest_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a party brings to a job.

    Attributes:
        me: The party.
        job: The job.
        patience: For how long others may be silent, or nothing come of them.
        permissions: Under which it works.
        keeping: What it keeps of the job.
        conversations: How it talks with the others.
        note: Told what the owner should know.
    """

    me: str
    job: str
    patience: Patience
    permissions: tuple[Permission, ...]
    keeping: Keeping
    conversations: Conversations
    note: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a party's part stands, as it tells the hub.

    Attributes:
        state: What it does.
        attempt: In which attempt.
        step: Trees or epochs that are finished.
        rows: How many common rows train, and how many judge, once they are known, and if the
            hub is to know.
        bytes: Of messages sent in this attempt.
        aligning: How many of them were sent to align records.
        part: SHA-256 of the finished part.
        quality: Measures, at the label party.
        told: What was learned, sealed to the operator, in hexadecimal.
        failure: Why it ended.
        kind: Of the failure: see :data:`federated.vertical.standings.Ending`.
        blames: The other party that the failure is about.
    """

    state: State = "ready"
    attempt: int = 0
    step: int = 0
    rows: tuple[int, int] | None = None
    bytes: int = 0
    aligning: int = 0
    part: str = ""
    quality: dict[str, Any] | None = None
    told: str = ""
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
            "aligning": self.aligning,
            "part": self.part,
            "quality": self.quality,
            "told": self.told,
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
class Attempt:
    """A thread that works on one attempt."""

    number: int
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def end(self) -> None:
        """Have it end, and wait for that."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join()


class AttemptedJob(ABC):
    """See the module; its methods may be called from several threads."""

    def __init__(self, brought: Brought) -> None:
        """Take what the party brings."""
        self._brought = brought
        self._states = States(brought.keeping)
        self._lock = threading.Lock()
        self._attempt: Attempt | None = None
        self._talk: Talk | None = None
        self._standing = Standing()
        self._leaving = False

    @abstractmethod
    def _work(self, attempt: Attempt, start: Mark | None) -> None:
        """Do an attempt, in its thread; the standing says how far it is.

        Raises:
            FusionError: It ended.
        """

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

    def standing(self) -> dict[str, Any]:
        """Return how it stands, as JSON values."""
        standing, talk = self._standing, self._talk
        if talk is not None:
            standing = replace(standing, bytes=standing.bytes + talk.bytes()[0])
        if standing.state == "aligning":
            standing = replace(standing, aligning=standing.bytes)
        return standing.document(self._states.marks())

    def begin(self, number: int, start: Mark | None) -> None:
        """Begin an attempt; the one before ends. Asked again for the same, nothing changes.

        Args:
            number: Of the attempt, from 1.
            start: From where it goes on; None to align first, from what is kept of that.

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
            self._attempt = attempt = Attempt(number)
            self._leaving = False
            state: State = "aligning" if start is None else "training"
            step = 0 if start is None else start.step
            self._standing = Standing(state, number, step)
            attempt.thread = threading.Thread(
                target=self._run,
                args=(attempt, start),
                name=f"{self._brought.job} {number}",
                daemon=True,
            )
            attempt.thread.start()

    def end(self) -> None:
        """End what is under way, keep what is kept: another attempt goes on from there."""
        with self._lock:
            self._leaving = True
            if self._attempt is not None:
                self._attempt.end()

    def close(self) -> None:
        """End what is under way and forget the run; a charge is given back if nothing has left."""
        self.end()
        for permission in self._brought.permissions:
            permission.give_up()
        self._states.keeping.clear()

    # ------------------------------------------------------------------ in the thread

    def _run(self, attempt: Attempt, start: Mark | None) -> None:
        try:
            self._work(attempt, start)
        except FusionError as error:
            kind: Ending = "echo" if isinstance(error, PartyFailed) else "final"
            if is_connection(error) or self._leaving:
                kind = "again"
            if not isinstance(error, PartyFailed):
                self._brought.note(f"job {self._brought.job}: {error}")
            told = Failure.of(outward(error, self._brought.me))
            self._fail(attempt, told, kind, getattr(error, "party", ""))
        except Exception as error:  # noqa: BLE001 - a thread's end: the hub has to hear of it
            # What went wrong may quote data: it stays in the organisation's own log.
            _LOG.error("a job failed unexpectedly", exc_info=error)
            failure = Failure("F-000", "It failed unexpectedly; its log says why.", 1)
            self._fail(attempt, failure, "final", "")

    def _fail(self, attempt: Attempt, failure: Failure, kind: Ending, blames: str) -> None:
        if self._attempt is attempt:
            standing = self._standing
            aligning = standing.bytes if standing.state == "aligning" else standing.aligning
            self._standing = replace(
                standing, state="failed", failure=failure, kind=kind, blames=blames,
                aligning=aligning,
            )  # fmt: skip

    def _carry(
        self,
        attempt: Attempt,
        stage: str,
        talker: Talker,
        opened: Callable[[Talk], None] = lambda _: None,
    ) -> None:
        brought = self._brought
        self.check()  # all of them, before the first charge is final
        begin_together(brought.permissions)
        talk = brought.conversations.open(
            f"{brought.job}.{stage}",
            attempt.number,
            talker,
            patience=brought.patience,
            check=self.check,
        )
        self._talk = talk
        opened(talk)
        try:
            talk.wait(attempt.stop)
        finally:
            talk.join()
            sent, _ = talk.bytes()
            self._talk = None
            self._standing = replace(self._standing, bytes=self._standing.bytes + sent)
