"""A statement as a source is asked it: cores of its dialect, and of each selection the sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.compile import codes_sql, core_sql
from sandbox.disclosure import cells_of
from sandbox.members import of_pairs
from sandbox.sources import MAX_OVERLAPPING, Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.compile import CoreQuery
    from sandbox.dialects import Name
    from sandbox.partials import Rows
    from sandbox.query import Compiled
    from sandbox.selection import Selection
    from sandbox.sets import Pairs


class Question:
    """A statement and its selections as SQL for one dialect.

    Attributes:
        cores: Those of the statement, then one for each selection.
        codes: SQL that yields (entity, number of the cell), for each selection.
    """

    def __init__(self, compiled: Compiled, selections: Sequence[Selection], dialect: Name) -> None:
        """Write it."""
        self._selections = selections
        self._own = len(compiled.asked.queries)
        self._cells = [core_sql(each.core, compiled.policy, dialect) for each in selections]
        self.cores: tuple[CoreQuery, ...] = (*compiled.asked.queries, *self._cells)
        self.codes = [codes_sql(each.core, compiled.policy, dialect) for each in selections]

    def found(self, rows: list[Rows], pairs: list[Pairs], people: int) -> Found:
        """Return what the rows of the cores and the pairs of the sets say."""
        shown = [
            [cell.keys for cell in cells_of(selection.core, query, these)]
            for selection, query, these in zip(
                self._selections, self._cells, rows[self._own :], strict=True
            )
        ]
        members = [of_pairs(each, people, MAX_OVERLAPPING) for each in pairs]
        return Found(rows[: self._own], shown, members)
