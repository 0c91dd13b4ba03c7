"""How far one entity moves what noise is put on: every neighbour of tiny tables, on DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.private.world import compiled, exact, tables, without, written

if TYPE_CHECKING:
    from pathlib import Path

STATEMENTS = [
    "select count(*) from persons",
    "select count(*), count(distinct person_id), sum(income), avg(income) from persons",
    "select sex, region, count(*), sum(income) from persons group by sex, region",
    "select dept, count(*) as n, sum(cost), count(distinct person_id) from visits group by dept",
    "select dept, date_trunc('month', day) as m, avg(cost) from visits group by 1, 2",
    "select stddev(age), variance(cost) from persons join visits using (person_id)",
    "select region, dept, sum(cost) from persons join visits using (person_id) group by 1, 2",
    "select r.name, count(*) from persons p join regions r on p.region = r.region group by r.name",
    "select n, count(*) from (select count(*) as n from visits group by person_id) group by n",
    "select sum(case when dept = 'er' then cost end), count_if(cost > 20) from visits",
    "select count(*) from persons where person_id in (select person_id from visits where cost > 9)",
    "select dept, avg(cost * 2 - 30) from visits where cost <> 9 group by dept",
]


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Path]]:
    """The tables, and each of the tables that have one person less."""
    folder = tmp_path_factory.mktemp("neighbours")
    whole = tables()
    found = [whole, *(without(whole, person) for person in range(1, 8))]
    return [written(folder / str(place), each) for place, each in enumerate(found)]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_one_person_moves_no_sum_further_than_its_noise_is_for(
    sql: str, neighbours: list[dict[str, Path]]
) -> None:
    statement = compiled(sql)
    with_all, *with_less = (exact(statement, inputs) for inputs in neighbours)
    moved_most = 0.0
    for less in with_less:
        for place, core in enumerate(statement.private.cores):
            sums = statement.private.of(core)
            for column, each in enumerate(sums):
                noise = statement.noise[each]
                moved = squared(with_all[place], less[place], column)
                assert moved <= noise.squared
                moved_most = max(moved_most, moved / noise.squared)
    # Somebody is in the tables: the test looks at something.
    assert moved_most > 0


def squared(one: dict[Any, list[int]], other: dict[Any, list[int]], column: int) -> int:
    """Return the squared distance of two vectors of cells, where a missing cell is 0."""
    keys = {*one, *other}
    return sum(
        (one.get(key, [0] * 99)[column] - other.get(key, [0] * 99)[column]) ** 2 for key in keys
    )


def test_a_bound_is_reached_so_that_none_is_too_large(neighbours: list[dict[str, Path]]) -> None:
    statement = compiled("select sex, count(*), sum(income) from persons group by sex")
    with_all, *with_less = (exact(statement, inputs)[0] for inputs in neighbours)
    (noise, _) = statement.noise.values()
    assert max(squared(with_all, less, 0) for less in with_less) == noise.squared == 1


def test_the_cells_of_a_person_are_kept_whatever_others_have(
    neighbours: list[dict[str, Path]],
) -> None:
    """Each visitor is in more departments than count; which ones does not move with others."""
    statement = compiled("select dept, sum(cost) from visits group by dept")
    (noise,) = statement.noise.values()
    assert noise.cells == 2
    whole = exact(statement, neighbours[0])[0]
    alone: dict[Any, int] = {}
    for person in range(1, 6):
        less = exact(statement, neighbours[person])[0]
        own = {key: whole[key][0] - less.get(key, [0])[0] for key in whole}
        assert sum(value != 0 for value in own.values()) <= 2
        for key, value in own.items():
            alone[key] = alone.get(key, 0) + value
    # The parts of all persons add up to the whole: nobody's part depends on who else is there.
    assert {key: value for key, (value,) in whole.items()} == alone


def test_what_is_cut_off_and_divided_stays_within_its_bound(
    neighbours: list[dict[str, Path]],
) -> None:
    """So little rho that a unit of noise is coarser than a unit of the sum."""
    statement = compiled("select sex, variance(income * 1000) from persons group by sex",
                         rho_micro=1)  # fmt: skip
    assert max(noise.unit for noise in statement.noise.values()) > 1
    with_all, *with_less = (exact(statement, inputs)[0] for inputs in neighbours)
    for less in with_less:
        for column, noise in enumerate(statement.noise.values()):
            assert squared(with_all, less, column) <= noise.squared
