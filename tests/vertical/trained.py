"""Joint models trained by their machines in one process, and their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.protocols.vertical import designs, linear_pooled, scorecards, scoring
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.feature_party import FeatureParty
from federated.protocols.vertical.label_party import LabelParty
from federated.protocols.vertical.linear import LinearFeatureParty, LinearLabelParty
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_terms import LinearTerms, Target
from federated.protocols.vertical.sides import PlainFeatureSide, PlainLabelSide
from federated.protocols.vertical.trees import Growth
from federated.vertical import part_making
from federated.vertical.tables import coded, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Table = dict[str, NDArray[Any]]

DEALER = "dealer"
WORDS = np.array(["north", "south", "1", None], object)


@dataclass(frozen=True)
class Trained:
    """A model.

    Attributes:
        names: The parties, the label party first.
        tables: Their columns, in one order of rows.
        labels: Of the rows.
        parts: By party.
        scores: Of all rows, as training had them, on the model's own scale.
        outputs: The same on the scale of the label.
    """

    names: tuple[str, ...]
    tables: list[Table]
    labels: Floats
    parts: dict[str, bytes]
    scores: Floats
    outputs: Floats


def tables_of(widths: Sequence[int], rows: int, seed: int = 1) -> tuple[list[Table], Floats]:
    """Make columns of numbers and of words, some missing, and a score that needs them all."""
    draw = seeds.generator("tests-trained", seed, rows, *widths)
    tables: list[Table] = []
    score = draw.normal(size=rows) / 2
    for party, width in enumerate(widths):
        table: Table = {}
        for column in range(width):
            values = np.round(draw.normal(size=rows) * 4) / 4
            score += values * (0.8 - 0.3 * column) * (-1) ** party
            table[f"c{column}"] = np.where(draw.random(rows) < 0.1, np.nan, values)
        picked = draw.integers(0, len(WORDS), rows)
        score += (picked == 0) * 0.7
        tables.append({**table, "place": WORDS[picked]})
    return tables, score


def boosting(names: Sequence[str], widths: Sequence[int], rows: int = 400) -> Trained:
    """Train boosted trees."""
    tables, score = tables_of(widths, rows)
    labels, training = (score > 0).astype(float), np.ones(rows, bool)
    training[::7] = False
    growth = Growth(trees=6, depth=3, min_leaf=10, learning_rate=0.3)
    binned = [bin_columns(coded(table, training), training, 8) for table in tables]
    label = LabelParty(names[1:], binned[0], labels, training, growth, bytes(32), PlainLabelSide())
    others = {
        name: FeatureParty(names[0], mine, growth, bytes(32), PlainFeatureSide(mine, growth, rows))
        for name, mine in zip(names[1:], binned[1:], strict=True)
    }
    first = [(name, out) for name, party in others.items() for out in party.offer()]
    converse({names[0]: label, **others}, first)
    words = [words_of(table, training) for table in tables]
    parts = {names[0]: part_making.boosting_label(label.part, names[1:], words[0])}
    for (name, party), mine in zip(others.items(), words[1:], strict=True):
        parts[name] = part_making.boosting_feature(party.part, mine)
    given = [scoring.answers(p.part, b) for p, b in zip(others.values(), binned[1:], strict=True)]
    scores = scoring.score(label.part, binned[0], given)
    assert np.array_equal(scores, label.scores)
    return Trained(tuple(names), tables, labels, parts, scores, label.part.loss.outputs(scores))


def linear(family: Any, names: Sequence[str], widths: Sequence[int], rows: int = 300) -> Trained:  # noqa: ANN401
    """Train a generalised linear model in shares."""
    tables, score = tables_of(widths, rows)
    draw = seeds.generator("tests-trained-labels", rows)
    labels = {
        "logistic": (score > 0).astype(float),
        "linear": 40 + 5 * score,
        "poisson": draw.poisson(np.exp(score / 3)).astype(float),
    }[family]
    every = np.ones(rows, bool)
    made = [designs.design(t, every, intercept=i == 0) for i, t in enumerate(tables)]
    blocks = [each.block(table, rows) for each, table in zip(made, tables, strict=True)]
    terms = LinearTerms(family=family, rows=rows, epochs=8)
    label = LinearLabelParty(names[0], names[1:], DEALER, terms, blocks[0], labels)
    others = {
        name: LinearFeatureParty(name, names, DEALER, terms, block)
        for name, block in zip(names[1:], blocks[1:], strict=True)
    }
    machines: dict[str, Any] = {
        names[0]: label, **others, DEALER: LinearDealer(terms, names[0], names[1:])
    }  # fmt: skip
    converse(machines, [(n, out) for n, m in machines.items() for out in m.start()])
    parts = {names[0]: part_making.linear_label(names[1:], label.target, made[0], label.weights)}
    for (name, party), mine in zip(others.items(), made[1:], strict=True):
        parts[name] = part_making.linear_feature(mine, party.weights)
    total = sum(b @ p.weights for b, p in zip(blocks, [label, *others.values()], strict=True))
    scores = np.asarray(total)
    return Trained(
        tuple(names), tables, labels, parts,
        scores + label.target.offset, label.target.outputs(scores),
    )  # fmt: skip


def scorecard(names: Sequence[str], widths: Sequence[int], rows: int = 300) -> Trained:
    """Fit a scorecard on the pooled table and give each party its own columns' points."""
    tables, score = tables_of(widths, rows)
    labels, every = (score > 0).astype(float), np.ones(rows, bool)
    binned = [bin_columns(coded(table, every), every, 5) for table in tables]
    evidence = [scorecards.weights_of_evidence(columns, labels) for columns in binned]
    pieces = [scorecards.replaced(c, t) for c, t in zip(binned, evidence, strict=True)]
    block = np.hstack([np.ones((rows, 1)), *pieces])
    target = Target.of("logistic", labels)
    intercept, *weights = (float(w) for w in linear_pooled.fit(block, target, 1e-6))
    cards, at = [], 0
    for party, (columns, table) in enumerate(zip(binned, evidence, strict=True)):
        mine = weights[at : at + len(columns.features)]
        at += len(mine)
        base = intercept + target.offset if party == 0 else 0.0
        cards.append(scorecards.scorecard(columns, table, mine, base, scorecards.Scale()))
    words = [words_of(table, every) for table in tables]
    means = [sum(card.mean.values()) for card in cards[1:]]
    parts = {
        names[0]: part_making.scorecard_label(
            names[1:], cards[0], binned[0].features, words[0], means
        )
    }
    for name, card, columns, mine_words in zip(
        names[1:], cards[1:], binned[1:], words[1:], strict=True
    ):
        parts[name] = part_making.scorecard_feature(card, columns.features, mine_words)
    log_odds = block @ np.array([intercept, *weights]) + target.offset
    scale = scorecards.Scale()
    points = scale.offset - scale.factor * log_odds
    return Trained(tuple(names), tables, labels, parts, points, points)
