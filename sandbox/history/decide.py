"""The decision about a table: serve, cache, snap, merge or withhold each cell.

From sets and earlier queries only.

Pure and total: the same state and request, the same decision; no measured value is at hand. The
whole table is decided before anything of it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from sandbox.history.columns import sizes_of
from sandbox.history.identities import proved
from sandbox.history.leverage import Trial
from sandbox.history.predicates import key_of
from sandbox.history.request import COLLISIONS, Decision, Outcome, Reason, Status
from sandbox.history.selection import Selection, Selector
from sandbox.history.state import Addition, Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from sandbox.history.predicates import Definitions, Form
    from sandbox.history.request import Request
    from sandbox.history.state import State
    from sandbox.history.thresholds import Draws, Policy

    Codes = NDArray[np.int32]
    Floats = NDArray[np.float64]

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a ledger, whatever was released: bounds, keyed draws, declared attributes."""

    policy: Policy
    draws: Draws
    definitions: Definitions


@dataclass(slots=True)
class _Work:
    """A table while it is decided."""

    state: State
    request: Request
    rules: Rules
    forms: list[Form]
    keys: list[str]
    sizes: NDArray[np.int64]
    shared: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    settled: dict[int, Outcome] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    """Collisions that tell no more than the size of a cell does."""
    joins: dict[str, Outcome] = field(default_factory=dict)
    """What would not go even joined, by key: the guard's own attempt, which is not charged."""

    def settle(self, cell: int, outcome: Outcome) -> None:
        """Note that a cell collided, for good."""
        self.outcomes[cell] = self.settled[cell] = outcome

    def withhold(self, cells: Iterable[int], reason: Reason, named: tuple[str, ...] = ()) -> None:
        for cell in cells:
            self.outcomes[cell] = Outcome(Status.WITHHELD, reason, "", named)

    def open(self) -> list[int]:
        """Return the cells without an outcome, largest first, whatever the order of the table."""
        cells = (cell for cell in range(len(self.forms)) if cell not in self.outcomes)
        return sorted(cells, key=lambda cell: (-self.sizes[cell], self.keys[cell]))


def decide(
    state: State, request: Request, rules: Rules, refused: int
) -> tuple[Decision, Addition | None]:
    """Return the decision, and what it adds to the ledger.

    Args:
        state: The ledger.
        request: The table.
        rules: Bounds, draws, declared attributes.
        refused: Tables with a collision that the group was refused in this month.

    Raises:
        InputInvalid: The request is malformed, or speaks of what is not declared.
    """
    request.check(state.leverage.entities)
    definitions = rules.definitions
    forms = [definitions.form(predicate) for predicate in request.predicates]
    sizes = sizes_of(request.codes, len(forms))
    work = _Work(state, request, rules, forms, [key_of(form) for form in forms], sizes)
    if _contradicts(work):
        work.withhold(range(len(forms)), Reason.DEFINITION)
        return _finish(work, _Choice())
    work.shared = state.leverage.columns.intersections(request.codes, len(forms))
    _again(work)
    before = _without_a_look(work, refused)
    if before is not None:
        work.withhold(work.open(), before)
        return _finish(work, _Choice())
    _singles(work)
    return _select(work)


def _contradicts(work: _Work) -> bool:
    """Return whether sets can't be what they are said to be: two of one definition, or nobody."""
    keys = [key for key, form in zip(work.keys, work.forms, strict=True) if form]
    nobody = sum(size for size, form in zip(work.sizes, work.forms, strict=True) if not form)
    return len(set(keys)) != len(keys) or bool(nobody)


def _again(work: _Work) -> None:
    """Give cells that were released before the same value."""
    for cell, key in enumerate(work.keys):
        name = (key, work.request.measure)
        found = work.state.released.get(name)
        if found is None:
            if name in work.state.settled:
                work.outcomes[cell] = work.state.settled[name]
            continue
        same = found.size == work.sizes[cell]
        if found.row >= 0:
            same = same and work.shared[found.row, cell] == found.size
        if same:
            work.outcomes[cell] = Outcome(Status.CACHED, source=key)
        else:
            # A hierarchy or a domain is declared that does not fit the data.
            work.settle(cell, Outcome(Status.WITHHELD, Reason.DEFINITION))


def _without_a_look(work: _Work, refused: int) -> Reason | None:
    """Return why nothing new is released, whatever is asked."""
    policy, leverage = work.rules.policy, work.state.leverage
    fresh = len(work.forms) - len(work.outcomes)
    if not fresh:
        return None
    if refused >= policy.refusals:
        return Reason.BUDGET
    if leverage.rows + fresh > policy.max_rows or len(work.forms) > policy.max_cells:
        return Reason.CELLS
    return None


def _singles(work: _Work) -> None:
    """Withhold what is too small, or too near to one earlier cell."""
    policy, draws = work.rules.policy, work.rules.draws
    for cell in work.open():
        if _fewer(int(work.sizes[cell]), policy, draws, partial(_people, work, (cell,))):
            work.withhold([cell], Reason.SMALL)
    for cell in work.open():
        apart = work.sizes[cell] + work.state.leverage.sizes - 2 * work.shared[:, cell]
        for row in np.flatnonzero(apart < policy.k + policy.spread):
            if _collides(work, cell, int(row), int(apart[row])):
                break


def _collides(work: _Work, cell: int, row: int, between: int) -> bool:
    """Settle a cell if too few people are in only one of it and an earlier cell."""
    part = [(work.state.forms[row], 1.0)]
    same = proved(work.forms[cell], part, work.rules.definitions)
    if same and between == 0:
        return False
    # Between epochs, the same definition selects others: batches came and went.
    if same and row >= work.state.carried:
        work.settle(cell, Outcome(Status.WITHHELD, Reason.DEFINITION))
        return True
    people = partial(_people, work, (cell,), row)
    if between and not _fewer(between, work.rules.policy, work.rules.draws, people):
        return False
    key, named = work.state.keys[row], (work.state.queries[row],)
    if (key, work.request.measure) in work.state.released:
        work.settle(cell, Outcome(Status.SNAPPED, Reason.PAIR, key, named))
    else:
        work.settle(cell, Outcome(Status.WITHHELD, Reason.PAIR, "", named))
    if between and _is_small_cell(work, people()):
        work.told.add(cell)
    return True


def _is_small_cell(work: _Work, people: NDArray[np.bool_]) -> bool:
    """Return whether a set is a cell of the table that is withheld as too small.

    That one has the same draw: nothing is told by the collision that was not told by the cell.
    """
    (cell, *others) = np.unique(work.request.codes[people]).tolist()
    outcome = work.outcomes.get(cell)
    small = outcome is not None and outcome.reason is Reason.SMALL
    return small and not others and int(people.sum()) == work.sizes[cell]


def _people(work: _Work, cells: tuple[int, ...], row: int | None = None) -> NDArray[np.bool_]:
    """Return who is in some cells, or in only one of them and an earlier one."""
    codes = work.request.codes
    people = np.asarray(codes == cells[0] if len(cells) == 1 else np.isin(codes, cells))
    return people if row is None else people ^ work.state.leverage.columns.members(row)


def _fewer(
    size: int, policy: Policy, draws: Draws, members: Callable[[], NDArray[np.bool_]]
) -> bool:
    """Return whether a set is smaller than its drawn threshold."""
    if not policy.k <= size < policy.k + policy.spread - 1:
        return size < policy.k
    return size < policy.least(draws.of(members()))


def _collided(work: _Work) -> int:
    return sum(outcome.reason in COLLISIONS for outcome in work.outcomes.values())


def _large(work: _Work) -> int:
    """Return how many cells are not too small: one that is tells nothing by being there."""
    small = sum(outcome.reason is Reason.SMALL for outcome in work.outcomes.values())
    return len(work.forms) - small


@dataclass(slots=True)
class _Choice:
    """What is to be released: groups of cells, and the trial that their rows come from."""

    groups: tuple[tuple[int, ...], ...] = ()
    selection: Selection = field(default_factory=Selection)
    trial: Trial | None = None

    def taken(self) -> list[tuple[int, ...]]:
        """Return the groups to be released: those with a row, in its order, then the free ones."""
        return [self.groups[place] for place in (*self.selection.chosen, *self.selection.free)]


def _select(work: _Work) -> tuple[Decision, Addition | None]:
    """Choose among what is left, then try to merge what can't be released alone."""
    order = work.open()
    half = _HALF * _large(work)
    choice = _choose(work, tuple((cell,) for cell in order), half - _collided(work))
    for place, named in choice.selection.refused.items():
        work.settle(order[place], Outcome(Status.WITHHELD, Reason.COMBINATION, "", named))
    if _collided(work) > half:
        work.withhold(work.open(), Reason.HALF)
        return _finish(work, _Choice())
    if work.request.merge:
        for rest in _rests(work):
            merged = _merge(work, choice, rest)
            if merged is not None:
                return _finish(work, merged)
    return _finish(work, choice)


def _choose(work: _Work, groups: tuple[tuple[int, ...], ...], most_refused: float) -> _Choice:
    """Try groups of cells in this order."""
    if not groups:
        return _Choice()
    codes, onto = _relabelled(work.request.codes, len(work.forms), groups)
    spread = np.zeros((len(onto), len(groups)))
    kept = np.flatnonzero(onto >= 0)
    spread[kept, onto[kept]] = 1
    sizes = work.sizes @ spread
    trial = Trial(work.state.leverage, codes, work.shared @ spread, sizes, work.request.noise)
    rules = work.rules
    bounds = (rules.policy, rules.draws, rules.definitions)
    selector = Selector(work.state, trial, [_form(work, group) for group in groups], bounds)
    return _Choice(groups, selector.choose(range(len(groups)), most_refused), trial)


def _form(work: _Work, group: tuple[int, ...]) -> Form:
    if len(group) == 1:
        return work.forms[group[0]]
    return work.rules.definitions.either(work.forms[cell] for cell in group)


def _relabelled(
    codes: Codes, cells: int, groups: Iterable[tuple[int, ...]]
) -> tuple[Codes, NDArray[np.int32]]:
    """Return codes with groups for cells, and which group each cell is in, or -1."""
    onto = np.full(cells + 1, -1, dtype=np.int32)
    for place, group in enumerate(groups):
        onto[list(group)] = place
    if np.array_equal(onto[:-1], np.arange(cells)):
        return codes, onto[:-1]
    # The last one answers for code -1.
    return onto[codes], onto[:-1]


def _rests(work: _Work) -> list[tuple[int, ...]]:
    """Return which withheld cells to join: all of them, then those that collided."""
    again = {Reason.SMALL, Reason.PAIR, Reason.COMBINATION}
    held = {
        cell: outcome.reason
        for cell, outcome in sorted(work.outcomes.items())
        if outcome.status is Status.WITHHELD and outcome.reason in again and work.sizes[cell]
    }
    rests = [tuple(held), tuple(cell for cell in held if held[cell] is not Reason.SMALL)]
    return [rest for place, rest in enumerate(rests) if len(rest) > 1 and rest not in rests[:place]]


def _merge(work: _Work, choice: _Choice, rest: tuple[int, ...]) -> _Choice | None:
    """Return the choice with several withheld cells released as one, if that may be."""
    form = _form(work, rest)
    key = key_of(form)
    name = (key, work.request.measure)
    released = work.state.released.get(name)
    size = int(work.sizes[list(rest)].sum())
    found = choice
    if released is None:
        draws, people = work.rules.draws, partial(_people, work, rest)
        if name in work.state.settled or _fewer(size, work.rules.policy, draws, people):
            return None
        near = _is_near(work, rest, form)
        found = choice if near else _choose(work, (*choice.taken(), rest), 0)
        if near or found.selection.refused:
            reason = Reason.PAIR if near else Reason.COMBINATION
            work.joins[key] = Outcome(Status.WITHHELD, reason)
            return None
    elif released.size != size:
        return None
    for cell in rest:
        was = work.outcomes[cell]
        work.outcomes[cell] = Outcome(Status.MERGED, was.reason, key, was.collides_with)
    return found


def _is_near(work: _Work, rest: tuple[int, ...], form: Form) -> bool:
    """Return whether too few people are in only one of joined cells and an earlier cell."""
    policy, leverage, definitions = work.rules.policy, work.state.leverage, work.rules.definitions
    size = int(work.sizes[list(rest)].sum())
    apart = size + leverage.sizes - 2 * work.shared[:, list(rest)].sum(axis=1)
    for row in np.flatnonzero(apart < policy.k + policy.spread):
        between = int(apart[row])
        same = proved(form, [(work.state.forms[row], 1.0)], definitions)
        if same and between == 0:
            continue
        people = partial(_people, work, rest, int(row))
        if same or between == 0 or _fewer(between, policy, work.rules.draws, people):
            return True
    return False


def _finish(work: _Work, choice: _Choice) -> tuple[Decision, Addition | None]:
    """Return the decision once the ledger as a whole has room for it, and what it adds."""
    taken = choice.taken()
    full = _full(work, choice)
    if full is not None:
        work.withhold((cell for group in taken for cell in group), full)
        choice, taken = _Choice(), []
    for group in taken:
        if len(group) == 1:
            work.outcomes[group[0]] = Outcome(Status.SERVED, source=work.keys[group[0]])
    outcomes = tuple(work.outcomes[cell] for cell in range(len(work.forms)))
    decision = Decision(outcomes, charged=bool(work.settled.keys() - work.told))
    changed = taken or work.settled or work.joins
    return decision, _addition(work, choice) if changed else None


def _full(work: _Work, choice: _Choice) -> Reason | None:
    """Return which bound of the whole ledger a choice would pass."""
    policy, leverage = work.rules.policy, work.state.leverage
    if not choice.selection.chosen:
        return None
    if _sum(work, choice) > policy.capacity * policy.h_max * leverage.entities:
        return Reason.CAPACITY
    if policy.max_appearances:
        inside, _ = _relabelled(work.request.codes, len(work.forms), choice.taken())
        if (leverage.appearances[inside >= 0] >= policy.max_appearances).any():
            return Reason.APPEARANCES
    return None


def _sum(work: _Work, choice: _Choice) -> float:
    """Return the sum of all leverages, or a bound on it that is within the ledger's."""
    policy, leverage, selection = work.rules.policy, work.state.leverage, choice.selection
    # A projector's trace is its rank: no row adds more than 1 to the sum.
    rows = float(leverage.rows + len(selection.chosen))
    if rows * (1 + 1e-9) <= policy.capacity * policy.h_max * leverage.entities:
        return rows
    if selection.added is None and choice.trial is not None:
        selection.added = choice.trial.added(selection.chosen, selection.lower)[1]
    return float((leverage.h if selection.added is None else leverage.h + selection.added).sum())


def _addition(work: _Work, choice: _Choice) -> Addition:
    chosen, first = choice.selection.chosen, work.state.leverage.rows
    groups = [choice.groups[place] for place in chosen]
    codes, _ = _relabelled(work.request.codes, len(work.forms), groups)
    cells = []
    for place, group in enumerate(choice.taken()):
        form = _form(work, group)
        size = int(work.sizes[list(group)].sum())
        row = first + place if place < len(chosen) else -1
        cells.append(Cell(key_of(form), form, size, row))
    rows = np.zeros((0, first))
    if choice.trial is not None and chosen:
        rows = choice.trial.rows(chosen, choice.selection.lower)
    return Addition(
        codes=codes,
        noise=work.request.noise,
        rows=rows,
        cells=tuple(cells),
        settled=(
            *((work.keys[cell], outcome) for cell, outcome in work.settled.items()),
            *work.joins.items(),
        ),
        added=choice.selection.added if chosen else None,
    )
