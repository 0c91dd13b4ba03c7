"""Tables whose numbers have bins, the same moved within their bins, and statements about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.reading import parse_policy
from tests.sandbox.asking import EXACT, with_release, write

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from sandbox.policy import Policy

TEXT = """\
schema: fusion.policy/1
title: Numbers with bins
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      sex: {class: dimension}
      income: {class: number, decimals: 2, low: 0, high: 100000, bin: 500}
      balance: {class: number, decimals: 1, low: -1000, high: 1000, bin: 7}
      height: {class: number, low: 0, high: 300}
  visits:
    entity: person_id
    rows: 20
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension}
      cost: {class: number, decimals: 2, low: 0, high: 5000, bin: 10}
      minutes: {class: number, low: 0, high: 600, bin: 5}
  rates:
    public: true
    columns:
      dept: {class: public}
      rate: {class: public, type: number, low: 0, high: 5000, decimals: 2}
"""
BINS = {"income": (500, 2), "balance": (7, 1), "cost": (10, 2), "minutes": (5, 0)}
"""Of each column with one: the bin, and the decimals."""

AIMED_AT = {"income": 1234.5, "balance": -1.5, "cost": 51.23, "minutes": 51.0}
"""A value of each that several have, and that statements name."""

Tables = dict[str, dict[str, list[Any]]]


def parsed(text: str) -> Policy:
    """Return a policy as its text has it."""
    return parse_policy(text, "binned.yaml")


def policy() -> Policy:
    """Return the policy with a release that changes nothing, but that quantiles are of bins."""
    rounding = EXACT.quantiles.model_copy(update={"rounding": "bin"})
    own = parsed(TEXT).model_copy(update={"release": EXACT})
    return with_release(own, conditions="bin", quantiles=rounding)


def tables(rng: random.Random, people: int = 120) -> Tables:
    """Make people and visits up; some numbers are multiples of their bin, some are missing."""

    def drawn(name: str, low: float, high: float) -> float | None:
        width, decimals = BINS[name]
        value = round(rng.uniform(low, high), decimals)
        if rng.random() < 0.15:
            value = float(value // width * width)
        elif rng.random() < 0.1:
            value = AIMED_AT[name]
        return None if rng.random() < 0.05 else value

    numbers = [n for n in range(people) for _ in range(rng.randint(0, 8))]
    return {
        "persons": {
            "person_id": list(range(people)),
            "sex": [rng.choice("FM") for _ in range(people)],
            "income": [drawn("income", 0, 9000) for _ in range(people)],
            "balance": [drawn("balance", -60, 60) for _ in range(people)],
            "height": [rng.randint(150, 190) for _ in range(people)],
        },
        "visits": {
            "person_id": numbers,
            "dept": [rng.choice(("er", "gp")) for _ in numbers],
            "cost": [drawn("cost", 0, 120) for _ in numbers],
            "minutes": [drawn("minutes", 0, 60) for _ in numbers],
        },
        "rates": {"dept": ["er", "gp", "gp"], "rate": [20.0, 33.33, 50.0]},
    }


def moved(rng: random.Random, of: Tables) -> Tables:
    """Return tables with every number that is no multiple of its bin elsewhere in its bin."""
    found = {name: dict(columns) for name, columns in of.items()}
    for columns in found.values():
        for name in [each for each in BINS if each in columns]:
            columns[name] = [_moved(rng, name, each) for each in columns[name]]
    return found


def _moved(rng: random.Random, name: str, value: float | None) -> float | None:
    width, decimals = BINS[name]
    if value is None or value % width == 0:
        return value
    unit = 10**decimals
    return float(value // width * width + rng.randint(1, width * unit - 1) / unit)


def files(folder: Path, of: Tables) -> dict[str, Path]:
    """Write tables; return their files."""
    folder.mkdir()
    return write(folder, of)


@dataclass
class Grammar:
    """Makes statements up whose answers are made of conditions, of arithmetic, and of quantiles.

    None has a sum of a column as it is, which may tell what it adds up.
    """

    rng: random.Random
    columns: tuple[str, ...] = ()

    def statement(self) -> str:
        """Return a statement."""
        shapes = (
            self._rows, self._groups, self._measures, self._people, self._windows, self._semi,
            self._joined, self._quantile,
        )  # fmt: skip
        return self.rng.choice(shapes)()

    def _over(self, *columns: str) -> None:
        self.columns = columns

    def _rows(self) -> str:
        self._over("cost", "minutes")
        return f"select count(*) from visits where {self.condition()}"

    def _groups(self) -> str:
        self._over("income", "balance", "height")
        key = self.rng.choice(
            (self.condition(), f"case when {self.condition()} then 'a' else 'b' end")
        )
        return f"select {key} as k, count(*), count_if({self.condition()}) from persons group by 1"

    def _measures(self) -> str:
        self._over("cost", "minutes")
        number = f"{self.number()} + {self.number(0)}"
        measure = self.rng.choice((
            f"sum({number})", f"avg({number})", f"count({self.number()})", f"stddev_pop({number})",
            f"var_samp({self.number(1)})", f"regr_slope({self.number(0)}, {self.number(1)})",
            f"sum(case when {self.condition()} then 1 else 0 end)", f"median({number})",
            f"covar_pop({number}, minutes)", f"max({number})",
        ))  # fmt: skip
        return f"select {measure} filter (where {self.condition()}) from visits"

    def _people(self) -> str:
        self._over("cost", "minutes")
        name = self.rng.choice(("sum", "avg", "min", "max"))
        inner = (
            f"select person_id, {name}({self.number(1)}) as a, sum(cost) as b, "
            f"max(minutes) as c, count({self.number(1)}) as d from visits "
            f"where {self.condition(1)} group by person_id"
        )
        if self.rng.random() < 0.4:
            inner += f" having sum(cost) {self._sign()} {self.constant()} and {self._agg()} > 2"
        self._over("a", "b", "c", "d", "coalesce(a, b)", "coalesce(b, 0)", "greatest(a, 0)")
        if self.rng.random() < 0.3:
            again = "select person_id, max(a) as a, max(b) as b, sum(c) as c, d"
            inner = f"{again} from ({inner}) as u group by person_id, d"
        number, where = self.number(1), self.condition()
        return f"select count(*), sum({number} * 1) from ({inner}) as t where {where}"

    def _agg(self) -> str:
        return self.rng.choice(("max(cost)", "min(minutes)", "avg(cost)", "count(cost)"))

    def _windows(self) -> str:
        self._over("cost", "minutes")
        order = self.rng.choice(("cost", "minutes desc", "dept", self.number(1), "dept, cost desc"))
        name = self.rng.choice((
            "row_number()", "rank()", "dense_rank()", "lag(cost)", "lead(minutes, 1)", "sum(cost)",
            "avg(cost)", "max(minutes)", "count(cost)",
        ))  # fmt: skip
        part = self.rng.choice(("person_id", "person_id, dept", f"person_id, {self.number(1)}"))
        inner = (
            f"select person_id, dept, cost, minutes, {name} over (partition by {part} "
            f"order by {order}) as w from visits"
        )
        self._over("cost", "minutes", "w")
        return f"select dept, count(*) from ({inner}) as t where {self.condition()} group by dept"

    def _semi(self) -> str:
        self._over("cost", "minutes")
        inner = f"select person_id from visits where {self.condition(1)}"
        if self.rng.random() < 0.5:
            inner += f" group by person_id having {self._agg()} {self._sign()} {self.constant()}"
        self._over("income", "balance")
        return f"select count(*) from persons where {self.condition(1)} and person_id in ({inner})"

    def _joined(self) -> str:
        self._over("income", "balance", "cost", "minutes", "rate", "height")
        on = f"v.person_id = p.person_id and {self.condition(1)}"
        return (
            f"select count(*), count(distinct p.person_id), sum(rate * {self.number(1)}) from "
            f"persons p left join visits v on {on} left join rates r on r.dept = v.dept "
            f"where {self.condition()}"
        )

    def _quantile(self) -> str:
        self._over("cost", "minutes")
        name = self.rng.choice(("cost", "minutes", self.number(1)))
        fraction = self.rng.choice((0.1, 0.25, 0.5, 0.9))
        call = self.rng.choice(("quantile_cont", "quantile_disc"))
        where = self.condition(1)
        return f"select {call}({name}, {fraction}), median({name}) from visits where {where}"

    # -------------------------------------------------------------------------- expressions

    def constant(self) -> str:
        """Return a number, a multiple of many bins as often as not."""
        if self.rng.random() < 0.6:
            some = self.rng.choice((0, 10, 20, 50, 70, 100, 500, 1000, 3500))
            return (
                str(some) if self.rng.random() < 0.8 else f"(({some} - 7) / 2 + {some / 2 + 3.5})"
            )
        if self.rng.random() < 0.3:
            return str(self.rng.choice((*AIMED_AT.values(), 51)))
        return f"{self.rng.uniform(0, 100):.{self.rng.randint(0, 2)}f}"

    def _sign(self) -> str:
        return self.rng.choice(("=", "<>", "<", "<=", ">", ">=", "is distinct from"))

    def number(self, depth: int = 2) -> str:
        """Return an expression of a number."""
        if depth == 0 or self.rng.random() < 0.3:
            return self.rng.choice(self.columns)
        one, other = self.number(depth - 1), self.number(depth - 1)
        some = self.constant()
        return self.rng.choice((
            f"({one} + {some})", f"({one} - {other})", f"({one} * {some})", f"(- {one})",
            f"abs({one} - {some})", f"sign({one} - {some})", f"round({one})", f"floor({one} / 3)",
            f"ceil({one})", f"round({one}, 1)", f"coalesce({one}, {some})", f"coalesce({one}, 0)",
            f"nullif({one}, {some})", f"nullif({some}, {one})", f"nullif({one}, {other})",
            f"greatest({one}, {other})", f"least({one}, {some})", f"cast({one} as integer)",
            f"cast({one} as double)", f"({one} / nullif({other}, 0))", f"(cast({one} as int) // 7)",
            f"(cast({one} as int) % 3)", f"sqrt(abs({one}))", f"pow({one}, 2)",
            f"case when {self.condition(depth - 1)} then {one} else {other} end",
            f"case when {self.condition(depth - 1)} then {one} end",
            f"case {one} when {some} then 1 when {other} then 2 else 0 end",
            f"least(greatest(({one} - {some}) * 100, 0), 1)", f"if({one} > {other}, {one}, {some})",
        ))  # fmt: skip

    def condition(self, depth: int = 2) -> str:
        """Return a condition."""
        one = self.number(depth - 1) if depth else self.rng.choice(self.columns)
        some, more = self.constant(), self.constant()
        choices = [
            f"{one} {self._sign()} {some}", f"{some} {self._sign()} {one}",
            f"{one} between {some} and {more}", f"{one} in ({some}, {more})", f"{one} is null",
        ]  # fmt: skip
        if depth:
            other, deeper = self.number(depth - 1), self.condition(depth - 1)
            choices += [
                f"{one} {self._sign()} {other}", f"not ({deeper})",
                f"({deeper} or {self.condition(depth - 1)})", f"({deeper} and {one} > {some})",
                f"case when {deeper} then {one} < {some} else {other} >= {more} end",
                f"coalesce({deeper}, {one} > {more})",
            ]  # fmt: skip
        return self.rng.choice(choices)
