"""Which rows was a model trained on? Attacks that see its output and the true label of a row.

The loss of a row against a threshold: Yeom, Giacomelli, Fredrikson and Jha (IEEE CSF 2018), with
the mean loss of the training rows as threshold, and with one that was tuned on other rows; with a
threshold for each class (Song and Mittal, USENIX Security 2021); and the rates that Carlini et al.
(IEEE S&P 2022) ask for, at few false positives. Pure; what it does not bound is on
``docs/claims/leakage.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from federated import seeds
from federated.vertical import intervals
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.vertical.intervals import Bounded
    from fusion.grants.leakage import AttackName

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

Family = Literal["logistic", "squared", "poisson"]
FALSE_POSITIVES: Final = (1_000, 10_000)
"""Shares of the others that may be taken for members, in millionths."""

_SMALLEST: Final = 1e-12


def losses(family: Family, outputs: Floats, labels: Floats) -> Floats:
    """Return each row's loss, from a model's output on the scale of the label.

    Raises:
        DataInvalid: An output is no number.
    """
    if not np.isfinite(outputs).all():
        raise DataInvalid(
            "An output of the model is not a number.",
            hint="Scores went out of range: more `l2`, or a smaller learning rate, keeps them in.",
        )
    if family == "logistic":
        right = np.where(labels > 0, outputs, 1.0 - outputs)
        return np.asarray(-np.log(np.maximum(right, _SMALLEST)))
    if family == "squared":
        return np.asarray((outputs - labels) ** 2)
    mean = np.maximum(outputs, _SMALLEST)
    surprise = np.where(labels > 0, labels * np.log(np.maximum(labels, _SMALLEST) / mean), 0.0)
    return np.asarray(2 * (surprise - labels + mean))


def advantages(
    found: Floats, training: Bools, classes: Ints | None, seed: int
) -> dict[AttackName, Bounded]:
    """Return by attack the rate of members told less that of others taken for members.

    Args:
        found: Losses of all rows.
        training: Which rows were trained on; there have to be some of both.
        classes: Of each row, if labels are classes.
        seed: Says which rows tune a threshold; the others measure it.
    """
    mean = float(found[training].mean())
    told: dict[AttackName, Bounded] = {"mean-loss": _counted(found <= mean, training)}
    order = seeds.generator("leak-halves", seed).permutation(len(found))
    tunes = np.zeros(len(found), bool)
    tunes[order[: len(found) // 2]] = True
    ways: dict[AttackName, Ints | None] = {
        "tuned": np.zeros(len(found), np.int64),
        "tuned-by-class": classes,
    }
    for name, groups in ways.items():
        judged = ~tunes
        if groups is not None and training[judged].any() and not training[judged].all():
            guess = _tuned(found, training, groups, tunes)
            told[name] = _counted(guess[judged], training[judged])
    return told


def _counted(guess: Bools, members: Bools) -> Bounded:
    return intervals.difference(
        (int((guess & members).sum()), int(members.sum())),
        (int((guess & ~members).sum()), int((~members).sum())),
    )


def _tuned(found: Floats, training: Bools, groups: Ints, tunes: Bools) -> Bools:
    """Say of each row whether its loss is below the threshold that its group's rows tuned."""
    guess = np.zeros(len(found), bool)
    for group in np.unique(groups):
        mine = groups == group
        chosen = mine & tunes
        guess[mine] = found[mine] <= _threshold(found[chosen], training[chosen])
    return guess


def _threshold(found: Floats, members: Bools) -> float:
    """Return the loss up to which rows are told best; one below all where nothing is gained."""
    inside, outside = np.sort(found[members]), np.sort(found[~members])
    if not len(inside) or not len(outside):
        return -np.inf
    at = np.unique(found)
    hits = np.searchsorted(inside, at, side="right") / len(inside)
    misses = np.searchsorted(outside, at, side="right") / len(outside)
    best = int(np.argmax(hits - misses))
    return float(at[best]) if hits[best] > misses[best] else -np.inf


def area(found: Floats, training: Bools) -> Bounded:
    """Return the area under the ROC curve of telling members by a small loss."""
    return intervals.area(-found, training)


def caught(
    found: Floats, training: Bools, allowed: Sequence[int] = FALSE_POSITIVES
) -> list[tuple[int, Bounded]]:
    """Return the share of members told where so few others are, for shares that can be measured.

    The threshold is that of the rows that were held out; a share of which they have not one row is
    left out.

    Args:
        found: Losses.
        training: Which rows were trained on.
        allowed: Shares of others that are taken for members, in millionths.
    """
    outside = np.sort(found[~training])
    inside = found[training]
    told = []
    for share in allowed:
        others = share * len(outside) // 1_000_000
        if others:
            hits = int((inside < outside[others]).sum())
            told.append((share, intervals.rate(hits, len(inside))))
    return told
