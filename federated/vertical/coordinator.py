"""A vertical run at the hub: begins attempts, looks how they stand, ends them by name.

The hub sees who takes part, sizes, steps and the measures that the label party tells. It deals, if
the study has a dealer, and carries nothing else: what parties say goes between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from federated.cohort import Request
from federated.vertical.model_section import Boosting
from federated.vertical.standings import Heard, read_standing
from fusion.errors import (
    MessageInvalid,
    PartyFailed,
    PartySilent,
    RunStopped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Cohort, Failure, Reply
    from federated.vertical.standings import FailureSection
    from federated.vertical.study import VerticalStudy
    from fusion.ports import Clock

MAX_ATTEMPTS: Final = 6
"""Of one run, however it is cut off."""
LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 10.0
"""For one look; who is later is asked again."""
SETUP_SECONDS: Final = 120.0
"""For reading a table and preparing its identifiers."""
_UNKNOWN: Final = "F-404"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalRun:
    """What a run consists of at the hub.

    Attributes:
        job: The run.
        study: The study.
        order: The operator's order, as the parties are shown it.
        cohort: The parties.
        clock: Time.
        pause: Waits some seconds.
        emit: Takes events without their time.
        stopping: Whether the run is to end.
        next_attempt: Returns the next number of an attempt, durably.
        began: Told number and first step of an attempt, for the log.
        deal: Has the dealer ready for an attempt: told its number, how many rows train, and from
            which step. Nobody deals in some studies.
        dealt: Whether the dealer of an attempt was asked for, or none is needed.
        made: Returns the time as RFC 3339, to the second.
    """

    job: str
    study: VerticalStudy
    order: bytes | None
    cohort: Cohort
    clock: Clock
    pause: Callable[[float], None]
    emit: Callable[[Mapping[str, Any]], None]
    stopping: Callable[[], bool]
    next_attempt: Callable[[], int]
    began: Callable[[int, int], None]
    deal: Callable[[int, int, int], None]
    dealt: Callable[[int], bool]
    made: Callable[[], str]


class CutOffError(Exception):
    """An attempt ended because somebody could not be heard: another may help."""


@dataclass(slots=True)
class Coordinator:
    """See the module."""

    run: VerticalRun
    _heard: dict[str, Heard] = field(default_factory=dict)
    _first: int = 0
    _step: int = 0
    _aligned: bool = False
    _since: float = 0.0

    def work(self) -> dict[str, Any]:
        """Run to the end; return what the label party says of the model.

        Raises:
            RunStopped: It was to stop.
            PartyFailed: A party refuses, or broke a rule.
            PartySilent: A party does not answer, attempt after attempt.
        """
        organisations = self.run.study.organisations
        self._prepare(SETUP_SECONDS, tell=True)
        reason, attempts = "", 0
        while True:
            number = self._under_way()
            if number is None:
                attempts += 1
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
            self._prepare(max(2 * self.run.study.patience, 30.0), tell=False)
        return self._finish(number, organisations)

    # ------------------------------------------------------------------ asking

    def _ask(self, request: Request, seconds: float) -> dict[str, Reply]:
        everybody = self.run.study.organisations
        if self.run.stopping():
            raise RunStopped("The run was stopped.")
        requests = dict.fromkeys(everybody, request)
        return dict(self.run.cohort.ask(requests, seconds=seconds))  # type: ignore[arg-type]

    def _prepare(self, seconds: float, *, tell: bool) -> None:
        """Have every party agree, and tell how it stands; those that are away may come back."""
        run = self.run
        head: dict[str, Any] = {"job": run.job, "study": run.study.canonical().decode()}
        if run.order is not None:
            head["order"] = run.order.decode()
        request = Request("prepare", head)
        until = run.clock.monotonic() + seconds
        while True:
            left = until - run.clock.monotonic()
            replies = self._ask(request, max(min(left, seconds), 1.0))
            self._note(replies)
            refused = {org: r.failure for org, r in replies.items() if r.failure is not None}
            missing = [org for org in run.study.organisations if org not in replies]
            if tell or refused:
                self._tell(replies, missing)
            for organisation, failure in refused.items():
                raise _failed(organisation, failure)
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
                self._heard[organisation] = Heard(now, standing)
            elif reply.failure.code == _UNKNOWN:
                self._heard[organisation] = Heard(now, None)

    # ------------------------------------------------------------------ attempts

    def _under_way(self) -> int | None:
        """Return the attempt in which all parties are, if they work: this process began anew."""
        standings = [heard.standing for heard in self._heard.values()]
        numbers = {each.attempt for each in standings if each is not None}
        working = all(
            each is not None and each.state in ("aligning", "training", "done")
            for each in standings
        )
        if not working or len(numbers) != 1:
            return None
        (number,) = numbers
        aligning = any(each is not None and each.state == "aligning" for each in standings)
        # From which step one began that no longer aligns is known to its dealer alone.
        return number if aligning or self.run.dealt(number) else None

    def _begin(self, reason: str) -> int:
        """Begin an attempt after the newest step that all parties have."""
        run = self.run
        marks = [
            set() if heard.standing is None else set(heard.standing.marks)
            for heard in self._heard.values()
        ]
        common = set.intersection(*marks) if marks else set()
        start = max(common, default=None)
        number = run.next_attempt()
        step = 0 if start is None else start.step
        run.began(number, step)
        self._first = self._step = step
        self._aligned, self._since = start is not None, run.clock.monotonic()
        run.emit({"event": "attempt", "number": number, "step": step, "reason": reason})
        head: dict[str, Any] = {"job": run.job, "attempt": number, "start": None}
        if start is not None:
            head["start"] = {"step": start.step, "attempt": start.attempt}
        replies = self._ask(Request("begin", head), ANSWER_SECONDS + run.study.patience)
        self._note(replies)
        for organisation, reply in replies.items():
            if reply.failure is not None and reply.failure.code != _UNKNOWN:
                raise _failed(organisation, reply.failure)
        return number

    def _watch(self, number: int) -> None:
        """Look until all parties are done.

        Raises:
            CutOffError: The attempt was cut off.
            PartyFailed: It ended for good.
        """
        run = self.run
        dealt = False
        began = run.clock.monotonic()
        while True:
            replies = self._ask(Request("look", {"job": run.job}), ANSWER_SECONDS)
            self._note(replies)
            self._progress()
            label = self._heard[run.study.cast.label].standing
            rows = 0 if isinstance(run.study.model, Boosting) else None
            if label is not None and label.rows is not None:
                rows = label.rows[0]
            if not dealt and rows is not None:  # trees are dealt for whatever rows there are
                run.deal(number, rows, self._first)
                dealt = True
            if all(
                heard.standing is not None
                and (heard.standing.state, heard.standing.attempt) == ("done", number)
                for heard in self._heard.values()
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
            for org, heard in self._heard.items()
            if heard.standing is not None
            and heard.standing.failure is not None
            and heard.standing.attempt == number
        }
        for organisation, standing in failed.items():
            if standing.kind == "final":
                raise _failed(organisation, standing)
        gone = [org for org, heard in self._heard.items() if heard.standing is None]
        late = [
            org
            for org, heard in self._heard.items()
            if now - max(heard.at, began) > run.study.patience
        ]
        working = [
            org
            for org, heard in self._heard.items()
            if org not in failed and org not in gone and org not in late
            and heard.standing is not None and heard.standing.state != "done"
        ]  # fmt: skip
        if gone:
            raise CutOffError(f"{', '.join(gone)} was started anew.")
        if failed and not working:
            names = next(iter(failed))
            first = next((s for s in failed.values() if s.kind == "again"), failed[names])
            if first.kind == "echo" and not late:
                raise _failed(names, first)
            raise CutOffError(first.message)
        if late and not working:
            raise CutOffError(f"{', '.join(late)} was not heard for {run.study.patience:g} s.")

    def _progress(self) -> None:
        """Tell of rows and steps, as the label party has them."""
        run, study = self.run, self.run.study
        label = self._heard[study.cast.label].standing
        if label is None:
            return
        if label.rows is not None and not self._aligned:
            self._aligned = True
            run.emit({"event": "aligned", "training": label.rows[0], "judging": label.rows[1]})
        if label.step > self._step:
            now = run.clock.monotonic()
            sent = sum(h.standing.bytes for h in self._heard.values() if h.standing is not None)
            run.emit(
                {
                    "event": "step", "step": label.step, "of": study.model.steps,
                    "unit": study.model.unit, "bytes": sent,
                    "seconds": round((now - self._since) / (label.step - self._step), 3),
                }
            )  # fmt: skip
            self._step, self._since = label.step, now

    # ------------------------------------------------------------------ the end

    def _finish(self, number: int, organisations: tuple[str, ...]) -> dict[str, Any]:
        """Have every party keep its part; return what is known of the model."""
        run = self.run
        standings = {org: self._heard[org].standing for org in organisations}
        parts = {org: each.part for org, each in standings.items() if each is not None}
        label = standings[run.study.cast.label]
        if label is None or label.rows is None:
            raise MessageInvalid("The label party does not say how many records are common.")
        told = {
            "job": run.job, "attempt": number, "parts": parts, "steps": label.step,
            "made": run.made(),
        }  # fmt: skip
        models: dict[str, Any] = {}
        until = run.clock.monotonic() + 2 * run.study.patience + ANSWER_SECONDS
        while len(models) < len(organisations):
            for organisation, reply in self._ask(Request("finish", told), ANSWER_SECONDS).items():
                if reply.failure is not None and reply.failure.code != _UNKNOWN:
                    raise _failed(organisation, reply.failure)
                if reply.failure is None:
                    models[organisation] = reply.head
            missing = [org for org in organisations if org not in models]
            if missing and run.clock.monotonic() > until:
                raise PartySilent(
                    f"{', '.join(missing)} did not keep its part in time.", party=missing[0]
                )
            if missing:
                self._prepare(2 * run.study.patience, tell=False)
        if label.quality is not None:
            run.emit({"event": "quality", **label.quality})
        named = models[organisations[0]]
        return {
            "model": str(named.get("model", ""))[:64],
            "name": str(named.get("name", ""))[:63],
            "parts": parts,
            "steps": label.step,
            "training": label.rows[0],
            "judging": label.rows[1],
        }


def _failed(organisation: str, failure: Failure | FailureSection) -> PartyFailed:
    """Return what a party says as an error that names it."""
    named = failure.message.startswith((f"{organisation}:", f"{organisation} "))
    return PartyFailed(
        failure.message if named else f"{organisation}: {failure.message}",
        code=failure.code,
        exit_code=failure.exit_code,
        party=organisation,
    )
