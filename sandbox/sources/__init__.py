"""Where an owner's tables lie and who computes on them: one protocol, one module a kind.

``files`` is the confined worker over frozen Parquet and CSV files, ``postgres`` a database that
gets the core pushed down. A source runs SQL that the compiler wrote for its dialect, over tables
that do not change, and returns cells and sets of people's numbers. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.compile import CoreQuery
    from sandbox.dialects import Name
    from sandbox.partials import Rows
    from sandbox.sets import Pairs


@dataclass(frozen=True, slots=True)
class Found:
    """What a source found, of the shape that was asked for.

    Attributes:
        rows: Of each core.
        pairs: Of each set: (number of a person, number of a cell).
    """

    rows: list[Rows]
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
        cores: Sequence[CoreQuery],
        sets: Sequence[str],
        *,
        caller: str,
        stop: Stop,
        seconds: float,
    ) -> Found:
        """Run cores and sets over one state of the tables.

        Args:
            cores: Compiled for :attr:`dialect`.
            sets: SQL that yields (entity, number of the cell), over tables of the cores.
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
