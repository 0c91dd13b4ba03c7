"""Where an owner's tables lie and who computes on them: one protocol, one module a kind.

``files`` is the confined worker over frozen Parquet and CSV files, ``postgres`` a database that
gets the core pushed down. A source runs what the compiler made of a statement, in its own dialect,
over tables that do not change, and returns cells and sets of people's numbers. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.dialects import Name
    from sandbox.partials import Rows
    from sandbox.query import Compiled
    from sandbox.selection import Selection
    from sandbox.sets import Pairs

    Keys = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a source found, of the shape that was asked for.

    Attributes:
        rows: Of each query of the statement.
        cells: Kept keys of each cell, for each selection.
        pairs: Who is in which of them: (number of a person, number of a cell).
    """

    rows: list[Rows]
    cells: list[list[Keys]]
    pairs: list[Pairs]


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
