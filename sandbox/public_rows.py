"""How many rows of a public table have one value of a column, or of two or three together.

Counted when a policy is attached or tried, in the SQL of whichever engine has the tables, of
values as queries read them. Everybody may know a public table, so this tells nothing; nothing of a
table about people is looked at. What a set of columns says that is no less than what one within it
says is left out, so that a table with a key needs little more than one pass.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING, Final

from fusion.errors import QueryFailed
from sandbox import tables
from sandbox.compile import CoreQuery
from sandbox.dialects import quoted
from sandbox.partials import Limits, ask, reply_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.dialects import Name
    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy, Table

    Columns = tuple[str, ...]

_SIZES: Final = (1, 2, 3)
_MOST_SETS: Final = 300
"""Sets of columns of one size and table that are looked at; of others, less is known."""

_MOST_IN_ALL: Final = 3000
"""The same of all tables together: what is found is signed with the policy."""

_MOST_READ: Final = 20_000_000
"""Rows that are grouped for all sets of one size, but single columns."""

_AT_ONCE: Final = 50
_MEMORY_MB: Final = 2048


def count(policy: Policy, execute: Callable[[bytes], bytes], dialect: Name) -> PublicRows:
    """Count rows of the public tables of a policy.

    Args:
        policy: Which tables, and how they are read.
        execute: Runs a request on them, as :func:`sandbox.engine.execute` does.
        dialect: Of the engine.

    Returns:
        As :data:`sandbox.fanout.PublicRows` has it, without a table that the engine could not
        count: a join of it is refused.
    """
    found = {}
    public = {name: table for name, table in policy.tables.items() if table.public}
    sets = min(_MOST_SETS, _MOST_IN_ALL // max(1, len(public)))
    for name, table in public.items():
        try:
            counts = _counts(name, table, execute, dialect, sets)
        except QueryFailed:
            continue
        found[name] = {",".join(columns): count for columns, count in counts.items()}
    return found


def _counts(
    name: str, table: Table, execute: Callable[[bytes], bytes], dialect: Name, sets: int
) -> dict[Columns, int]:
    def run(these: list[Columns]) -> list[int]:
        asked = ask([_query(name, table, these, dialect)], Limits(memory_mb=_MEMORY_MB))
        ((row,),) = reply_of(execute(asked.request), asked)
        return list(row)

    (rows,) = run([()])
    found: dict[Columns, int] = {(): rows}
    for size in _SIZES:
        most = sets if size == 1 else min(sets, _MOST_READ // max(1, rows))
        wanted = list(_sets(list(table.columns), size, found))[:most]
        at_once = max(1, min(_AT_ONCE, _MOST_READ // max(1, 10 * rows)))
        for first in range(0, len(wanted), at_once):
            these = wanted[first : first + at_once]
            with suppress(QueryFailed):  # of these no more is known than of what is in them
                for columns, counted in zip(these, run(these), strict=True):
                    inside = (found[each] for each in _within(columns, found))
                    if counted < min(inside, default=counted + 1):
                        found[columns] = counted
    return found


def _within(columns: Columns, found: dict[Columns, int]) -> Iterator[Columns]:
    """Yield the sets within one of which something is known."""
    if columns:
        yield from (each for each in found if each and set(each) < set(columns))


def _sets(columns: list[str], size: int, found: dict[Columns, int]) -> Iterator[Columns]:
    """Yield the sets of one size that might have fewer rows than what is in them."""
    if size > 1:
        # A value of one row, or of which nothing is known, needs no second.
        columns = [each for each in columns if found.get((each,), 1) > 1]
    for each in combinations(columns, size):
        if all(found[own] > 1 for own in _within(each, found)):
            yield each


def _query(name: str, table: Table, sets: list[Columns], dialect: Name) -> CoreQuery:
    used = sorted({column for columns in sets for column in columns})
    place = {column: f"c{number}" for number, column in enumerate(used)}
    read = [
        f"{tables.read(column, table.columns[column], dialect)} AS {place[column]}"
        for column in used
    ]
    texts = []
    for number, columns in enumerate(sets):
        names = [place[column] for column in columns]
        if not names:
            texts.append(f"(SELECT count(*) FROM r) AS m{number}")
            continue
        # An equality never holds of what is missing.
        there = " AND ".join(f"{each} IS NOT NULL" for each in names)
        grouped = f"SELECT count(*) AS n FROM r WHERE {there} GROUP BY {', '.join(names)}"
        texts.append(f"(SELECT COALESCE(max(n), 0) FROM ({grouped}) AS g{number}) AS m{number}")
    source = quoted(name, dialect)
    sql = (
        f"WITH r AS (SELECT {', '.join(read) or '1 AS c'} FROM {source}) SELECT {', '.join(texts)}"
    )
    return CoreQuery(sql, tuple((f"m{number}", "whole") for number in range(len(sets))), (name,))
