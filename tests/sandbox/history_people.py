"""Simulated people with key attributes, and tables as a compiler would hand them to the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.decide import Rules, decide
from sandbox.history.predicates import Attribute, Condition, Definitions, Level
from sandbox.history.request import Request, Scope
from sandbox.history.state import State
from sandbox.history.thresholds import Draws, Policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sandbox.history.predicates import Predicate
    from sandbox.history.request import Decision, Outcome

SECRET: Final = bytes(range(32))
SCOPE: Final = Scope("tax", "persons", "analysts", "income", "2026-Q4")
MEASURE: Final = "sum(income) in [0, 100000]"
REGIONS: Final = {
    "north": tuple(f"d{n:02}" for n in range(8)),
    "south": tuple(f"d{n:02}" for n in range(8, 24)),
}
DEFINED: Final = Definitions(
    [
        Attribute.of("district", [name for names in REGIONS.values() for name in names]),
        Attribute.of("sex", ("f", "m")),
        Attribute("age", 18, 99),
    ],
    [Level("region", "district", REGIONS)],
)


class People:
    """A population, and what is asked of it."""

    def __init__(self, count: int, seed: int = 0) -> None:
        draw = np.random.default_rng([1, seed])
        self.count = count
        self.columns: dict[str, NDArray[np.int64]] = {
            "district": (draw.beta(1.2, 2, count) * 24).astype(np.int64),
            "sex": draw.integers(0, 2, count),
            "age": (18 + draw.beta(1.5, 2.5, count) * 82).astype(np.int64),
        }

    def inside(self, predicate: Predicate) -> NDArray[np.bool_]:
        """Return who meets a predicate."""
        out = np.zeros(self.count, dtype=np.bool_)
        for box in DEFINED.form(predicate):
            some = np.ones(self.count, dtype=np.bool_)
            for name, ranges in box:
                column = self.columns[name]
                some &= np.any([(column >= a) & (column <= b) for a, b in ranges], axis=0)
            out |= some
        return out

    def table(
        self,
        *predicates: Predicate,
        noise: float = 24.0,
        scope: Scope = SCOPE,
        measure: str = MEASURE,
        merge: bool = True,
        month: str = "2026-11",
    ) -> Request:
        """Return the request for a table with these cells."""
        codes = np.full(self.count, -1, dtype=np.int32)
        for cell, predicate in enumerate(predicates):
            codes[self.inside(predicate)] = cell
        return Request(scope, month, measure, predicates, codes, noise, merge)


class Desk:
    """A ledger in memory."""

    def __init__(self, people: People, policy: Policy | None = None) -> None:
        self.people = people
        self.state = State(people.count)
        self.rules = Rules(policy or Policy(), Draws(SECRET, "s", people.count), DEFINED)
        self.refused = self.queries = 0

    def ask(self, *predicates: Predicate, **options: object) -> tuple[Outcome, ...]:
        """Return what becomes of each cell."""
        return self.decide(self.people.table(*predicates, **options)).outcomes  # type: ignore[arg-type]

    def decide(self, request: Request) -> Decision:
        """Return the decision, in force from now on."""
        decision, addition = decide(self.state, request, self.rules, self.refused)
        self.refused += decision.charged
        if addition is not None:
            self.queries += 1
            self.state.absorb(f"Q-{self.queries}", request.measure, addition)
        return decision


def where(**conditions: object) -> Predicate:
    """Return one conjunction: a value, a tuple of values, or a range for a number."""
    return (tuple(_condition(name, value) for name, value in conditions.items()),)


def _condition(name: str, value: object) -> Condition:
    if isinstance(value, range):
        return Condition(name, low=value.start, high=value.stop - 1)
    if isinstance(value, int):
        return Condition(name, low=value, high=value)
    values = (value,) if isinstance(value, str) else value
    assert isinstance(values, tuple)
    return Condition(name, values=values)


def by(name: str, *values: object, **also: object) -> list[Predicate]:
    """Return a cell for each value."""
    return [where(**{name: value}, **also) for value in values]
