"""What a worker does with a store: rows to stream and to reduce, or SQL as it is.

A core becomes a *scan*: one SELECT of rows (the number of a person, keys, values), the reduction of
which (:mod:`sandbox.reduction`) gives the cells that the core's own SQL would, and on the way who
is in which of them. Quantiles are the engine's, and products of 128 bits leave all to its SQL.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import MessageInvalid
from sandbox import direct
from sandbox.compile import CoreQuery, Writer, columns_of, core_sql, quantiles_sql
from sandbox.edges import edged
from sandbox.partials import MAX_REQUEST_BYTES, Asked, Kind, Limits
from sandbox.relations import Core, Measure
from sandbox.values import Kind as ValueKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.policy import Policy
    from sandbox.query import Compiled

SCHEMA: Final = "fusion.store-request/1"
_Text = Annotated[str, Field(max_length=2_000_000)]
_Name = Annotated[str, Field(max_length=1000)]
_Place = Annotated[int, Field(ge=0, lt=1000)]
_Step = Annotated[int, Field(ge=0, lt=2**62)]
_READ: Final = {
    ValueKind.TEXT: "{}",
    ValueKind.INT: "CAST({} AS BIGINT)",
    ValueKind.BOOL: "CAST(CAST({} AS BOOLEAN) AS TINYINT)",
    ValueKind.DATE: "CAST({} AS DATE)",
}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class AskedMeasure(_Part):
    """A measure, with its bound as a text: it can go beyond 2^53."""

    how: Literal["rows", "count", "sum"]
    value: Annotated[int, Field(ge=0, le=1000)] | None
    bound: Annotated[str, Field(pattern=r"^[1-9]\d{0,18}$")]
    spread: bool
    signed: bool
    only_total: bool

    def measure(self) -> Measure:
        """Return what it is."""
        return Measure(self.how, self.value, int(self.bound), self.spread, self.signed,
                       self.only_total)  # fmt: skip


class Direct(_Part):
    """Rows that are those of one table, all of them (:mod:`sandbox.direct`).

    Attributes:
        table: Which.
        keys: The column that each key is.
        values: The column that each given value is, the one that has to have a value as well, and
            the bin at which it is read, or 0.
    """

    table: _Name
    keys: Annotated[tuple[_Name, ...], Field(max_length=200)]
    values: Annotated[tuple[tuple[_Name, _Name, _Step], ...], Field(max_length=1000)]


class Scan(_Part):
    """A core over a store.

    Attributes:
        rows: SQL of its rows: the number of a person, keys, values.
        keys: How many keys.
        products: Of each value column, the two of which it is the product; None if it is a
            column of ``rows``.
        edges: Value columns whose farthest values are read as the one that follows
            (:mod:`sandbox.edges`).
        beyond: How many people such values are of.
        measures: What is added up; ``value`` counts from the first value column.
        columns: Of its cells, as :func:`sandbox.compile.columns_of` names them.
        salt: Keys the hashes of entities, where noise is wanted.
        quantiles: SQL of keys and quantiles, if there are any.
        ordered: Whether rows come in the order of people, as far as can be said.
        otherwise: SQL of the core, where there are more cells than are kept.
        members: Whether who is in which cell is wanted.
        direct: What the rows are where they need no engine.
    """

    rows: _Text
    keys: Annotated[int, Field(ge=0, le=200)]
    products: Annotated[tuple[tuple[_Place, _Place] | None, ...], Field(max_length=1000)]
    edges: Annotated[tuple[_Place, ...], Field(max_length=1000)] = ()
    beyond: Annotated[int, Field(ge=1, le=2)] = 1
    measures: Annotated[tuple[AskedMeasure, ...], Field(max_length=2000)]
    columns: Annotated[tuple[tuple[str, Kind], ...], Field(min_length=1, max_length=2000)]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")] = ""
    quantiles: _Text
    ordered: bool
    otherwise: _Text
    members: bool = False
    direct: Direct | None = None


class Plain(_Part):
    """SQL whose rows are the result."""

    sql: _Text
    columns: Annotated[tuple[tuple[str, Kind], ...], Field(min_length=1, max_length=2000)]


class Request(_Part):
    """Everything that one worker does.

    Attributes:
        people: How many are on the list.
        members: Who is in a cell is told of this many cells at most, if people are in several.
        cells: And of no cell if there are more than so many.
        steps: In the order of the results.
        limits: Of the engine.
    """

    schema_: Literal["fusion.store-request/1"] = Field(alias="schema")
    people: Annotated[int, Field(ge=0, le=2**31 - 1)]
    members: Annotated[int, Field(ge=0, le=100_000)]
    cells: Annotated[int, Field(ge=0, le=100_000)]
    steps: Annotated[tuple[Scan | Plain, ...], Field(min_length=1, max_length=200)]
    limits: Limits


def request_of(data: bytes) -> Request:
    """Read a request.

    Raises:
        MessageInvalid: Too large, or not one.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise MessageInvalid("A request to an engine is too large.")
    try:
        return Request.model_validate_json(data)
    except ValidationError:
        raise MessageInvalid("A request to an engine is not well formed.") from None


@dataclass(slots=True)
class Steps:
    """The steps of one worker, as they are collected.

    Attributes:
        policy: What is read of tables.
        coded: Columns of the store with codes.
        people: How many are on its list.
    """

    policy: Policy
    coded: frozenset[str]
    people: int
    _steps: list[Scan | Plain] = field(default_factory=list)
    _queries: list[CoreQuery] = field(default_factory=list)
    _cores: dict[int, Core] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)

    def statement(self, compiled: Compiled) -> list[int]:
        """Add the queries of a statement; return the number of the step of each."""
        return [
            self._plain(query)
            if leaf.core is None
            else self.core(compiled.cores[leaf.core], compiled.salt)
            for leaf, query in zip(compiled.leaves, compiled.asked.queries, strict=True)
        ]

    def core(self, core: Core, salt: str = "") -> int:
        """Add a core; return the number of its step."""
        whole = core_sql(core, self.policy, "duckdb", salt=salt, coded=self.coded)
        self._cores[len(self._steps)] = core
        if _wide(core):
            return self._plain(whole)
        products = _products(core)
        rows, keyed = self._scanned(core, products)
        measures = []
        for each in core.measures:
            value = None if each.value is None else each.value - core.keys
            measures.append(AskedMeasure(how=each.how, value=value, bound=str(each.bound),  # type: ignore[arg-type]
                                         spread=each.spread, signed=each.signed,
                                         only_total=each.only_total))  # fmt: skip
        own = edged(core).values()
        step = Scan(
            rows=rows,
            keys=core.keys,
            products=products,
            edges=tuple(place - core.keys for place, _ in own),
            beyond=max((n for _, n in own), default=1),
            measures=tuple(measures),
            columns=columns_of(core, noisy=bool(salt)),  # type: ignore[arg-type]
            salt=salt,
            quantiles=quantiles_sql(core, self.policy, self.coded),
            # What a grouping yields has no order.
            ordered=not (" GROUP BY " in rows or " OVER (" in rows),
            otherwise=whole.sql,
            direct=self._direct(core, products),
        )
        # Who is in a cell does not depend on what is measured.
        self._rows.setdefault(keyed, len(self._steps))
        return self._added(step, whole)

    def members(self, core: Core) -> int:
        """Add a core that measures nothing, with who is in its cells; return its step.

        If another core has the same rows and keys, its step tells that as well.
        """
        keyed = self._select(core, range(core.keys))
        place = self._rows.get(keyed)
        if place is None:
            place = self.core(core)
        step = self._steps[place]
        if isinstance(step, Scan):
            self._steps[place] = step.model_copy(update={"members": True})
        return place

    def core_at(self, step: int) -> Core:
        """Return the core that a step is of."""
        return self._cores[step]

    def asked(self, limits: Limits, *, cells: int, members: int) -> Asked:
        """Return the request, and what its reply has to look like."""
        request = Request(schema=SCHEMA, people=self.people, members=members, cells=cells,
                          steps=tuple(self._steps), limits=limits)  # fmt: skip
        data = json.dumps(request.model_dump(by_alias=True), ensure_ascii=False).encode()
        return Asked(data, tuple(self._queries))

    def with_members(self) -> list[int]:
        """Return the steps that tell who is in their cells, in order."""
        return [n for n, each in enumerate(self._steps) if isinstance(each, Scan) and each.members]

    def _plain(self, query: CoreQuery) -> int:
        return self._added(Plain(sql=query.sql, columns=query.columns), query)  # type: ignore[arg-type]

    def _added(self, step: Scan | Plain, query: CoreQuery) -> int:
        self._steps.append(step)
        self._queries.append(query)
        return len(self._steps) - 1

    def _scanned(self, core: Core, products: Sequence[object]) -> tuple[str, str]:
        """Return SQL of the rows with keys and values, and that with keys alone."""
        keys = range(core.keys)
        values = [core.keys + n for n, each in enumerate(products) if each is None]
        return self._select(core, [*keys, *values]), self._select(core, keys)

    def _direct(self, core: Core, products: Sequence[object]) -> Direct | None:
        table = direct.table_of(core)
        places = [core.keys + n for n, each in enumerate(products) if each is None]
        keys = direct.keys_of(core, self.policy, self.coded)
        values = direct.values_of(core, self.policy, self.coded, places)
        if table is None or keys is None or values is None:
            return None
        return Direct(table=table, keys=keys, values=values)

    def _select(self, core: Core, places: Sequence[int]) -> str:
        writer = Writer(self.policy, "duckdb", self.coded)
        writer.need(core.rows, places)
        name = writer.relation(core.rows)
        items = ["e"]
        for place in places:
            output = core.rows.outputs[place]
            if place >= core.keys:
                items.append(f"CAST(c{place} AS BIGINT) AS v{place - core.keys}")
            elif writer.has_codes(core.rows, place):
                items.append(f"d{place} AS k{place}")
            else:
                read = _READ[output.value.type.kind].format(f"c{place}")
                items.append(f"{read} AS k{place}")
        return f"WITH {writer.clauses()} SELECT {', '.join(items)} FROM {name}"  # noqa: S608 - compiled


def _products(core: Core) -> tuple[tuple[int, int] | None, ...]:
    """Return of each value column which two others it is the product of, if it is.

    A worker multiplies faster than columns come out of the engine. The type of a product holds it
    in 64 bits: else it would be ``wide``.
    """
    values = [each.value for each in core.rows.outputs[core.keys :]]
    places = {(each.text, each.type): n for n, each in enumerate(values) if each.op != "mul"}
    found: list[tuple[int, int] | None] = []
    for each in values:
        factors = (
            [places.get((arg.text, arg.type)) for arg in each.args] if each.op == "mul" else []
        )
        one, other = factors if len(factors) == 2 else (None, None)
        found.append(None if one is None or other is None else (one, other))
    return tuple(found)


def _wide(core: Core) -> bool:
    """Whether a core needs products of 128 bits."""
    values = core.rows.outputs[core.keys :]
    return any(part.op == "wide" for each in values for part in each.value.parts())
