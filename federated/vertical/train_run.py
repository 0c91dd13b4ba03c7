"""A vertical training at the hub: deals, tells rows and steps, has every party keep its part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federated.cohort import Request
from federated.vertical.coordinator import ANSWER_SECONDS, UNKNOWN, Coordinator, failed_by
from federated.vertical.model_section import Boosting
from federated.vertical.study import VerticalStudy
from fusion.errors import MessageInvalid, PartySilent

if TYPE_CHECKING:
    from collections.abc import Callable

    from federated.vertical.coordinator import JointRun
    from federated.vertical.keeping import Mark


class TrainingCoordinator(Coordinator[VerticalStudy]):
    """See the module. The hub sees sizes, steps and the measures that the label party tells."""

    def __init__(
        self,
        run: JointRun[VerticalStudy],
        deal: Callable[[int, int, int], None],
        dealt: Callable[[int], bool],
        made: Callable[[], str],
    ) -> None:
        """Take what is to be run.

        Args:
            run: The run.
            deal: Has the dealer ready for an attempt: told its number, how many rows train, and
                from which step. Nobody deals in some studies.
            dealt: Whether the dealer of an attempt was asked for, or none is needed.
            made: Returns the time as RFC 3339, to the second.
        """
        super().__init__(run)
        self._deal, self._asked, self._made = deal, dealt, made
        self._first = self._step = 0
        self._dealt = self._aligned = False
        self._since = 0.0

    def begun(self, number: int, start: Mark | None) -> None:
        """See :class:`Coordinator`."""
        del number
        self._first = self._step = 0 if start is None else start.step
        self._dealt, self._aligned = False, start is not None
        self._since = self.run.clock.monotonic()

    def goes_on(self, number: int) -> bool:
        """See :class:`Coordinator`."""
        standings = [heard.standing for heard in self.heard.values()]
        aligning = any(each is not None and each.state == "aligning" for each in standings)
        # From which step one began that no longer aligns is known to its dealer alone.
        return aligning or self._asked(number)

    def looked(self, number: int) -> None:
        """See :class:`Coordinator`."""
        self._progress()
        study = self.run.study
        label = self.heard[study.cast.label].standing
        rows = 0 if isinstance(study.model, Boosting) else None
        if label is not None and label.rows is not None:
            rows = label.rows[0]
        if not self._dealt and rows is not None:  # trees are dealt for whatever rows there are
            self._deal(number, rows, self._first)
            self._dealt = True

    def _progress(self) -> None:
        """Tell of rows and steps, as the label party has them."""
        run, study = self.run, self.run.study
        label = self.heard[study.cast.label].standing
        if label is None:
            return
        if label.rows is not None and not self._aligned:
            self._aligned = True
            run.emit({"event": "aligned", "training": label.rows[0], "judging": label.rows[1]})
        if label.step > self._step:
            now = run.clock.monotonic()
            run.emit(
                {
                    "event": "step", "step": label.step, "of": study.model.steps,
                    "unit": study.model.unit, "bytes": self.sent(),
                    "seconds": round((now - self._since) / (label.step - self._step), 3),
                }
            )  # fmt: skip
            self._step, self._since = label.step, now

    def finish(self, number: int) -> None:
        """Have every party keep its part; tell what is known of the model.

        Raises:
            PartyFailed: One does not.
            PartySilent: One does not in time.
            MessageInvalid: The label party does not say how many records are common.
        """
        run, organisations = self.run, self.run.study.organisations
        standings = {org: self.heard[org].standing for org in organisations}
        parts = {org: each.part for org, each in standings.items() if each is not None}
        label = standings[run.study.cast.label]
        if label is None or label.rows is None:
            raise MessageInvalid("The label party does not say how many records are common.")
        told = {
            "job": run.job, "attempt": number, "parts": parts, "steps": label.step,
            "made": self._made(),
        }  # fmt: skip
        models: dict[str, Any] = {}
        until = run.clock.monotonic() + 2 * run.study.patience + ANSWER_SECONDS
        while len(models) < len(organisations):
            for organisation, reply in self.ask(Request("finish", told), ANSWER_SECONDS).items():
                if reply.failure is not None and reply.failure.code != UNKNOWN:
                    raise failed_by(organisation, reply.failure)
                if reply.failure is None:
                    models[organisation] = reply.head
            missing = [org for org in organisations if org not in models]
            if missing and run.clock.monotonic() > until:
                raise PartySilent(
                    f"{', '.join(missing)} did not keep its part in time.", party=missing[0]
                )
            if missing:
                self.prepare(2 * run.study.patience, tell=False)
        if label.quality is not None:
            run.emit({"event": "quality", **label.quality})
        named = models[organisations[0]]
        run.emit(
            {
                "event": "model",
                "model": str(named.get("model", ""))[:64],
                "name": str(named.get("name", ""))[:63],
                "parts": parts,
                "sent": run.tally.totals(),
                "steps": label.step,
                "training": label.rows[0],
                "judging": label.rows[1],
            }
        )
