"""The SQL of a core whose contributions are bounded: L0 cells of each entity, Linf in each.

The inner level adds up what one entity has in a cell, as :mod:`sandbox.compile` does, and cuts it
off. Of an entity in more than L0 cells those are kept that come first in an order of keyed hashes
of entity and cell: the choice looks at nothing of anybody else, so that one entity more or less
changes no other entity's part. The rest of the cells is not there. Entities in few cells, mostly
all of them, are not sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.aggregates import MAX_BOUND
from sandbox.compile import KINDS, MAX_TEXT, CoreQuery, Writer
from sandbox.partials import MAX_CELLS
from sandbox.private.plan import bound_of
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.dialects import Name
    from sandbox.policy import Policy
    from sandbox.private.plan import Noise, Sum
    from sandbox.relations import Core


def bounded_sql(
    core: Core,
    policy: Policy,
    dialect: Name,
    *,
    sums: Mapping[Sum, Noise],
    cells: int,
    salt: str,
    known: Sequence[int] = (),
) -> CoreQuery:
    """Return the SQL whose rows are keys and exact sums of each cell that anybody is in.

    Columns are ``k0`` and on, then ``v0`` and on in the order of ``sums``, in units of their noise.

    Args:
        core: The core.
        policy: Its policy.
        dialect: Of the engine.
        sums: The vectors of this core.
        cells: The most cells that one entity counts in.
        salt: Keys the order in which an entity's cells are kept.
        known: Keys that are never missing in a group that is released.

    Raises:
        QueryRefused: The text would be too long.
    """
    writer = Writer(policy, dialect)
    writer.need(core.rows, range(len(core.rows.outputs)))
    rows = writer.relation(core.rows)
    keys = [f"c{place}" for place in range(core.keys)]
    parts = [
        f"{_part(each, core, noise, dialect)} AS p{place}"
        for place, (each, noise) in enumerate(sums.items())
    ]
    of_one = (
        f"SELECT {', '.join([*keys, 'e', *parts])} FROM {rows} GROUP BY {', '.join([*keys, 'e'])}"
    )
    clauses = [writer.clauses(), f"ent AS MATERIALIZED ({of_one})"]
    kept = "ent"
    if keys and not core.rows.single:
        clauses += _few(keys, len(parts), cells, _order(salt, keys, dialect))
        kept = "kept"
    out = [f"c{place} AS k{place}" for place in range(core.keys)]
    out += [f"COALESCE(sum(p{place}), 0) AS v{place}" for place in range(len(parts))]
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    # All cells are groups that there could be, of which more than so many are refused by a rule:
    # what is cut off here is never released, and a reply of too many never depends on data.
    some = " AND ".join(f"c{place} IS NOT NULL" for place in known)
    where = f" WHERE {some}" if some else ""
    text = f"WITH {', '.join(clauses)} SELECT {', '.join(out)} FROM {kept}{where}{group}"
    text += f" LIMIT {MAX_CELLS}"
    if len(text) > MAX_TEXT:
        raise refusal("Q-02")
    columns_of = [(f"k{place}", KINDS[kind.kind]) for place, kind in enumerate(core.key_types)]
    columns_of += [(f"v{place}", "whole") for place in range(len(parts))]
    return CoreQuery(text, tuple(columns_of), tuple(sorted(core.rows.tables())))


def _few(keys: list[str], parts: int, cells: int, order: str) -> list[str]:
    """Return clauses of ``kept``: of each entity no more cells than count, those first in order."""
    columns = ", ".join([*keys, *(f"p{place}" for place in range(parts))])
    many = f"many AS (SELECT e FROM ent GROUP BY e HAVING count(*) > {cells})"
    order = ", ".join([order, *(f"{key} NULLS LAST" for key in keys)])
    ranked = (
        f"SELECT {columns}, row_number() OVER (PARTITION BY e ORDER BY {order}) AS place "
        "FROM ent WHERE e IN (SELECT e FROM many)"
    )
    kept = (
        f"kept AS (SELECT {columns} FROM ent WHERE e NOT IN (SELECT e FROM many) UNION ALL "
        f"SELECT {columns} FROM ({ranked}) AS ranked WHERE place <= {cells})"
    )
    return [many, kept]


def _part(each: Sum, core: Core, noise: Noise, dialect: Name) -> str:
    """Return what one entity has in a cell: cut off at its bound, in units of the noise."""
    measure, bound = core.measures[each.measure], bound_of(each, core)
    huge = "HUGEINT" if dialect == "duckdb" else "NUMERIC"
    whole = "BIGINT" if bound <= MAX_BOUND else huge
    value = f"c{measure.value}"
    if measure.how in {"rows", "count"}:
        counted = "count(*)" if measure.how == "rows" else f"count({value})"
        part = f"CAST(LEAST({counted}, {bound}) AS {whole})"
    else:
        total = f"sum({_about(each, core, huge)})"
        inside = (
            f"CASE WHEN {total} > {bound} THEN {bound} "
            f"WHEN {total} < -{bound} THEN -{bound} ELSE {total} END"
        )
        part = f"COALESCE(CAST({inside} AS {whole}), 0)"
    if noise.unit == 1:
        return part
    if dialect == "duckdb":
        return f"({part} // {noise.unit})"
    return f"trunc({part} / {noise.unit})"


def _about(each: Sum, core: Core, huge: str) -> str:
    """Return what of a row is added up: its value, or the distance from the middle, or its square.

    Of a square v² there is the column of v² and that of v: (v - a)² = v² - 2·a·v + a².
    """
    value, about = f"c{core.measures[each.measure].value}", each.about
    if each.root is None:
        return f"{value} - {about}" if about else value
    root = f"c{core.measures[each.root].value}"
    return f"CAST({value} AS {huge}) - CAST({2 * about} AS {huge}) * {root} + {about**2}"


def _order(salt: str, keys: list[str], dialect: Name) -> str:
    texts = ", ".join(f"'|', CAST({each} AS VARCHAR)" for each in ["e", *keys])
    if dialect == "duckdb":
        return f"hash(concat('{salt}', {texts}))"
    return f"hashtextextended(concat('{salt}', {texts}), 0)"
