"""Under which permit a party takes part in a job: asked for before data is read, watched after.

A party with a desk reads nothing, trains nothing and gives nothing without a permit that its own
desk made from its own grants. A party without one (a simulation, a node whose operator switched
grants off) works under :data:`UNGRANTED`, which is written out wherever it is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from fusion.errors import GrantRefused
from fusion.grants.refusal import Code
from fusion.grants.request import Request

if TYPE_CHECKING:
    from federated.study import Study
    from fusion.grants.permit import Permit
    from fusion.ports import Clock
    from fusion.types import OrgId

WATCH_SECONDS: Final = 0.25
"""How often long work looks whether it may go on: a quarter of what is promised."""


_KEYS: Final[dict[str, str]] = {
    Code.NO_GRANT: "study.dataset",
    Code.NAMED: "study.grants",
    Code.ASSIGNEE: "study.operator",
    Code.PURPOSE: "study.purpose",
    Code.MODEL: "model.kind",
    Code.CONTRIBUTORS: "study.quorum",
    Code.ROUNDS: "study.rounds",
    Code.EPSILON: "privacy.epsilon_micro",
}
"""Which key of the study a refusal is about."""


class Desk(Protocol):
    """Where a node decides and charges: :class:`fusion.services.grants.GrantDesk`."""

    def schema_digest(self, dataset: str) -> str:
        """Return the digest of the schema of the organisation's own table."""
        ...

    def admit(self, request: Request) -> Permit:
        """Decide and charge.

        Raises:
            GrantRefused: No grant allows it.
        """
        ...

    def check(self, permit: Permit) -> None:
        """Return if work under a permit may go on.

        Raises:
            GrantRefused: It may not: revoked, or over.
        """
        ...

    def commit(self, *permits: Permit) -> None:
        """Make charges final, before anything leaves: all of them at once, or none."""
        ...

    def release(self, permit: Permit) -> None:
        """Give the charge back: nothing has left, and nothing will."""
        ...


@dataclass(slots=True)
class Leave:
    """What one party may do in one job, for as long as it may.

    Attributes:
        desk: Where it was granted.
        permit: The permit, used up when the work began.
        clock: For how often to look.
        begun: Whether something may have left, in this process.
    """

    desk: Desk
    permit: Permit
    clock: Clock
    _looked: float = field(default=float("-inf"), init=False)
    begun: bool = field(default=False, init=False)

    @property
    def grant(self) -> str:
        """Id of the grant."""
        return self.permit.grant

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            GrantRefused: It may not.
        """
        self.desk.check(self.permit)
        self._looked = self.clock.monotonic()

    def watch(self) -> None:
        """Check, but no more often than four times a second: for loops.

        Raises:
            GrantRefused: The work has to stop.
        """
        if self.clock.monotonic() - self._looked >= WATCH_SECONDS:
            self.check()

    def begin(self, *others: Leave) -> None:
        """Say that something is about to leave: from here on the charge is final.

        Args:
            others: Of the same desk, for the same work: killed in between, none of them is final.
        """
        together = [leave for leave in (self, *others) if not leave.begun]
        if together:
            self.desk.commit(*(leave.permit for leave in together))
        for leave in together:
            leave.begun = True

    def give_up(self) -> None:
        """Give the charge back if nothing has left, in this process or in one before it."""
        if not self.begun:
            with suppress(GrantRefused):
                self.desk.release(self.permit)


class Ungranted:
    """Stands where a party works without grants, because its operator said so.

    Attributes:
        grant: None: empty.
    """

    grant = ""

    def check(self) -> None:
        """Nothing to look at."""

    def watch(self) -> None:
        """Nothing to look at."""

    def begin(self) -> None:
        """Nothing to charge."""

    def give_up(self) -> None:
        """Nothing to give back."""


UNGRANTED: Final = Ungranted()


def take_leave(
    desk: Desk | None, organisation: OrgId, job: str, study: Study, clock: Clock
) -> Leave | Ungranted:
    """Get a permit for a party's part in a study, charged, and use it up.

    Args:
        desk: The party's own; ``None`` where it works without grants.
        organisation: The party.
        job: The run.
        study: As the hub showed it. Who operates and what for is the study's word.
        clock: For how often to look later.

    Raises:
        GrantRefused: No grant of this party allows it, or the study says too little.
    """
    if desk is None:
        return UNGRANTED
    request = request_of(organisation, job, study, desk.schema_digest(study.dataset))
    try:
        permit = desk.admit(request)
    except GrantRefused as error:
        error.study_key = _KEYS.get(error.code, "")
        if error.code == Code.UNDECLARED and "epsilon_micro" in error.message:
            error.hint += " In a study: [privacy] with `epsilon_micro`, `delta` and `clip_norm`."
        raise
    permit.spend()
    return Leave(desk, permit, clock)


def request_of(organisation: OrgId, job: str, study: Study, schema_digest: str) -> Request:
    """Return what a study asks of a party, as a grant is asked about it.

    Raises:
        GrantRefused: The study does not say who operates or what for.
    """
    if study.operator is None or study.purpose is None:
        raise GrantRefused(
            f"{organisation}: the study {study.name} does not say who operates and what for, which "
            "every grant limits.",
            hint='Add `operator = "ID"` and `purpose = "dpv:..."` under [study].',
            code=Code.UNDECLARED,
        )
    return Request(
        job=job,
        assignee=study.operator,
        party=organisation,
        action="train",
        dataset=study.dataset,
        columns=tuple(column.name for column in study.columns),
        needed=(study.label,),
        schema_digest=schema_digest,
        purpose=study.purpose,
        model=study.model.kind,
        k=study.quorum,
        rounds=study.rounds,
        epsilon_micro=None if study.privacy is None else study.privacy.epsilon_micro,
        grants=study.grants or (),
        study=study.digest(),
    )
