"""Relations without the conditions that are measured: a query of them yields whom they select.

Where only people are looked at, a table with one row for each stands for the tables with many rows.
All that is read of such a table then is the entity's key, which has another place there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sandbox import values as v
from sandbox.names import ENTITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandbox.levels import About, Levels
    from sandbox.relations import Output, Relation, Source
    from sandbox.values import Expr


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """Which conditions are measured and not selected by, and what stands for tables of many rows.

    Attributes:
        measured: What conditions that are left out are about.
        people: A table with one row for each person, where only people are looked at.
    """

    measured: About
    people: Relation | None = None


class Relaxed:
    """Relations without the conditions that are measured; each is made once."""

    def __init__(self, levels: Levels, mode: Mode) -> None:
        """Leave out what is measured in this mode."""
        self._levels = levels
        self._mode = mode
        self._made: dict[int, Relation] = {}

    def relation(
        self,
        of: Relation,
        outputs: tuple[Output, ...] | None = None,
        more: Sequence[Expr] = (),
    ) -> Relation:
        """Return a relation without what is measured.

        Args:
            of: The relation.
            outputs: In place of its own.
            more: Conditions beside its own.
        """
        people = self._mode.people
        if of.table is not None:
            return people if people is not None and self._levels.several(of) else of
        if outputs is None and id(of) in self._made:
            return self._made[id(of)]
        below = [self.relation(each.relation) for each in of.sources]
        keys = {
            place: self._key_of(found)
            for place, (found, each) in enumerate(zip(below, of.sources, strict=True))
            if each.relation.table is not None and found is not each.relation
        }
        sources = tuple(
            replace(each, relation=found, on=_moved(self._on(each, of), keys))
            for each, found in zip(of.sources, below, strict=True)
        )
        # Where only people are looked at, one row for each is enough.
        whole = people is None or not self._levels.several(of)
        made = replace(
            of,
            outputs=tuple(
                replace(each, value=_onto(each.value, keys))
                for each in (of.outputs if outputs is None else outputs)
            ),
            sources=sources,
            where=_moved((*self._plain(of.where, of), *more), keys),
            group=None if of.group is None else _moved(of.group, keys) if whole else (),
            having=_moved(self._plain(of.having, of), keys),
        )
        if outputs is None:
            self._made[id(of)] = made
        return made

    def _key_of(self, people: Relation) -> int:
        """Return the place of the entity's key among the columns of a table."""
        table = self._levels.policy.tables[people.table or ""]
        return list(table.columns).index(table.entity or "")

    def _on(self, source: Source, of: Relation) -> tuple[Expr, ...]:
        left = self._plain(source.on, of)
        needed = not left and not source.entity and source.kind != "from"
        return (v.truth(True),) if needed else left

    def _plain(self, conditions: Iterable[Expr], of: Relation) -> tuple[Expr, ...]:
        found = []
        for each in v.split(conditions):
            if not self._levels.of(each, of) & self._mode.measured:
                found.append(each)
            elif each.op == "in_entities":
                link, inner = each.args
                found.append(replace(each, args=(link, self.relation(inner))))
        return tuple(found)


def _moved(values: Iterable[Expr], keys: Mapping[int, int]) -> tuple[Expr, ...]:
    return tuple(_onto(each, keys) for each in values)


def _onto(value: Expr, keys: Mapping[int, int]) -> Expr:
    """Return an expression over sources of which some are another table now.

    All that is read of a table of many rows where one of people stands for it is the entity's key,
    which has another place there.

    Args:
        value: Over the sources as they were.
        keys: Of each source that is another table now, the place of the key.
    """
    if value.op == "col":
        source = value.args[0]
        moves = source in keys and value.text.partition("?")[0] == ENTITY
        return v.column(source, keys[source], value) if moves else value
    args = tuple(_onto(each, keys) if isinstance(each, v.Expr) else each for each in value.args)
    return v.replaced(value, args)
