"""An operator's side of an alignment: it signs an order, hands it to every party, and looks.

The operator's own node need not be up for that, unless the operator is a party itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from fusion.alignment.study import parse_study
from fusion.errors import (
    EnvironmentUnfit,
    FusionError,
    InputInvalid,
    MessageInvalid,
    PartyFailed,
    PartyUnreachable,
    RunStopped,
)
from fusion.grants.order import sign_order
from fusion.services.align_jobs import OVER, Job, job_of
from fusion.services.align_service import ASK, Asked, reply_of
from fusion.services.clock import SystemClock
from fusion.services.files import read_file
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusion.alignment.study import AlignmentStudy
    from fusion.ports import Stop
    from fusion.services.align_jobs import State
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

ASK_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.5
_QUIET_SECONDS: Final = 60.0
_ORDER_HOURS: Final = 1


@dataclass(frozen=True, slots=True)
class Result:
    """How an alignment ended.

    Attributes:
        job: The job.
        outcome: Who was to learn what.
        states: What each party says of it.
        report: Of the own column, where the operator is a party.
    """

    job: str
    outcome: str
    states: Mapping[str, State]
    report: Mapping[str, Any] | None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        learned = [state.common for state in self.states.values() if state.common is not None]
        return {
            "job": self.job,
            "outcome": self.outcome,
            "common": learned[0] if learned else None,
            "parties": [
                {"organisation": name, "records": state.records}
                for name, state in self.states.items()
            ],
            "report": self.report,
        }


class Operator:
    """One run, as its operator sees it."""

    def __init__(self, node: NodeHome, connection: Connection, text: str, origin: str) -> None:
        """Read the study and sign the order.

        Raises:
            StudyInvalid: The study is wrong; names the line.
            InputInvalid: It names another operator.
        """
        self._node, self._connection = node, connection
        self.study: AlignmentStudy = parse_study(text, origin)
        self._me = node.config.id
        if self.study.study.operator != self._me:
            raise InputInvalid(
                f"{origin}: the study names {self.study.study.operator} as its operator; only it "
                f"orders an alignment, and this is {self._me}.",
                study_key="study.operator",
            )
        order, self._document = sign_order(
            federation=node.trust().federation,
            operator=self._me,
            study=self.study.digest(),
            key=node.statement_key,
            now=SystemClock().now(),
            hours=_ORDER_HOURS,
        )
        self.job: Final = job_of(order)

    def run(self, stop: Stop, show: Callable[[Mapping[str, State]], None]) -> Result:
        """Hand the order to every party and wait until all are done.

        Args:
            stop: Ends the run at every party.
            show: Told how far it is, about twice a second.

        Raises:
            PartyFailed: A party refuses, or its part failed; code and hint are its.
            PartyUnreachable: A party's node does not answer.
            EnvironmentUnfit: The operator is a party, and its node is not up.
            RunStopped: ``stop`` was set.
        """
        try:
            states = {name: self._begun(name) for name in self.study.organisations}
            states = self._followed(states, stop, show)
        except BaseException:
            self._end()
            raise
        return Result(self.job, self.study.alignment.outcome, states, self._report())

    def _begun(self, name: str) -> State:
        if name == self._me:
            if not self._node.ready.exists():
                raise EnvironmentUnfit(
                    f"{self._me} is a party of the study, and its node is not up.",
                    hint="Start it: fusion node up",
                )
            job = Job(self._node, self.job)
            job.make(self.study, self._document)
            return job.state
        return self._asked(
            name,
            Asked(
                kind="begin",
                job=self.job,
                study=self.study.canonical().decode(),
                order=self._document.decode(),
            ),
        )

    def _followed(
        self, states: dict[str, State], stop: Stop, show: Callable[[Mapping[str, State]], None]
    ) -> dict[str, State]:
        quiet = dict.fromkeys(states, 0.0)
        clock = SystemClock()
        while True:
            show(states)
            _check(states)
            if all(state.status == "done" for state in states.values()):
                return states
            if stop.wait(_LOOK_SECONDS):
                raise RunStopped("The alignment was stopped.")
            for name, state in states.items():
                began = clock.monotonic()
                try:
                    if state.status not in OVER:
                        states[name] = self._looked(name)
                    quiet[name] = 0.0
                except PartyUnreachable:
                    # A node that is started again goes on with it.
                    quiet[name] += clock.monotonic() - began + _LOOK_SECONDS
                    if quiet[name] > max(_QUIET_SECONDS, 2 * self.study.study.patience):
                        raise

    def _looked(self, name: str) -> State:
        if name == self._me:
            return Job(self._node, self.job).state
        return self._asked(name, Asked(kind="look", job=self.job))

    def _end(self) -> None:
        """Tell every party that it is over; who is done stays so."""
        for name in self.study.organisations:
            try:
                if name == self._me:
                    Job(self._node, self.job).ask_to_stop()
                else:
                    self._asked(name, Asked(kind="stop", job=self.job))
            except FusionError:
                continue  # it does not have the job, or can't be reached: its patience ends

    def _asked(self, name: str, asked: Asked) -> State:
        call = self._connection.channel(name).unary_unary(ASK)

        async def ask() -> bytes:
            answer: bytes = await call(asked.canonical(), timeout=ASK_SECONDS)
            return answer

        try:
            reply = reply_of(self._connection.link.run(ask(), ASK_SECONDS + 1))
        except grpc.aio.AioRpcError as error:
            raise PartyUnreachable(
                f"{name} does not answer: {error.details()}",
                hint="Is its node up? `fusion node ping` tells.",
            ) from None
        if reply.refusal is not None:
            raise _named(name, reply.refusal.error())
        if reply.state is None or reply.state.job != self.job:
            raise MessageInvalid(f"{name} answers for another alignment.")
        return reply.state

    def _report(self) -> dict[str, Any] | None:
        path = Job(self._node, self.job).path / "report.json"
        if not path.exists():
            return None
        found: dict[str, Any] = canonical.decode(read_file(path))
        return found


def _named(name: str, error: PartyFailed) -> PartyFailed:
    """Return a party's error with its name."""
    message = error.message if error.message.startswith(name) else f"{name}: {error.message}"
    named = PartyFailed(message, code=error.code, exit_code=error.exit_code, party=name)
    named.hint = error.hint
    return named


def _check(states: Mapping[str, State]) -> None:
    """Return if no party has failed; of several, the one that failed by itself is named.

    Raises:
        PartyFailed: One has.
    """
    found = [
        (name, state.refusal.error())
        for name, state in states.items()
        if state.status == "failed" and state.refusal is not None
    ]
    if found:
        own = [each for each in found if " ended the job" not in each[1].message]
        raise _named(*(own or found)[0])
