"""All parties of a vertical study in one process, and what each would have had without the others.

Between the parties goes nothing but the bytes of their protocols, counted. Beside the joint model
stand the label party's own and that of the pooled table, by the same algorithm.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.protocols.vertical import designs, linear_pooled, pooled, scoring
from federated.protocols.vertical.binning import MAX_BINS, bin_columns
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.dealt import Dealer, DealtFeatureSide, DealtLabelSide
from federated.protocols.vertical.encrypted import EncryptedFeatureSide, EncryptedLabelSide
from federated.protocols.vertical.feature_party import FeatureParty
from federated.protocols.vertical.gradients import Loss
from federated.protocols.vertical.label_party import LabelParty
from federated.protocols.vertical.linear import LinearFeatureParty, LinearLabelParty
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_encrypted import (
    EncryptedLinearFeature,
    EncryptedLinearLabel,
)
from federated.protocols.vertical.linear_terms import Target
from federated.protocols.vertical.sides import PlainFeatureSide, PlainLabelSide
from federated.vertical import leakage, leaves, notes, simulated_scorecard
from federated.vertical import options as choices
from federated.vertical.measures import METRICS, measure
from federated.vertical.tables import Joined, Label, coded, read
from federated.vertical.trained import Trained, Trees, Weights
from fusion.crypto.hashing import digest
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import Exact
from fusion.errors import InputInvalid
from fusion.grants.leakage import Limits, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.conversation import Machine
    from federated.protocols.vertical.gradients import Objective
    from federated.protocols.vertical.linear_terms import LinearTerms
    from federated.protocols.vertical.messages import Outgoing
    from federated.protocols.vertical.sides import FeatureSide, LabelSide
    from federated.protocols.vertical.trees import Growth
    from federated.vertical.options import Backend
    from fusion.grants.leakage import LeakReport
    from fusion.services.alignment import Column

    Floats = NDArray[np.float64]

DEALER: Final = "dealer"
KEY_BITS: Final = 2048
"""Of each party's key of a linear model with ``paillier``."""


NO_LIMITS: Final = Limits()


@dataclass(slots=True)
class Costs:
    """What a run took.

    Attributes:
        cpu: Seconds of CPU by party.
        sent: Bytes by sender and receiver.
        tell: Told how far it is.
    """

    tell: Callable[[str], None]
    cpu: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)

    def timed(self, party: str, act: Callable[[], list[Outgoing]]) -> list[Outgoing]:
        """Call what a party does, and charge it."""
        began = time.process_time()
        try:
            return act()
        finally:
            spent = time.process_time() - began
            self.cpu[party] = self.cpu.get(party, 0.0) + spent

    def talk(
        self,
        machines: Mapping[str, Machine],
        first: Sequence[tuple[str, Outgoing]],
        state: Callable[[], str],
    ) -> None:
        """Let machines talk to the end, and tell the state of the work as it changes."""
        last = ""

        def watch(*_: object) -> None:
            nonlocal last
            now = state()
            if now != last:
                last = now
                self.tell(now)

        for (a, b), count in sorted(converse(machines, first, watch, self.timed).items()):
            self.sent[f"{a} to {b}"] = self.sent.get(f"{a} to {b}", 0) + count


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """A boosted model of a simulation.

    Attributes:
        growth: The terms.
        bins: Quantile bins a column.
        backend: How gradients are hidden.
        key_bits: Of the label party's key, for ``paillier``.
        monotone: 1 or -1 for columns whose larger values may only raise, or lower, the score.
    """

    growth: Growth
    bins: int = 32
    backend: Backend = "paillier"
    key_bits: int = 2048
    monotone: Mapping[str, int] = field(default_factory=dict)

    def binned(self, joined: Joined, parties: int) -> list[Columns]:
        """Return the columns of the first parties in bins."""
        training = joined.training
        return [
            bin_columns(coded(table, training), training, self.bins, self.monotone)
            for table in joined.tables[:parties]
        ]


def boost(joined: Joined, plan: Boosting, costs: Costs) -> tuple[Floats, Trees]:
    """Train over the protocol; return outputs for all rows, and the trees."""
    columns = plan.binned(joined, len(joined.tables))
    label_name, names = joined.names[0], joined.names[1:]
    terms = digest("banyan/vertical-terms/v1", repr((plan, joined.names)).encode())
    rows = len(joined.labels)
    label_side, feature_sides = _sides(plan, columns, names, label_name, rows, costs)
    label = LabelParty(
        names, columns[0], joined.labels, joined.training, plan.growth, terms, label_side
    )
    features = {
        name: FeatureParty(label_name, mine, plan.growth, terms, side)
        for name, mine, side in zip(names, columns[1:], feature_sides, strict=True)
    }
    machines: dict[str, Machine] = {label_name: label, **features}
    if plan.backend == "dealer":
        machines[DEALER] = Dealer(label_name, names)
    first = [(name, each) for name, party in features.items() for each in party.offer()]
    costs.talk(machines, first, lambda: f"tree {label.trees_grown + 1} of {plan.growth.trees}")
    answers = [
        scoring.answers(party.part, mine)
        for party, mine in zip(features.values(), columns[1:], strict=True)
    ]
    scores = scoring.score(label.part, columns[0], answers)
    loss = label.part.loss
    grown = Trees(
        loss=loss, grown=label.grown, kept=label.trees_grown, growth=plan.growth,
        backend=plan.backend,
    )  # fmt: skip
    return loss.outputs(scores), grown


def _sides(
    plan: Boosting,
    columns: Sequence[Columns],
    names: Sequence[str],
    label_name: str,
    rows: int,
    costs: Costs,
) -> tuple[LabelSide, list[FeatureSide]]:
    growth, others = plan.growth, columns[1:]
    if plan.backend == "plain":
        return PlainLabelSide(), [PlainFeatureSide(c, growth, rows) for c in others]
    if plan.backend == "dealer":
        sides: list[FeatureSide] = [
            DealtFeatureSide(c, growth, rows, DEALER, label_name, i) for i, c in enumerate(others)
        ]
        return DealtLabelSide(DEALER, names, rows), sides
    began = time.process_time()
    key = PrivateKey(safe_prime(plan.key_bits // 2), safe_prime(plan.key_bits // 2))
    costs.cpu["key"] = time.process_time() - began
    encrypted = EncryptedLabelSide(key, Exact(key), growth, rows)
    return encrypted, [EncryptedFeatureSide(c, growth, rows) for c in others]


def boost_pooled(joined: Joined, plan: Boosting, parties: int) -> Floats:
    """Return outputs of the same algorithm on the columns of the first parties."""
    columns = plan.binned(joined, parties)
    found = pooled.boost(columns, joined.labels, joined.training, plan.growth)
    return Loss(plan.growth.objective, joined.labels, joined.training).outputs(found.scores)


def linear(
    joined: Joined, terms: LinearTerms, backend: Backend, costs: Costs
) -> tuple[Floats, Weights]:
    """Train a generalised linear model in shares; return outputs for all rows, and the weights."""
    training, rows = joined.training, len(joined.labels)
    made = [
        designs.design(table, training, intercept=i == 0, party=joined.names[i])
        for i, table in enumerate(joined.tables)
    ]
    blocks = [d.block(table, rows) for d, table in zip(made, joined.tables, strict=True)]
    supports = {
        name: leaves.smallest_support(d.raw(table, rows), training)
        for name, d, table in zip(joined.names, made, joined.tables, strict=True)
    }
    trained = [block[training] for block in blocks]
    label, *parties = _linear_machines(joined, terms, backend, trained, costs)
    machines: dict[str, Any] = dict(zip(joined.names, (label, *parties), strict=True))
    if backend == "dealer":
        machines[DEALER] = LinearDealer(terms, joined.names[0], joined.names[1:])
    first = [(n, out) for n, m in machines.items() for out in costs.timed(n, m.start)]
    costs.talk(machines, first, lambda: f"epoch {label.epoch} of {terms.epochs}")
    mine = [party.weights for party in (label, *parties)]
    partials = [b @ each for b, each in zip(blocks, mine, strict=True)]
    weights = Weights(
        model=terms.family,
        backend="paillier" if backend == "paillier" else "dealer",
        partials=dict(zip(joined.names[1:], partials[1:], strict=True)),
        supports=supports,
        rest=notes.rest(terms, backend, trained, mine, label.target),
    )
    return label.target.outputs(np.asarray(sum(partials))), weights


def _linear_machines(
    joined: Joined, terms: LinearTerms, backend: Backend, blocks: Sequence[Floats], costs: Costs
) -> Any:  # noqa: ANN401 - machines of either back end, the label party's first
    names, labels = joined.names, joined.labels[joined.training]
    others = list(zip(names[1:], blocks[1:], strict=True))
    if backend == "dealer":
        return [
            LinearLabelParty(names[0], names[1:], DEALER, terms, blocks[0], labels),
            *(LinearFeatureParty(name, names, DEALER, terms, block) for name, block in others),
        ]
    costs.tell("making keys")
    began = time.process_time()
    keys = [PrivateKey(safe_prime(KEY_BITS // 2), safe_prime(KEY_BITS // 2)) for _ in names]
    costs.cpu["keys"] = time.process_time() - began
    return [
        EncryptedLinearLabel(names[0], names[1:], terms, blocks[0], labels, keys[0]),
        *(
            EncryptedLinearFeature(name, names, terms, block, key)
            for (name, block), key in zip(others, keys[1:], strict=True)
        ),
    ]


def linear_alone(joined: Joined, terms: LinearTerms, parties: int) -> Floats:
    """Return outputs of the model fitted to the columns of the first parties, in the clear."""
    one = joined.pooled(parties)
    block = designs.design(one, joined.training, intercept=True).block(one, len(joined.labels))
    target = Target.of(terms.family, joined.labels[joined.training])
    weights = linear_pooled.fit(block[joined.training], target, terms.l2)
    return target.outputs(block @ weights)


def simulate(
    label_party: tuple[str, Path],
    parties: Sequence[tuple[str, Path]],
    *,
    identifier: Column,
    label: str,
    model: str,
    options: Mapping[str, Any],
    limits: Limits = NO_LIMITS,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a vertical study with all parties here; return what ``--json`` prints.

    Args:
        label_party: Name and file of the party with the label.
        parties: Names and files of the others, at least one.
        identifier: Column that all have, and how it is read.
        label: Column of the label party.
        model: One of :data:`federated.vertical.options.MODELS`.
        options: ``test_fraction``, ``seed``, ``backend``, and what is not None of ``trees``,
            ``depth``, ``bins``, ``learning_rate``, ``epochs``, ``l2``, ``positive`` (the label's
            value that counts as 1), ``words`` (columns that hold such), and of boosting
            ``min_leaf``, ``patience``, ``goss`` (two shares) and ``monotone`` (signs by column).
        limits: What the leak report is held to.
        tell: Told how far it is.

    Raises:
        InputInvalid: A choice that there is not, or a value out of its range.
        DataInvalid: Files that can't be read.
        AlignmentRefused: A-10, A-14, A-17: identifiers that can't be aligned.
    """
    choices.check(model, options)
    if not parties:
        raise InputInvalid("A vertical study needs another party.", hint="Add --party FILE.")
    processor = _processors()
    joined = read(
        label_party, parties, identifier,
        Label(label, options.get("positive"), classes=model not in {"linear", "poisson"}),
        words=options.get("words") or (),
        test_fraction=options["test_fraction"], seed=options["seed"], tell=tell,
    )  # fmt: skip
    run = {"boosting": _boosting, "scorecard": _scorecard}.get(model, _linear)
    costs = Costs(tell)
    found = run(joined, model, options, costs)
    spent = _processors() - processor
    tell("measuring what the model tells")
    told = leak(
        joined, found["outputs"], found["trained"], small=limits.smallest_leaf,
        seed=options["seed"],
    )  # fmt: skip
    document = _document(joined, model, costs, found, spent)
    document |= {"label": label, "positive": options.get("positive")}
    document |= {"unused": choices.unused(model, options)}
    document |= {"notes": _notes(joined, found, document["auc"])}
    return document | {"leak": {"report": told.document(), "verdict": verdict(told, limits)}}


def leak(
    joined: Joined, outputs: Floats, model: Trees | Weights, *, small: int | None, seed: int
) -> LeakReport:
    """Return the leak report of a run; parties' columns are at hand here."""
    training, others = joined.training, dict(zip(joined.names[1:], joined.tables[1:], strict=True))
    trained = Trained(
        labels=joined.labels,
        training=training,
        outputs=outputs,
        parties=tuple(others),
        columns={
            name: bin_columns(coded(table, training), training, MAX_BINS)
            for name, table in others.items()
        },
        seed=seed,
    )
    return leakage.report(trained, model, small=small)


def _notes(
    joined: Joined, found: Mapping[str, Any], measures: Mapping[str, float | None]
) -> list[notes.Note]:
    """Return what whoever reads the measures should know."""
    trained = found["trained"]
    made = (
        notes.of_trees(trained, joined)
        if isinstance(trained, Trees)
        else notes.of_weights(trained, found["steps"])
    )
    undefined = notes.of_measures(found["metric"], measures, joined.training)
    return [*notes.of_tables(joined), *made, *undefined]


def _document(
    joined: Joined, model: str, costs: Costs, found: Mapping[str, Any], cpu: float
) -> dict[str, Any]:
    """Return what ``--json`` prints of a run."""
    alignment = joined.alignment
    steps, unit, metric = (found[k] for k in ("steps", "unit", "metric"))
    return {
        "model": model,
        "backend": found["backend"],
        "metric": metric,
        "parties": list(joined.names),
        "rows_aligned": len(joined.labels),
        "rows_training": int(joined.training.sum()),
        "identifiers": dict(alignment.reports),
        "columns": {
            name: {column: each.document() for column, each in read.items()}
            for name, read in zip(joined.names, joined.readings, strict=True)
        },
        unit: steps,
        "auc": measure(metric, found["outputs"], joined.labels, joined.training),
        "auc_label_party_alone": measure(metric, found["alone"], joined.labels, joined.training),
        "auc_pooled": measure(metric, found["pooled"], joined.labels, joined.training),
        "seconds": {
            "align": alignment.seconds,
            "train": found["seconds"],
            f"per_{unit[:-1]}": found["seconds"] / max(1, steps),
            "cpu": cpu,
            "cpu_by_party": dict(costs.cpu),
        },
        "bytes": {
            "total": alignment.sent + sum(costs.sent.values()),
            "align": alignment.sent,
            **costs.sent,
        },
    }


def _processors() -> float:
    """Return the seconds of CPU of this process and of workers that have ended."""
    return sum(os.times()[:4])


def _boosting(
    joined: Joined, model: str, options: Mapping[str, Any], costs: Costs
) -> dict[str, Any]:
    objective: Objective = "logistic" if np.isin(joined.labels, (0, 1)).all() else "squared"
    plan = Boosting(
        growth=choices.growth(options, objective),
        bins=32 if options.get("bins") is None else options["bins"],
        backend=choices.backend(model, options),
        monotone=choices.directions(joined.tables, options),
    )
    began = time.perf_counter()
    outputs, trees = boost(joined, plan, costs)
    seconds = time.perf_counter() - began
    return {
        "outputs": outputs, "steps": trees.kept, "trained": trees, "unit": "trees",
        "seconds": seconds,
        "backend": plan.backend, "metric": METRICS[objective],
        "alone": boost_pooled(joined, plan, 1),
        "pooled": boost_pooled(joined, plan, len(joined.names)),
    }  # fmt: skip


def _linear(joined: Joined, model: str, options: Mapping[str, Any], costs: Costs) -> dict[str, Any]:
    terms = choices.linear_terms(model, options, int(joined.training.sum()))
    began = time.perf_counter()
    backend = choices.backend(model, options)
    outputs, weights = linear(joined, terms, backend, costs)
    seconds = time.perf_counter() - began
    return {
        "outputs": outputs, "steps": terms.epochs, "trained": weights, "unit": "epochs",
        "seconds": seconds, "backend": backend, "metric": METRICS[model],
        "alone": linear_alone(joined, terms, 1),
        "pooled": linear_alone(joined, terms, len(joined.names)),
    }  # fmt: skip


def _scorecard(
    joined: Joined, model: str, options: Mapping[str, Any], costs: Costs
) -> dict[str, Any]:
    backend = choices.backend(model, options)
    section = simulated_scorecard.section(options, backend)
    began = time.perf_counter()
    outputs, weights = simulated_scorecard.train(joined, section, options["seed"], DEALER, costs)
    seconds = time.perf_counter() - began
    return {
        "outputs": outputs, "steps": section.epochs, "trained": weights, "unit": "epochs",
        "seconds": seconds, "backend": backend, "metric": METRICS[model],
        "alone": simulated_scorecard.alone(joined, section, 1),
        "pooled": simulated_scorecard.alone(joined, section, len(joined.names)),
    }  # fmt: skip
