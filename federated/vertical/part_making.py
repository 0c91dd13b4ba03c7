"""What parties have after training becomes their parts (:mod:`federated.vertical.parts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical.designs import Design
from federated.protocols.vertical.growing import OWN
from federated.vertical import parts
from federated.vertical.parts import array, bytes_of, floats, hexed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Feature
    from federated.protocols.vertical.feature_party import FeaturePart
    from federated.protocols.vertical.label_party import LabelPart
    from federated.protocols.vertical.linear_terms import Target
    from federated.protocols.vertical.scorecards import Scorecard

    Floats = NDArray[np.float64]
    Words = Mapping[str, Sequence[str]]
    Found = dict[tuple[int, int], tuple[int, int, bool]]
    """By tree and node: feature, threshold, missing left."""


def boosting_label(part: LabelPart, parties: Sequence[str], words: Words) -> bytes:
    """Return the label party's part of boosted trees.

    Args:
        part: As its machine has it at the end.
        parties: Feature parties, in the order that its machine was given.
        words: Of its columns of words: :func:`federated.vertical.tables.words_of`.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    options, features = part.columns.candidates, part.columns.features
    own: Found = {}
    others, leaves = [], []
    for number, tree in enumerate(part.trees):
        for node, split in sorted(tree.splits.items()):
            if split.owner == OWN:
                i = split.handle
                own[number, node] = (
                    int(options.feature[i]), int(options.threshold[i]), bool(options.missing[i])
                )  # fmt: skip
            else:
                others.append(parts.Foreign(tree=number, node=node, owner=split.owner - 1))
        leaves += [
            parts.Leaf(tree=number, node=node, weight=hexed(weight), rows=tree.rows.get(node, 0))
            for node, weight in sorted(tree.leaves.items())
        ]
    columns, splits = _splits(own, features, words)
    return bytes_of(
        parts.BoostingLabel(
            objective=part.loss.objective,
            scale=hexed(part.loss.scale),
            start=hexed(part.loss.start),
            mean=hexed(part.loss.mean),
            parties=tuple(parties),
            columns=columns,
            trees=len(part.trees),
            splits=splits,
            others=tuple(others),
            leaves=tuple(leaves),
        )
    )


def boosting_feature(part: FeaturePart, words: Words) -> bytes:
    """Return a feature party's part of boosted trees.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    columns, splits = _splits(part.splits, part.features, words)
    return bytes_of(parts.BoostingFeature(columns=columns, splits=splits))


def _splits(
    found: Found, features: Sequence[Feature], words: Words
) -> tuple[tuple[parts.Column, ...], tuple[parts.Split, ...]]:
    """Return the columns that splits use, and the splits with values for thresholds."""
    used = sorted({feature for feature, _, _ in found.values()})
    places = {feature: place for place, feature in enumerate(used)}
    splits = []
    for (tree, node), (feature, threshold, missing) in sorted(found.items()):
        cuts = features[feature].cuts
        # The candidate behind the last cut sends left whatever has a value.
        at = hexed(float(cuts[threshold])) if threshold < len(cuts) else None
        splits.append(
            parts.Split(tree=tree, node=node, column=places[feature], at=at, missing=missing)
        )
    return tuple(_column(features[feature].name, words) for feature in used), tuple(splits)


def _column(name: str, words: Words) -> parts.Column:
    return parts.Column(name=name, words=tuple(words[name]) if name in words else None)


def linear_label(parties: Sequence[str], target: Target, design: Design, weights: Floats) -> bytes:
    """Return the label party's part of a generalised linear model.

    Args:
        parties: Feature parties, in the study's order.
        target: What the label became.
        design: How its table becomes its block.
        weights: Of the block's columns.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    return bytes_of(
        parts.LinearLabel(
            family=target.family,
            offset=hexed(target.offset),
            scale=hexed(target.scale),
            parties=tuple(parties),
            design=design_part(design),
            weights=array(weights),
        )
    )


def linear_feature(design: Design, weights: Floats) -> bytes:
    """Return a feature party's part of a generalised linear model.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    return bytes_of(parts.LinearFeature(design=design_part(design), weights=array(weights)))


def design_part(design: Design) -> parts.DesignPart:
    """Return a design as parts have it."""
    return parts.DesignPart(
        numbers=tuple(
            parts.NumberColumn(name=name, fill=hexed(design.fill[name])) for name in design.numbers
        ),
        levels=tuple(
            parts.Levels(name=name, words=tuple(words)) for name, words in design.levels.items()
        ),
        mean=array(design.mean),
        scale=array(design.scale),
        rotation=array(design.rotation),
        intercept=design.intercept,
    )


def design_of(part: parts.DesignPart) -> Design:
    """Return the design that a part has."""
    raw = part.raw
    rotation = floats(part.rotation)
    return Design(
        levels={each.name: each.words for each in part.levels},
        numbers=tuple(each.name for each in part.numbers),
        mean=floats(part.mean),
        scale=floats(part.scale),
        fill={each.name: float.fromhex(each.fill) for each in part.numbers},
        rotation=rotation.reshape(raw, -1) if raw else np.empty((0, 0)),
        intercept=part.intercept,
    )


def scorecard_label(
    parties: Sequence[str],
    card: Scorecard,
    features: Sequence[Feature],
    words: Words,
    means: Sequence[float],
) -> bytes:
    """Return the label party's part of a scorecard.

    Args:
        parties: Feature parties, in the study's order.
        card: Its own points; its base is everybody's.
        features: Its columns' bins.
        words: Of its columns of words.
        means: Mean points of each feature party.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    columns, points = _points(card, features, words)
    return bytes_of(
        parts.ScorecardLabel(
            parties=tuple(parties),
            base=hexed(card.base),
            means=tuple(map(hexed, means)),
            columns=columns,
            points=points,
        )
    )


def scorecard_feature(card: Scorecard, features: Sequence[Feature], words: Words) -> bytes:
    """Return a feature party's part of a scorecard; its card's base is not used.

    Raises:
        MessageInvalid: It is larger than a part may be.
    """
    columns, points = _points(card, features, words)
    return bytes_of(parts.ScorecardFeature(columns=columns, points=points))


def _points(
    card: Scorecard, features: Sequence[Feature], words: Words
) -> tuple[tuple[parts.Column, ...], tuple[parts.Points, ...]]:
    used = [feature for feature in features if feature.name in card.points]
    points = tuple(
        parts.Points(
            column=place,
            cuts=array(feature.cuts),
            points=array(np.array(card.points[feature.name])),
            mean=hexed(card.mean[feature.name]),
        )
        for place, feature in enumerate(used)
    )
    return tuple(_column(feature.name, words) for feature in used), points
