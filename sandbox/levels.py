"""What an expression is about: who people are, which rows they have, what is sensitive of them.

The history follows sets of people. A condition on who they are selects; one on rows or on
sensitive columns is part of what is measured; one condition that is about both can be followed
neither way (:mod:`sandbox.selection`). So that nothing hides behind a name, columns of a subquery
are followed to what they are made of, and what may be missing on the right of a left join is about
the conditions there.
"""

from __future__ import annotations

from enum import Flag, auto
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from sandbox.values import Expr, ties_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandbox.policy import Policy
    from sandbox.relations import Relation, Source


class About(Flag):
    """What an expression depends on; nothing at all where it is the same for everybody."""

    NOTHING = 0
    PEOPLE = auto()
    """A column of a table with one row for each person."""
    ROWS = auto()
    """A column of a table with several, or how many rows there are."""
    SENSITIVE = auto()


class Levels:
    """What expressions are about under a policy."""

    def __init__(self, policy: Policy) -> None:
        """Take the policy."""
        self.policy = policy

    def several(self, relation: Relation) -> bool:
        """Return whether a relation reads a table with several rows for a person."""
        tables = (self.policy.tables[name] for name in relation.tables())
        return any(not table.public and table.rows != 1 for table in tables)

    def of(self, value: Expr, relation: Relation) -> About:
        """Return what an expression over the sources of a relation is about."""
        match value.op:
            case "base":
                return self._base(value, relation)
            case "col":
                return self._column(value, relation.sources)
            case "in_entities" | "in_public":
                outer, inner = value.args
                rows = About.ROWS if self.several(inner) else About.NOTHING
                return self.of(outer, relation) | self.conditions(inner) | rows
            case "window":
                return self._window(value, relation)
            case _:
                return self._all(_exprs(value.args), relation)

    def conditions(self, relation: Relation) -> About:
        """Return what the conditions of a relation, and of what it stands on, are about."""
        if relation.table is not None:
            return About.NOTHING
        found = self._all((*relation.where, *relation.having), relation)
        for source in relation.sources:
            found |= self._all(source.on, relation) | self.conditions(source.relation)
        return found

    def _all(self, values: Iterable[Expr], relation: Relation) -> About:
        return reduce(or_, (self.of(each, relation) for each in values), About.NOTHING)

    def _base(self, value: Expr, relation: Relation) -> About:
        table = self.policy.tables[relation.table or ""]
        if value.sensitive:
            return About.SENSITIVE
        if table.public or value.args[0] == table.entity:
            # Another key is never read, but who has none is a property like any other.
            return About.NOTHING
        return About.PEOPLE if table.rows == 1 else About.ROWS

    def _column(self, value: Expr, sources: tuple[Source, ...]) -> About:
        source = sources[value.args[0]]
        below = source.relation
        found = self.of(below.outputs[value.args[1]].value, below)
        if below.group is not None and self.several(below):
            # One row for each person: what it says of the rows is how many there are, at least.
            found |= About.ROWS
        if source.kind == "left":
            # Whether anything is there says who is in the tables of the right side.
            if below.entity:
                found |= About.ROWS if self.several(below) else About.PEOPLE
            found |= self.conditions(below)
            for each in source.on:
                found |= self._on(each, value, sources)
        if not below.entity:
            found |= self._paired(value.args[0], sources)
        return found

    def _paired(self, place: int, sources: tuple[Source, ...]) -> About:
        """Return what decides which row of a public source stands beside a person's.

        Joined on ``case when born = 5 then 'a' else 'b' end``, a public column says who is 5. The
        conditions may go through other public sources, and through what is joined on the left.
        """
        found, seen, waiting = About.NOTHING, {place}, [place]
        while waiting:
            own = waiting.pop()
            for each in (on for source in sources for on in source.on):
                columns = [part for part in each.parts() if part.op == "col"]
                if all(part.args[0] != own for part in columns):
                    continue
                for part in each.parts():
                    if part.op in {"in_entities", "in_public"}:
                        inner = part.args[1]
                        found |= self.conditions(inner)
                        found |= About.ROWS if self.several(inner) else About.NOTHING
                for part in columns:
                    other, below = part.args[0], sources[part.args[0]].relation
                    found |= self.of(below.outputs[part.args[1]].value, below)
                    left = sources[other].kind == "left"
                    found |= self.conditions(below) if left else About.NOTHING
                    if other not in seen and (left or not below.entity):
                        seen.add(other)
                        waiting.append(other)
        return found

    def _on(self, condition: Expr, value: Expr, sources: tuple[Source, ...]) -> About:
        """Return what the condition of a left join is about, whose own columns are no loop."""
        found = About.NOTHING
        for part in condition.parts():
            if part.op == "col" and part.args[0] != value.args[0]:
                found |= self._column(part, sources)
            elif part.op == "col":
                below = sources[part.args[0]].relation
                found |= self.of(below.outputs[part.args[1]].value, below)
        return found

    def _window(self, value: Expr, relation: Relation) -> About:
        """Return what a window is about; ties are broken by all columns of a row, people's too."""
        end = ties_of(value)
        found = self._all(_exprs(value.args[:end]), relation)
        ties = self._all(_exprs(value.args[end:]), relation)
        rows = About.ROWS if self.several(relation) else About.NOTHING
        return found | rows | (ties & About.SENSITIVE)


def _exprs(args: Iterable[Any]) -> Iterator[Expr]:
    return (each for each in args if isinstance(each, Expr))
