"""What all requests of a scope have in common, and what was decided of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion.wire import canonical
from sandbox.history.request import Status
from sandbox.history.store import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.history.predicates import Definitions
    from sandbox.history.request import Decision, Scope


@dataclass(frozen=True, slots=True)
class Cohort:
    """The people whom an epoch counts, frozen; who they are stays with the owner.

    Attributes:
        entities: How many; they are numbered from 0.
        digest: Of the owner's list, hexadecimal, so that two lists are not taken for one.
    """

    entities: int
    digest: str


class Epoch:
    """What all requests of a scope have in common."""

    def __init__(self, scope: Scope, month: str, definitions: Definitions, cohort: Cohort) -> None:
        """Take them."""
        self.text, self.party, self.month = scope.text(), party_of(scope), month
        self.definitions = definitions
        self.body = canonical.encode(
            {
                "cohort": cohort.digest,
                "declared": definitions.digest(),
                "entities": cohort.entities,
            }
        )

    def event(
        self, number: int, kind: str, query: int, *parts: bytes, charged: bool = False
    ) -> Event:
        """Return an event of the scope."""
        return Event(number, self.party, self.month, kind, query, charged, *parts)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of several: its query's name, what was measured, and the decision."""

    query: str
    measure: str
    decision: Decision


def unanswered(decided: Decided, *known: Mapping[tuple[str, str], str]) -> dict[str, list[int]]:
    """Return the cells that have no text yet, by key of the released cell."""
    groups: dict[str, list[int]] = {}
    for cell, outcome in enumerate(decided.decision.outcomes):
        made_here = outcome.status not in {Status.SNAPPED, Status.WITHHELD}
        name = (outcome.source, decided.measure)
        if made_here and not any(name in texts for texts in known):
            groups.setdefault(outcome.source, []).append(cell)
    return groups


def party_of(scope: Scope) -> str:
    """Return as what a group is counted at an owner."""
    return canonical.encode([scope.owner, scope.group]).decode()
