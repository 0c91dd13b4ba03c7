"""Simulated people and the tables that an analyst asks for: dashboards, drill-downs, filters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.predicates import Attribute, Condition, Definitions, Level
from sandbox.history.request import Request, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

SCOPE: Final = Scope("tax", "persons", "analysts", "income", "2026-Q4")
SIZES: Final = {"sex": 2, "segment": 5, "plan": 4, "joined": 24, "occupation": 60, "district": 120}
"""Numbers of values; a region is ten districts, an age band ten years."""


def _zipf(count: int, power: float) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, count + 1) ** power
    return np.asarray(weights / weights.sum())


def _name(value: int) -> str:
    return f"v{value:03}"


DEFINED: Final = Definitions(
    [
        *(Attribute.of(name, map(_name, range(size))) for name, size in SIZES.items()),
        Attribute("age", 18, 97),
    ],
    [
        Level(
            "region",
            "district",
            {_name(r): tuple(_name(10 * r + d) for d in range(10)) for r in range(12)},
        )
    ],
)


@dataclass(frozen=True, slots=True)
class Query:
    """A table: grouped by, and only where; a filter is a name and the values that pass."""

    group: tuple[str, ...] = ()
    only: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(slots=True)
class Population:
    """Columns of whole numbers, by name."""

    count: int
    columns: dict[str, NDArray[np.int32]] = field(default_factory=dict)

    @classmethod
    def make(cls, count: int, seed: int) -> Population:
        """Return so many people."""
        draw = np.random.default_rng([1, seed])
        shares = {"district": _zipf(120, 0.6), "occupation": _zipf(60, 0.9)}
        shares["segment"] = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
        found = {
            name: draw.choice(size, count, p=shares.get(name)).astype(np.int32)
            for name, size in SIZES.items()
        }
        found["age"] = np.clip(draw.normal(48, 18, count), 18, 97).astype(np.int32)
        found["band"] = (found["age"] - 18) // 10
        found["region"] = found["district"] // 10
        return cls(count, found)

    def request(self, query: Query, noise: float, month: str = "2026-11") -> Request:
        """Return the request for the cells that have anybody in them."""
        inside = np.ones(self.count, dtype=np.bool_)
        for name, values in query.only:
            inside &= np.isin(self.columns[name], values)
        codes = np.zeros(self.count, dtype=np.int32)
        sizes = [self._size(name) for name in query.group]
        for name, size in zip(query.group, sizes, strict=True):
            codes = codes * np.int32(size) + self.columns[name]
        codes[~inside] = -1
        present = np.unique(codes[inside])
        onto = np.full(max(int(np.prod(sizes)), 1) + 1, -1, dtype=np.int32)
        onto[present] = np.arange(len(present))
        also = tuple(_condition(name, values) for name, values in query.only)
        predicates = tuple(
            ((*also, *self._cell(query, sizes, int(code))),) for code in present
        ) or ((also,),)
        return Request(SCOPE, month, "sum(income)", predicates, onto[codes], noise)

    def _size(self, name: str) -> int:
        return int(self.columns[name].max()) + 1

    def _cell(self, query: Query, sizes: list[int], code: int) -> list[Condition]:
        places = np.unravel_index(code, sizes) if sizes else ()
        return [
            _condition(name, (int(value),)) for name, value in zip(query.group, places, strict=True)
        ]


def _condition(name: str, values: tuple[int, ...]) -> Condition:
    if name == "band":
        return Condition("age", low=18 + 10 * min(values), high=27 + 10 * max(values))
    if name == "age":
        return Condition("age", low=min(values), high=max(values))
    return Condition(name, values=tuple(map(_name, values)))


DASHBOARD: Final = (
    ("region",),
    ("band", "sex"),
    ("segment",),
    ("plan", "region"),
    ("joined",),
    ("district",),
    ("occupation",),
    ("segment", "plan"),
    (),
    ("region", "sex"),
)


def queries(seed: int) -> Iterator[Query]:
    """Yield a dashboard, then whatever comes to an analyst's mind, without end."""
    draw = np.random.default_rng([2, seed])
    yield from (Query(group) for group in DASHBOARD)
    while True:
        kind = draw.random()
        if kind < 0.3:
            yield from _drill_down(draw)
        elif kind < 0.6:
            yield _filter(draw)
        elif kind < 0.7:
            yield Query(("joined",), (("region", (int(draw.integers(12)),)),))
        elif kind < 0.8:
            first = int(draw.integers(4, 20))
            yield Query(("joined", "sex"), (("joined", tuple(range(first, 24))),))
        else:
            ages = tuple(range(int(draw.integers(20, 80)), 98))
            yield Query((str(draw.choice(["region", "sex", "segment"])),), (("age", ages),))


def _drill_down(draw: Generator) -> Iterator[Query]:
    district = int(draw.integers(120))
    yield Query(("district",), (("region", (district // 10,)),))
    yield Query(("band",), (("district", (district,)),))
    yield Query(("band", "sex"), (("district", (district,)),))


def _filter(draw: Generator) -> Query:
    sizes = {**SIZES, "region": 12, "band": 8}
    names = draw.choice(
        ["sex", "segment", "plan", "band", "occupation", "region"],
        int(draw.integers(1, 3)),
        replace=False,
    )
    only: list[tuple[str, tuple[int, ...]]] = []
    for name in map(str, names):
        value = int(draw.integers(sizes[name]))
        if name == "band" or draw.random() < 0.5:
            only.append((name, (value,)))
        else:
            only.append((name, tuple(other for other in range(sizes[name]) if other != value)))
    groups = ["region", "band", "sex", "segment", "plan", "joined"]
    group = draw.choice(groups, int(draw.integers(0, 3)), replace=False)
    return Query(tuple(map(str, group)), tuple(only))
