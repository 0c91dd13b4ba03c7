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
_PASSES: Final = 8
_ROUNDING: Final = 1e-9


@dataclass(slots=True)
class Selection:
    """What was chosen.

    Attributes:
        chosen: Cells with a row, in the order of their rows.
        free: Cells that follow from released ones by definition: they add nothing.
        refused: Why not, and earlier queries that it collides with, by cell.
        lower: The factor's new corner, a × a.
        added: What the chosen ones add to each leverage, where it had to be computed.
    """

    chosen: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    refused: dict[int, tuple[str, ...]] = field(default_factory=dict)
    lower: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    added: Floats | None = None


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
        passes = 0
        while len(made.refused) <= most_refused:
            passes += 1
            made.free = []
            elimination = self._trial.elimination()
            for cell in left:
                self._place(made, elimination, cell)
            made.chosen, made.lower = elimination.chosen, elimination.lower()
            made.added = None
            left = [cell for cell in left if cell not in made.refused]
            beyond = self._beyond(made) if made.chosen else []
            if not beyond:
                return made
            if passes >= _PASSES:
                # To refuse more than one has to is safe, and bounds the time of a table.
                beyond = list(range(beyond[0], len(made.chosen)))
            for place in beyond:
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

    def _beyond(self, made: Selection) -> list[int]:
        """Return the places of chosen cells that are to be refused, in their order.

        Those that alone single somebody out; if there is none, the first that takes somebody's sum
        beyond its bound.
        """
        policy = self._policy
        surely = policy.h_max * (1 - policy.slack)
        most_steps, most_added = self._trial.bounds(made.chosen, made.lower)
        few = policy.most_step(1)
        if most_steps.max() <= few and self._trial.stays_within(most_added, surely):
            return []
        steps, made.added = self._trial.added(made.chosen, made.lower)
        singled = [
            place
            for place, step in enumerate(steps.tolist())
            if step > few + _ROUNDING
            and step > policy.most_step(self._draw(made, place, step)) + _ROUNDING
        ]
        if singled or self._state.leverage.stay_within(made.added, surely):
            return singled
        peaks = self._trial.peaks(made.chosen, made.lower)
        for place, (step, peak) in enumerate(zip(steps.tolist(), peaks.tolist(), strict=True)):
            if peak <= surely or peak <= step + _ROUNDING:
                continue
            if peak > policy.most_sum(self._draw(made, place, peak)):
                return [place]
        return []

    def _draw(self, made: Selection, place: int, reached: float) -> float:
        """Return the draw of those whom a cell singles out; none is needed beyond all bounds.

        Of those people rather than of the cell: another phrasing draws the same.
        """
        if reached > self._policy.h_max + _ROUNDING:
            return 0.0
        addition = self._trial.addition(made.chosen, made.lower, place)
        return self._draws.of(addition > addition.max() / 2)

    def _named(self, on_old: Floats) -> tuple[str, ...]:
        """Return the queries with the largest part in a combination."""
        named: list[str] = []
        for row in np.argsort(-np.abs(on_old), kind="stable"):
            if abs(on_old[row]) < 1e-6 or len(named) == _NAMED:
                break
            if self._state.queries[row] not in named:
                named.append(self._state.queries[row])
        return tuple(named)
