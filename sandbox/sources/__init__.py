"""Where an owner's tables lie and who computes on them: one protocol, one module a kind.

``files`` is the confined worker over frozen Parquet and CSV files, ``postgres`` a database that
gets the core pushed down. A source runs what the compiler made of a statement, in its own dialect,
over tables that do not change, and returns cells and sets of people's numbers. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.dialects import Name
    from sandbox.members import Members
    from sandbox.partials import Rows
    from sandbox.query import Compiled
    from sandbox.selection import Selection

    Keys = tuple[Any, ...]


MAX_CELLS: Final = 1000
"""Cells of a table that are decided about."""

MAX_OVERLAPPING: Final = 200
"""Cells of a table in which one person can be in several: each is decided on its own."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a source found, of the shape that was asked for.

    Attributes:
        rows: Of each query of the statement.
        cells: Kept keys of each cell, for each selection.
        members: Who is in which of them.
    """

    rows: list[Rows]
    cells: list[list[Keys]]
    members: list[Members]


class Source(Protocol):
    """The frozen tables of one revision, and what computes on them; used by many threads."""

    @property
    def dialect(self) -> Name:
        """In which SQL it is asked."""
        ...

    def check(self) -> None:
        """Compare the tables with what the owner signed.

        Raises:
            VerificationFailed: They are not the same.
            WorkFailed: They could not be read.
        """
        ...

    def stand_by(self, compiled: Compiled, stop: Stop) -> None:
        """Wait until what will compute is ready, before the time of a query begins.

        Raises:
            FusionError: It can't be had; :meth:`run` would meet the same.
        """
        ...

    def replenish(self, compiled: Compiled) -> None:
        """Have what was used up for a query replaced, after its answer has left; returns at once.

        Raises:
            FusionError: It can't be had.
        """
        ...

    def run(
        self,
        compiled: Compiled,
        selections: Sequence[Selection],
        *,
        caller: str,
        stop: Stop,
        seconds: float,
    ) -> Found:
        """Compute cells, and who is in which, over one state of the tables.

        Args:
            compiled: For :attr:`dialect`.
            selections: Whom its cores select.
            caller: On whose behalf; callers get their turns.
            stop: Ends it.
            seconds: After which it is ended, whatever it does.

        Raises:
            IsolationBusy: There was no place for it in time.
            WorkFailed: It ended without an answer; nothing of why may leave.
            MessageInvalid: The answer is not of the shape that was asked for.
        """
        ...

    def close(self) -> None:
        """Let go of processes that wait."""
        ...
