"""What whoever reads a simulation's measures should know: what was not learned, and why. Pure.

A simulation has all parties' columns at hand. Between nodes nobody has, and there nothing of this
is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.protocols.vertical import linear_pooled
from federated.protocols.vertical.lookups import Lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.linear_terms import LinearTerms, Target
    from federated.vertical.tables import Joined
    from federated.vertical.trained import Trees, Weights

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

Note = dict[str, str | None]
AT_REST: Final = 0.001
"""A linear model has converged if more epochs would add no more than this share of its gain."""


def note(about: str, says: str, party: str | None = None) -> Note:
    """Return a note.

    Args:
        about: A word for programs; ``docs/vertical.md`` lists them.
        says: For people.
        party: Whom it is about, if it is one.
    """
    return {"about": about, "party": party, "says": says}


# ----------------------------------------------------------------------------- tables


def of_tables(joined: Joined) -> Iterator[Note]:
    """Yield a note for each party of whose columns nothing can be learned."""
    for name, table in zip(joined.names, joined.tables, strict=True):
        if not table:
            yield note("no-columns", "no column beside the identifier and the label", name)
        elif not any(_varies(column[joined.training]) for column in table.values()):
            yield note("nothing-varies", "no column varies in the rows that train", name)


def _varies(column: NDArray[Any]) -> bool:
    """Return whether there are two values, a missing cell being one of them."""
    if column.dtype == object:
        return bool((column != column[0]).any())
    missing = np.isnan(column)
    return bool(missing.any() != missing.all() or (column[~missing] != column[~missing][:1]).any())


# ----------------------------------------------------------------------------- trees


def of_trees(model: Trees, joined: Joined) -> Iterator[Note]:
    """Yield notes about a model without splits, and about parties that own none of them."""
    growth, rows = model.growth, int(joined.training.sum())
    if growth.goss is not None:
        rows = min(rows, round(rows * (growth.goss.top + growth.goss.other)))
    owners = {s.owner for tree, _ in model.grown[: model.kept] for s in tree.splits.values()}
    if not owners:
        why = (
            f"{rows:,} rows make a tree, and {2 * growth.min_leaf:,} are needed"
            if rows < 2 * growth.min_leaf
            else "none with so many rows on each side gains anything"
        )
        yield note(
            "no-split",
            "no tree has a split, so that all rows have one score: a split leaves at least "
            f"{growth.min_leaf:,} rows on each side (--min-leaf); {why}",
        )
        return
    still = {each["party"] for each in of_tables(joined)}
    for number, name in enumerate(joined.names):
        if number not in owners and name not in still:
            yield note("no-split", "no tree splits on a column of this party", name)


# ----------------------------------------------------------------------------- weights


@dataclass(frozen=True, slots=True)
class Rest:
    """How far a linear model has come.

    Attributes:
        excess: :func:`~federated.protocols.vertical.linear_pooled.excess` of its last weights.
        beyond: Training rows whose score is beyond the range in which the mean is right.
        low: Where that range begins.
        high: Where it ends.
    """

    excess: float
    beyond: int = 0
    low: float = -np.inf
    high: float = np.inf


def rest(
    terms: LinearTerms,
    backend: str,
    blocks: Sequence[Floats],
    weights: Sequence[Floats],
    target: Target,
) -> Rest:
    """Return how far a linear model has come, with the means that its protocol computes.

    Args:
        terms: How it was trained.
        backend: ``dealer`` or ``paillier``.
        blocks: Of each party, training rows alone.
        weights: Of each party's columns.
        target: What it was trained on.
    """
    block, all_weights = np.concatenate(blocks, axis=1), np.concatenate(weights)
    scores = block @ all_weights
    if terms.family == "logistic":
        scores = scores + target.offset
    if backend == "paillier":
        lookup = Lookup.of(terms.family, terms.row_bits)
        half = 2.0**lookup.period_bits / 2
        low, high = lookup.centre - half, lookup.centre + half
        means = lookup.mean((scores - low) % (2 * half) + low)
    elif terms.series is not None:
        low, high, means = terms.series.low, terms.series.high, terms.series.at(scores)
    else:
        low, high, means = -np.inf, np.inf, scores
    beyond = int(((scores < low) | (scores > high)).sum())
    found = linear_pooled.excess(block, all_weights, target, means, terms.l2)
    return Rest(found, beyond, low, high)


def of_weights(model: Weights, epochs: int) -> Iterator[Note]:
    """Yield notes about a linear model that has not come to rest, or went out of its range."""
    state = model.rest
    if state is None:
        return
    if state.excess > AT_REST:
        yield note(
            "not-converged",
            f"{epochs} epochs have not converged: more --epochs would gain another "
            f"{state.excess:.1%} of what the columns gain",
        )
    if state.beyond:
        yield note(
            "scores-beyond",
            f"rows that train with a score beyond {state.low:g} to {state.high:g}, where the mean "
            f"is not right: {state.beyond:,}; a larger --l2 keeps scores within",
        )


# ----------------------------------------------------------------------------- measures


def of_measures(
    metric: str, measures: Mapping[str, float | None], training: Bools
) -> Iterator[Note]:
    """Yield a note for each measure that is not defined though there are rows for it."""
    why = "all are of one class" if metric == "auc" else "all have one label"
    for part, rows, words in (
        ("train", training.any(), "rows that train"),
        ("test", not training.all(), "rows that judge"),
    ):
        if rows and measures[part] is None:
            yield note("not-defined", f"the measure of {words} is not defined: {why}")
