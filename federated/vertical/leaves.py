"""Leaves that few rows made, and rows that a model of trees tells apart. Pure.

A leaf's weight is a function of the gradients of the tree's sampled rows in it, and with one row of
its label; a leaf whose rows all have one label gives that label away to whoever knows who is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.grants.leakage import Leaves, TreeLeaves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Nodes = NDArray[np.int16]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)


def leaves(
    places: Sequence[Nodes], samples: Sequence[Ints], labels: Floats, training: Bools, k: int
) -> Leaves:
    """Count small and pure leaves.

    Args:
        places: Of each tree, the leaf of each row.
        samples: Of each tree, the rows that it was made of.
        labels: Of all rows.
        training: Which rows were trained on.
        k: A leaf of fewer rows is small.
    """
    small, pure, alone = (np.zeros(len(labels), bool) for _ in range(3))
    trees = []
    for place, rows in zip(places, samples, strict=True):
        order = np.argsort(place[rows], kind="stable")
        inside, known = place[rows][order], labels[rows][order]
        starts = np.flatnonzero(np.concatenate([[True], inside[1:] != inside[:-1]]))
        sizes = np.diff(np.concatenate([starts, [len(inside)]]))
        one_label = np.minimum.reduceat(known, starts) == np.maximum.reduceat(known, starts)
        for mark, which in ((small, sizes < k), (pure, one_label), (alone, sizes == 1)):
            mark[rows[order[np.repeat(which, sizes)]]] = True
        trees.append(
            TreeLeaves(
                leaves=len(sizes),
                smallest=int(sizes.min()),
                small=int((sizes < k).sum()),
                pure=int(one_label.sum()),
            )
        )
    return Leaves(
        k=k,
        smallest=min(tree.smallest for tree in trees),
        small=sum(tree.small for tree in trees),
        small_rows=int(small.sum()),
        pure=sum(tree.pure for tree in trees),
        pure_rows=int(pure.sum()),
        singletons=int(alone.sum()),
        told_apart=_told_apart(places, training),
        trees=tuple(trees),
    )


def _told_apart(places: Sequence[Nodes], training: Bools) -> int:
    """Return how many training rows share all their leaves with no other.

    Paths are compared by a hash of 64 bits, so that two different ones are the same by a chance of
    less than one in a million for a million rows.
    """
    paths = np.zeros(int(training.sum()), np.uint64)
    for place in places:
        paths = (paths ^ place[training].astype(np.uint64)) * _MULTIPLIER
        paths ^= paths >> np.uint64(29)
    counts = np.unique(paths, return_counts=True)[1]
    return int((counts == 1).sum())


def smallest_support(columns: Floats, training: Bools) -> int:
    """Return the fewest training rows that set one column of a design apart from the others.

    A weight of a column that is the same in all rows but a few is a statement about these few: for
    a single row with a level, or with a missing value, about that row.

    Args:
        columns: ``(rows, columns)``, before standardising.
        training: Rows to train on.

    Returns:
        Rows that do not have the most frequent value, in the column with the fewest; all rows if no
        column varies.
    """
    found = int(training.sum())
    for column in columns[training].T:
        rest = len(column) - int(np.unique(column, return_counts=True)[1].max())
        if rest:
            found = min(found, rest)
    return found
