"""The four sections of a vertical study that are about its parties and common records."""

from __future__ import annotations

import pytest

from fusion.alignment.study import AlignmentStudy, parse_study
from fusion.errors import MessageInvalid, StudyInvalid

STUDY = """\
[study]
name = "credit"
kind = "vertical"
operator = "bank.example"
purpose = "dpv:CreditChecking"

[identifiers]
kind = "resident_id"
duplicates = "unique-only"

[alignment]
set_size = 1000
minimum_intersection = 50

[[party]]
organisation = "bank.example"
dataset = "customers"
identifier = "ID"
columns = ["income"]
label = "overdue"

[[party]]
organisation = "gov.example"
dataset = "residents"
identifier = "resident"
columns = ["age"]

[model]
kind = "anything that an alignment does not look at"

[leakage]
smallest_leaf = 20
"""


def test_it_is_read_and_its_digest_is_that_of_its_values() -> None:
    study = parse_study(STUDY, "study.toml")
    assert study.organisations == ("bank.example", "gov.example")
    assert study.of("gov.example").identifier == "resident"
    assert study.alignment.outcome == "size"
    again = AlignmentStudy.from_canonical(study.canonical())
    assert again.digest() == study.digest()
    commented = parse_study("# a comment\n" + STUDY.replace("[model]", "[model] # more"), "x.toml")
    assert commented.digest() == study.digest()
    changed = parse_study(STUDY.replace("= 50", "= 51"), "x.toml")
    assert changed.digest() != study.digest()
    terms = study.terms("fed.example", "job-1")
    assert (terms.receiver, terms.set_size, terms.outcome) == ("bank.example", 1000, "size")


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ("set_size = 1000", "set_size = 0", 12, "set_size"),
        ("set_size = 1000", "size = 1000", 12, "set_size"),
        ("minimum_intersection = 50", "minimum_intersection = 1001", 13, "No set"),
        ("minimum_intersection = 50", 'outcome = "all"', 13, "outcome"),
        ('kind = "vertical"', 'kind = "horizontal"', 3, "kind"),
        ('organisation = "gov.example"', 'organisation = "bank.example"', 23, "twice"),
        ('columns = ["age"]', 'columns = ["resident"]', 26, "another column"),
        ('columns = ["age"]', "positive = 1", 26, "label"),
        ('duplicates = "unique-only"', "fold = true", 9, "text"),
        ("[model]", "[models]", 28, "models"),
        ("[alignment]", "[alignment", 11, "TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, line: int, word: str) -> None:
    assert old in STUDY
    with pytest.raises(StudyInvalid, match=word) as caught:
        parse_study(STUDY.replace(old, new), "study.toml")
    assert caught.value.message.startswith(f"study.toml:{line}: ")


def test_more_than_two_do_not_all_learn() -> None:
    third = STUDY.replace(
        "[model]",
        '[[party]]\norganisation = "c.example"\ndataset = "d"\nidentifier = "i"\n\n[model]',
    )
    assert len(parse_study(third, "s.toml").party) == 3
    with pytest.raises(StudyInvalid, match="more than two"):
        parse_study(third.replace("= 50", '= 50\noutcome = "both"'), "s.toml")


@pytest.mark.parametrize("old", [b'"set_size":1000', b'"fold":false,', b'"schema"', b"}"])
def test_bytes_that_are_no_such_study_are_refused(old: bytes) -> None:
    data = parse_study(STUDY, "study.toml").canonical()
    assert old in data
    with pytest.raises(MessageInvalid):
        AlignmentStudy.from_canonical(data.replace(old, b"", 1))
