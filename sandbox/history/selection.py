"""Which cells of a table keep everybody's leverage within its bound, tried largest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.identities import proved
from sandbox.history.leverage import DEPENDENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sandbox.history.leverage import Elimination, Trial
    from sandbox.history.predicates import Definitions, Form
    from sandbox.history.state import State
    from sandbox.history.thresholds import Draws, Policy

    Floats = NDArray[np.float64]

_NAMED: Final = 3
_ROUNDING: Final = 1e-9


@dataclass(slots=True)
class Selection:
    """What was chosen.

    Attributes:
        chosen: Cells with a row, in the order of their rows.
        free: Cells that follow from released ones by definition: they add nothing.
        refused: Why not, and earlier queries that it collides with, by cell.
        lower: The factor's new corner, a × a.
        h: All leverages with the chosen ones.
    """

    chosen: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    refused: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lower: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    h: Floats = field(default_factory=lambda: np.zeros(0))


class Selector:
    """Chooses among the cells of one table."""

    def __init__(
        self,
        state: State,
        trial: Trial,
        forms: Sequence[Form],
        bounds: tuple[Policy, Draws, Definitions],
    ) -> None:
        """Take the table (``trial``), and what each of its cells is by definition."""
        self._state, self._trial, self._forms = state, trial, forms
        self._policy, self._draws, self._definitions = bounds

    def choose(self, order: Sequence[int], most_refused: float) -> Selection:
        """Return the choice, or the first part of it where more than so many are refused.

        Args:
            order: Cells to try, first come first.
            most_refused: More refusals than that end the search.
        """
        made = Selection()
        left = list(order)
        while len(made.refused) <= most_refused:
            made.free = []
            elimination = self._trial.elimination()
            for cell in left:
                self._place(made, elimination, cell)
            made.chosen, made.lower = elimination.chosen, elimination.lower()
            made.h = self._state.leverage.h
            left = [cell for cell in left if cell not in made.refused]
            place = self._first_beyond(made) if made.chosen else None
            if place is None:
                return made
            cell = made.chosen[place]
            made.refused[cell] = self._named(self._parts(made, cell, place)[0])
            left.remove(cell)
        return made

    def _parts(self, made: Selection, cell: int, place: int) -> tuple[Floats, Floats]:
        """Return the combination of old and of the first chosen cells that is nearest to a cell."""
        corner = made.lower[:place, :place]
        return self._trial.coefficients(made.chosen[:place], corner, cell)

    def _place(self, made: Selection, elimination: Elimination, cell: int) -> None:
        """Give a cell its row, or find that it depends on others."""
        rest = elimination.rest(cell)
        if rest > DEPENDENT or (self._trial.noise > 0 and rest > 0):
            elimination.take(cell)
            return
        made.chosen, made.lower = elimination.chosen, elimination.lower()
        on_old, on_new = self._parts(made, cell, len(made.chosen))
        parts = [
            *zip(self._state.forms, on_old.tolist(), strict=True),
            *zip((self._forms[other] for other in made.chosen), on_new.tolist(), strict=True),
        ]
        if proved(self._forms[cell], parts, self._definitions):
            made.free.append(cell)
        else:
            # Equal by data, not by definition: that nobody is in between is itself an answer.
            made.refused[cell] = self._named(on_old)

    def _first_beyond(self, made: Selection) -> int | None:
        """Return the first place of a chosen cell that takes somebody beyond a bound."""
        policy = self._policy
        steps, made.h = self._trial.added(made.chosen, made.lower)
        surely = policy.h_max * (1 - policy.slack)
        peaks = steps if made.h.max() <= surely else self._trial.peaks(made.chosen, made.lower)
        bounds = zip(steps.tolist(), peaks.tolist(), strict=True)
        for place, (step, peak) in enumerate(bounds):
            if step <= policy.most_step(1) + _ROUNDING and peak <= surely:
                continue
            if max(step, peak) > policy.h_max + _ROUNDING:
                return place
            # Who is singled out, rather than the cell: another phrasing draws the same.
            addition = self._trial.addition(made.chosen, made.lower, place)
            draw = self._draws.of(addition > addition.max() / 2)
            if step > policy.most_step(draw) + _ROUNDING:
                return place
            if peak > step + _ROUNDING and peak > policy.most_sum(draw):
                return place
        return None

    def _named(self, on_old: Floats) -> tuple[str, ...]:
        """Return the queries with the largest part in a combination."""
        named: list[str] = []
        for row in np.argsort(-np.abs(on_old), kind="stable"):
            if abs(on_old[row]) < 1e-6 or len(named) == _NAMED:
                break
            if self._state.queries[row] not in named:
                named.append(self._state.queries[row])
        return tuple(named)
