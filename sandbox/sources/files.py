"""Frozen files, read by DuckDB in a confined worker that is used once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.wire.limits import MEBI
from sandbox import sets as sets_of
from sandbox.attached import check_frozen
from sandbox.limits import MAX_INPUTS, Limits
from sandbox.partials import Limits as EngineLimits
from sandbox.partials import ask, reply_of
from sandbox.sources.question import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from sandbox.isolate import Isolation
    from sandbox.query import Compiled
    from sandbox.selection import Selection
    from sandbox.sources import Found

ENTRY: Final = "sandbox.sets:execute"
_ENGINE: Final = EngineLimits(memory_mb=512, threads=2)
_MEMORY_BYTES: Final = 1024 * MEBI
_OUTPUT_BYTES: Final = 192 * MEBI


class Files:
    """:class:`sandbox.sources.Source` over the files of a revision."""

    dialect: Name = "duckdb"

    def __init__(self, attached: Attached, isolation: Isolation) -> None:
        """Read these tables with these workers."""
        self._attached = attached
        self._isolation = isolation

    def check(self) -> None:
        """Read the files and compare them with what was signed.

        Raises:
            VerificationFailed: One was changed, or can't be read.
        """
        check_frozen(self._attached)

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
        limits = Limits(
            wall_seconds=seconds,
            cpu_seconds=2 * seconds + 1,
            memory_bytes=_MEMORY_BYTES,
            output_bytes=_OUTPUT_BYTES,
        )
        asked = sets_of.request_bytes(whole.request, tables, question.codes, _ENGINE)
        data = self._isolation.run(
            ENTRY, asked, wanted, limits, caller=caller, stop=stop, wait_seconds=seconds
        )
        reply, pairs = sets_of.read(data, len(question.codes), attached.people)
        return question.found(reply_of(reply, whole), pairs)

    def close(self) -> None:
        """Workers are the isolation's."""
