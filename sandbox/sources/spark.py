"""Spark: cores and sets run there, over tables that it has frozen as Parquet.

The node's side. The session is a process that is kept (:mod:`sandbox.kept_child`), since a JVM
takes seconds to start; a query whose time is over has its jobs cancelled.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from fusion.errors import VerificationFailed
from sandbox import sets as sets_of
from sandbox.kept_child import KeptChild
from sandbox.partials import ask, reply_of
from sandbox.postgres import digests_from
from sandbox.sources.question import Question
from sandbox.spark import lake_of
from sandbox.spark_freeze import frozen_in

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

CHECK_SECONDS: Final = 3600.0
_MODULE: Final = "sandbox.sources.spark_child"


class Spark:
    """:class:`sandbox.sources.Source` over the frozen folder of a revision."""

    dialect: Name = "spark"

    def __init__(self, attached: Attached, source: str) -> None:
        """Start the session, which takes its time by itself.

        Args:
            attached: The revision.
            source: See :func:`sandbox.spark.lake_of`.

        Raises:
            InputInvalid: A folder is gone.
        """
        self._attached = attached
        lake = lake_of(source)
        paths = frozen_in(lake.frozen / attached.place, attached.policy.tables)
        opening = {
            "master": lake.master,
            "tables": {name: str(path) for name, path in paths.items()},
        }
        self.child = KeptChild(_MODULE, json.dumps(opening).encode())

    def check(self) -> None:
        """Read the tables and compare them with what was signed.

        Raises:
            VerificationFailed: One was changed.
            WorkFailed: They could not be read.
        """
        data = self.child.run(json.dumps({"digests": True}).encode(), seconds=CHECK_SECONDS)
        if digests_from(data) != dict(self._attached.digests):
            raise VerificationFailed(
                f"The tables of {self._attached.place} are not what was signed.",
                hint="Attach the policy again.",
            )

    def stand_by(self, compiled: Compiled, stop: Stop) -> None:
        """The session is kept."""

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
        """Compute in the session; see :meth:`sandbox.sources.Source.run`."""
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
        """Run cores and sets over the frozen tables; raises what :meth:`run` does."""
        whole = ask(cores)
        asked = {
            "caller": caller,
            "cores": base64.b64encode(whole.request).decode(),
            "sets": list(sets),
        }
        data = self.child.run(json.dumps(asked).encode(), caller=caller, stop=stop, seconds=seconds)
        reply, pairs = sets_of.read(data, len(sets), self._attached.people)
        return reply_of(reply, whole), pairs

    def close(self) -> None:
        """End the session."""
        self.child.close()
