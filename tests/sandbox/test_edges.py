"""One person far away decides no variance, correlation or slope; the same in SQL and on arrays."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sandbox.coding import Coding
from sandbox.farthest import Farthest
from sandbox.policy import Dominance
from sandbox.reduction import Reduction
from sandbox.relations import Measure
from sandbox.runs import ByPerson
from tests.sandbox.asking import ask, example, with_release, write
from tests.sandbox.test_neighbours import UNIQUE, tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Files = Mapping[str, Path]

WEIGHT = f"case when {UNIQUE} then 1000000 else birth_year end"
FAR = "birth_year between 1980 and 1990 or " + UNIQUE
AIMED = [
    *(f"select {name}({WEIGHT}) as v from persons"
      for name in ("stddev", "stddev_pop", "variance", "var_pop")),
    *(f"select {name}({WEIGHT}, income) as v from persons"
      for name in ("corr", "regr_slope", "regr_intercept", "regr_r2")),
    *(f"select {name}(income, {WEIGHT}) as v from persons" for name in ("regr_slope", "regr_r2")),
    f"select covar_samp({WEIGHT}, birth_year) as v, covar_pop({WEIGHT}, birth_year) as w "
    "from persons",
    f"select variance(-({WEIGHT})) as v from persons",
    f"select corr(case when {UNIQUE} then 1 else 0 end, income) as v from persons",
    f"select variance(birth_year) as v, stddev(birth_year) as s from persons where {FAR}",
    "select regr_slope(cost, case when diagnosis = 'D099' then 100000 else duration_min end) as v "
    "from visits",
    "select sex, stddev(case when diagnosis = 'D099' then 100000 else v.cost end) as v from visits "
    "v join persons p on p.person_id = v.person_id where birth_year > 1970 or diagnosis = 'D099' "
    "group by sex",
]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files]:
    """Files with the target and without her."""
    found = []
    for there in (True, False):
        folder = tmp_path_factory.mktemp("there" if there else "away")
        found.append(write(folder, tables(1, with_target=there)))
    return found[0], found[1]


@pytest.mark.parametrize("sql", AIMED)
def test_a_weight_of_her_own_says_nothing_of_her(pair: tuple[Files, Files], sql: str) -> None:
    policy = example()
    there, away = (ask(sql, policy, files).rows for files in pair)
    assert len(there) == len(away)
    for one, other in zip(there, away, strict=True):
        # One person more moves a value by a step of its rounding, as anybody would.
        assert one == [each if each is None or isinstance(each, str)
                       else pytest.approx(each, rel=0.2, abs=0.01) for each in other]  # fmt: skip


def test_it_is_the_cut_that_holds(pair: tuple[Files, Files]) -> None:
    open_to_all = with_release(example(), dominance=None)
    there, away = (ask(AIMED[0], open_to_all, files).rows for files in pair)
    assert there != away


@pytest.mark.parametrize("n", [1, 2])
def test_it_is_the_variance_of_values_within_the_edges(pair: tuple[Files, Files], n: int) -> None:
    policy = with_release(
        example(), dominance=Dominance(n=n, percent=99), p_percent=None, sums="none"
    )
    values = sorted(
        each if each % 500 == 0 else each // 500 * 500 + 250
        for each in tables(1, with_target=True)["persons"]["income"]
    )
    read = [min(max(each, values[n]), values[-1 - n]) for each in values]
    (row,) = ask("select var_samp(income) as v from persons", policy, pair[0]).rows
    assert row[0] == pytest.approx(statistics.variance(read), rel=1e-12)


def _plain(values: Any, people: Any, n: int) -> tuple[Any, Any]:
    """Return lowest and highest value that is read, from all rows at once."""
    own = [values[people == each] for each in np.unique(people)]
    if len(own) < 2 * n + 1:
        return None, None
    return sorted(each.min() for each in own)[n], sorted(each.max() for each in own)[-1 - n]


@pytest.mark.parametrize("seed", range(6))
def test_rows_in_parts_have_the_edges_and_sums_of_all(seed: int) -> None:
    rng, n = np.random.default_rng(seed), 1 + seed % 2
    people = np.sort(rng.integers(0, 30, 400))
    values = rng.integers(-5, 6, (2, 400)) * 10 ** rng.integers(0, 8, (2, 400))
    parts = []
    for low, high in ((0, 12), (12, 30)):
        far = Farthest(2, n)
        far.grow(1)
        for first in range(low, high, 6):
            rows = np.flatnonzero((people >= first) & (people < min(high, first + 6)))
            starts = np.concatenate([[0], 1 + np.flatnonzero(np.diff(people[rows])), [len(rows)]])
            columns: list[Any] = [(each[rows], None) for each in values]
            far.add(columns, starts, np.array([0, len(starts) - 1]),
                    np.zeros(1, np.int64), people[rows][starts[:-1]])  # fmt: skip
        parts.append(far)
    parts[0].absorb(parts[1], np.zeros(1, np.int64))
    edges = [_plain(each, people, n) for each in values]
    assert [parts[0].edges(column, 0) for column in (0, 1)] == edges
    read = [np.clip(each, *edge) for each, edge in zip(values, edges, strict=True)]
    for factors in ((0,), (1,), (0, 1), (0, 0)):
        whole, cut = (np.prod([rows[each] for each in factors], axis=0).sum()
                      for rows in (values, read))  # fmt: skip
        assert parts[0].change(0, factors, 2**62) == cut - whole


def test_how_many_have_a_value_does_not_change_with_the_edges() -> None:
    people = 30
    measures = [Measure(how=how, value=0, bound=2**40) for how in ("count", "sum")]
    found = Reduction(Coding(0), measures, [None], edges=[0], beyond=1)
    values = np.arange(people) ** 4
    own = np.arange(people, dtype=np.int32)
    found.add(ByPerson(own, np.ones_like(own), people), [], [(values, None)])
    count, total = found.parts(0)
    assert count["t"] == people
    read = np.clip(values, values[1], values[-2])
    assert total["t"] == read.sum() < values.sum()
