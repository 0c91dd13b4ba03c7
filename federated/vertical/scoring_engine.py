"""Parts of joint models as the services find them: by entry point, without knowing their forms.

Registered as ``scoring`` in the entry points ``fusion.engines``; see
:class:`fusion.engine_ports.ScoringEngine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.vertical import applying, parts
from federated.vertical.point_tables import point_table
from fusion.engine_ports import Applicable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.engine_ports import Scored

_LABELS: Final = (parts.BoostingLabel, parts.LinearLabel, parts.ScorecardLabel)


class Engine:
    """:class:`fusion.engine_ports.ScoringEngine`."""

    def open(self, part: bytes) -> Applicable:
        """Read a party's part.

        Raises:
            MessageInvalid: It is none.
        """
        found = parts.part_of(part)
        need = applying.need_of(found)
        label = isinstance(found, _LABELS)
        return Applicable(
            form=found.form,
            columns=need.columns,
            words=need.words,
            width=0 if isinstance(found, _LABELS) else applying.width_of(found),
            summed=applying.is_summed(found),
            parties=found.parties if label and isinstance(found, _LABELS) else (),
            part=found,
            points=point_table(found),
        )

    def answers(self, part: Applicable, table: Mapping[str, Any], rows: Sequence[int]) -> bytes:
        """Return a feature party's answers for rows of its table.

        Raises:
            DataInvalid: A column is of another type than in training.
        """
        return applying.answers(part.part, table, np.array(rows, np.int64))

    def scores(
        self,
        part: Applicable,
        table: Mapping[str, Any],
        rows: Sequence[int],
        answers: Mapping[str, bytes],
    ) -> list[Scored]:
        """Return the scores of rows of the label party's table.

        Raises:
            DataInvalid: A column is of another type than in training.
            MessageInvalid: Answers are not of the size due, or do not add up to a score.
        """
        return applying.scores(part.part, table, np.array(rows, np.int64), answers)


ENGINE: Final = Engine()
