"""Which cores are columns of one whole table: those need no engine, only its arrays.

Without a condition and without a join, keys and values that are columns of the table itself can be
added up from :mod:`sandbox.arrays`. Everything else is rows that the engine makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import values as v
from sandbox.arrays import stored_type
from sandbox.values import Expr, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.policy import Policy
    from sandbox.relations import Core, Relation

Given = tuple[str, str, int]
"""A column; the column that has to have a value as well for it to count, itself mostly; the bin at
which it is read, as a scaled whole number, or 0 where it is read as it is."""


def table_of(core: Core) -> str | None:
    """Return the table whose rows, all of them, a core's rows are; None if they are others."""
    relation = core.rows
    while relation.table is None:
        plain = not relation.where and not relation.having and relation.group is None
        if not plain or len(relation.sources) != 1 or relation.sources[0].on:
            return None
        relation = relation.sources[0].relation
    return relation.table


def keys_of(core: Core, policy: Policy, coded: frozenset[str]) -> tuple[str, ...] | None:
    """Return the column that each key is; None if one of them is none that is stored."""
    found = [
        _column(each.value, core.rows, policy, coded) for each in core.rows.outputs[: core.keys]
    ]
    return None if None in found else tuple(name for name in found if name is not None)


def values_of(
    core: Core, policy: Policy, coded: frozenset[str], places: Iterable[int]
) -> tuple[Given, ...] | None:
    """Return the column that each of these value columns is; None if one of them is none."""
    found: list[Given] = []
    for place in places:
        value = core.rows.outputs[place].value
        if value.op == "within":
            # Which of its values are far away is found when they are added up.
            value = value.args[0]
        given = _given(value, core.rows, policy, coded)
        if given is None:
            return None
        found.append(given)
    return tuple(found)


def _given(value: Expr, relation: Relation, policy: Policy, coded: frozenset[str]) -> Given | None:
    there = None
    if value.op == "case" and len(value.args) == 3 and value.args[2] == v.NOTHING:
        there, value = _present(value.args[0]), value.args[1]
        if there is None:
            return None
    step = 0
    if value.op == "bin":
        value, step, _ = value.args
    own = _column(value, relation, policy, frozenset())
    other = own if there is None else _column(there, relation, policy, coded)
    return None if own is None or other is None else (own, other, step)


def _present(condition: Expr) -> Expr | None:
    """Return what a condition says to have a value, if it says nothing else."""
    if condition.op != "not" or condition.args[0].op != "isnull":
        return None
    found = condition.args[0].args[0]
    if isinstance(found, Expr) and found.op == "bin":
        found = found.args[0]
    return found if isinstance(found, Expr) else None


def _column(value: Expr, relation: Relation, policy: Policy, coded: frozenset[str]) -> str | None:
    """Return the stored column that an expression over a relation is."""
    while relation.table is None:
        if value.op != "col":
            return None
        source, place = value.args
        relation = relation.sources[source].relation
        value = relation.outputs[place].value
    table = policy.tables[relation.table]
    name = str(value.args[0])
    if value.op != "base" or name == table.entity:
        return None
    if value.type.kind is Kind.TEXT:
        return name if f"{relation.table}.{name}" in coded else None
    return name if stored_type(table.columns[name]) is not None else None
