"""A scorecard's part as a person reads it: what each value of an own column is worth. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from federated.vertical import parts
from federated.vertical.parts import floats

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "missing, or never seen"


def point_table(part: parts.ModelPart) -> list[dict[str, Any]]:
    """Return own columns with the points of their bins; nothing of another form's part.

    Returns:
        By column ``column`` and ``bins``: what is in each (``values``: words, or a range of
        numbers) and its ``points``.
    """
    if not isinstance(part, parts.ScorecardLabel | parts.ScorecardFeature):
        return []
    found = []
    for each in part.points:
        column, points = part.columns[each.column], floats(each.points)
        values = _words(column.words, floats(each.cuts)) if column.words else _ranges(each.cuts)
        bins = [
            {"values": text, "points": float(worth)}
            for text, worth in zip([*values, MISSING], points, strict=True)
        ]
        found.append({"column": column.name, "bins": bins})
    return found


def _ranges(cuts: str) -> Iterator[str]:
    """Yield what is in each bin of numbers but that for missing values."""
    low = None
    for high in floats(cuts).tolist():
        yield f"up to {high:g}" if low is None else f"above {low:g} up to {high:g}"
        low = high
    yield "any" if low is None else f"above {low:g}"


def _words(words: tuple[str, ...], cuts: np.ndarray[Any, Any]) -> Iterator[str]:
    """Yield the words of each bin: their codes are their places."""
    bins = np.searchsorted(cuts, np.arange(len(words)), side="left")
    for at in range(len(cuts) + 1):
        yield ", ".join(word for word, place in zip(words, bins, strict=True) if place == at)
