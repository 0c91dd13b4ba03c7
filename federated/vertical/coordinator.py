"""What several parties do together, at the hub: begins attempts, looks, ends them by name.

The hub sees who takes part, how they stand, and bytes. It carries nothing: what parties say goes
between them. What is particular to a kind of work is in :mod:`federated.vertical.train_run` and
:mod:`federated.vertical.align_run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from federated.cohort import Request
from federated.vertical.standings import Heard, read_standing
from fusion.errors import (
    PartyFailed,
    PartySilent,
    RunStopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Cohort, Failure, Reply
    from federated.vertical.keeping import Mark
    from federated.vertical.standings import FailureSection
    from federated.vertical.tally import Tally
    from fusion.ports import Clock

MAX_ATTEMPTS: Final = 6
"""Of one run, however it is cut off."""
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 10.0
"""For one look; who is later is asked again."""
SETUP_SECONDS: Final = 120.0
"""For agreeing, over and above :data:`READ_SECONDS`."""
READ_SECONDS: Final = 20e-6
"""For reading a record and preparing its identifier, of the most records that a study allows."""
BACK_SECONDS: Final = 30.0
"""A party that was not heard has at least so long to come back, before it reads."""
UNKNOWN: Final = "F-404"


class Joint(Protocol):
    """A study, as far as attempts are concerned."""

    @property
    def organisations(self) -> tuple[str, ...]:
        """Who takes part."""
        ...

    @property
    def patience(self) -> float:
        """Seconds for which a party may be silent."""
        ...

    @property
    def longest_step(self) -> float:
        """Seconds that no step of a party takes longer than."""
        ...

    @property
    def set_size(self) -> int:
        """Most records of a party."""
        ...

    def canonical(self) -> bytes:
        """Return it as parties are shown it."""
        ...


StudyT = TypeVar("StudyT", bound=Joint)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRun(Generic[StudyT]):
    """What a run consists of at the hub.

    Attributes:
        job: The run.
        study: What they do.
        order: The operator's order, as the parties are shown it.
        cohort: The parties.
        clock: Time.
        pause: Waits some seconds.
        emit: Takes events without their time.
        stopping: Whether the run is to end.
        next_attempt: Returns the next number of an attempt, durably.
        began: Told number and first step of an attempt, for the log.
        tally: What parties have sent, in all attempts.
    """

    job: str
    study: StudyT
    order: bytes | None
    cohort: Cohort
    clock: Clock
    pause: Callable[[float], None]
    emit: Callable[[Mapping[str, Any]], None]
    stopping: Callable[[], bool]
    next_attempt: Callable[[], int]
    began: Callable[[int, int], None]
    tally: Tally


class CutOffError(Exception):
    """An attempt ended because somebody could not be heard: another may help."""


class Coordinator(ABC, Generic[StudyT]):
    """See the module.

    Attributes:
        run: What it runs.
        heard: How each party stood when it was last heard.
    """

    def __init__(self, run: JointRun[StudyT]) -> None:
        """Take what is to be run."""
        self.run = run
        self.heard: dict[str, Heard] = {}
        self._ending = (0, 0.0)  # the attempt that has ended at somebody, and since when

    # ------------------------------------------------------------------ of a kind of work

    @abstractmethod
    def begun(self, number: int, start: Mark | None) -> None:
        """Note that an attempt begins, from where all parties go on."""

    def goes_on(self, number: int) -> bool:
        """Return whether an attempt goes on that an earlier process of the hub began."""
        del number
        return True

    @abstractmethod
    def looked(self, number: int) -> None:
        """Tell, after each look, how far an attempt is."""

    @abstractmethod
    def finish(self, number: int) -> None:
        """Do what is left when all parties are done, and tell what came of it.

        Raises:
            FusionError: As :meth:`work`.
        """

    # ------------------------------------------------------------------ all of it

    def work(self) -> None:
        """Run to the end.

        Raises:
            RunStopped: It was to stop.
            PartyFailed: A party refuses, or broke a rule.
            PartySilent: A party does not answer, attempt after attempt.
        """
        self.prepare(SETUP_SECONDS, tell=True)
        reason, attempts = "", 0
        while True:
            # One that is gone on with counts as well: a party can be gone and come back for ever.
            attempts += 1
            number = self._under_way()
            if number is None:
                number = self._begin(reason)
            try:
                self._watch(number)
                break
            except CutOffError as error:
                reason = str(error)
                if attempts >= MAX_ATTEMPTS:
                    raise PartySilent(
                        f"{attempts} attempts were cut off; the last one: {reason}", party=""
                    ) from None
            self.prepare(max(2 * self.run.study.patience, BACK_SECONDS), tell=False)
        self.finish(number)

    def sent(self) -> int:
        """Return how many bytes parties have sent each other, in all attempts so far."""
        return self.run.tally.total()

    # ------------------------------------------------------------------ asking

    def ask(self, request: Request, seconds: float) -> dict[str, Reply]:
        """Ask every party the same.

        Raises:
            RunStopped: The run is to end.
        """
        everybody = self.run.study.organisations
        if self.run.stopping():
            raise RunStopped("The run was stopped.")
        requests = dict.fromkeys(everybody, request)
        return dict(self.run.cohort.ask(requests, seconds=seconds))  # type: ignore[arg-type]

    def prepare(self, seconds: float, *, tell: bool) -> None:
        """Have every party agree, and tell how it stands; those that are away may come back.

        Args:
            seconds: To wait for them, besides the time in which they read their tables.
            tell: Whether to tell that nobody refused, as well.
        """
        run = self.run
        seconds += run.study.set_size * READ_SECONDS
        head: dict[str, Any] = {"job": run.job, "study": run.study.canonical().decode()}
        if run.order is not None:
            head["order"] = run.order.decode()
        request = Request("prepare", head)
        until = run.clock.monotonic() + seconds
        while True:
            left = until - run.clock.monotonic()
            replies = self.ask(request, max(min(left, seconds), 1.0))
            self._note(replies)
            refused = {org: r.failure for org, r in replies.items() if r.failure is not None}
            missing = [org for org in run.study.organisations if org not in replies]
            if tell or refused:
                self._tell(replies, missing)
            for organisation, failure in refused.items():
                raise failed_by(organisation, failure)
            if not missing:
                return
            if run.clock.monotonic() >= until:
                raise PartySilent(
                    f"{', '.join(missing)} did not answer within {seconds:g} s.",
                    party=missing[0],
                    hint="Is its node up? `fusion hub status` says when it was last heard.",
                )
            run.pause(LOOK_SECONDS)

    def _tell(self, replies: Mapping[str, Reply], missing: list[str]) -> None:
        for organisation in self.run.study.organisations:
            reply = replies.get(organisation)
            status, message = "ready", ""
            if organisation in missing:
                status, message = "absent", "does not answer"
            elif reply is not None and reply.failure is not None:
                status, message = "refused", reply.failure.message
            self.run.emit(
                {
                    "event": "setup", "organisation": organisation, "status": status,
                    "message": message,
                }
            )  # fmt: skip
            if status == "refused" and reply is not None and reply.failure is not None:
                self.run.emit(
                    {
                        "event": "refusal", "organisation": organisation,
                        "code": reply.failure.code, "message": reply.failure.message,
                    }
                )  # fmt: skip

    def _note(self, replies: Mapping[str, Reply]) -> None:
        now = self.run.clock.monotonic()
        for organisation, reply in replies.items():
            if reply.failure is None:
                standing = read_standing(reply.organisation, reply.head.get("standing"))
                self.heard[organisation] = Heard(now, standing)
            elif reply.failure.code == UNKNOWN:
                self.heard[organisation] = Heard(now, None)
        self.run.tally.hear({org: heard.standing for org, heard in self.heard.items()})

    # ------------------------------------------------------------------ attempts

    def _under_way(self) -> int | None:
        """Return the attempt in which all parties are, if they work: this process began anew."""
        standings = [heard.standing for heard in self.heard.values()]
        numbers = {each.attempt for each in standings if each is not None}
        working = all(
            each is not None and each.state in ("aligning", "training", "done")
            for each in standings
        )
        if not working or len(numbers) != 1:
            return None
        (number,) = numbers
        return number if self.goes_on(number) else None

    def _begin(self, reason: str) -> int:
        """Begin an attempt after the newest step that all parties have."""
        run = self.run
        marks = [
            set() if heard.standing is None else set(heard.standing.marks)
            for heard in self.heard.values()
        ]
        common = set.intersection(*marks) if marks else set()
        start = max(common, default=None)
        number = run.next_attempt()
        step = 0 if start is None else start.step
        run.began(number, step)
        run.tally.begin(number)
        self.begun(number, start)
        run.emit({"event": "attempt", "number": number, "step": step, "reason": reason})
        head: dict[str, Any] = {"job": run.job, "attempt": number, "start": None}
        if start is not None:
            head["start"] = {"step": start.step, "attempt": start.attempt}
        replies = self.ask(Request("begin", head), ANSWER_SECONDS + run.study.patience)
        self._note(replies)
        for organisation, reply in replies.items():
            if reply.failure is not None and reply.failure.code != UNKNOWN:
                raise failed_by(organisation, reply.failure)
        return number

    def _watch(self, number: int) -> None:
        """Look until all parties are done.

        Raises:
            CutOffError: The attempt was cut off.
            PartyFailed: It ended for good.
        """
        run = self.run
        began = run.clock.monotonic()
        while True:
            replies = self.ask(Request("look", {"job": run.job}), ANSWER_SECONDS)
            self._note(replies)
            self.looked(number)
            if all(
                heard.standing is not None
                and (heard.standing.state, heard.standing.attempt) == ("done", number)
                for heard in self.heard.values()
            ):
                return
            self._judge(number, began)
            run.pause(LOOK_SECONDS)

    def _judge(self, number: int, began: float) -> None:
        """Raise if the attempt is over without a model: what a party did itself comes first."""
        run = self.run
        now = run.clock.monotonic()
        failed = {
            org: heard.standing.failure
            for org, heard in self.heard.items()
            if heard.standing is not None
            and heard.standing.failure is not None
            and heard.standing.attempt == number
        }
        for organisation, standing in failed.items():
            if standing.kind == "final":
                raise failed_by(organisation, standing)
        gone = [org for org, heard in self.heard.items() if heard.standing is None]
        late = [
            org
            for org, heard in self.heard.items()
            if now - max(heard.at, began) > run.study.patience
        ]
        working = [
            org
            for org, heard in self.heard.items()
            if org not in failed and org not in gone and org not in late
            and heard.standing is not None
            and (heard.standing.state, heard.standing.attempt) != ("done", number)
        ]  # fmt: skip
        if gone:
            raise CutOffError(f"{', '.join(gone)} was started anew.")
        if 0 < len(working) < len(self.heard):
            self._hold_to_step(number, late, working, now)
        else:
            self._ending = 0, 0.0
        if failed and not working:
            names = next(iter(failed))
            first = next((s for s in failed.values() if s.kind == "again"), failed[names])
            if first.kind == "echo" and not late:
                raise failed_by(names, first)
            raise CutOffError(first.message)
        if late and not working:
            raise CutOffError(f"{', '.join(late)} was not heard for {run.study.patience:g} s.")

    def _hold_to_step(self, number: int, late: list[str], working: list[str], now: float) -> None:
        """Wait for parties to end what has ended at others, as long as a step may take.

        Raises:
            PartySilent: They still say that they work, or others are still not heard.
        """
        if self._ending[0] != number:
            self._ending = number, now
        seconds = self.run.study.longest_step
        if now - self._ending[1] <= seconds:
            return
        if late:
            raise PartySilent(
                f"{', '.join(late)} was not heard for {seconds:g} s while others work.",
                party=late[0],
                hint="Is its node up?",
            )
        raise PartySilent(
            f"{', '.join(working)} still works {seconds:g} s after others have ended.",
            party=working[0],
            hint="Is its node well? A study whose steps take longer says so: `longest_step`.",
        )


def failed_by(organisation: str, failure: Failure | FailureSection) -> PartyFailed:
    """Return what a party says as an error that names it."""
    named = failure.message.startswith((f"{organisation}:", f"{organisation} "))
    return PartyFailed(
        failure.message if named else f"{organisation}: {failure.message}",
        code=failure.code,
        exit_code=failure.exit_code,
        party=organisation,
    )
