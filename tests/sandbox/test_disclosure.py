"""The rules of release on partial sums, each by itself and against a plain computation."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.disclosure import Cell, Part, Rules, release
from sandbox.noise import noise
from sandbox.policy import Dominance, Noise, Release
from sandbox.relations import Core, Measure, Output, Relation, Statistic
from sandbox.rounding import round_up, rounded
from sandbox.suppression import complete
from sandbox.values import Expr, Kind, Type
from tests.sandbox.asking import ask, example, noisy, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = Relation((), entity=True, rows=1)
BY_NAME = Relation(
    (Output("name", Expr("null", (), Type(Kind.TEXT), "null")),), entity=True, rows=1
)
COUNT = Statistic("count", (0,))
TOTAL = Statistic("sum", (0,), (0,), family="income")


def part(values: Sequence[int]) -> Part:
    sizes = [*sorted((abs(each) for each in values), reverse=True), 0, 0, 0]
    above, below = ([*sorted((s * e for e in values), reverse=True), 0, 0] for s in (1, -1))
    return Part(sum(map(bool, values)), sum(values), sum(sizes), (sizes[0], sizes[1], sizes[2]),
                (above[0], above[1]), (below[0], below[1]))  # fmt: skip


def released(values: Sequence[int], of: Statistic, rules: Release | None = None) -> object:
    """Release one value of a table without keys."""
    core = Core(ROWS, 0, (Measure("sum", 0, 10**9),), (of,))
    cell = Cell((), len(values), (part(values),), {})
    return release(core, [cell], Rules(rules or Release()))[0][0]


def test_fewer_than_k_are_nobody() -> None:
    assert released([1] * 9, COUNT) is None
    assert released([1] * 10, COUNT) == 10


def test_a_cell_of_few_is_like_a_cell_of_none() -> None:
    assert released([], COUNT) is None
    core = Core(BY_NAME, 1, (Measure("rows", None, 1),), (COUNT,))
    cells = [Cell(("a",), 1, (part([1]),), {}), Cell(("b",), 40, (part([1] * 40),), {})]
    assert release(core, cells, Rules(Release())) == [("b", 40)]
    assert release(core, cells[1:], Rules(Release())) == [("b", 40)]


def test_one_or_two_who_stand_out_are_read_as_the_next() -> None:
    plain = released([1] * 40, TOTAL)
    assert released([1] * 40 + [1_000_000], TOTAL) == plain
    assert released([1] * 40 + [-1_000_000, 1_000_000], TOTAL) == plain
    assert released([1] * 40 + [1_000_000] * 2, TOTAL) == plain
    assert released([1] * 40 + [1_000_000], TOTAL, Release(dominance=Dominance(n=1))) == plain


def test_who_has_many_rows_does_not_hide_how_many_there_are() -> None:
    core = Core(ROWS, 0, (Measure("rows", None, 1000),), (COUNT, Statistic("entities", (0,))))
    cell = Cell((), 30, (part([1] * 29 + [900]),), {})
    assert release(core, [cell], Rules(Release())) == [(None, 30)]


def test_a_few_who_dominate_hold_a_sum_back() -> None:
    assert released([1000] * 20, TOTAL) is not None
    assert released([1] * 20 + [1000] * 3, TOTAL) is not None
    assert released([1] * 20 + [100_000] * 3, TOTAL, Release(p_percent=100)) is not None
    rules = Release(dominance=None, p_percent=10)
    assert released([1000, 900] + [5] * 19, TOTAL, rules) is None
    assert released([1000, 900] + [15] * 19, TOTAL, rules) is not None


def test_a_count_that_is_hidden_in_a_sum_is_as_coarse_as_a_count() -> None:
    for people in range(11, 60):
        count = released([1] * people, COUNT)
        assert isinstance(count, int)
        for weight in (7, 1_000_000, 123_456):
            total = released([weight] * people, TOTAL)
            assert isinstance(total, int | float)
            step = 5 * float(round_up(Fraction(weight)))
            assert math.isclose(total % step, 0, abs_tol=1e-6)
            assert step / weight >= 5


def test_a_sum_is_within_half_its_step() -> None:
    rng = random.Random(5)
    for _ in range(300):
        values = [rng.randrange(1, 10_000) for _ in range(rng.randrange(15, 200))]
        total = released(values, TOTAL)
        assert isinstance(total, int | float)
        top = sorted(values)[-3:]
        cut = sum(values) - (top[2] - top[0]) - (top[1] - top[0])
        assert abs(total - cut) <= 2.5 * float(round_up(Fraction(top[0])))


@pytest.mark.parametrize(
    ("value", "up"), [(1, 1), (10, 10), (11, 20), (99, 100), (1234, 2000), (0, 0), (9, 9)]
)
def test_round_up_keeps_one_digit(value: int, up: int) -> None:
    assert round_up(Fraction(value)) == up
    assert round_up(Fraction(value, 1000)) == Fraction(up, 1000)


@pytest.mark.parametrize(
    ("value", "to"), [(12, 10), (13, 15), (-12, -10), (-13, -15), (0, 0), (Fraction(25, 2), 15)]
)
def test_halves_are_rounded_away_from_nothing(value: int, to: int) -> None:
    assert rounded(Fraction(value), Fraction(5)) == to


# ------------------------------------------------------------------ secondary suppression


def test_what_is_hidden_can_not_be_had_from_a_total() -> None:
    """In each line that hides more than the rounding does, two cells hide k together."""
    rng = random.Random(11)
    for _ in range(300):
        keys = [(a, b) for a in range(rng.randint(1, 5)) for b in range(rng.randint(1, 5))]
        sizes = [rng.choice((0, 1, 3, 7, 9, 12, 40, 200)) for _ in keys]
        small = {place for place, size in enumerate(sizes) if size < 10}
        hidden = complete(keys, sizes, small, 10, 2)
        assert small <= hidden
        for place in (0, 1):
            for line in {key[:place] + key[place + 1 :] for key in keys}:
                own = [c for c, key in enumerate(keys) if key[:place] + key[place + 1 :] == line]
                out = [c for c in own if c in hidden]
                together = sum(sizes[c] for c in out)
                assert together <= 2 or (len(out) >= 2 and together >= 10) or out == own


def test_one_person_by_herself_hides_nothing_else() -> None:
    keys = [("a",), ("b",), ("c",)]
    assert complete(keys, [1, 50, 60], {0}, 10, 2) == {0}
    assert complete(keys, [7, 50, 60], {0}, 10, 2) == {0, 1}


# ------------------------------------------------------------------------------- noise


def test_noise_is_that_of_the_set() -> None:
    secret = b"s" * 32
    assert noise(secret, "count", 5, 2000) == noise(secret, "count", 5, 2000)
    drawn = [noise(secret, "count", key, 2000) for key in range(20_000)]
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((each - mean) ** 2 for each in drawn) / len(drawn))
    assert abs(mean) < 0.05
    assert abs(spread - 2) < 0.05
    assert {noise(b"t" * 32, "count", key, 2000) for key in range(100)} != set(drawn[:100])
    assert noise(secret, "count", 5, 0) == 0


def test_the_same_people_get_the_same_noise_however_they_are_asked_for(
    tmp_path: Path,
) -> None:
    people: dict[str, list[Any]] = {
        "person_id": list(range(400)),
        "birth_year": [1950 + n % 40 for n in range(400)],
        "sex": ["FM"[n % 2] for n in range(400)],
        "region": [f"R{n % 3}" for n in range(400)],
        "education": ["x"] * 400,
        "income": [100.0 * (n % 50) for n in range(400)],
    }
    inputs = write(tmp_path, {"persons": people})
    policy, secret = noisy(example(), 3000), b"k" * 32
    phrasings = [
        "select count(*) as n, sum(income) as s from persons where sex = 'F'",
        "select count(*) as n, sum(income) as s from persons where not sex <> 'F'",
        "select count(distinct person_id) as n, sum(round(income, 2)) from persons where sex in ('F')",
        "select count(*) filter (where sex = 'F'), sum(income) filter (where sex='F') from persons",
        "with t as (select sex, count(*) n, sum(income) s from persons group by sex)\n"
        "select n, s from t where sex = 'F'",
        "select count_if(sex = 'F'), sum(case when sex = 'F' then income end) from persons",
        "with t as (select person_id from persons where sex = 'F')\n"
        "select count(*), sum(income) from persons where person_id in (select person_id from t)",
    ]
    answers = {
        repr([float(c) for c in ask(sql, policy, inputs, secret).rows[0]]) for sql in phrasings
    }
    assert len(answers) == 1
    other = ask(phrasings[0], policy, inputs, b"l" * 32).rows
    several = {repr(ask(phrasings[0], policy, inputs, bytes([n]) * 32).rows) for n in range(12)}
    assert len(several) > 1, other


def test_policy_of_noise_is_in_thousandths() -> None:
    assert Noise().sd_milli == 0
