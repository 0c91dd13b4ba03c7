"""What a plan is made of: relations of rows, cores that leave a node, and results made of them.

A relation of rows always carries its entity, whether or not the statement selects it, so that
whatever is built upon it can count entities. A core is where rows end: keys, measures and what is
to be released. A result stands on released cells and public tables only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox import values as v
from sandbox.values import Expr, Kind, Type

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

MAX_ROWS_OF_ONE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Output:
    """A column of a relation or result: its name, and what it means.

    Attributes:
        name: Empty where no statement can name it.
        value: What it means.
        known: Place of the column with what may be known of it (:attr:`.Expr.known`), if another.
    """

    name: str
    value: Expr
    known: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A relation as it stands in FROM or JOIN.

    Attributes:
        relation: What it is.
        kind: ``from``, ``inner`` or ``left``.
        on: Conditions, besides the equality of entities.
        entity: Whether it is joined on the entity.
    """

    relation: Relation
    kind: str = "from"
    on: tuple[Expr, ...] = ()
    entity: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """Rows, each with its entity, or public rows.

    Attributes:
        outputs: Its columns.
        entity: Whether its rows carry an entity.
        rows: The most rows of one entity that count.
        table: The table it reads, if it is one.
        sources: What it stands on, else.
        where: Conditions, all of which hold.
        group: Where it has one row for each entity and these.
        having: Conditions on such rows.
        predicate: The conditions, one spelling for each meaning, with those of the sources.
    """

    outputs: tuple[Output, ...]
    entity: bool
    rows: int
    table: str | None = None
    sources: tuple[Source, ...] = ()
    where: tuple[Expr, ...] = ()
    group: tuple[Expr, ...] | None = None
    having: tuple[Expr, ...] = ()
    predicate: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        """Whether it has one row for each entity at most, whatever the data."""
        return self.group == ()

    def sensitive(self) -> frozenset[str]:
        """Return the sensitive columns that it is about, conditions included."""
        found: set[str] = set()
        if self.table is None:
            for expr in self._exprs():
                found |= expr.sensitive
            for each in self.below():
                found |= each.sensitive()
        return frozenset(found)

    def _exprs(self) -> list[Expr]:
        own = [*self.where, *self.having, *(each.value for each in self.outputs)]
        return own + [each for source in self.sources for each in source.on]

    def tables(self) -> frozenset[str]:
        """Return the tables that it reads."""
        found = {self.table} if self.table else set()
        for each in self.below():
            found |= each.tables()
        return frozenset(name for name in found if name)

    def below(self) -> Iterator[Relation]:
        """Yield what it stands on, semi-joins included."""
        for source in self.sources:
            yield source.relation
        for expr in self._exprs():
            for part in expr.parts():
                yield from (arg for arg in part.args if isinstance(arg, Relation))


@dataclass(frozen=True, slots=True)
class Measure:
    """What is added up for each entity, and then for each cell.

    Attributes:
        how: ``rows`` (how many), ``count`` (how many have the value) or ``sum``.
        value: Column of the rows, or None for ``rows``.
        bound: The most that one entity counts, as a scaled whole number.
        spread: Whether least and greatest value of a row are needed too.
        signed: Whether a value can be below 0.
        only_total: Whether its total is all that is wanted, beside least and greatest value: not
            who contributes, nor how much at most.
    """

    how: str
    value: int | None
    bound: int
    spread: bool = False
    signed: bool = False
    only_total: bool = False


@dataclass(frozen=True, slots=True)
class Statistic:
    """What is released for each cell.

    Attributes:
        kind: ``entities``, ``count``, ``sum``, ``mean``, ``quantile`` or a name of
            :mod:`sandbox.moments`.
        measures: Which measures it is made of, by position.
        scale: Decimals of each.
        fraction: Of a quantile, in ten-thousandths.
        bin: What a quantile is rounded to, as a scaled whole number.
        floor: Of a quantile: its values are read as the lower ends of bins so wide; 0 as they are.
        exact: Of a quantile: one of the values, not one between two.
        family: Columns that it is made of, one spelling: what its noise is keyed by.
    """

    kind: str
    measures: tuple[int, ...]
    scale: tuple[int, ...] = ()
    fraction: int = 0
    bin: int = 0
    floor: int = 0
    exact: bool = False
    family: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return self.kind in {"entities", "count"} or (self.kind == "sum" and not any(self.scale))


@dataclass(frozen=True, slots=True, eq=False)
class Core:
    """Where rows end.

    Attributes:
        rows: What is counted; its columns are the keys, then the values.
        keys: How many of the columns are keys.
        measures: What is added up.
        statistics: What is released.
    """

    rows: Relation
    keys: int
    measures: tuple[Measure, ...]
    statistics: tuple[Statistic, ...]

    @property
    def key_types(self) -> tuple[Type, ...]:
        """Types of the keys."""
        return tuple(each.value.type for each in self.rows.outputs[: self.keys])

    @property
    def key_texts(self) -> tuple[str, ...]:
        """The keys, one spelling for each meaning."""
        return tuple(each.value.text for each in self.rows.outputs[: self.keys])

    @property
    def predicate(self) -> tuple[str, ...]:
        """The conditions of every cell, sorted, one spelling for each meaning."""
        return self.rows.predicate

    @property
    def family(self) -> tuple[str, ...]:
        """The sensitive columns that its measures, keys and conditions are about."""
        return tuple(sorted(self.rows.sensitive()))


@dataclass(frozen=True, slots=True)
class Sorted:
    """One item of ORDER BY."""

    value: Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A SELECT over released cells and public tables, or one of those themselves.

    Attributes:
        outputs: Its columns.
        core: Number of the core whose cells it is, if it is that.
        public: The public relation it is, if it is that.
        sources: What it stands on: result, kind of join, conditions.
        where: Conditions.
        group: Keys of GROUP BY; None without one.
        having: Conditions on groups.
        distinct: Whether equal rows are shown once.
        order: ORDER BY.
        limit: LIMIT.
        offset: OFFSET.
        union: The two sides of a set operation, and whether equal rows stay.
    """

    outputs: tuple[Output, ...]
    core: int | None = None
    public: Relation | None = None
    sources: tuple[tuple[Result, str, tuple[Expr, ...]], ...] = ()
    where: tuple[Expr, ...] = ()
    group: tuple[Expr, ...] | None = None
    having: tuple[Expr, ...] = ()
    distinct: bool = False
    order: tuple[Sorted, ...] = ()
    limit: int | None = None
    offset: int | None = None
    union: tuple[Result, Result, bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a statement asks for: cores to be released, and the result made of them."""

    cores: tuple[Core, ...]
    result: Result


def released(kind: Type) -> Type:
    """Return the type that a value has once it is released: numbers have no bounds."""
    return (
        Type(kind.kind if kind.kind is not Kind.INT or not kind.scale else Kind.REAL)
        if (kind.number)
        else kind
    )


def key_output(position: int, of: Expr) -> Expr:
    """Return a key of a core as a released column."""
    return Expr("col", (0, position), released(of.type), of.text)


def within(group: Sequence[Expr]) -> str:
    """Return how groups are spelt."""
    return ",".join(sorted(each.text for each in group))


def apart(sources: Sequence[Source], single: Container[str]) -> tuple[str, ...]:
    """Return for each source what its conditions are marked with, so that they tell it apart.

    The first and the second occurrence of a table with several rows of a person are other rows:
    which condition is on which of them is part of the meaning. Nothing for a table that is there
    once, or that has one row of each person.

    Args:
        sources: Of a relation.
        single: Tables with one row of each person.
    """
    own = [[name for name in each.relation.tables() if name not in single] for each in sources]
    count = Counter(name for names in own for name in names)
    return tuple(
        f"{place}: " if any(count[name] > 1 for name in names) else ""
        for place, names in enumerate(own)
    )


def with_known(outputs: Sequence[Output]) -> list[Output]:
    """Return outputs, followed by what may be known of those that are added up."""
    found = list(outputs)
    for place, each in enumerate(outputs):
        if each.value.known is not None:
            found[place] = Output(each.name, each.value, len(found))
            found.append(Output("", each.value.known))
    return found


def columns_as(index: int, outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Return the outputs of a source, as columns of it."""
    return tuple(
        Output(each.name, v.column(index, position, each.value), each.known)
        for position, each in enumerate(outputs)
    )
