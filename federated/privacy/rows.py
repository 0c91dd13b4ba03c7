"""What each row adds to a private sum: clipped as integers, so that the sensitivity is exact. Pure.

Floats only say where a row's vector points. It is rounded to whole units of the fixed point, and
its L2 norm is then bounded in integers; sums of integers do not depend on their order. With one
row more or less, a sum differs by exactly that row's integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from federated.models.registry import Model
    from federated.privacy.plan import Release

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_CHUNK_BYTES: Final = 32 << 20
"""Memory for the gradients of some rows at a time."""


def clipped(vectors: Floats, norm: float, unit: int) -> Integers:
    """Return each row's vector in units of the fixed point, no longer than ``unit`` (L2).

    Each row of the result depends on that row of ``vectors`` and on nothing else.

    Args:
        vectors: Shape ``(rows, d)``; a row that is not finite counts as zeros.
        norm: The clip, in the unit of the vectors: what ``unit`` stands for. Positive.
        unit: The clip, in units of the fixed point; at most 2**16, with d at most 2**24.

    Returns:
        Shape ``(rows, d)``; the sum of squares of each row is at most ``unit**2``.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        scale = np.where(np.isfinite(lengths), unit / np.maximum(lengths, norm), 0.0)
        scaled = np.rint(np.nan_to_num(vectors, posinf=0.0, neginf=0.0) * scale[:, None])
    whole = np.clip(scaled, -unit, unit).astype(np.int64)
    squares = (whole * whole).sum(axis=1)
    over = np.flatnonzero(squares > unit * unit)
    if over.size:
        # Towards zero, by a root that is rounded up: never too long.
        root = _root_above(squares[over])[:, None]
        long = whole[over]
        whole[over] = np.sign(long) * (np.abs(long) * unit // root)
    return whole


def _root_above(squares: Integers) -> Integers:
    """Return integers whose squares are at least these."""
    root = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    for _ in range(2):  # below 2**58 the float is off by one at most
        root += root * root < squares
    return root


def gradient_sum(
    model: Model,
    params: Floats,
    rows: tuple[Floats, Floats],
    *,
    clip_norm: float,
    release: Release,
    watch: Callable[[], None],
) -> dict[str, Integers]:
    """Return the sum of the rows' clipped steepest descents at ``params``, and their count.

    Args:
        model: Gives each row's gradient.
        params: The incoming model.
        rows: Standardised features, and labels.
        clip_norm: Longest gradient of a row that is not shortened.
        release: Of the training sums.
        watch: Called now and then; ends the work by raising.
    """
    x, y = rows
    step = max(1, _CHUNK_BYTES // (8 * params.size))
    total = np.zeros(params.size, np.int64)
    for start in range(0, len(y), step):
        watch()
        part = slice(start, start + step)
        with np.errstate(over="ignore", invalid="ignore"):
            gradients = model.row_gradients(params, x[part], y[part])
        total -= clipped(gradients, clip_norm, release.unit).sum(axis=0)
    return {"update": total, "rows": _count(len(y), release)}


def moment_sum(centred: Floats, release: Release) -> dict[str, Integers]:
    """Return the sums of the rows' numbers and of their squares, and the count of rows.

    Args:
        centred: Shape ``(rows, numbers)``, each in [-1/2, 1/2].
        release: Of the sum of moments.
    """
    count = {"rows": _count(len(centred), release)}
    if not centred.shape[1]:
        return count
    vectors = np.concatenate([centred, centred**2], axis=1)
    norm = moments_norm(centred.shape[1])
    return {"moments": clipped(vectors, norm, release.unit).sum(axis=0), **count}


def moments_norm(numbers: int) -> float:
    """Return the longest vector of moments that a row can have: nothing of it is cut."""
    return float(np.sqrt(numbers * (0.25 + 0.0625)))


def histogram_sum(histogram: Floats, release: Release) -> dict[str, Integers]:
    """Return a histogram in which each row adds one clip to one bin."""
    return {"histogram": np.rint(histogram).astype(np.int64) * release.unit}


def _count(rows: int, release: Release) -> Integers:
    return np.array([rows * release.weight], np.int64)


def joined(sums: Mapping[str, Integers], sizes: Mapping[str, int]) -> Integers:
    """Return the parts of a sum as one vector, in the order of ``sizes``.

    Raises:
        DataInvalid: One is missing, of another size or not expected.
    """
    found = {name: part.size for name, part in sums.items()}
    if found != dict(sizes):
        msg = f"A private sum has the parts {found}; the layout has {dict(sizes)}."
        raise DataInvalid(msg)
    return np.concatenate([sums[name] for name in sizes])
