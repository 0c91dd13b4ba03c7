"""A ledger in memory, rebuilt from the events of its file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fusion.wire import canonical
from sandbox.history import records

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sandbox.history.state import Addition, State
    from sandbox.history.store import Event
    from sandbox.history.thresholds import Draws


@dataclass(slots=True)
class Open:
    """A ledger in memory, as far as it was read.

    Attributes:
        state: What follows from its events.
        draws: Of its cohort.
        events: How many were read.
        link: Of the last one.
        kept: The event that the snapshot follows.
        numbers: Of each event with rows, by the rows of the factor with it.
        values: What was answered, by key of the cell and measure.
    """

    state: State
    draws: Draws
    events: int = 0
    link: bytes = b""
    kept: int = 0
    numbers: dict[int, int] = field(default_factory=dict)
    values: dict[tuple[str, str], str] = field(default_factory=dict)

    def fork(self) -> Open:
        """Return the same, which changes without this."""
        return replace(
            self,
            state=self.state.fork(),
            numbers=dict(self.numbers),
            values=dict(self.values),
        )

    def absorb(
        self, event: Event, measure: str, addition: Addition, *, carried: bool = False
    ) -> None:
        """Add what an event released, in this epoch or an earlier one."""
        self.state.absorb(f"Q-{event.query}", measure, addition, carried=carried)
        if len(addition.rows):
            self.numbers[self.state.leverage.rows] = event.number


def replay(ledger: Open, event: Event, kept: tuple[int, NDArray[np.float64]] | None) -> None:
    """Apply an event that was read."""
    if event.kind == "values":
        document = canonical.decode(event.body)
        for key, text in document["values"].items():
            ledger.values[key, document["measure"]] = text
        return
    leverage = ledger.state.leverage
    measure, addition = records.decode(
        event.body, event.codes, event.rows, leverage.entities, leverage.rows
    )
    if kept is not None and event.number <= kept[0] and len(addition.rows):
        h = kept[1] if event.number == kept[0] else leverage.h
        addition = replace(addition, h=h)
        ledger.kept = kept[0]
    carried = event.kind == "carried"
    ledger.absorb(event, measure, addition, carried=carried)
