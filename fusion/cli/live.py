"""The live view of a run: a table that changes on a terminal, a line an event anywhere else.

It goes to stderr, so that stdout stays the result's.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fusion.cli.output import clean
from fusion.cli.progress import SPENT, Progress, key_words, line, metric_words, size_words

if TYPE_CHECKING:
    from types import TracebackType

    from fusion.cli.progress import Event

_STYLES: Final = {
    "ready": "green",
    "answered": "green",
    "waiting": "yellow",
    "absent": "red",
    "refused": "bold red",
}
_SIGNS: Final = {"ready": "+", "answered": "+", "waiting": ".", "absent": "-", "refused": "!"}
_REFRESHES_PER_SECOND: Final = 4


class TrainingView:
    """Shows the events it is fed; use it as a context."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to ``stream``, by default stderr."""
        self.progress = Progress()
        self._stream = stream or sys.stderr
        self._console = Console(file=self._stream, highlight=False, markup=False)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Start the table, where there is a terminal to draw it on."""
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                refresh_per_second=_REFRESHES_PER_SECOND,
                get_renderable=self.render,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state of the table on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def feed(self, event: Event) -> None:
        """Take one event."""
        self.progress.apply(event)
        if self._live is None:
            text = line(event)
            if text is not None:
                self._stream.write(f"{text}\n")
                self._stream.flush()
        elif event["event"] == "notice":
            self.say(str(event.get("message")))

    def say(self, text: str) -> None:
        """Show a line above the table, or after the lines."""
        self._console.print(clean(text), soft_wrap=True)

    def render(self) -> Group:
        """Return the table as it is now."""
        run = self.progress
        if run.aligns:
            return self._aligning()
        head = Text.assemble(
            ("training ", "bold"),
            clean(run.study or "…"),
            (f"  {clean(run.job)}  {clean(run.backend or f'key {key_words(run.key)}')}", "dim"),
        )
        spent = " ".join(f"{key} {run.seconds[key]:.1f}" for key in SPENT)
        model = metric_words(run.metrics) or "no model yet"
        lines: list[RenderableType] = [
            head,
            self._bar(),
            Text.assemble((model, "bold"), (f"  {size_words(run.bytes)} travelled", "dim")),
            self._table(),
            Text(f"seconds  {spent}", style="dim"),
        ]
        if run.status:
            style = "green" if run.status == "done" else "bold red"
            lines.append(Text(clean(f"{run.status} {run.message}"), style=style))
        return Group(*lines)

    def _aligning(self) -> Group:
        """Return what there is to see of an alignment."""
        run = self.progress
        lines: list[RenderableType] = [
            Text.assemble(
                ("aligning ", "bold"), clean(run.study), (f"  {clean(run.job)}", "dim"),
                (f"  {size_words(run.bytes)} travelled  {clean(run.phase)}", "dim"),
            ),
            self._table(),
        ]  # fmt: skip
        if run.status:
            style = "green" if run.status == "done" else "bold red"
            lines.append(Text(clean(f"{run.status} {run.message}"), style=style))
        return Group(*lines)

    def _bar(self) -> Table:
        """Return the rounds as a bar, with what is going on beside it."""
        run = self.progress
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(run.rounds, 1), completed=run.round, width=40),
            Text(f"{run.round}/{run.rounds}"),
            Text(clean(run.phase), style="dim"),
        )
        return bar

    def _table(self) -> Table:
        """Return one row an organisation."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for name, party in self.progress.parties.items():
            style = _STYLES.get(party.state, "dim")
            table.add_row(
                Text(f"{_SIGNS.get(party.state, ' ')} {clean(name)}", style=style),
                Text(clean(party.state), style=style),
                Text(f"{party.rounds} {'steps' if self.progress.backend else 'sums'}", style="dim"),
                Text(clean(party.note), style="dim"),
            )
        return table
