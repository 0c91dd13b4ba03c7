"""The round engine: set-up, then sums of moments, updates and metrics, until the model stands.

It runs at the hub, over any :class:`~federated.cohort.Cohort`, and imports no Flower. It decides
who is asked and when to stop waiting; what may be added and opened is decided by the parties
(:mod:`federated.protocols.secure_sum`). Every step that a restart must not lose goes through the
journal first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.attendance import Attendance
from federated.cohort import Request
from federated.data import Standardiser
from federated.layouts import LOSS_CAP
from federated.metrics import from_histogram
from federated.norms import check_mean
from federated.optimisers import make
from federated.parameters import decode_parameters, encode_parameters
from federated.privacy.reading import quality_of, read_moments, rows_of
from federated.sums import SumResult, SumRunner
from fusion.crypto.paillier.engines.selection import NAMES as ENGINE_NAMES
from fusion.errors import PartyFailed, RunStopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.cohort import Failure, Reply
    from federated.run import Run
    from fusion.types import OrgId

KNOCK_SECONDS: Final = 0.25
"""Pause between two looks for absent parties while the quorum is not met."""


class RoundEngine:
    """Runs a study to its end, or to the error that stops it."""

    def __init__(self, run: Run) -> None:
        """Prepare; nothing is asked of anyone yet."""
        self._run = run
        self._attendance = Attendance(run.study.organisations, run.journal)
        self._sums = SumRunner(run, self._attendance, self._gather)

    def run(self) -> NDArray[np.float64]:
        """Run every round that is still to be run; return the model's parameters.

        Raises:
            QuorumLost: Too few parties; says who is missing and since when.
            InputInvalid: A party's data or the study does not fit; names the party.
            Refused: A party refused the study.
            VerificationFailed: What the parties sent does not add up to a sum.
            SumDisputed: A sum is not one of well-formed contributions; names whose, if it shows.
            RunStopped: The operator asked for it.
        """
        run = self._run
        self._set_up_all()
        resumed = run.journal.last_round()
        if resumed is None:
            state = self._first_state()
            run.journal.keep_round(0, state.document())
        else:
            state = _State.of(run, *resumed)
        while state.round < run.study.rounds:
            if run.stopping():
                msg = f"The run was stopped after round {state.round} of {run.study.rounds}."
                raise RunStopped(msg, hint="The model so far is in the run's journal.")
            state = self._train(state)
        self._evaluate(state)
        return state.parameters

    def close(self, status: str) -> None:
        """Tell everyone who is there how it ended."""
        head = {"job": self._run.terms.job, "status": status, "notices": self._attendance.news()}
        request = Request("close", head)
        present = self._attendance.present()
        self._run.cohort.ask(
            dict.fromkeys(present, request), seconds=self._run.study.deadlines.submit
        )

    # ------------------------------------------------------------------ rounds

    def _first_state(self) -> _State:
        """Standardise from securely summed moments, and start from the study's seed."""
        run = self._run
        result = self._sums.run("moments", 0, b"", {})
        self._report(0, result)
        noise, count = run.study.noise, len(result.contributors)
        moments = result.totals.get("moments", np.zeros(0))
        if noise is not None:
            moments = read_moments(noise, result.totals, count)
        standardiser = Standardiser.from_sums(run.study, moments)
        return _State(
            round=0,
            parameters=run.model.initial(run.study.seed),
            optimiser={},
            standardisation=standardiser.to_json(),
            contributors=result.contributors,
        )

    def _train(self, state: _State) -> _State:
        """Run one round: a sum of updates, and a step of the optimiser."""
        run = self._run
        number = state.round + 1
        result = self._sums.run(
            "train", number, encode_parameters(state.parameters), state.standardisation
        )
        mean = self._mean(result)
        if run.study.noise is None:  # a private run judges the last model only
            self._metrics(state.round, result)
        optimiser = make(run.study)
        if state.optimiser:
            optimiser.restore(state.optimiser)
        after = _State(
            round=number,
            parameters=optimiser.step(state.parameters, mean),
            optimiser=optimiser.state(),
            standardisation=state.standardisation,
            contributors=result.contributors,
        )
        run.journal.keep_round(
            number,
            {**after.document(), "mean": encode_parameters(mean), "attempt": result.attempts},
        )
        clipped = result.totals.get("clipped", np.zeros(1))
        self._report(number, result, clipped=int(clipped[0]))
        return after

    def _mean(self, result: SumResult) -> NDArray[np.float64]:
        """Return the mean update: of organisations, or a step down the noisy mean gradient.

        Raises:
            SumDisputed: It is longer than updates within ``max_norm`` can have made it.
        """
        study, totals = self._run.study, result.totals
        if study.noise is not None:
            rows = rows_of(totals, len(result.contributors))
            return totals["update"] * (study.local.learning_rate / rows)
        rows = float(totals["rows"][0])
        mean = totals["update"] * (study.max_rows / max(rows, 1.0))
        layout = self._run.terms.layouts["train"]
        check_mean(study, layout, mean, rows, len(result.contributors))
        return mean

    def _evaluate(self, state: _State) -> None:
        """Judge the last model: one sum of histograms."""
        number = state.round + 1
        model = encode_parameters(state.parameters)
        result = self._sums.run("evaluate", number, model, state.standardisation)
        self._report(number, result)
        self._metrics(state.round, result)

    def _metrics(self, number: int, result: SumResult) -> None:
        """Report the quality of the model after round ``number``, on all hold-outs together."""
        if self._run.study.noise is not None:
            metrics, loss = quality_of(result.totals)
        else:
            histogram = result.totals["histogram"]
            metrics = from_histogram(histogram)
            scored = max(float(histogram.sum()), 1.0)
            loss = float(result.totals["loss"][0]) * LOSS_CAP * self._run.study.max_rows / scored
        self._run.emit(
            {
                "event": "metrics",
                "round": number,
                "loss": loss,
                "auc": metrics.auc,
                "ks": metrics.ks,
                "ece": metrics.ece,
                "roc": [list(point) for point in metrics.roc],
                "calibration": [list(point) for point in metrics.calibration],
            }
        )

    def _report(self, number: int, result: SumResult, *, clipped: int = 0) -> None:
        """Report a finished round."""
        self._run.emit(
            {
                **self._spent(number, result),
                "event": "round",
                "round": number,
                "purpose": result.purpose,
                "contributors": list(result.contributors),
                "absent": [
                    {"organisation": a.organisation, "since": a.since, "reason": a.reason}
                    for a in result.absent
                ],
                "attempts": result.attempts,
                "clipped": clipped,
                "bytes": result.bytes,
                "seconds": result.seconds,
            }
        )

    def _spent(self, number: int, result: SumResult) -> dict[str, int]:
        """Return the epsilon spent up to and with a sum, in millionths, if the run is private."""
        study = self._run.study
        if study.noise is None:
            return {}
        judged = result.purpose == "evaluate"
        rounds = min(number, study.rounds)
        return {"epsilon_micro": study.noise.spent_micro(rounds, judged=judged)}

    # ------------------------------------------------------------------ attendance

    def _set_up_all(self) -> None:
        """Agree on the study with everyone; those that refuse stop the run, all of them by name."""
        run = self._run
        run.phase("setup", 0, run.study.organisations, ())
        replies = self._ask_set_up(run.study.organisations)
        for organisation in run.study.organisations:
            reply = replies.get(organisation)
            if reply is None:
                self._attendance.leave(
                    organisation, since=run.now(), reason="did not answer the set-up"
                )
                self._setup_event(organisation, "absent")
            elif reply.failure is not None:
                self._setup_event(organisation, "refused", reply)
            else:
                self._attendance.come_back([organisation])
                self._setup_event(organisation, "ready", reply)
        failures = {org: reply.failure for org, reply in replies.items() if reply.failure}
        if failures:
            raise self._failed(failures)
        self._gather("the set-up")

    def _ask_set_up(self, organisations: tuple[OrgId, ...]) -> dict[OrgId, Reply]:
        run = self._run
        head = {
            "job": run.terms.job,
            "study": run.study.canonical().decode(),
            "key": run.terms.key.public.fingerprint,
        }
        if run.order is not None:
            head["order"] = run.order.decode()
        request = Request("setup", head)
        return run.cohort.ask(
            dict.fromkeys(organisations, request), seconds=run.study.deadlines.setup
        )

    def _gather(self, doing: str, *, welcome: bool = True) -> None:
        """Wait for quorum and threshold, at most for the set-up deadline.

        Args:
            doing: What they are needed for.
            welcome: Take back whoever answers again, also when enough are there. Not within a
                round: who broke a list once would only break the next one.

        Raises:
            QuorumLost: Too few in time; says who is missing and since when.
        """
        run = self._run
        until = run.clock.monotonic() + run.study.deadlines.setup
        while True:
            if welcome or not self._enough():
                out = tuple(absence.organisation for absence in self._attendance.absent())
                back = tuple(sorted(run.cohort.knock(out))) if out else ()
                if back:
                    self._welcome(back)
            if self._enough():
                return
            if run.clock.monotonic() >= until:
                raise self._attendance.lost(run.terms.quorum, run.terms.key.threshold, doing)
            run.pause(KNOCK_SECONDS)

    def _enough(self) -> bool:
        """Whether those present can both be summed and open the sum."""
        terms = self._run.terms
        present = self._attendance.present()
        holders = set(present) & set(terms.holders)
        return len(present) >= terms.quorum and len(holders) >= terms.key.threshold

    def _welcome(self, organisations: tuple[OrgId, ...]) -> None:
        """Set returning parties up again; those that agree take part from here on."""
        for organisation, reply in self._ask_set_up(organisations).items():
            if reply.failure is None:
                self._attendance.come_back([organisation])
                self._setup_event(organisation, "back", reply)
            else:
                self._setup_event(organisation, "refused", reply)
                self._attendance.leave(
                    organisation, since=self._run.now(), reason=reply.failure.message
                )

    def _setup_event(self, organisation: OrgId, status: str, reply: Reply | None = None) -> None:
        event: dict[str, Any] = {"event": "setup", "organisation": organisation, "status": status}
        if reply is not None and reply.failure is not None:
            event |= {"code": reply.failure.code, "message": self._placed(reply.failure)}
        elif reply is not None and reply.head.get("engine") in ENGINE_NAMES:
            event["engine"] = reply.head["engine"]
        self._run.emit(event)

    def _placed(self, failure: Failure) -> str:
        """Return what a party says, with the line of the study that it is about."""
        place = self._run.place(failure.study_key) if failure.study_key else ""
        return f"{place}: {failure.message}" if place else failure.message

    def _said(self, organisation: OrgId, failure: Failure) -> str:
        """Return what a party says, with its name; a refusal under a grant begins with it."""
        named = failure.message.startswith(f"{organisation}: ")
        return self._placed(failure) if named else f"{organisation}: {self._placed(failure)}"

    def _failed(self, failures: Mapping[OrgId, Failure]) -> PartyFailed:
        """Return what the parties say as the error that stops the run; the first one's code."""
        first = next(iter(failures.values()))
        message = " ".join(self._said(org, failure) for org, failure in failures.items())
        return PartyFailed(message, code=first.code, exit_code=first.exit_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Where a run stands between two rounds."""

    round: int
    parameters: NDArray[np.float64]
    optimiser: dict[str, NDArray[np.float64]]
    standardisation: dict[str, Any]
    contributors: tuple[OrgId, ...]

    def document(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return {
            "parameters": encode_parameters(self.parameters),
            "optimiser": {name: encode_parameters(v) for name, v in self.optimiser.items()},
            "standardisation": self.standardisation,
            "contributors": list(self.contributors),
        }

    @classmethod
    def of(cls, run: Run, number: int, document: Mapping[str, Any]) -> _State:
        """Read what the journal kept."""
        size = run.terms.layouts["train"].tensors[0].size
        return cls(
            round=number,
            parameters=decode_parameters(document["parameters"], size),
            optimiser={
                name: np.frombuffer(data, dtype="<f8").copy()
                for name, data in document["optimiser"].items()
            },
            standardisation=document["standardisation"],
            contributors=tuple(document["contributors"]),
        )
