"""What several ledgers released as the tables of one: histories that become one history."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusion.errors import InputInvalid
from sandbox.history.columns import sizes_of
from sandbox.history.leverage import DEPENDENT, Trial
from sandbox.history.state import Addition, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandbox.history.thresholds import Policy

    Table = tuple[int, str, Addition]
    """Number of a query, what was measured, and what it added to its ledger."""


def joined(ledgers: Sequence[Iterable[Table]], entities: int, policy: Policy) -> Iterator[Table]:
    """Yield the tables of all ledgers as one ledger has them, one after the other.

    Those of a single ledger are as they were.

    Args:
        ledgers: The tables of each, in their order, over one cohort.
        entities: Of the cohort.
        policy: Bounds of a ledger.

    Raises:
        InputInvalid: At the end: together they are beyond a bound, which each of them kept.
    """
    if len(ledgers) == 1:
        yield from (table for table in ledgers[0] if len(table[2].rows))
        return
    state = State(entities)
    for ledger in ledgers:
        for query, measure, released in ledger:
            addition = _added_to(state, released)
            if len(addition.rows):
                state.absorb(f"Q-{query}", measure, addition, carried=True)
                yield query, measure, addition
    h, slack = state.leverage.h, 1 + 1e-9
    if float(h.max(initial=0)) > policy.h_max * slack:
        raise InputInvalid(
            "Together, what was released to several groups singles somebody out.",
            hint="Their histories can't become one; leave them apart.",
        )
    if float(h.sum()) > policy.capacity * policy.h_max * entities * slack:
        raise InputInvalid(
            "Together, what was released to several groups is more than one history has room for.",
            hint="Their histories can't become one; leave them apart.",
        )


def _added_to(state: State, addition: Addition) -> Addition:
    """Return what a table of another ledger adds.

    Cells that follow from what is there, whether by definition or in the data, get no row: whoever
    has both ledgers learns nothing by them.
    """
    held = sorted((cell for cell in addition.cells if cell.row >= 0), key=lambda cell: cell.row)
    count, leverage, codes = len(held), state.leverage, addition.codes
    sizes = sizes_of(codes, count).astype(np.float64)
    shared = leverage.columns.intersections(codes, count)
    trial = Trial(leverage, codes, shared, sizes, addition.noise)
    elimination = trial.elimination()
    for cell in range(count):
        rest = elimination.rest(cell)
        if rest > DEPENDENT or (addition.noise > 0 and rest > 0):
            elimination.take(cell)
    chosen = elimination.chosen
    # The last one answers for code -1.
    onto = np.full(count + 1, -1, dtype=np.int32)
    onto[chosen] = np.arange(len(chosen))
    return Addition(
        codes=onto[codes],
        noise=addition.noise,
        rows=trial.rows(chosen, elimination.lower()),
        cells=tuple(
            replace(held[cell], row=leverage.rows + place) for place, cell in enumerate(chosen)
        ),
    )
