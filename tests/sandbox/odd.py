"""Makes odd statements: NULL keys, arguments left out, constant orders, frames, expressions, ruins.

Of most of them it isn't known beforehand whether they are answered; none may do anything else than
be answered or be refused by a rule. Seeded: a failure names a statement that stays the same.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SOURCE: Final = (
    "(select dept as t, date_trunc('month', visit_date) as d, visit_date < date '2021-07-01' as b,"
    " count(*) as n, avg(cost) as m from visits group by 1, 2, 3)"
)
"""Results with a column of each kind: t text, d day, b truth, n whole and m real number."""
CELLS: Final = {"n": "count(*)", "m": "avg(cost)", "t": "dept"}
CONSTANTS: Final = ("'x'", "''", "1", "0", "-1", "1.5", "2024", "true", "null", "1 + 1", "upper('a')",
                    "date '2020-01-01'", "'a' || 'b'", "cast(null as date)", "0.000000001",
                    "999999999999999999", "nullif(1, 1)", "cast(5 as varchar)")  # fmt: skip
NULLS: Final = ("null", "nullif(null, 1)", "coalesce(null)", "(null)", "case when true then null end",
                "cast(null as varchar)", "cast(null as integer)", "cast(null as date)", "null + 1",
                "null || null", "not null", "greatest(null)", "null is null")  # fmt: skip
CALLS: Final = (
    "count", "sum", "avg", "min", "max", "median", "stddev", "corr", "count_if", "quantile_cont",
    "coalesce", "greatest", "concat", "round", "abs", "upper", "length", "left", "substring", "year",
    "date_trunc", "date_diff", "strftime", "nullif", "if", "trim", "ln", "pow", "extract", "cast",
    "approx_count_distinct", "regr_slope", "regr_count", "percentile_cont", "date_part", "contains",
)  # fmt: skip
WINDOWS: Final = ("count", "sum", "row_number", "rank", "lag", "lead", "ntile", "first_value")
FRAGMENTS: Final = (
    "null", "()", "*", "count(*)", "true", "'x'", "person_id", "income", "(select 1)", "distinct",
    "over ()", "filter (where null)", "sex", "in (null)", "exists (select 1)", "as", ",", "(", ")",
    "group by", "order by", "from", "where", "and", "not", "case", "end", "::int", ".", "interval 1 day",
    "\u017felect", "limit 1", "union all", "having", "\u212a", "[1]", "?", "$1", "''", "-- ",
)  # fmt: skip
_WORDS: Final = re.compile(r"'[^']*'|[A-Za-z_][\w.]*|\d+\.?\d*|>=|<=|<>|\|\||//|\S")


class Odd:
    """One seeded maker of statements."""

    def __init__(self, seed: int, plain: Sequence[str]) -> None:
        """Begin; ``plain`` are statements to ruin."""
        self._random = random.Random(seed)
        self._plain = plain
        self._makers: list[tuple[str, Callable[[], str]]] = [
            ("results", self._rest), ("results", self._rest), ("cells", self._of_cells),
            ("null", self._null), ("empty", self._empty), ("order", self._order),
            ("frame", self._frames), ("malformed", self._malformed),
        ]  # fmt: skip

    def statements(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield class and statement, the classes in turn."""
        for place in range(count):
            kind, make = self._makers[place % len(self._makers)]
            yield kind, make()

    def _of(self, *items: str) -> str:
        return self._random.choice(items)

    # ---------------------------------------------------------- typed, over released cells

    def number(self, depth: int) -> str:
        """Return a number; some overflow, some are of nothing."""
        if depth == 0:
            return self._of("n", "m", "n", "m", "0", "1.5", "7", "999999999999", "null", "-2")
        a, b = self.number(depth - 1), self.number(depth - 1)
        return self._of(
            f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} / {b})", f"-({a})", f"abs({a})",
            f"sign({a})", f"floor({a})", f"ceil({a})", f"round({a}, 2)", f"sqrt({a})", f"ln({a})",
            f"pow({a}, 4)", f"greatest({a}, {b})", f"coalesce({a}, {b})", f"nullif({a}, {b})",
            f"exp({a})", f"{self._of('log10', 'log2', 'log')}({a})", f"round({a}, -2)",
            f"({a} // 7)", f"({a} % 3)", f"length({self.text(depth - 1)})", f"round({a})",
            f"cast({a} as {self._of('tinyint', 'smallint', 'int', 'bigint', 'double')})",
            f"case when {self.truth(depth - 1)} then {a} else {b} end",
            f"extract({self._of('year', 'month', 'doy', 'week')} from {self.day(0)})",
            f"date_diff('{self._of('day', 'week', 'month')}', {self.day(0)}, {self.day(0)})",
        )  # fmt: skip

    def text(self, depth: int) -> str:
        """Return a text."""
        if depth == 0:
            return self._of("t", "t", "'x'", "''", "null")
        a, b = self.text(depth - 1), self.text(depth - 1)
        whole = self._of("1", "n", f"cast({self.number(depth - 1)} as bigint)", "sign(m)")
        return self._of(
            f"upper({a})", f"left({a}, 1)", f"substring({a}, 2, 3)", f"({a} || {b})", f"trim({a})",
            f"concat({a}, {whole})", f"coalesce({a}, {b})", f"strftime({self.day(0)}, '%Y-%m')",
            f"{self._of('dayname', 'monthname')}({self.day(0)})", f"cast({whole} as varchar)", f"({whole} || {a})", f"nullif({a}, {b})",
        )  # fmt: skip

    def day(self, depth: int) -> str:
        """Return a day."""
        if depth == 0:
            return self._of("d", "d", "date '2020-02-29'")
        a = self.day(depth - 1)
        return self._of(f"date_trunc('year', {a})", f"({a} + interval 9000 month)",
                        f"({a} - interval 9999 day)", f"coalesce({a}, d)")  # fmt: skip

    def truth(self, depth: int) -> str:
        """Return a condition."""
        if depth == 0:
            return self._of("b", "true", "n > 20", "t = 'er'", "m is null")
        a, b = self.number(depth - 1), self.number(depth - 1)
        return self._of(
            f"{a} < {b}", f"{a} between 0 and {b}", f"{self.text(depth - 1)} like 'a%'",
            f"not ({self.truth(depth - 1)})", f"({self.truth(depth - 1)} or b)", f"{a} in (1, 2)",
            f"{self.day(depth - 1)} >= date '2021-01-01'", f"{a} is distinct from {b}",
        )  # fmt: skip

    def any(self, depth: int) -> str:
        """Return a value of some kind; now and then a constant."""
        if self._random.random() < 0.15:
            return self._of(*CONSTANTS)
        made = [self.number, self.number, self.text, self.day, self.truth]
        return self._random.choice(made)(depth)

    def total(self) -> str:
        """Return an aggregate over results."""
        name = self._of("sum", "avg", "min", "max", "median", "stddev", "stddev_pop", "var_pop",
                        "count")  # fmt: skip
        return f"{name}({self.number(self._random.randint(0, 3))})"

    def window(self) -> str:
        """Return a window over results, of any frame."""
        call = self._of(self.total(), self.total(), "count(*)", "rank()", "row_number()", "ntile(3)",
                        f"lag({self.any(1)}, 2)", f"first_value({self.any(1)})", "cume_dist()")  # fmt: skip
        return f"{call} over ({self._over()})"

    def _over(self) -> str:
        order = self._of("", f"order by {self.any(1)}", "order by n desc", "order by t, d, b")
        frame = self._frame() if self._random.random() < 0.3 else ""
        return f"{self._of('', f'partition by {self.any(1)}')} {order} {frame}"

    def _frame(self) -> str:
        edges = ("unbounded preceding", "2 preceding", "current row", "1 following", "0 following",
                 "unbounded following", "1.5 preceding", "n preceding", "-1 preceding")  # fmt: skip
        how = self._of("rows", "rows", "range", "groups")
        one, other = self._of(*edges), self._of(*edges)
        return self._of(f"{how} between {one} and {other}", f"{how} {one}")

    def _rest(self) -> str:
        """Return a SELECT over results: columns, groups, unions, joins."""
        depth = self._random.randint(1, 4)
        items = ", ".join(f"{self._item(depth)} as k{n}" for n in range(self._random.randint(1, 3)))
        where = self._of("", f" where {self.truth(depth)}")
        order = self._of("", " order by k0", f" order by {self.any(1)}", " order by 1 desc, 1")
        select = f"select {items} from {SOURCE} a{where}"
        grouped = (
            f"select {self.any(1)} as k0, {self.total()} as k1, {self.total()} from {SOURCE} a{where}"
            f" group by {self._of('k0', '1', 'all')}{self._of('', f' having {self.total()} > 0')}"
        )
        both = f"{select} {self._of('union', 'union all')} {select}"
        joined = (
            f"select a.t, {self._of('a.n * c.n', 'a.m - c.m', 'c.d')} as k0 from {SOURCE} a"
            f" {self._of('', 'left ')}join {SOURCE} c on a.t = c.t and {self._of('a.d = c.d', 'true')}"
        )
        made = self._of(select, select, f"select distinct {items} from {SOURCE} a", grouped, grouped,
                        both, joined)  # fmt: skip
        return made + order + self._of("", " limit 3")

    def _item(self, depth: int) -> str:
        return self.window() if self._random.random() < 0.25 else self.any(depth)

    def _of_cells(self) -> str:
        """Return a SELECT over rows, with the same expressions over its cells."""
        depth = self._random.randint(1, 3)
        made = (
            f"select t as x, {self.number(depth)} as k0, {self.window()} as k1 from visits group by t"
            f"{self._of('', f' having {self.number(depth)} > 0')}{self._of('', ' order by k0', ' order by k1')}"
        )
        for name, what in CELLS.items():
            made = re.sub(rf"\b{name}\b", what, made)
        return re.sub(r"\b[db]\b", "null", made)

    # --------------------------------------------------------------------- what is missing

    def _null(self) -> str:
        null, other = self._of(*NULLS), self._of(*NULLS)
        return self._of(
            f"select count(*) from persons group by {null}",
            f"select {null}, count(*) from persons group by 1",
            f"select sex, {null}, count(*) from persons group by all",
            f"select distinct {null}, sex from persons",
            f"select sex, {null} as x, count(*) from persons group by sex, x having {other} is null",
            f"with a as (select person_id, {null} as z from persons) select z, count(*) from a group by z",
            f"with a as (select person_id, {null} as z, max(cost) as m from visits group by person_id,"
            f" z) select sum(m), count(z) from a",
            f"select sum({null}), count({null}), avg({other}) from persons",
            f"select sex, count(*) filter (where {null}) from persons group by sex",
            f"select count(*) from persons where {null}",
            f"select {null} as x, n from {SOURCE} a union all select {other}, 1 from {SOURCE} c",
            f"select {null} as x, count(*), sum({other}) from {SOURCE} a group by x order by x",
            f"select corr({null}, income), median({other}) from persons group by sex",
            f"select region, {null} from regions",
            f"select count(*) from persons p join regions r on p.region = {null}",
            f"select count(*) from persons where region in (select {null} from regions)",
            f"select lag({null}) over (partition by {other} order by {null}) from {SOURCE} a",
        )  # fmt: skip

    def _empty(self) -> str:
        call = self._of(*CALLS)
        return self._of(
            f"select {call}() from persons", f"select sex, {call}() from persons group by sex",
            f"select {call}(), count(*) from persons group by 1",
            f"with a as (select person_id, {call}() as n from visits group by 1) select sum(n) from a",
            f"select {call}() from {SOURCE} a", f"select count(*) from persons where {call}() = 1",
            f"select t, {call}() from {SOURCE} a group by t", f"select {call}(distinct) from persons",
            f"select {self._of(*WINDOWS)}() over () from {SOURCE} a",
            f"select {call}() filter (where sex = 'F') from persons",
            f"select {call}(income,) from persons", f"select {call}(, income) from persons",
            f"select {call}(*) from persons", f"select {call}(*) over () from {SOURCE} a",
            f"select {call}(1, 2, 3, 4) from persons", f"select {call}(n, t) from {SOURCE} a",
            f"select {call}(sex) from persons group by 1", f"select {call}(sex, 1) from regions",
        )  # fmt: skip

    def _order(self) -> str:
        one, other = self._of(*CONSTANTS), self._of(*CONSTANTS)
        return self._of(
            f"select {one} as g, sex, count(*) from persons group by sex order by g, sex",
            f"select sex, count(*) from persons group by sex order by {one}, {other} desc",
            f"select {one} as g, count(*) from persons group by g order by {other}",
            f"select {one} as g, n from {SOURCE} a order by g nulls first, {other}",
            f"select distinct {one} as g from {SOURCE} a order by {self._of('n', 'g', other)}",
            f"select {one} as g, count(*) from {SOURCE} a group by {self._of('g', '1', 'all', one)}"
            f" order by g, {other}",
            f"select rank() over (order by {one}, n), sum(n) over (partition by {other}) from {SOURCE} a",
            f"select region, {one} as g from regions order by g, {other} limit {other}",
            f"select {one} as g from {SOURCE} a union select {other} from {SOURCE} c order by g, {one}",
        )  # fmt: skip

    def _frames(self) -> str:
        over = (
            f"({self._of('', 'partition by t')} order by {self._of('n', 't', 'd')} {self._frame()})"
        )
        call = self._of(
            "sum(n)", "count(*)", "min(m)", "last_value(t)", "lag(n)", "rank()", "median(n)"
        )
        where = self._of("qualify", "where", "having", "order by", "group by")
        return self._of(
            f"select {call} over {over} from {SOURCE} a",
            f"select {call} over {over} as w from {SOURCE} a order by w",
            f"select n from {SOURCE} a {where} {call} over {over} > 1",
            f"select n, {call} over {over} as w from {SOURCE} a {where} w > 1",
            f"select dept, sum(count(*)) over (order by dept {self._frame()}) from visits group by dept",
            f"select dept, count(*) from visits group by dept {where} min(count(*)) over () > 5",
            f"select sum({call} over {over}) from {SOURCE} a",
            f"select sum(sum(n) over {over}) over {over} from {SOURCE} a",
            f"select a.n from {SOURCE} a join {SOURCE} c on {call.replace('(', '(a.')} over () = c.n",
        )  # fmt: skip

    def _malformed(self) -> str:
        words = _WORDS.findall(self._random.choice(self._plain))
        for _ in range(self._random.choice((1, 1, 2))):
            place, how = self._random.randrange(len(words)), self._random.random()
            if how < 0.3:
                words[place] = self._of(*FRAGMENTS)
            elif how < 0.6:
                words.insert(place, self._of(*FRAGMENTS))
            elif how < 0.85 and len(words) > 1:
                del words[place]
            else:
                other = self._random.randrange(len(words))
                words[place], words[other] = words[other], words[place]
        return " ".join(words)
