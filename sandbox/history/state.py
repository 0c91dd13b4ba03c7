"""A ledger's state: its leverage, what each released cell is, and which query released it."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.history.leverage import Leverage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sandbox.history.predicates import Form
    from sandbox.history.request import Outcome


@dataclass(frozen=True, slots=True)
class Cell:
    """A released cell.

    Attributes:
        key: Of its form.
        form: What it is by definition.
        size: How many entities are in it.
        row: In the factor; -1 if it follows from others by definition and has none.
    """

    key: str
    form: Form
    size: int
    row: int


@dataclass(frozen=True, slots=True, eq=False)
class Addition:
    """What a decision adds to a ledger.

    Attributes:
        codes: For each entity its new row, from 0, or -1.
        noise: Of each new row.
        rows: Of the factor, a × (m + a).
        cells: What is released.
        settled: Cells that collided, by key: they stay refused, and are not charged again.
        added: What it adds to each leverage, where that is known.
        h: All leverages with it, where they are known.
    """

    codes: NDArray[np.int32]
    noise: float
    rows: NDArray[np.float64]
    cells: tuple[Cell, ...]
    settled: tuple[tuple[str, Outcome], ...] = ()
    added: NDArray[np.float64] | None = None
    h: NDArray[np.float64] | None = None


class State:
    """One ledger, in memory."""

    def __init__(self, entities: int) -> None:
        """Start with nothing released."""
        self.leverage = Leverage(entities)
        self.forms: list[Form] = []
        self.queries: list[str] = []
        self.keys: list[str] = []
        self.released: dict[tuple[str, str], Cell] = {}
        self.settled: dict[tuple[str, str], Outcome] = {}
        self.carried = 0
        """Rows from earlier epochs, which come first: counted, but not given again."""

    def fork(self) -> State:
        """Return the same, which changes without this."""
        forked = copy(self)
        forked.leverage = self.leverage.fork()
        forked.forms, forked.queries = list(self.forms), list(self.queries)
        forked.keys = list(self.keys)
        forked.released, forked.settled = dict(self.released), dict(self.settled)
        return forked

    def absorb(
        self, query: str, measure: str, addition: Addition, *, carried: bool = False
    ) -> None:
        """Add what a query released, in this epoch or an earlier one."""
        if len(addition.rows):
            self.leverage.absorb(
                addition.codes,
                addition.noise,
                addition.rows,
                added=addition.added,
                h=addition.h,
            )
        for cell in sorted(addition.cells, key=lambda cell: cell.row):
            if cell.row >= 0:
                self.forms.append(cell.form)
                self.queries.append(query)
                self.keys.append(cell.key)
            if not carried:
                self.released.setdefault((cell.key, measure), cell)
        if carried:
            self.carried = self.leverage.rows
            return
        for key, outcome in addition.settled:
            self.settled.setdefault((key, measure), outcome)
