"""Rows of a vertical study, found by set intersection: those of the clear join, in one order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.vertical.joining import MIN_ROWS, Meeting, align, common
from fusion.catalogue.identifiers import made_up, person_check
from fusion.errors import AlignmentBroken, AlignmentRefused, InputInvalid
from fusion.services.alignment import Column
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDE = str.maketrans(
    "0123456789X", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff38"
)


def person(number: int) -> str:
    """Return an 18-digit identifier of somebody born before 2000, who had 15 digits once."""
    body = f"11010519{50 + number % 40}0{1 + number % 9}{10 + number % 15}{number % 900:03d}"
    return body + person_check(body)


def spelt(key: str, way: int) -> str:
    """Return one of three spellings: 15 digits, full width, lower case with a blank."""
    return (key[:6] + key[8:17], key.translate(WIDE), f" {key.lower()}")[way]


def quiet(_: str) -> None:
    return None


def resident(**more: Any) -> Column:  # noqa: ANN401 - fields of the column
    return Column("person", "resident_id", **{"duplicates": "refuse", **more})


def clear(known: Sequence[Sequence[int]]) -> set[int]:
    """Return who is at all parties."""
    return set.intersection(*map(set, known))


@pytest.mark.parametrize("parties", [2, 3, 4])
def test_it_is_the_clear_join_in_one_order(parties: int) -> None:
    order = np.random.default_rng(parties)
    known = [
        [int(i) for i in order.permutation(300) if i % 7 != number] for number in range(parties)
    ]
    columns = {
        f"Amt {n}": [spelt(person(i), (i + n) % 3) for i in who] for n, who in enumerate(known)
    }
    columns["Amt 1"] += ["", "123"]  # rows that hold no identifier
    found = align(columns, resident(), quiet)
    people = [[who[row] for row in rows] for who, rows in zip(known, found.rows, strict=True)]
    assert set(people[0]) == clear(known)
    assert len(people[0]) == len(clear(known))
    assert all(each == people[0] for each in people)
    assert people[0] == sorted(people[0], key=person)
    report = found.reports["Amt 1"]
    assert (report["missing"], report["invalid"]) == (1, {"length": 1})
    assert report["keys"] == len(known[1])
    assert found.sent > sum(32 * len(who) for who in known)  # each list leaves, a point an item


def some(count: int = MIN_ROWS) -> list[str]:
    return [person(i) for i in range(count)]


@pytest.mark.parametrize("parties", [2, 3])
def test_a_key_on_several_rows_by_each_rule(parties: int) -> None:
    columns = {f"p{number}": some(40) for number in range(parties)}
    columns["p1"].insert(0, spelt(person(5), 0))
    with pytest.raises(AlignmentRefused, match=r"refuse.*\(p1\)") as caught:
        align(columns, resident(), quiet)
    assert caught.value.code == "A-10"
    assert "unique-only" in caught.value.hint
    first = align(columns, resident(duplicates="first"), quiet)
    assert 0 in first.rows[1]
    assert [len(rows) for rows in first.rows] == [40] * parties
    alone = align(columns, resident(duplicates="unique-only"), quiet)
    assert [len(rows) for rows in alone.rows] == [39] * parties
    assert 5 not in alone.rows[0]


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"a": some(40), "b": some(MIN_ROWS - 1)}, "A-14"),
        ({"a": some(40), "b": some(40), "c": some(MIN_ROWS - 1)}, "A-14"),
        ({"a": some(40), "b": some(40)[:20], "c": some(40)[20:]}, "A-14"),
        ({"a": some(40), "b": ["", "17"]}, "A-17"),
    ],
)
def test_what_is_not_released(columns: Mapping[str, list[str]], code: str) -> None:
    with pytest.raises(AlignmentRefused) as caught:
        align(columns, resident(), quiet)
    assert caught.value.code == code
    assert caught.value.hint


class Fickle(dict[str, list[str]]):
    """Sets of parties that go round a ring; asked for the third's alone, another one."""

    def __getitem__(self, party: str) -> list[str]:
        keys = super().__getitem__(party)
        return keys[:-1] if party == "party-2" else keys


def test_a_party_that_changes_its_set_between_two_jobs_is_refused() -> None:
    meeting = Meeting(resident(), maskers(40))
    sets = {f"party-{number}": some(40) for number in range(3)}
    with pytest.raises(AlignmentBroken) as caught:
        common(meeting, Fickle(sets))
    assert caught.value.code == "A-64"
    assert len(common(meeting, sets)["party-2"]) == 40


def test_what_a_feature_party_is_told_is_common_to_all() -> None:
    """In a session with the label party alone it would learn 40 of its 60."""
    meeting = Meeting(resident(), maskers(60))
    sets = {"label": some(40), "one": some(60), "two": some(60)[10:]}
    found = common(meeting, sets)
    assert all(sorted(keys) == sorted(some(40)[10:]) for keys in found.values())


def test_twenty_are_enough() -> None:
    found = align({"a": some(40), "b": some()}, resident(), quiet)
    assert len(found.rows[0]) == MIN_ROWS


@pytest.mark.parametrize("parties", [1, 17])
def test_too_few_or_many_parties(parties: int) -> None:
    with pytest.raises(InputInvalid, match="from 2 to 16"):
        align({f"p{number}": some() for number in range(parties)}, resident(), quiet)


def test_text_folds_when_asked() -> None:
    upper, lower = ([f"{first}{i}" for i in range(30)] for first in "Pp")
    column = Column("person", "text", "refuse", fold=True)
    assert len(align({"a": upper, "b": lower}, column, quiet).rows[1]) == 30
    with pytest.raises(AlignmentRefused):
        align({"a": upper, "b": lower}, Column("person", "text", "refuse"), quiet)


def test_made_up_people_of_the_catalogue() -> None:
    people = [made_up("gb11643") for _ in range(50)]
    found = align({"a": people, "b": people[::-1]}, resident(), quiet)
    assert [49 - row for row in found.rows[1]] == found.rows[0].tolist()
