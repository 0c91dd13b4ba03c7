"""Secondary suppression: what is hidden stays hidden when shown cells are subtracted from a total.

For each key of a table, the cells that agree in all other keys form a *line*, whose total another
question gives. Where a line hides something, at least two of its cells are hidden, holding k
entities together, so that the difference is of no one cell (Hundepool et al. 2012, ch. 4). Cells
are taken smallest first. A total over everything is the line of the one key of a table with one.

A line that hides no more entities than half the rounding base needs no second cell: what is left
of a difference is within the rounding of its total. So one person in a cell of her own, the case
that matters most, changes nothing else in the table.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Key = tuple[Any, ...]


def complete(
    keys: Sequence[Key], entities: Sequence[int], hidden: set[int], k: int, free: int = 0
) -> set[int]:
    """Return which cells are hidden in the end.

    Args:
        keys: Of the cells.
        entities: How many are in each.
        hidden: Which are hidden for a reason of their own.
        k: Fewest entities that a line hides together.
        free: A line that hides no more than these needs nothing more.
    """
    found = set(hidden)
    lines = _lines(keys)
    waiting = [line for line in lines if any(cell in found for cell in line)]
    by_cell: dict[int, list[list[int]]] = defaultdict(list)
    for line in lines:
        for cell in line:
            by_cell[cell].append(line)
    while waiting:
        line = waiting.pop()
        out = [cell for cell in line if cell in found]
        left = sorted((c for c in line if c not in found), key=lambda c: (entities[c], c))
        together = sum(entities[cell] for cell in out)
        while together > free and left and (len(out) < 2 or together < k):
            cell = left.pop(0)
            found.add(cell)
            out.append(cell)
            together += entities[cell]
            waiting += [other for other in by_cell[cell] if other is not line]
    return found


def _lines(keys: Sequence[Key]) -> list[list[int]]:
    found: list[list[int]] = []
    for place in range(len(keys[0]) if keys else 0):
        lines: dict[Key, list[int]] = defaultdict(list)
        for cell, key in enumerate(keys):
            lines[(*key[:place], *key[place + 1 :])].append(cell)
        found += lines.values()
    return found
