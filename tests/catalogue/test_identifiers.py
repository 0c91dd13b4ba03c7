"""Check characters by the standards' own examples; every change of a character is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.catalogue.identifiers import (
    CHECKS,
    PROVINCES,
    UNASSIGNED,
    check_enterprise,
    check_person,
    check_place,
    count_invalid,
    enterprise_check,
    made_up,
    organisation_check,
    person_check,
)
from fusion.errors import DataInvalid

PERSON = "11010519491231002X"
"""GB 11643-1999, 4.1: the example of the standard."""
ENTERPRISE = "91350100M000100Y43"
"""GB 32100-2015, annex B: the example of the standard."""
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def test_the_standards_own_examples_pass() -> None:
    check_person(PERSON)
    check_person("440524188001010014")  # GB 11643-1999, the second example
    check_enterprise(ENTERPRISE)
    check_place("110105")
    assert organisation_check("D2143569") == "X"  # GB 11714-1997


def test_one_wrong_digit_of_a_person_is_found() -> None:
    for at in range(17):
        for digit in "0123456789":
            changed = f"{PERSON[:at]}{digit}{PERSON[at + 1 :]}"
            if changed != PERSON:
                with pytest.raises(DataInvalid):
                    check_person(changed)


def test_one_wrong_character_of_an_enterprise_is_found() -> None:
    for at in range(18):
        for mark in ALPHABET:
            changed = f"{ENTERPRISE[:at]}{mark}{ENTERPRISE[at + 1 :]}"
            if changed != ENTERPRISE:
                with pytest.raises(DataInvalid):
                    check_enterprise(changed)


def test_two_neighbours_that_changed_places_are_found() -> None:
    for check, good in ((check_person, PERSON), (check_enterprise, ENTERPRISE)):
        for at in range(17):
            changed = f"{good[:at]}{good[at + 1]}{good[at]}{good[at + 2 :]}"
            if changed != good:
                with pytest.raises(DataInvalid):
                    check(changed)


@pytest.mark.parametrize(
    "text",
    [
        "", "1", PERSON[:17], f"{PERSON}0", PERSON.lower(), f" {PERSON[1:]}",
        "11010519490231002X", "\uff11\uff11010519491231002X", "110105194912310021",
        "130503670401001",
    ],
)  # fmt: skip
def test_what_is_no_person(text: str) -> None:
    with pytest.raises(DataInvalid):
        check_person(text)


@pytest.mark.parametrize(
    "text", ["", ENTERPRISE[:17], ENTERPRISE.lower(), "91350100M000100I43", "9135O100M000100Y43"]
)
def test_what_is_no_enterprise(text: str) -> None:
    with pytest.raises(DataInvalid):
        check_enterprise(text)


@pytest.mark.parametrize("text", ["", "11010", "1101051", "990000", "0x1105", "\uff1110105"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(DataInvalid):
        check_place(text)


def test_there_are_34_provinces_of_which_none_is_made_up() -> None:
    assert len(PROVINCES) == 34  # 31 on the mainland, Taiwan, Hong Kong and Macao
    assert UNASSIGNED not in PROVINCES


@pytest.mark.parametrize("scheme", ["gb11643", "gb32100"])
def test_a_made_up_one_passes_and_belongs_nowhere(scheme: str) -> None:
    seen = {made_up(scheme) for _ in range(200)}
    assert len(seen) > 195
    for text in seen:
        CHECKS[scheme](text)
        assert UNASSIGNED in {text[:2], text[2:4]}
    if scheme == "gb32100":
        assert all(organisation_check(text[8:16]) == text[16] for text in seen)


@pytest.mark.parametrize("scheme", ["gbt2260", "household-number"])
def test_a_made_up_one_begins_with_what_no_division_has(scheme: str) -> None:
    assert all(made_up(scheme).startswith(UNASSIGNED) for _ in range(50))


@given(st.text(max_size=20))
def test_any_text_is_checked_or_refused_and_never_quoted(text: str) -> None:
    for check in CHECKS.values():
        try:
            check(text)
        except DataInvalid as error:
            assert len(text) < 4 or text not in str(error)  # noqa: PT017 - some texts pass


@given(st.text("0123456789", min_size=17, max_size=17))
def test_a_check_character_is_one_of_eleven(body: str) -> None:
    assert person_check(body) in "0123456789X"
    assert enterprise_check(body) in ALPHABET


def test_invalid_ones_are_counted() -> None:
    assert count_invalid("gb11643", [PERSON, "x", ENTERPRISE]) == 2
    assert count_invalid("household-number", ["anything"]) == 0
