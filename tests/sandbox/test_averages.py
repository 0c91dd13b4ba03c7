"""Averages, variances and the like tell nothing that the sums they are made of don't.

Two tables that differ in where in its bin one number is. Rows of others add 0 and make a cell
larger: where a statistic is rounded after it was divided, some number of them tells the tables
apart, though the sum is the same in both.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pytest

from examples.restricted_query import make_data
from sandbox.moments import Column, TooCoarse, Totals, moment
from sandbox.reading import parse_policy
from tests.sandbox.asking import ask, example, with_release, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.policy import Policy

    Files = Mapping[str, Path]

VISIT: Final = 4171
SET = "(dept = 'onco' and diagnosis = 'D005' and cost >= 10)"
POLICY: Final = """\
schema: fusion.policy/1
title: People with incomes
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      region: {class: dimension, values: [a, b], complete: true}
      born: {class: dimension, type: integer, low: 0, high: 9999, complete: true}
      income: {class: number, low: 0, high: 200000, bin: 500}
      height: {class: number, low: 0, high: 300, bin: 1}
"""
INCOME, HEIGHT = (f"case when region = 'a' then {each} else 0 end" for each in ("income", "height"))
STATISTICS: Final = (
    *(f"{name}({INCOME})" for name in ("avg", "var_pop", "var_samp", "stddev_pop", "stddev_samp")),
    *(f"{name}({INCOME}, {HEIGHT})" for name in ("covar_pop", "corr", "regr_slope", "regr_r2")),
    f"regr_intercept({INCOME}, {HEIGHT})",
    f"regr_slope({HEIGHT}, {INCOME})",
)
OTHERS: Final = (30, 270, 1755, 2055, 2640, 2955)


def test_an_average_does_not_tell_where_in_its_bin_a_value_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    persons, visits = make_data.persons(rng, 2500), make_data.visits(rng, 20_000, 2500)
    columns: dict[str, Any] = visits.to_pydict()
    assert columns["cost"][VISIT] == 15.5
    cost = f"case when {SET} then cost else 0 end"
    statement = (
        f"select sum({cost}) as s, avg({cost}) as a, count(*) as n from visits "
        f"where {SET} or visit_date < date '2022-11-07'"
    )
    answers = []
    for own in (15.5, 11.0):
        columns["cost"][VISIT] = own
        folder = tmp_path / str(own)
        folder.mkdir()
        tables = {"persons": persons.to_pydict(), "regions": make_data.regions().to_pydict()}
        files = write(folder, tables | {"visits": columns})
        answers += ask(statement, example(), files).rows
    assert answers[0] == answers[1]
    total, average, count = answers[0]
    assert total == 10_000
    assert average == total / count


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files]:
    """People of whom one has an income of 50,010, or of 50,490."""
    rng = np.random.default_rng(12)
    some, others = 400, 3000
    incomes = [50_010, *rng.integers(20_000, 60_000, some + others - 1).tolist()]
    columns: dict[str, Any] = {
        "person_id": list(range(some + others)),
        "region": ["a"] * some + ["b"] * others,
        "born": [9999] * some + list(range(others)),
        "income": incomes,
        "height": [150 + each // 1000 for each in incomes],
    }
    found = []
    for income in (50_010, 50_490):
        columns["income"][0] = income
        found.append(write(tmp_path_factory.mktemp("people"), {"persons": columns}))
    return found[0], found[1]


@pytest.fixture(scope="module")
def answers(pair: tuple[Files, Files]) -> tuple[list[Any], list[Any]]:
    """What every statistic is in both, for some numbers of others."""
    policy = parse_policy(POLICY, "policy.yaml")
    columns = ", ".join(f"{each} as s{place}" for place, each in enumerate(STATISTICS))
    asked = [f"select {columns} from persons where region = 'a' or born < {n}" for n in OTHERS]
    one, other = ([ask(sql, policy, files).rows[0] for sql in asked] for files in pair)
    return one, other


@pytest.mark.parametrize("place", range(len(STATISTICS)), ids=[s[:16] for s in STATISTICS])
def test_rows_of_nothing_move_no_statistic_past_a_border(
    answers: tuple[list[Any], list[Any]], place: int
) -> None:
    """Rounded after the division, variances and deviations differed for these numbers."""
    one, other = ([row[place] for row in rows] for rows in answers)
    assert one == other
    assert len(set(one)) > 1


def test_rows_of_nothing_change_no_sum_that_a_statistic_is_made_of() -> None:
    values = [Fraction(each, 100) for each in range(100_000, 400_000, 937)]
    column = Column(sum(values, Fraction(0)), sum((e * e for e in values), Fraction(0)),
                    Fraction(0), values[-1])  # fmt: skip
    found = set()
    for more in range(0, 5000, 61):
        count = len(values) + more
        sums = Totals(count, round(count / 5) * 5, 1, column, column, column.squares, 5, (0, 0))
        own = sums.sums()
        assert own.n == sums.divisor
        found.add((own.x, own.xx, own.xy, own.reach_x, own.middle_x))
    assert len(found) == 1


def test_a_spread_far_from_nothing_is_about_its_middle() -> None:
    """Years: of squares about 0 nothing would be left after rounding."""
    years = [Fraction(1920 + each % 80) for each in range(2000)]
    total, squares = sum(years, Fraction(0)), sum((each * each for each in years), Fraction(0))
    column = Column(total, squares, min(years), max(years))
    found = moment("var_pop", Totals(2000, 2000, 1, column, column, squares, 5, (0, 0)))
    exact = squares / 2000 - (total / 2000) ** 2
    assert found is not None
    assert abs(found - exact) < exact / 50


def _told(kind: str, of: Totals) -> Fraction | None:
    try:
        return moment(kind, of)
    except TooCoarse:
        return None


def test_nothing_is_0_that_is_not_known(made: dict[str, Path]) -> None:
    """A few have visits of high cost: a step is larger than the deviation of a department's."""
    rows, notes = 0, set[str]()
    plain = duckdb.connect()
    plain.execute(f"CREATE VIEW visits AS SELECT * FROM '{made['visits']}'")
    for value in ("cost", "least(cost, 500)", "duration_min", "cost * duration_min"):
        kinds = ("stddev", "var_pop", "stddev_pop", "variance")
        statistics = ", ".join(f"{kind}({value})" for kind in kinds)
        sql = f"select dept, {statistics} from visits group by dept order by dept"
        answer = ask(sql, example(), made)
        notes |= {message for message, _ in answer.notes}
        for own, theirs in zip(answer.rows, plain.execute(sql).fetchall(), strict=True):
            for told, true in zip(own[1:], theirs[1:], strict=True):
                if told is not None:
                    rows += 1
                    assert told == pytest.approx(float(true), rel=0.7), (sql, own, theirs)
    plain.close()
    assert rows > 15
    assert "Where stddev is missing, it may be nearer to 0 than what it is rounded to." in notes
    # What is the same for all has no step, and is known to be 0.
    same = ask("select var_pop(cost - cost), stddev(cost - cost) from visits", example(), made)
    assert same.rows == [[0.0, 0.0]]
    assert same.notes == ()
    both = "corr(cost, duration_min), regr_slope(cost, duration_min), covar_pop(cost, duration_min)"
    none = ask(f"select dept, {both} from visits group by dept", example(), made)
    assert all(value != 0 for row in none.rows for value in row[1:])
    assert none.notes


def test_what_means_move_is_part_of_a_step() -> None:
    """Of values far from the middle of their range the mean is what one person moves most."""
    values = [Fraction(900)] * 900 + [Fraction(1000)] * 100 + [Fraction(1)] * 100
    total, squares = sum(values, Fraction(0)), sum((each * each for each in values), Fraction(0))
    column = Column(total, squares, min(values), max(values))
    of = Totals(1100, 1100, 1, column, column, squares, 5, (0, 0)).sums()
    far = abs(of.x / of.n)
    assert far > 200
    assert of.moved == pytest.approx(float(of.one * (of.reach_x**2 + 2 * float(far) * of.reach_x)))


def test_a_variance_is_never_below_nothing_nor_a_correlation_beyond_one() -> None:
    rng = np.random.default_rng(8)
    for _ in range(300):
        x, y = ([Fraction(int(e)) for e in rng.integers(-9, 10, 12)] for _ in range(2))
        first, second = (
            Column(sum(e, Fraction(0)), sum((z * z for z in e), Fraction(0)), min(e), max(e))
            for e in (x, y)
        )
        product = sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))
        for base in (0, 5):
            of = Totals(12, 10 if base else 12, 1, first, second, product, base, (0, 0))
            variance, correlation = _told("var_pop", of), _told("corr", of)
            assert variance is None or variance >= 0
            if not base:
                assert variance is not None
                assert float(variance) == pytest.approx(np.var([float(e) for e in x]))
                plain = np.corrcoef([float(e) for e in x], [float(e) for e in y])[0, 1]
                assert correlation is not None
                assert float(correlation) == pytest.approx(plain)
            elif correlation is not None:
                assert -2 <= correlation <= 2


KNOWN: Final = 800
FARTHEST: Final = 60_000
STEP: Final = 5 * FARTHEST**2
"""To what a sum of squares is rounded."""


def table(target: int) -> dict[str, Any]:
    """One whose income is wanted, and others whose incomes, multiples of the bin, are known."""
    rng = np.random.default_rng(4)
    others = [*(500 * rng.integers(40, 120, KNOWN)).tolist(), *[FARTHEST] * 5]
    return {
        "person_id": list(range(1 + len(others))),
        "region": ["a"] * (1 + len(others)),
        "born": [0, *range(1, KNOWN + 1), *[0] * 5],
        "income": [target, *others],
        "height": [170] * (1 + len(others)),
    }


class KnownRows:
    """Who knows all others puts their rows to a sum of squares until it lies at a border."""

    def __init__(self, folder: Path, policy: Policy, target: int) -> None:
        squares = np.array(table(0)["income"], np.int64) ** 2
        known = np.concatenate([[0], np.cumsum(squares[1 : KNOWN + 1])])
        # Those who were born until n, and after m.
        self.sums = known[:, None] + known[-1] - known[None, :] + squares[KNOWN + 1 :].sum()
        self.sums[np.tril_indices(KNOWN + 1, 4)] = 0
        self.folder, self.policy, self.alike = folder, policy, True
        self.real = self.written(target)

    def written(self, target: int) -> Files:
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return write(folder, {"persons": table(target)})

    def find(self) -> range:
        """Return the incomes that are left when no question is."""
        low, high = 50_001, 50_500
        while high - low > 1:
            border = (low + high) // 2
            told = self.asked(low, border, high)
            if told is None:
                break
            low, high = (border, high) if told else (low, border)
        return range(low, high)

    def asked(self, low: int, border: int, high: int) -> bool | None:
        """Return whether the income lies beyond a border; None if no question tells."""
        # A border lies halfway between two multiples of the step.
        off = (self.sums + border**2 - STEP // 2) % STEP
        off[self.sums == 0] = STEP
        files = [self.real, self.written(low), self.written(high - 1)]
        for place in np.argsort(off, axis=None)[:6]:
            n, m = np.unravel_index(int(place), off.shape)
            sql = (
                f"select var_pop(case when born <= {n} or born > {m} then income else 0 end) as v "
                "from persons"
            )
            own, one, other = (ask(sql, self.policy, each).rows for each in files)
            self.alike &= own == one == other
            if one != other:
                return bool(own == other)
        return None


def test_rows_that_are_known_do_not_bring_a_sum_of_squares_to_a_border(tmp_path: Path) -> None:
    """Of values as they are, one is found to a unit or two; of bins, nothing is."""
    policy = parse_policy(POLICY, "policy.yaml")
    attack = KnownRows(tmp_path, policy, 50_377)
    assert attack.find() == range(50_001, 50_500)
    assert attack.alike
    as_they_are = KnownRows(tmp_path, with_release(policy, conditions="exact"), 50_377)
    left = as_they_are.find()
    assert not as_they_are.alike
    assert len(left) == 1
    assert abs(left[0] - 50_377) <= 2
