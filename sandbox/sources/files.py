"""Frozen files, read by DuckDB in a confined worker that is used once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.wire.limits import MEBI
from sandbox import sets as sets_of
from sandbox.attached import check_frozen
from sandbox.disclosure import cells_of
from sandbox.limits import MAX_INPUTS, Limits
from sandbox.members import read as read_members
from sandbox.partials import Limits as EngineLimits
from sandbox.partials import ask, reply_of
from sandbox.scans import Steps
from sandbox.sources import MAX_CELLS, MAX_OVERLAPPING, Found
from sandbox.sources.question import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from sandbox.isolate import Isolation
    from sandbox.query import Compiled
    from sandbox.selection import Selection

    RunIn = Callable[[str, bytes, Mapping[str, Path]], bytes]

ENTRY: Final = "sandbox.sets:execute"
STORE_ENTRY: Final = "sandbox.storing:execute"
_ENGINE: Final = EngineLimits(memory_mb=1024, threads=2)
_MEMORY_BYTES: Final = 3072 * MEBI
_OUTPUT_BYTES: Final = 256 * MEBI


class Files:
    """:class:`sandbox.sources.Source` over the files of a revision."""

    dialect: Name = "duckdb"

    def __init__(
        self, attached: Attached, isolation: Isolation, *, replenished: bool = False
    ) -> None:
        """Read these tables with these workers.

        Args:
            attached: The revision.
            isolation: Confines the workers.
            replenished: Whether :meth:`replenish` is called after each answer; else a worker is
                replaced when its work ends.
        """
        self._attached = attached
        self._isolation = isolation
        self._replenished = replenished

    def check(self) -> None:
        """Read the files and compare them with what was signed.

        Raises:
            VerificationFailed: One was changed, or can't be read.
        """
        check_frozen(self._attached)

    def stand_by(self, compiled: Compiled, stop: Stop) -> None:
        """Wait for a worker that has done its imports."""
        wanted = self._wanted(compiled)
        if wanted is not None:
            self._isolation.stand_by(*wanted, _limits(1.0), stop)

    def replenish(self, compiled: Compiled) -> None:
        """Order a worker."""
        wanted = self._wanted(compiled)
        if wanted is not None:
            self._isolation.replenish(*wanted, _limits(1.0))

    def _wanted(self, compiled: Compiled) -> tuple[str, Mapping[str, Path]] | None:
        """Return a worker's function and inputs; None if each statement has inputs of its own."""
        if self._attached.store is not None and compiled.stored:
            return STORE_ENTRY, self._attached.opened()
        inputs = self._attached.inputs
        return None if len(inputs) > MAX_INPUTS else (ENTRY, inputs)

    def run(
        self,
        compiled: Compiled,
        selections: Sequence[Selection],
        *,
        caller: str,
        stop: Stop,
        seconds: float,
    ) -> Found:
        """Compute in one worker; see :meth:`sandbox.sources.Source.run`."""
        limits = _limits(seconds)

        def run_in(entry: str, asked: bytes, inputs: Mapping[str, Path]) -> bytes:
            return self._isolation.run(
                entry,
                asked,
                inputs,
                limits,
                caller=caller,
                stop=stop,
                wait_seconds=seconds,
                restock=not self._replenished or self._wanted(compiled) is None,
            )

        if self._attached.store is not None and compiled.stored:
            return self._over_store(compiled, selections, run_in)
        return self._over_tables(compiled, selections, run_in)

    def _over_tables(
        self, compiled: Compiled, selections: Sequence[Selection], run_in: RunIn
    ) -> Found:
        question = Question(compiled, selections, self.dialect)
        attached, whole = self._attached, ask(question.cores, _ENGINE)
        tables = sorted({name for query in question.cores for name in query.tables})
        # All of them where they fit: a worker that waits is one for any query of the dataset.
        few = len(attached.inputs) > MAX_INPUTS
        wanted = {
            name: path
            for name, path in attached.inputs.items()
            if not few or name in {*tables, sets_of.COHORT}
        }
        asked = sets_of.request_bytes(whole.request, tables, question.codes, _ENGINE)
        data = run_in(ENTRY, asked, wanted)
        reply, pairs = sets_of.read(data, len(question.codes), attached.people)
        return question.found(reply_of(reply, whole), pairs, attached.people)

    def _over_store(
        self, compiled: Compiled, selections: Sequence[Selection], run_in: RunIn
    ) -> Found:
        """Run cores and sets over a store, in one pass where they are of the same rows."""
        attached = self._attached
        steps = Steps(attached.policy, attached.coded, attached.people)
        own = steps.statement(compiled)
        places = [steps.members(each.core) for each in selections]
        asked = steps.asked(_ENGINE, cells=MAX_CELLS, members=MAX_OVERLAPPING)
        data = run_in(STORE_ENTRY, asked.request, attached.opened())
        told = steps.with_members()
        reply, members = read_members(
            data, len(told), attached.people, cells=MAX_CELLS, several=MAX_OVERLAPPING
        )
        rows = reply_of(reply, asked)
        shown = [
            [
                cell.keys
                for cell in cells_of(steps.core_at(place), asked.queries[place], rows[place])
            ]
            for place in places
        ]
        of = dict(zip(told, members, strict=True))
        return Found([rows[place] for place in own], shown, [of[place] for place in places])

    def close(self) -> None:
        """Workers are the isolation's."""


def _limits(seconds: float) -> Limits:
    return Limits(
        wall_seconds=seconds,
        cpu_seconds=2 * seconds + 1,
        memory_bytes=_MEMORY_BYTES,
        output_bytes=_OUTPUT_BYTES,
    )
