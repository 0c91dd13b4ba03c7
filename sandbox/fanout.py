"""How many rows of one person a join makes, whatever the tables about people hold.

A table about people has at most its policy's ``rows`` of one. A public table has more than one row
beside each of these where several have the value that it is joined on: how many was counted when
the policy was attached (:mod:`sandbox.public_rows`), which everybody may know. Of a join the bound
is the product over its sources, in an order in which each is met with what is known of those
before: the entity, columns that are equal to theirs, constants. Any order gives a bound, since the
rows that a source adds to those of the sources before are all that have these values. The number of
rows counts as the policy's ``rows`` does: counts and sums are cut off at it, and noise follows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox.refusals import refusal
from sandbox.values import split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandbox.relations import Relation, Source
    from sandbox.values import Expr

PublicRows = Mapping[str, Mapping[str, int]]
"""Of each public table: columns, with commas between them, to the most rows that have one value of
them together; of no column, all rows. A set that is not there has no fewer than one within it."""

_DEPENDS: Final = frozenset({"window", "agg", "in_entities", "in_public"})
"""Operations whose value does not follow from the values of one row of each source."""

_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Link:
    """A column that has one value, given a row of each of some other sources."""

    column: _Place
    given: frozenset[int]


class Fanout:
    """How many rows joins have, as far as it is known of public tables."""

    def __init__(self, public: PublicRows | None) -> None:
        """Take what is known; None if nothing is."""
        self._public = public
        self._found: dict[tuple[int, frozenset[int]], tuple[Relation, int]] = {}

    def rows_of(
        self, sources: Sequence[Source], where: Iterable[Expr], fixed: Iterable[_Place] = ()
    ) -> int:
        """Return the most rows of one entity that a join can have; of public tables, of all rows.

        Args:
            sources: What is joined.
            where: Conditions that all rows meet.
            fixed: Columns of sources that have one value.

        Raises:
            QueryRefused: A public table is joined of which it is not known.
        """
        links, values = list(_links(sources, where)), set(fixed)
        left, placed, total = set(range(len(sources))), set[int](), 1
        while left:
            # What is joined on the left stands beside rows of all that is before it.
            ready = [
                each
                for each in left
                if sources[each].kind != "left" or all(before in placed for before in range(each))
            ]
            rated = []
            for each in ready:
                relation, own = sources[each].relation, [k for k in links if k.column[0] == each]
                known = {link.column[1] for link in own if link.given <= placed}
                known |= {place for source, place in values if source == each}
                # Of what nothing is known yet more will be.
                waits = not known and bool(own)
                rows = relation.rows if relation.entity else self._most(relation, frozenset(known))
                rated.append((not relation.entity, waits, max(1, rows), each))
            _, _, rows, chosen = min(rated)
            total *= rows
            placed.add(chosen)
            left.remove(chosen)
        return total

    def largest(self, sources: Sequence[Source]) -> int:
        """Return the most rows that one of some public sources has by itself."""
        return max(self._most(each.relation, frozenset()) for each in sources)

    def _most(self, relation: Relation, known: frozenset[int]) -> int:
        """Return the most rows of a public relation that have one value of columns together."""
        found = self._found.get((id(relation), known))
        if found is None:
            # With the relation itself, so that no other one gets its number meanwhile.
            found = self._found[id(relation), known] = relation, self._counted(relation, known)
        return found[1]

    def _counted(self, relation: Relation, known: frozenset[int]) -> int:
        columns = {_column(relation.outputs[place].value) for place in known}
        if relation.table is None:
            fixed = [each for each in columns if each is not None]
            return self.rows_of(relation.sources, relation.where, fixed)
        counts = (self._public or {}).get(relation.table)
        if counts is None:
            raise refusal(
                "Q-08",
                f"How many rows of {relation.table} have one value is not known; its owner "
                f"attaches the policy again: fusion policy add.",
            )
        names = {relation.outputs[place].value.args[0] for place in known}
        return min(
            most for spelt, most in counts.items() if not spelt or set(spelt.split(",")) <= names
        )


def _links(sources: Sequence[Source], where: Iterable[Expr]) -> Iterator[_Link]:
    """Yield the columns of public sources that conditions make equal to something else."""
    for each in split(where):
        yield from _equal(each)
    for place, source in enumerate(sources):
        for each in split(source.on):
            # On the left it says nothing of rows that have no counterpart.
            yield from (
                link for link in _equal(each) if source.kind != "left" or link.column[0] == place
            )


def _equal(condition: Expr) -> Iterator[_Link]:
    if condition.op != "eq":
        return
    one, other = condition.args
    for side, against in ((one, other), (other, one)):
        column = _column(side)
        parts = list(against.parts())
        if column is None or any(part.op in _DEPENDS for part in parts):
            continue
        given = frozenset(part.args[0] for part in parts if part.op == "col")
        if column[0] not in given:
            yield _Link(column, given)


def _column(value: Expr) -> _Place | None:
    """Return the column that an expression is, perhaps with more decimals; None if it is none."""
    while value.op == "scale":
        value = value.args[0]
    return (value.args[0], value.args[1]) if value.op == "col" else None
