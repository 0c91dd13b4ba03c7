"""Who has no value of a key, or no row at all, is a property like any other: it selects.

Exact answers, so that only the history stands between two sums and the one person they differ by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.attacks.pipeline import Dataset, Owner

POLICY = """
schema: fusion.policy/1
title: People, some with an employer and a job
mode: sdc
release: {dominance: null, p_percent: null, base: 1, sums: none}
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      employer: {class: key, type: integer}
      region: {class: dimension}
      income: {class: number, low: 0, high: 10000000}
  jobs:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      kind: {class: dimension}
"""
PEOPLE, TARGET = 200, 5
LEFT = "from persons p left join jobs j on p.person_id = j.person_id"


@pytest.fixture(scope="module")
def dataset(owner: Owner) -> Dataset:
    """Everybody but one has an employer and a job."""
    people = list(range(PEOPLE))
    others = [each for each in people if each != TARGET]
    persons: dict[str, list[Any]] = {
        "person_id": people,
        "employer": [None if each == TARGET else each % 7 for each in people],
        "region": ["NS"[each % 2] for each in people],
        "income": [10_000 + 7919 * each % 80_000 for each in people],
    }
    jobs: dict[str, list[Any]] = {"person_id": others, "kind": ["x" for _ in others]}
    return owner.dataset(POLICY, {"persons": persons, "jobs": jobs})


@pytest.mark.parametrize(
    ("whole", "rest"),
    [
        (
            "select sum(income) from persons",
            "select sum(case when employer is not null then income end) from persons",
        ),
        (
            "select count(*) from persons",
            "select count(employer) from persons",
        ),
        (
            f"select sum(p.income) {LEFT}",
            f"select sum(case when j.person_id is not null then p.income end) {LEFT}",
        ),
        (
            f"select count(distinct p.person_id) {LEFT}",
            f"select count(distinct j.person_id) {LEFT}",
        ),
    ],
)
def test_who_has_none_is_not_had_by_subtraction(dataset: Dataset, whole: str, rest: str) -> None:
    attacker = dataset.attacker()
    try:
        assert attacker.ask(whole).rows[0][0] is not None
        assert attacker.ask(rest).rows == [[None]]
    finally:
        attacker.close()


TWICE = """
schema: fusion.policy/1
title: People with several visits
mode: sdc
release: {dominance: null, p_percent: null, base: 1, sums: none}
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      region: {class: dimension}
  visits:
    entity: person_id
    rows: 50
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension}
      day: {class: date, low: "2000-01-01", high: "2040-12-31"}
"""
ONE, OTHER = "dept = 'gp'", "dept in ('gp', 'psy')"


def _without(missing: str, other: str) -> str:
    """Count those who have no visit of the first kind, in words that fit the second as well."""
    return (
        "select count(distinct p.person_id) from persons p "  # noqa: S608 - a test's
        f"left join (select person_id, day from visits where {missing}) v "
        "on p.person_id = v.person_id "
        f"left join (select person_id, day from visits where {other}) w "
        "on p.person_id = w.person_id where p.region = 'N' and v.day is null"
    )


def _visits(owner: Owner, *, seen: bool) -> Dataset:
    """Everybody has a visit; the target has one more, of a kind that nobody else has."""
    people = list(range(240))
    visits = [(each, "gp" if each % 4 < 2 else "er") for each in people]
    visits += [(6, "psy")] if seen else []
    return owner.dataset(
        TWICE,
        {
            "persons": {"person_id": people, "region": ["NS"[each % 2] for each in people]},
            "visits": {
                "person_id": [each for each, _ in visits],
                "dept": [dept for _, dept in visits],
                "day": ["2020-01-01" for _ in visits],
            },
        },
    )


def test_conditions_on_the_first_and_on_the_second_of_a_table_are_others(owner: Owner) -> None:
    said = []
    for seen in (True, False):
        attacker = _visits(owner, seen=seen).attacker()
        try:
            answers = [attacker.ask(_without(ONE, OTHER)), attacker.ask(_without(OTHER, ONE))]
        finally:
            attacker.close()
        said.append([(each.rows, each.notes) for each in answers])
    # Two sets that are equal unless the target has that visit: told apart, it would tell of her.
    assert said[0] == said[1]
    assert said[0][0][0] == [[60]]
