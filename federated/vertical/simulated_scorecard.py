"""A scorecard of all parties in one process, over the bytes of its protocols, and in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from federated.protocols.vertical import designs, linear_pooled, scorecards
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.counting import told
from federated.protocols.vertical.linear_terms import Target
from federated.vertical import notes
from federated.vertical.model_section import Scorecard
from federated.vertical.scorecard_work import ScorecardWork
from federated.vertical.tables import coded
from federated.vertical.trained import Weights
from federated.vertical.work import Cast, Rows, dealer_of
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.vertical.simulation import Costs
    from federated.vertical.tables import Joined

    Floats = NDArray[np.float64]

_CHOSEN = ("bins", "epochs", "learning_rate", "l2")


def section(options: Mapping[str, Any], backend: str) -> Scorecard:
    """Return the model as a study would have it.

    Raises:
        InputInvalid: A value is out of its range.
    """
    chosen = {name: options[name] for name in _CHOSEN if options.get(name) is not None}
    try:
        return Scorecard.model_validate({"kind": "scorecard", "backend": backend, **chosen})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise InputInvalid(
            f"The value of {name!r} is out of its range.", hint=f"{first['msg']}."
        ) from None


def train(
    joined: Joined, model: Scorecard, seed: int, dealer: str, costs: Costs
) -> tuple[Floats, Weights]:
    """Count, train and judge; return chances for all rows, and the weights.

    Args:
        joined: All parties' rows.
        model: The terms.
        seed: Names the samples of measures.
        dealer: Name of who deals, if the back end is that.
        costs: Counts what it takes.
    """
    label, *features = joined.names
    dealt = model.backend == "dealer"
    cast = Cast(label, tuple(features), dealer if dealt else None)
    widths = {name: len(table) for name, table in zip(joined.names, joined.tables, strict=True)}
    works = {
        name: ScorecardWork(
            cast, name, model,
            Rows(table, joined.labels if name == label else None, joined.training),
            seed=seed, widths=widths,
        )
        for name, table in zip(joined.names, joined.tables, strict=True)
    }  # fmt: skip
    costs.tell("counting events of bins")
    _talk({name: work.counting()[0] for name, work in works.items()}, costs)
    for work in works.values():
        work.count()
    machines: dict[str, Any] = {name: work.machine for name, work in works.items()}
    if dealt:
        machines[dealer] = dealer_of(cast, model, int(joined.training.sum()), 0)
    _talk(machines, costs, lambda: f"epoch {works[label].step + 1} of {model.epochs}")
    _talk({name: work.judging()[0] for name, work in works.items()}, costs)
    weights = Weights(
        model="scorecard",
        backend=model.backend,
        partials={name: works[name].leaning() for name in features},
        supports={name: work.support for name, work in works.items()},
        rest=notes.rest(
            works[label].linear.terms,
            model.backend,
            [work.linear.block[joined.training] for work in works.values()],
            [work.machine.weights for work in works.values()],
            works[label].machine.target,
        ),
    )
    return works[label].chances, weights


def _talk(machines: Mapping[str, Any], costs: Costs, state: Any = lambda: "") -> None:  # noqa: ANN401
    first = [(n, out) for n, m in machines.items() for out in costs.timed(n, m.start)]
    costs.talk(machines, first, state)


def alone(joined: Joined, model: Scorecard, parties: int) -> Floats:
    """Return chances by the best fit to the first parties' weights of evidence, in the clear."""
    training, labels = joined.training, joined.labels
    events, rows = np.flatnonzero(training & (labels > 0)), np.flatnonzero(training)
    table: dict[str, Floats] = {}
    for number, mine in enumerate(joined.tables[:parties]):
        fine = bin_columns(coded(mine, training), training, model.bins)
        columns = scorecards.enough(fine, training, model.min_bin)
        places = scorecards.counted(columns, training, model.min_bin)
        feature, place = places.T
        counts = columns.counts(events)[feature, place], columns.counts(rows)[feature, place]
        lines = scorecards.evidence_of(columns, training, places, told(*counts))
        for i, (each, line) in enumerate(zip(columns.features, lines, strict=True)):
            table[f"{number}.{each.name}"] = line[columns.codes[:, i]]
    block = designs.design(table, training, intercept=True).block(table, len(labels))
    target = Target.of("logistic", labels[training])
    return target.outputs(block @ linear_pooled.fit(block[training], target, model.l2))
