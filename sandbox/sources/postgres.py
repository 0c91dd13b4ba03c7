"""PostgreSQL: cores and sets run there, over frozen tables, under a role that only reads.

The node's side: each query is a process of its own (:mod:`sandbox.child`), which is killed when the
time is over or nobody waits; the server then ends the statement by itself.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from fusion.errors import VerificationFailed
from sandbox import sets as sets_of
from sandbox.child import Children
from sandbox.partials import ask, reply_of
from sandbox.postgres import digests_from
from sandbox.sources.question import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.compile import CoreQuery
    from sandbox.dialects import Name
    from sandbox.partials import Rows
    from sandbox.query import Compiled
    from sandbox.selection import Selection
    from sandbox.sets import Pairs
    from sandbox.sources import Found

CHECK_SECONDS: Final = 600.0
_MODULE: Final = "sandbox.sources.postgres_child"
_LEAST_SECONDS: Final = 0.5


class Postgres:
    """:class:`sandbox.sources.Source` over the frozen schema of a revision."""

    dialect: Name = "postgres"

    def __init__(self, attached: Attached, uri: str) -> None:
        """Ask this database, with the role that reads."""
        self._attached = attached
        self._uri = uri
        self._children = Children(_MODULE)

    def check(self) -> None:
        """Read the tables and compare them with what was signed.

        Raises:
            VerificationFailed: One was changed.
            WorkFailed: They could not be read.
        """
        wanted = self._attached.digests
        asked = {
            "uri": self._uri,
            "schema": self._attached.place,
            "seconds": CHECK_SECONDS,
            "tables": sorted(wanted),
        }
        data = self._children.run(json.dumps(asked).encode(), seconds=CHECK_SECONDS)
        if digests_from(data) != dict(wanted):
            raise VerificationFailed(
                f"The tables of {self._attached.place} are not what was signed.",
                hint="Attach the policy again.",
            )

    def stand_by(self, compiled: Compiled, stop: Stop) -> None:
        """Processes are started when one is taken, whatever it computes."""

    def replenish(self, compiled: Compiled) -> None:
        """As above."""

    def run(
        self,
        compiled: Compiled,
        selections: Sequence[Selection],
        *,
        caller: str,
        stop: Stop,
        seconds: float,
    ) -> Found:
        """Compute in one transaction; see :meth:`sandbox.sources.Source.run`."""
        question = Question(compiled, selections, self.dialect)
        rows, pairs = self.execute(
            question.cores, question.codes, caller=caller, stop=stop, seconds=seconds
        )
        return question.found(rows, pairs, self._attached.people)

    def execute(
        self,
        cores: Sequence[CoreQuery],
        sets: Sequence[str],
        *,
        caller: str,
        stop: Stop,
        seconds: float,
    ) -> tuple[list[Rows], list[Pairs]]:
        """Run cores and sets in one transaction; raises what :meth:`run` does."""
        whole = ask(cores)
        asked = {
            "uri": self._uri,
            "schema": self._attached.place,
            # The database gives up by itself where this process is gone without a word.
            "seconds": max(seconds, _LEAST_SECONDS),
            "cores": base64.b64encode(whole.request).decode(),
            "sets": list(sets),
        }
        data = self._children.run(
            json.dumps(asked).encode(), caller=caller, stop=stop, seconds=seconds
        )
        reply, pairs = sets_of.read(data, len(sets), self._attached.people)
        return reply_of(reply, whole), pairs

    def close(self) -> None:
        """End the process that waits."""
        self._children.close()
