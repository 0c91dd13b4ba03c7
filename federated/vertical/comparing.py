"""What each party's columns alone would have given, and all in one table: where all are at hand.

Everything here needs the tables of several organisations in one process: it is for the demo, never
for a federation. Labels are given to every party for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.protocols.vertical import pooled
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.gradients import Loss
from federated.vertical.measures import METRICS, measure
from federated.vertical.model_section import Boosting
from federated.vertical.own_table import own_table
from federated.vertical.tables import coded, training_rows
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from federated.protocols.vertical.binning import Columns
    from federated.vertical.study import VerticalStudy


def compare(study: VerticalStudy, tables: Mapping[str, Path]) -> dict[str, dict[str, float | None]]:
    """Return the study's measure by organisation, and for ``pooled`` columns.

    Args:
        study: Of trees.
        tables: Each organisation's file.

    Raises:
        InputInvalid: The study is of another model.
        DataInvalid: A file can't be read, or lacks a column.
    """
    model, names = study.model, study.organisations
    if not isinstance(model, Boosting):
        raise InputInvalid("Only trees are compared with tables in one place.")
    owned = {name: own_table(study, name, tables[name]) for name in names}
    keys = sorted(set.intersection(*(set(own.prepared.keys) for own in owned.values())))
    training = training_rows(len(keys), study.test_fraction, study.seed)
    rows = {name: own.rows(own.places(keys), training) for name, own in owned.items()}
    labels = rows[study.cast.label].labels
    if labels is None:
        raise AssertionError
    columns = {
        name: bin_columns(coded(each.table, training), training, model.bins, dict(model.monotone))
        for name, each in rows.items()
    }
    growth, metric = model.growth(study.seed), METRICS[model.objective]
    loss = Loss(model.objective, labels, training)

    def judged(chosen: Sequence[Columns]) -> dict[str, float | None]:
        scores = pooled.boost(chosen, labels, training, growth).scores
        return measure(metric, loss.outputs(scores), labels, training)

    found = {name: judged([each]) for name, each in columns.items()}
    return {**found, "pooled": judged(list(columns.values()))}
