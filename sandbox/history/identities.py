"""Whether a cell equals a combination of others by definition, whatever the data.

Two sets that turn out equal in the data tell that nobody is in between, and a cell that turns out
to follow from others tells the same of a group. Only an identity that holds for every person who
could exist tells nothing. It is checked on the grid that the ranges of all boxes cut out of the
declared domains: an identity of sums of indicator functions of boxes holds everywhere if and only
if it holds at one point of each cell of that grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from sandbox.history.predicates import Definitions, Form

MAX_POINTS: Final = 100_000
"""Larger grids are not searched; what is not proved counts as false."""

MAX_WORK: Final = 20_000_000
"""Points times boxes that are looked at for one identity."""

_WHOLE: Final = 1e-6
"""How near a coefficient has to be to a whole number; they are exact in an identity of sets."""


def proved(form: Form, parts: Sequence[tuple[Form, float]], definitions: Definitions) -> bool:
    """Return whether ``form`` is the sum of ``parts`` by definition.

    Args:
        form: The cell.
        parts: Other cells and their coefficients, near whole numbers.
        definitions: Domains of all attributes.
    """
    whole = [(part, round(factor)) for part, factor in parts if abs(factor) > _WHOLE]
    if any(abs(factor - round(factor)) > _WHOLE for _, factor in parts):
        return False
    cuts = _cuts((form, *(part for part, _ in whole)), definitions)
    points = np.prod([len(starts) for starts in cuts.values()], dtype=float)
    boxes = len(form) + sum(len(part) for part, _ in whole)
    if points > MAX_POINTS or points * boxes > MAX_WORK:
        return False
    total = -_indicator(form, cuts).astype(np.int64)
    for part, factor in whole:
        total += factor * _indicator(part, cuts)
    return not total.any()


def _cuts(forms: Iterable[Form], definitions: Definitions) -> dict[str, NDArray[np.int64]]:
    """Return where each attribute's pieces begin."""
    cuts: dict[str, set[int]] = {}
    for form in forms:
        for box in form:
            for name, ranges in box:
                starts = cuts.setdefault(name, {definitions.whole(name)[0][0]})
                for low, high in ranges:
                    starts |= {low, high + 1}
    for name, starts in cuts.items():
        starts.discard(definitions.whole(name)[0][1] + 1)
    return {name: np.array(sorted(starts), dtype=np.int64) for name, starts in cuts.items()}


def _indicator(form: Form, cuts: Mapping[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Return at which points of the grid a form holds; one axis an attribute."""
    names = list(cuts)
    holds = np.zeros([len(starts) for starts in cuts.values()], dtype=np.bool_)
    for box in form:
        inside = np.ones_like(holds)
        for name, ranges in box:
            starts = cuts[name]
            side = np.zeros(len(starts), dtype=np.bool_)
            for low, high in ranges:
                side |= (starts >= low) & (starts <= high)
            shape = [1] * len(names)
            shape[names.index(name)] = len(starts)
            inside &= side.reshape(shape)
        holds |= inside
    return holds
