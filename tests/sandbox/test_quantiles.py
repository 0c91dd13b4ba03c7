"""A quantile of something with two levels is a count: it is as coarse as one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sandbox.quantiles import BESIDE, answered, one_value
from tests.sandbox.asking import ask, example, write

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = "case when birth_year = 1950 then 0 else 1000000 end"
BASE = 5


def _persons(people: int, older: int) -> dict[str, dict[str, list[Any]]]:
    return {
        "persons": {
            "person_id": list(range(people)),
            "birth_year": [1950] * older + [1990] * (people - older),
            "sex": ["F"] * people,
            "region": ["R01"] * people,
            "education": ["primary"] * people,
            "income": [float(1000 * each) for each in range(people)],
        }
    }


def _answers(folder: Path, people: int, older: int, *fractions: float) -> list[float | None]:
    files = write(folder, _persons(people, older))
    asked = (f"quantile_cont({LEVELS}, {each}) as q{n}" for n, each in enumerate(fractions))
    (row,) = ask(f"select {', '.join(asked)} from persons", example(), files).rows
    return row


def test_a_count_in_quantiles_is_as_coarse_as_a_count(tmp_path: Path) -> None:
    fractions = (0.28, 0.29, 0.3, 0.305, 0.31, 0.315, 0.32, 0.325, 0.33, 0.34, 0.35)
    said = [_answers(tmp_path, 137, older, *fractions) for older in range(40, 50)]
    # No value between the two levels, whose weight would be made of the number of people.
    assert {each for row in said for each in row} == {None, 0.0, 1_000_000.0}
    changes = sum(one != other for one, other in pairwise(said))
    assert changes <= 2


def test_the_size_of_a_cell_does_not_show_in_a_median(tmp_path: Path) -> None:
    said = [_answers(tmp_path, people, 62, 0.5)[0] for people in (123, 124, 125)]
    assert set(said) <= {0.0, 1_000_000.0}


@pytest.mark.parametrize(
    ("fraction", "entities", "yes"),
    [(5000, 10, True), (2500, 19, False), (2500, 20, True), (9000, 99, False), (9000, 100, True),
     (3300, 499, False), (3300, 500, True), (3333, 49_999, False), (3333, 50_000, True)],
)  # fmt: skip
def test_finer_fractions_take_more_people(fraction: int, entities: int, yes: bool) -> None:
    assert answered(fraction, entities, BASE) is yes
    assert answered(fraction, entities, 1)


@pytest.mark.parametrize("seed", range(20))
def test_between_values_far_apart_it_is_the_lower(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, fraction = int(rng.integers(10, 3000)), 100 * int(rng.integers(5, 95))
    values = np.sort(rng.integers(0, 10**8, rows) * rng.integers(0, 2, rows))
    own, beside = (
        float(np.quantile(values, each / 10_000)) for each in (fraction, fraction + 1e4 * BESIDE)
    )
    low, high = (float(values[each((rows - 1) * fraction / 1e4)]) for each in (_floor, _ceil))
    width = 1000
    found = one_value(own, beside, fraction, rows, width)
    if high - low > 2 * width:
        assert found == pytest.approx(low, abs=2)
    elif high - low < width / 2:
        assert found == own
    assert one_value(own, beside, fraction, rows, 0) == own


@pytest.mark.parametrize("rows", [100_000, 100_002, 2_000_000])
def test_the_half_of_many_is_not_told_by_a_value_between(rows: int) -> None:
    """Of two levels, the median would be half-way if exactly half of them are on each."""
    values = np.repeat([0.0, 1000.0], rows // 2)
    own, beside = (float(np.quantile(values, each)) for each in (0.5, 0.5 + BESIDE))
    assert own == 500
    assert one_value(own, beside, 5000, rows, 100) == 0


@pytest.mark.parametrize("gap", [0.0, 50.0, 1000.0])
@pytest.mark.parametrize("after", [0.0, 1000.0])
def test_beyond_the_next_of_very_many_a_gap_is_not_taken_for_small(
    gap: float, after: float
) -> None:
    rows, fraction = 1_000_001, 3333
    rows += next(n for n in range(10_000) if (rows + n - 1) * fraction % 10_000 == 9999)
    place = (rows - 1) * fraction // 10_000
    values = np.zeros(rows)
    values[place + 1 :] += gap
    values[place + 2 :] += after
    own, beside = (
        float(np.quantile(values, each / 10_000)) for each in (fraction, fraction + 1e4 * BESIDE)
    )
    found = one_value(own, beside, fraction, rows, 100)
    assert found is None or found == pytest.approx(own if gap <= 100 else 0, abs=0.01)
    assert (found is None) is (gap > 100 or after > 0)


def _floor(value: float) -> int:
    return int(np.floor(round(value, 6)))


def _ceil(value: float) -> int:
    return int(np.ceil(round(value, 6)))


def test_who_has_most_rows_is_not_the_median(tmp_path: Path) -> None:
    # She has a few rows more than others; a table that is joined with itself squares that.
    people = [n for n in range(30) for _ in range(3)] + [99] * 25
    costs = [100.0 + n for n in range(90)] + [7777.77] * 25
    visits: dict[str, list[Any]] = {
        "visit_id": list(range(len(people))),
        "person_id": people,
        "visit_date": ["2021-01-01"] * len(people),
        "dept": ["er"] * len(people),
        "diagnosis": ["D001"] * len(people),
        "cost": costs,
        "duration_min": [5] * len(people),
    }
    files = write(tmp_path, {"visits": visits})
    joined = "visits a join visits b on a.person_id = b.person_id"
    assert ask(f"select median(a.cost) as m from {joined}", example(), files).rows == [[None]]
    assert ask("select median(cost) as m from visits", example(), files).rows[0][0] is not None
