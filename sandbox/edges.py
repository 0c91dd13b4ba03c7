"""The farthest values of a cell, read as the one that follows them: for variances and the like.

One value far away decides a variance, a correlation or a slope. So that whoever gives one person a
weight of her own (``CASE WHEN she THEN 1000000``) sees nothing of her there, as in a sum
(:mod:`sandbox.disclosure`), values above the highest of the person who comes after the n with the
highest values of a cell are read as hers, and those below on the other side likewise, before they
are squared and multiplied: a winsorised sample (Dixon 1960), whose edge is a person and not a
share. :mod:`sandbox.reduction` does the same on arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.dialects import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.dialects import Name
    from sandbox.relations import Core
    from sandbox.values import Expr

    Largest = Callable[[str, str, int], str]
    """Called with name, value and place; returns the text of the value at that place."""


def edged(core: Core) -> dict[str, tuple[int, int]]:
    """Return the columns of a core that are read so: place and n, by their text."""
    outputs = core.rows.outputs
    return {
        each.value.text: (place, each.value.args[1])
        for place, each in enumerate(outputs)
        if place >= core.keys and each.value.op == "within"
    }


def clauses(core: Core, rows: str, dialect: Name, largest: Largest) -> list[str]:
    """Return WITH clauses, the last of which, ``near``, is the rows with such columns read so.

    Args:
        core: The core.
        rows: Name of its rows.
        dialect: Of the engine.
        largest: Writes one of the largest values of a group.
    """
    own = edged(core)
    keys = [f"c{place}" for place in range(core.keys)]
    of_one, of_cell = [*keys, "e"], list(keys)
    for place, n in own.values():
        of_one += [f"max(c{place}) AS h{place}", f"max(-c{place}) AS l{place}"]
        for name in (f"h{place}", f"l{place}"):
            # Of fewer people the highest could lie below the lowest.
            enough = f"count({name}) >= {2 * n + 1}"
            of_cell.append(f"CASE WHEN {enough} THEN {largest(name, name, n + 1)} END AS {name}")
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    same = " AND ".join(f"r.{key} IS NOT DISTINCT FROM edges.{key}" for key in keys) or "TRUE"
    columns = [
        _near(each.value, own, place, dialect) for place, each in enumerate(core.rows.outputs)
    ]
    return [
        f"far AS (SELECT {', '.join(of_one)} FROM {rows} GROUP BY {', '.join([*keys, 'e'])})",  # noqa: S608 - compiled
        f"edges AS (SELECT {', '.join(of_cell)} FROM far{group})",  # noqa: S608 - compiled
        f"near AS (SELECT r.e, {', '.join(columns)} FROM {rows} AS r JOIN edges ON {same})",  # noqa: S608 - compiled
    ]


def _near(value: Expr, own: dict[str, tuple[int, int]], place: int, dialect: Name) -> str:
    if value.text in own:
        return f"{_cut_off(own[value.text][0])} AS c{place}"
    factors = [each for each in value.args if getattr(each, "op", "") == "within"]
    if value.op not in {"mul", "wide"} or len(factors) != 2:
        return f"r.c{place}"
    one, other = (_cut_off(own[each.text][0]) for each in factors)
    if value.op == "wide":
        one = f"CAST({one} AS {type_name(dialect, 'huge')})"
    return f"{one} * {other} AS c{place}"


def _cut_off(place: int) -> str:
    value, high, low = f"r.c{place}", f"edges.h{place}", f"edges.l{place}"
    # Without so many people there is no edge, and nothing is shown.
    return (
        f"(CASE WHEN {value} > {high} THEN {high} WHEN {value} < -{low} THEN -{low} "
        f"ELSE {value} END)"
    )
