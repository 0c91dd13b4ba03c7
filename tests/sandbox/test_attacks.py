"""Attacks on one person's value through many answers, each as the analyst would mount it.

Success is a guess of the target's income within one per cent, or of a fair bit about her, as the
page of claims bounds it (docs/claims/queries.md). These answers are without a history of releases:
what only a history stops (averaging over many different sets, subset sums) is not claimed here.
"""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import FusionError
from tests.sandbox.asking import ask, example, noisy, with_release, write

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.policy import Policy

PEOPLE = 1500
TARGETS = 12
SECRET = b"a secret of the node, 32 bytes ."


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], list[Any]]:
    """People; the targets have a year of birth that nobody shares."""
    rng = random.Random(7)
    rows = [
        (number, 1900 + number if number < TARGETS else rng.randint(1930, 2000), rng.choice("FM"),
         rng.choice(("R01", "R02", "R03")), rng.choice(("primary", "secondary")),
         round(rng.lognormvariate(10.4, 0.5), 2))
        for number in range(PEOPLE)
    ]  # fmt: skip
    names = ("person_id", "birth_year", "sex", "region", "education", "income")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return write(tmp_path_factory.mktemp("attacked"), {"persons": columns}), rows[:TARGETS]


def number(sql: str, policy: Policy, inputs: dict[str, Path]) -> float | None:
    """Return the one number of an answer; None if it is held back or refused."""
    try:
        cell = ask(sql, policy, inputs, SECRET).rows[0][0]
    except FusionError:
        return None
    return None if cell is None else float(cell)


def hits(guesses: list[tuple[float | None, float]]) -> int:
    return sum(guess is not None and abs(guess - true) <= true / 100 for guess, true in guesses)


POLICIES = {"rounded": example(), "noisy": noisy(example(), 2000)}
WEAK = with_release(example(), base=1, sums="none", dominance=None, p_percent=None)


@pytest.mark.parametrize("name", POLICIES)
def test_differencing(name: str, people: tuple[dict[str, Path], list[Any]]) -> None:
    """The sum of a group, and of the group without her."""
    inputs, targets = people
    counts = {}
    for label, policy in (("weak", WEAK), (name, POLICIES[name])):
        guesses = []
        for row in targets:
            group = f"sex = '{row[2]}' and region = '{row[3]}'"
            whole = number(f"select sum(income) from persons where {group}", policy, inputs)
            rest = number(
                f"select sum(income) from persons where {group} and birth_year <> {row[1]}",
                policy, inputs)  # fmt: skip
            guesses.append((None if None in (whole, rest) else whole - rest, row[5]))  # type: ignore[operator]
        counts[label] = hits(guesses)
    assert counts["weak"] == TARGETS  # the harness works where nothing protects
    assert counts[name] <= 1


@pytest.mark.parametrize("name", POLICIES)
def test_tracker(name: str, people: tuple[dict[str, Path], list[Any]]) -> None:
    """Denning, Denning & Schwartz 1979: what is too small alone is asked for padded."""
    inputs, targets = people
    guesses = []
    for row in targets:
        padded = number(
            f"select sum(income) from persons where birth_year = {row[1]} or sex = 'F'",
            POLICIES[name], inputs)  # fmt: skip
        padding = number(
            f"select sum(income) from persons where sex = 'F' and birth_year <> {row[1]}",
            POLICIES[name], inputs)  # fmt: skip
        guesses.append((None if None in (padded, padding) else padded - padding, row[5]))  # type: ignore[operator]
    assert hits(guesses) <= 1


def test_averaging_the_same_question(people: tuple[dict[str, Path], list[Any]]) -> None:
    """Twenty phrasings of one question have one answer: there is nothing to average."""
    inputs, _ = people
    answers = {
        number(f"select sum(income) from persons where sex = 'F' and {n} = {n}",
               POLICIES["noisy"], inputs)
        for n in range(20)
    }  # fmt: skip
    assert len(answers) == 1


@pytest.mark.parametrize(
    "carrier",
    ["count(*)", "sum(1000000)", "sum(case when birth_year < 3000 then 7 end)", "sum(birth_year)",
     "avg(case when birth_year = {year} then 1 else 0 end)",
     "sum(income * 0 + 1000)", "count(*) filter (where income >= 0)",
     "sum(case when birth_year = {year} then 1000000 else 1 end)",
     "covar_pop(case when birth_year = {year} then 1 else 0 end, case when sex = 'F' then 1 else 0 end)"],
)  # fmt: skip
def test_a_count_hidden_in_a_sum(carrier: str, people: tuple[dict[str, Path], list[Any]]) -> None:
    """Whether she is there: no carrier of a count is finer than a count."""
    inputs, targets = people
    told = 0
    for row in targets[:7]:
        group = f"sex = '{row[2]}' and region = '{row[3]}'"
        own = carrier.replace("{year}", str(row[1]))
        one = number(f"select {own} from persons where {group}", POLICIES["rounded"], inputs)
        other = number(f"select {own} from persons where {group} and birth_year <> {row[1]}",
                       POLICIES["rounded"], inputs)  # fmt: skip
        told += one != other
    # A border of the rounding is passed by one person in five, whatever carries the count.
    assert told <= 4


def test_totals_minus_cells(people: tuple[dict[str, Path], list[Any]]) -> None:
    """A cell that is held back, from the total and the cells that are shown."""
    inputs, targets = people
    guesses = []
    for row in targets:
        total = number(f"select sum(income) from persons where sex = '{row[2]}'",
                       POLICIES["rounded"], inputs)  # fmt: skip
        shown = ask(
            f"select case when birth_year = {row[1]} then 'her' else region end as part,"
            f" sum(income) from persons where sex = '{row[2]}' group by 1",
            POLICIES["rounded"], inputs).rows  # fmt: skip
        assert "her" not in [part for part, _ in shown]
        rest = sum(value for _, value in shown if value is not None)
        guesses.append((None if total is None else total - rest, row[5]))
    assert hits(guesses) <= 1


@cache
def _bits() -> tuple[str, ...]:
    return (
        "1 // (case when {her} then 0 else 1 end) = 1", "1 % (case when {her} then 0 else 1 end) = 0",
        "1 / (case when {her} then 0 else 1 end) = 1", "sqrt(case when {her} then -1 else 1 end) = 1",
        "ln(case when {her} then 0.0 else 1.0 end) = 0", "cast(income as int) > 5",
        "case when {her} then income * 1000 * 1000 else 1 end > 0",
        "case when {her} then cast(region as int) else 1 end = 1",
        "case when {her} then date '2020-01-01' + interval 9000 month else date '2020-01-01' end"
        " > date '2000-01-01'",
        "substring(region, case when {her} then 1 else 2 end, 1) = 'R'",
        "left(region, case when {her} then -1 else 1 end) = 'R'",
        "pow(case when {her} then income else 1 end, 4) > 0",
        "round(income, case when {her} then 400 else 1 end) > 0",
        "income / (birth_year - {year}) > 0",
    )  # fmt: skip


def test_error_bits(people: tuple[dict[str, Path], list[Any]], tmp_path: Path) -> None:
    """No expression has a status that says whether she is there."""
    inputs, targets = people
    without = write(tmp_path, {"persons": _without(inputs["persons"], targets[0][0])})
    her = f"birth_year = {targets[0][1]} and income > 0"
    for bit in _bits():
        sql = f"select count(*) from persons where {bit}".replace("{her}", her)
        sql = sql.replace("{year}", str(targets[0][1]))
        assert _status(sql, inputs) == _status(sql, without), sql


def _without(path: Path, person: int) -> dict[str, list[Any]]:
    from pyarrow import parquet  # noqa: PLC0415

    table = parquet.read_table(path).to_pydict()
    keep = [place for place, number in enumerate(table["person_id"]) if number != person]
    return {name: [cells[place] for place in keep] for name, cells in table.items()}


def _status(sql: str, inputs: dict[str, Path]) -> tuple[str, str]:
    try:
        ask(sql, POLICIES["rounded"], inputs)
    except FusionError as error:
        return error.code, str(error)
    return "", ""
