"""Which names mean what: base tables from the policy, and the columns of what stands in FROM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandbox import values as v
from sandbox.policy import Date, Dimension, Key, Number, Public
from sandbox.refusals import refusal
from sandbox.relations import Output, Relation
from sandbox.values import Expr, Kind, Type
from sandbox.widths import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.policy import Column, Policy, Table

ENTITY = "entity"
"""The one spelling of a column that names the entity."""


def base(policy: Policy, name: str) -> Relation | None:
    """Return a table of the policy by a name in any case; None if there is none."""
    for own, table in policy.tables.items():
        if own.lower() == name.lower():
            return _relation(own, table, policy)
    return None


def _relation(name: str, table: Table, policy: Policy) -> Relation:
    outputs = tuple(
        Output(column, _column(name, table, column, what, policy.bin_of(what)))
        for column, what in table.columns.items()
    )
    return Relation(outputs, not table.public, table.rows, table=name, predicate=(f"from {name}",))


def _column(name: str, table: Table, column: str, what: Column, width: int) -> Expr:
    full = f"{name}.{column}"
    sensitive = isinstance(what, Dimension | Number | Date) and what.sensitive
    return Expr(
        "base",
        (column,),
        replace(type_of(what), bin=width),
        ENTITY if column == table.entity else full,
        isinstance(what, Number | Date),
        frozenset({full}),
        frozenset({full}) if sensitive else frozenset(),
        told=_told(what),
    )


def _told(what: Column) -> Told:
    """Return to what quantiles of a column are rounded."""
    if isinstance(what, Number):
        width = (what.high - what.low) / 1000 if what.bin is None else what.bin
        return Told(max(width, 10.0**-what.decimals), known=False)
    if isinstance(what, Public):
        # Everybody has its values.
        return Told(10.0**-what.decimals, known=True)
    return Told(1.0, known=isinstance(what, Dimension))


def type_of(what: Column) -> Type:
    """Return the type of a column of the policy."""
    found = v.TEXT
    if isinstance(what, Key):
        found = v.KEY
    elif isinstance(what, Number):
        found = Type(Kind.INT, what.decimals, what.low, what.high)
    elif isinstance(what, Date):
        found = Type(Kind.DATE, 0, int(what.low[:4]), int(what.high[:4]), what.finest)
    elif isinstance(what, Public) and what.type == "number":
        found = Type(Kind.INT, what.decimals, what.low, what.high)
    elif what.type == "integer":
        found = Type(Kind.INT, 0, what.low or 0, what.high or 0)
    elif what.type == "boolean":
        found = v.BOOL
    elif what.type == "date":
        found = v.DATE
    return found


@dataclass(slots=True)
class Named:
    """A source of a SELECT under its name.

    Attributes:
        name: Alias or table, in lower case.
        outputs: Its columns.
        tables: Tables that it reads.
        optional: Whether it is the right side of a left join.
    """

    name: str
    outputs: Sequence[Output]
    tables: frozenset[str] = frozenset()
    optional: bool = False


class Names:
    """The columns that a SELECT can use, and where they stand."""

    def __init__(self) -> None:
        """Begin without a source."""
        self.sources: list[Named] = []
        self._merged: set[str] = set()

    def add(self, source: Named) -> None:
        """Take a source in.

        Raises:
            QueryRefused: Another one has its name.
        """
        if any(each.name == source.name for each in self.sources):
            raise refusal("Q-04", "Two tables in FROM have one name.")
        self.sources.append(source)

    def merge(self, names: Sequence[str]) -> None:
        """Let these names, which USING has made equal, mean their first occurrence."""
        self._merged |= {name.lower() for name in names}

    def find(self, table: str, name: str) -> Expr | None:
        """Return a column, or None if there is none.

        Raises:
            QueryRefused: The name is ambiguous.
        """
        found = [
            (index, position)
            for index, source in enumerate(self.sources)
            if not table or source.name == table.lower()
            for position, output in enumerate(source.outputs)
            if output.name.lower() == name.lower()
        ]
        if not found:
            return None
        if len(found) > 1 and not (not table and name.lower() in self._merged):
            raise refusal("Q-04", "A column is in two tables: write the table before it.")
        return self.at(*found[0])

    def at(self, index: int, position: int) -> Expr:
        """Return a column by its place."""
        made, known = self._at(index, position), self.sources[index].outputs[position].known
        return made if known is None else replace(made, known=self._at(index, known))

    def _at(self, index: int, position: int) -> Expr:
        source = self.sources[index]
        made = v.column(index, position, source.outputs[position].value)
        before = frozenset().union(*(each.tables for each in self.sources[:index]))
        if made.text == ENTITY:
            # It may be missing on the right side of a left join, and names nobody then.
            return replace(made, text=f"{ENTITY}?{source.name}") if source.optional else made
        if before & source.tables or source.optional:
            return replace(made, text=f"{made.text}#{index}")
        return made

    def all(self, table: str = "") -> list[Output]:
        """Return every column, or those of one source, as ``*`` means them."""
        found = []
        for index, source in enumerate(self.sources):
            if table and source.name != table.lower():
                continue
            for position, output in enumerate(source.outputs):
                merged = index and not table and output.name.lower() in self._merged
                if merged or not output.name:
                    continue
                found.append(Output(output.name, self.at(index, position)))
        return found
