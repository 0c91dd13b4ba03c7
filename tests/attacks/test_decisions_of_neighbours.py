"""With and without one person who is unique: the same decisions, texts and shapes of tables.

Sets are far from the drawn thresholds, as an attacker would choose them; at a threshold one person
decides (``docs/claims/queries.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.attacks.people import make

if TYPE_CHECKING:
    from tests.attacks.people import People
    from tests.attacks.pipeline import Owner, Said

PEOPLE, HER = 400, 123
REGIONS: Final = "select region, count(*) as n, avg(income) as m from persons group by region"
SEEN: Final = "person_id in (select person_id from visits)"
BOTH: Final = "from visits join persons using (person_id)"
WRITTEN: Final = [
    ["select count(*) from persons", "select count(*) from persons where born <> 123"],
    ["select sum(income) from persons where born < 200",
     "select sum(income) from persons where born < 200 and born <> 123"],
    [REGIONS, "select region, avg(income) from persons where born <> 123 group by region"],
    [REGIONS, "select {her}, count(*) from persons group by 1"],
    [REGIONS, "select count(*) filter (where born = 123) as a, count(*) as n from persons"],
    [REGIONS, "select sum(case when born = 123 then income end) from persons"],
    ["select count(*) from persons where born = 123", "select count(*) from persons"],
    ["select born, count(*) from persons where born between 123 and 123 group by born"],
    ["select stddev_samp(income), median(income) from persons where born = 123 or born > 300",
     "select stddev_samp(income), median(income) from persons where born > 300"],
    ["select dept, count(*) {both} where born = 123 group by dept"],
    ["select dept, sum(cost) from visits group by dept",
     "select dept, sum(cost) {both} where born <> 123 group by dept"],
    ["select count(*) from persons where born = 123 and {seen}"],
    ["select count(*) {both} where born = 123 group by cost > 300"],
    ["select count(*) from persons where 1 // (case when income = 21230 then 0 else 1 end) = 1"],
    ["select count(*) from persons where not (born = 123 and income > 0)"],
    # Two of three cells collide with earlier ones; a fourth, where she is alone, must not count.
    ["select region, count(*) from persons where region in ('a', 'b') group by region",
     "select {her} as k, count(*) from persons where {some} group by 1"],
]  # fmt: skip
HER_CELL: Final = "case when born = 123 then 'x' else region end"
SOME: Final = "(region in ('a', 'b', 'c') and born > 8 or born = 123)"
SEQUENCES: Final = [
    [
        each.replace("{both}", BOTH)
        .replace("{her}", HER_CELL)
        .replace("{some}", SOME)
        .replace("{seen}", SEEN)
        for each in some
    ]
    for some in WRITTEN
]


@pytest.fixture(scope="module")
def pair(owner: Owner) -> tuple[People, People]:
    """The same people, one of whom is not in the second."""
    return tuple(make(owner, PEOPLE, "rules", 9, less=less) for less in (None, HER))  # type: ignore[return-value]


def _said(people: People, sequence: list[str]) -> list[Said]:
    who = people.dataset.attacker()
    try:
        return [who.ask(statement) for statement in sequence]
    finally:
        who.close()


def _shape(said: Said) -> tuple[Any, ...]:
    """Return everything but numbers: refusal, notes, keys, and which cells are held back."""
    rows = [
        [cell if isinstance(cell, str | bool) else cell is None for cell in row]
        for row in said.rows
    ]
    return said.refused, said.notes, sorted(rows, key=repr)


@pytest.mark.parametrize("place", range(len(SEQUENCES)))
def test_decisions_texts_and_shapes_are_the_same(place: int, pair: tuple[People, People]) -> None:
    there, gone = (_said(people, SEQUENCES[place]) for people in pair)
    assert [_shape(each) for each in there] == [_shape(each) for each in gone]


def test_numbers_differ_by_their_rounding_at_the_most(pair: tuple[People, People]) -> None:
    one, other = (
        sorted(_said(people, ["select region, count(*) as n from persons group by region"])[0].rows)
        for people in pair
    )
    assert sum(a != b for a, b in zip(one, other, strict=True)) <= 1
    assert all(abs(a[1] - b[1]) <= 5 for a, b in zip(one, other, strict=True))
