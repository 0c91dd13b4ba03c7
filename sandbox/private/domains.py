"""Which groups a statement can have, whatever the data: the values that its keys can take.

Under differential privacy a group that appears because somebody is in it would tell that she is
there (Korolova et al., WWW 2009). So every group that there could be is released, empty ones too.
What a key can be follows from the policy (listed values, bounds) and from the statement (functions
of those, written results of CASE, conditions of WHERE); a column of a public table has the values
that are in it. A list here may be longer than what can occur, never shorter: what is not listed is
not released.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, Final

import duckdb

from fusion.errors import QueryRefused
from sandbox import values as v
from sandbox.dialects import Dialect
from sandbox.policy import Date, Dimension, Public
from sandbox.refusals import refusal
from sandbox.values import Expr, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandbox.policy import Column, Policy
    from sandbox.relations import Core, Relation
    from sandbox.values import Type

MAX_COMBINATIONS: Final = 200_000
"""Most combinations of arguments for which a function is evaluated."""

MAX_GROUPS: Final = 10_000
"""Most groups of a core: far fewer than the cells that an engine may reply, so that whether it
replies too many never depends on data."""

MAX_RANGE: Final = 2000
"""Most whole numbers that a bounded number is listed as, where nothing else is known of it."""

_NO_FUNCTION: Final = frozenset(
    {"agg", "window", "in_entities", "in_public", "total", "over", "wide"}
)
"""Operations that look at more than their arguments' values."""

_STORED: Final = {
    Kind.TEXT: "VARCHAR", Kind.INT: "BIGINT", Kind.REAL: "DOUBLE", Kind.BOOL: "BOOLEAN",
    Kind.DATE: "DATE", Kind.NULL: "BIGINT",
}  # fmt: skip
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": "false", "threads": "1", "memory_limit": "256MB",
}  # fmt: skip
Values = tuple[Any, ...]
"""Distinct values of one key as engines reply them: texts, whole numbers, truth values, days as
``YYYY-MM-DD``, None last."""


@dataclass(frozen=True, slots=True)
class InTable:
    """The values of a column of a public table, which are known when the table is read.

    Attributes:
        relation: The table.
        position: Of the column.
        missing: Whether it can be missing beside (a left join).
    """

    relation: Relation
    position: int
    missing: bool


Domain = Values | InTable


def keys_of(core: Core, policy: Policy) -> tuple[Domain, ...]:
    """Return the values of each key of a core.

    Raises:
        QueryRefused: They do not follow from policy and statement (Q-22), or are too many (Q-16).
    """
    found = tuple(_key(each.value, core.rows, policy) for each in core.rows.outputs[: core.keys])
    check_groups([len(each) for each in found if not isinstance(each, InTable)], policy)
    return found


def check_groups(sizes: Sequence[int], policy: Policy) -> None:
    """Return if there are not too many groups.

    Args:
        sizes: How many values each key has.
        policy: What may be asked.

    Raises:
        QueryRefused: There are (Q-16).
    """
    if prod(sizes) > min(policy.release.rows, MAX_GROUPS):
        raise refusal("Q-16", "Every group that there could be is listed, empty ones too.")


def _key(of: Expr, relation: Relation, policy: Policy) -> Domain:
    public = _public(of, relation, policy)
    return public if public is not None else values_of(of, relation, policy)


def _public(of: Expr, relation: Relation, policy: Policy) -> InTable | None:
    """Return the public column that an expression is, if it is one as it stands."""
    missing = False
    while of.op == "col" and relation.table is None:
        source = relation.sources[of.args[0]]
        missing = missing or source.kind == "left"
        relation, position = source.relation, of.args[1]
        if relation.table is not None:
            what = _column(relation, position, policy)
            listed = isinstance(what, Public) and what.type != "boolean"
            return InTable(relation, position, missing) if listed else None
        of = relation.outputs[position].value
    return None


def _column(relation: Relation, position: int, policy: Policy) -> Column:
    return list(policy.tables[relation.table or ""].columns.values())[position]


def values_of(of: Expr, relation: Relation, policy: Policy) -> Values:
    """Return the values that an expression over a relation's sources can have.

    Raises:
        QueryRefused: They do not follow from policy and statement.
    """
    if of.op == "col":
        return _of_column(of, relation, policy)
    if of.constant:
        return (of.args[0] if of.args else None,)
    found, why = _over_columns(of, relation, policy)
    if found is not None:
        return found
    if of.op == "case":
        results = [*of.args[1:-1:2], of.args[-1]]
        return _distinct(x for each in results for x in values_of(each, relation, policy))
    if of.op == "agg" and of.args[0] in {"min", "max"}:
        return _distinct([*values_of(of.args[1], relation, policy), None])
    if of.op in _NO_FUNCTION:
        return _by_type(of, why)
    return _over_arguments(of, relation, policy, why)


def _over_columns(
    of: Expr, relation: Relation, policy: Policy
) -> tuple[Values | None, QueryRefused | None]:
    """Return the values of a function of columns that have lists.

    None if it is something else, then with why a column has no list, if that is the reason.
    """
    if any(each.op in _NO_FUNCTION for each in of.parts()):
        return None, None
    leaves = list({each.args: each for each in of.parts() if each.op == "col"}.values())
    try:
        lists = [values_of(each, relation, policy) for each in leaves]
    except QueryRefused as error:
        return None, error
    if prod(map(len, lists)) > MAX_COMBINATIONS:
        return None, None
    places = {each.args: place for place, each in enumerate(leaves)}
    return _evaluated(_on_columns(of, places), [each.type for each in leaves], lists), None


def _over_arguments(
    of: Expr, relation: Relation, policy: Policy, why: QueryRefused | None
) -> Values:
    """Return the values of a function of what has lists, or what its type says."""
    arguments = [each for each in of.args if isinstance(each, Expr)]
    try:
        lists = [values_of(each, relation, policy) for each in arguments]
    except QueryRefused as error:
        return _by_type(of, why or error)
    if not arguments or prod(map(len, lists)) > MAX_COMBINATIONS:
        return _by_type(of, why)
    places = iter(range(len(arguments)))
    args = [v.column(0, next(places), e) if isinstance(e, Expr) else e for e in of.args]
    written = v.replaced(of, tuple(args))
    return _evaluated(written, [each.type for each in arguments], lists)


def _of_column(of: Expr, relation: Relation, policy: Policy) -> Values:
    source = relation.sources[of.args[0]]
    below = source.relation
    if below.table is not None:
        name = f"{below.table}.{list(policy.tables[below.table].columns)[of.args[1]]}"
        found = _listed(name, _column(below, of.args[1], policy))
    else:
        found = values_of(below.outputs[of.args[1]].value, below, policy)
    if source.kind == "left":
        found = _distinct([*found, None])
    return _kept(of, found, relation)


def _kept(of: Expr, found: Values, relation: Relation) -> Values:
    """Leave out what a condition on this column alone leaves out."""
    for condition in relation.where:
        leaves = {each.args for each in condition.parts() if each.op == "col"}
        looks_elsewhere = any(each.op in _NO_FUNCTION for each in condition.parts())
        if leaves == {of.args} and not looks_elsewhere:
            written = _on_columns(condition, {of.args: 0})
            true = _evaluated(written, [of.type], [found], keep=True)
            found = tuple(found[place] for place in true)
    return found


def _listed(name: str, what: Column) -> Values:
    """Return the values of a column of the policy, which is called so.

    Raises:
        QueryRefused: It has no list.
    """
    if isinstance(what, Dimension):
        found: Sequence[Any]
        if what.type == "boolean":
            found = (False, True)
        elif what.type == "integer" and (what.high or 0) - (what.low or 0) < MAX_COMBINATIONS:
            found = range(what.low or 0, (what.high or 0) + 1)
        elif what.values:
            found = what.values
        else:
            raise _unlisted(name, what)
        # Of a dimension that everybody has nothing is missing; were it so, it is not released.
        return tuple(found) if what.complete else (*found, None)
    if isinstance(what, Date):
        first = date.fromisoformat(what.low)
        count = (date.fromisoformat(what.high) - first).days + 1
        if count < MAX_COMBINATIONS:
            days = (first + timedelta(days=day) for day in range(count))
            return (*(day.isoformat() for day in days), None)
    if isinstance(what, Public) and what.type == "boolean":
        return (False, True, None)
    raise _unlisted(name, what)


def _unlisted(name: str, what: Column) -> QueryRefused:
    """Return why a column has no list here, and who could do what about it."""
    if isinstance(what, Public):
        detail = f"{name} of a public table is a group as it stands, a function of it is not."
        return refusal("Q-22", detail, "Group by the column itself.")
    if isinstance(what, Dimension) and what.type == "text":
        hint = (
            f"Its owner can list them: `values: [...]` of {name} in the policy, or a public table "
            "with them. Without a list, filter by it, or group by CASE with written results."
        )
        return refusal("Q-22", f"The policy has no list of those of {name}.", hint)
    return refusal("Q-22", f"{name} can have too many.")


def _by_type(of: Expr, why: QueryRefused | None = None) -> Values:
    """Return what a type alone says.

    Raises:
        QueryRefused: That is too little: ``why``, if that is known.
    """
    kind = of.type
    if kind.kind is Kind.BOOL:
        return (False, True, None)
    if kind.kind is Kind.INT and isfinite(kind.low) and isfinite(kind.high):
        factor = 10**kind.scale
        low, high = int(kind.low * factor // 1), -int(-kind.high * factor // 1)
        if high - low < MAX_RANGE:
            return (*range(low, high + 1), None)
    raise why or refusal("Q-22")


def _distinct(found: Iterable[Any]) -> Values:
    """Return each value once, None last."""
    known = dict.fromkeys(found)
    some = [each for each in known if each is not None]
    return (*some, None) if None in known else tuple(some)


def _evaluated(
    of: Expr, types: Sequence[Type], lists: Sequence[Values], *, keep: bool = False
) -> Values:
    """Return the values of a function of columns: computed by DuckDB, without any data.

    Args:
        of: The function, of the columns ``s0.c0`` and on.
        types: Of the columns.
        lists: Values of each.
        keep: Return the numbers of the combinations for which it is true, instead.
    """
    stored = ["BIGINT", *(_STORED[each.kind] for each in types)]
    rows = list(product(*lists))
    parts = [list(range(len(rows))), *map(list, zip(*rows, strict=True))]
    if not rows:
        return ()
    wanted = ", ".join(
        f"unnest(CAST(? AS {kind}[])) AS {name}"
        for kind, name in zip(stored, ["n", *(f"c{n}" for n in range(len(types)))], strict=True)
    )
    text = Dialect("duckdb", _nothing).sql(of)
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    try:
        connection.execute(f"CREATE TABLE s0 AS SELECT {wanted}", parts)
        if keep:
            found = connection.execute(f"SELECT n FROM s0 WHERE {text} ORDER BY n").fetchall()
            return tuple(n for (n,) in found)
        found = connection.execute(
            f"SELECT value FROM (SELECT {text} AS value, n FROM s0) GROUP BY value ORDER BY min(n)"
        ).fetchall()
    except duckdb.Error:
        raise refusal("Q-22") from None
    finally:
        connection.close()
    return _distinct(x.isoformat() if isinstance(x, date) else x for (x,) in found)


def _on_columns(of: Expr, places: Mapping[tuple[Any, ...], int]) -> Expr:
    """Return an expression whose columns are those of the table of values."""
    if of.op == "col":
        return v.column(0, places[of.args], of)
    args = [_on_columns(each, places) if isinstance(each, Expr) else each for each in of.args]
    return v.replaced(of, tuple(args))


def _nothing(_relation: Relation) -> str:
    raise refusal("Q-22")
