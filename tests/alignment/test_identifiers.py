"""Identifiers: one spelling each, damage undone where nothing was lost, rejected where it was."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.alignment.identifiers import Kind, Rejected, normalise
from fusion.alignment.preparation import examine, prepare
from fusion.catalogue.identifiers import made_up, person_check
from fusion.errors import AlignmentRefused

ID = "11010519491231002X"
OLD = "110105491231002"
USCC = "91350100M000100Y43"
PHONE = "13812345678"

SAME: list[tuple[Kind, object, str]] = [
    ("resident_id", ID, ID),
    ("resident_id", "11010519491231002x", ID),
    ("resident_id", "１１０１０５１９４９１２３１００２Ｘ", ID),
    ("resident_id", "11010519491231002Ⅹ", ID),
    ("resident_id", "\ufeff 110105 19491231 002X\u3000", ID),
    ("resident_id", "110105-19491231-002X", ID),
    ("resident_id", "110105‐19491231‑002X", ID),
    ("resident_id", "'11010519491231002X", ID),
    ("resident_id", "\u201811010519491231002X", ID),
    ("resident_id", f'="{ID}"', ID),
    ("resident_id", "11010519\u200b491231002X", ID),
    ("resident_id", OLD, ID),
    ("resident_id", int(OLD), ID),
    ("resident_id", float(OLD), ID),
    ("resident_id", f"{OLD}.0", ID),
    ("uscc", USCC, USCC),
    ("uscc", USCC.lower(), USCC),
    ("uscc", "91350100 M000100Y 43", USCC),
    ("phone", PHONE, PHONE),
    ("phone", int(PHONE), PHONE),
    ("phone", float(PHONE), PHONE),
    ("phone", "13812345678.0", PHONE),
    ("phone", "+86 138-1234-5678", PHONE),
    ("phone", "(+86)13812345678", PHONE),
    ("phone", "0086 138 1234 5678", PHONE),
    ("phone", "8613812345678", PHONE),
    ("phone", "１３８１２３４５６７８", PHONE),
    ("text", "  ＡＢ-1\u3000", "AB-1"),
    ("text", 17, "17"),
    ("text", 17.0, "17"),
]
REJECTED: list[tuple[Kind, object, str]] = [
    ("resident_id", "110105194912310021", "check"),
    ("resident_id", "1.10105194912310E+17", "digits-lost"),
    ("resident_id", 1.1010519491231e17, "digits-lost"),
    ("resident_id", "110105194912310000", "digits-lost"),
    ("resident_id", "110105194912310021.0", "digits-lost"),
    ("resident_id", "11010519491231002", "length"),
    ("resident_id", "11010519491231002Y", "characters"),
    ("resident_id", "1101051949123100X2", "characters"),
    ("resident_id", "110105490230002", "date"),
    ("resident_id", "110105491231997", "century"),
    ("resident_id", "110105194902300" + "02", "length"),
    ("uscc", "91350100M000100Y44", "check"),
    ("uscc", "M000100Y4", "length"),
    ("uscc", "91350100M000100Y4é", "characters"),
    ("uscc", 9.13501e17, "digits-lost"),
    ("phone", "1.38e10", "digits-lost"),
    ("phone", "1.38E+10", "digits-lost"),
    ("phone", "1.3812345678E10", "digits-lost"),
    ("phone", 13812345678.5, "digits-lost"),
    ("phone", "12812345678", "characters"),
    ("phone", "013812345678", "length"),
    ("phone", "010-12345678", "characters"),
    ("phone", "1381234567a", "characters"),
    ("text", "x" * 257, "too-long"),
    ("resident_id", True, "characters"),
]


@pytest.mark.parametrize(("kind", "cell", "key"), SAME)
def test_one_spelling(kind: Kind, cell: object, key: str) -> None:
    assert normalise(kind, cell) == key


@pytest.mark.parametrize(("kind", "cell", "reason"), REJECTED)
def test_what_is_lost_is_not_made_up(kind: Kind, cell: object, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        normalise(kind, cell)
    assert caught.value.reason == reason
    assert str(caught.value) == reason


@pytest.mark.parametrize("cell", [None, "", "  ", "\u3000", "'", float("nan"), '=""', "\ufeff"])
def test_an_empty_cell_is_missing(cell: object) -> None:
    assert normalise("resident_id", cell) is None
    assert normalise("text", cell) is None


def test_a_date_that_does_not_exist() -> None:
    body = "11010519490230002"
    with pytest.raises(Rejected, match="date"):
        normalise("resident_id", body + person_check(body))


def test_text_folds_when_asked() -> None:
    assert normalise("text", "Straße", fold=True) == normalise("text", "STRASSE", fold=True)
    assert normalise("text", "Straße") != normalise("text", "STRASSE")


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=24) | st.floats() | st.integers(),
    st.sampled_from(["resident_id", "uscc", "phone", "text"]),
)
def test_a_key_is_its_own_spelling(cell: object, kind: Kind) -> None:
    try:
        key = normalise(kind, cell)
    except Rejected:
        return
    assert key is None or normalise(kind, key) == key


def test_every_made_up_identifier_passes_and_every_typo_of_a_digit_fails() -> None:
    for _ in range(20):
        person, firm = made_up("gb11643"), made_up("gb32100")
        assert normalise("resident_id", person) == person
        assert normalise("uscc", firm) == firm
        changed = str((int(person[3]) + 1) % 10)
        with pytest.raises(Rejected):
            normalise("resident_id", person[:3] + changed + person[4:])


CELLS = ["a", "b", "a ", None, "c", "b", "b", "x" * 300]


def test_the_report_counts_everything() -> None:
    report = examine("text", CELLS, duplicates="first").report
    assert report.document() == {
        "kind": "text",
        "duplicates": "first",
        "rows": 8,
        "missing": 1,
        "invalid": {"too-long": 1},
        "valid": 6,
        "rewritten": 1,
        "repeated_keys": 2,
        "repeated_rows": 3,
        "keys": 3,
    }


def test_a_key_on_several_rows_by_each_rule() -> None:
    first = prepare("text", CELLS, duplicates="first")
    assert (first.keys, first.rows) == (["a", "b", "c"], [0, 1, 4])
    unique = prepare("text", CELLS, duplicates="unique-only")
    assert (unique.keys, unique.rows) == (["c"], [4])
    with pytest.raises(AlignmentRefused) as caught:
        prepare("text", CELLS, duplicates="refuse")
    assert caught.value.code == "A-10"
    assert prepare("text", ["a", "b"], duplicates="refuse").keys == ["a", "b"]


def residents(count: int) -> list[str]:
    numbers = ((date(1950, 1, 1) + timedelta(n // 99), n % 99) for n in range(count))
    bodies = (f"110105{day:%Y%m%d}{number:03d}" for day, number in numbers)
    return [body + person_check(body) for body in bodies]


def test_what_a_spreadsheet_cut_is_not_taken_for_somebody_else() -> None:
    """One in 11 has a check character that fits by chance."""
    genuine = [each for each in residents(30_000) if each.endswith("000")][:4]
    others = [each for each in residents(3000) if not each.endswith("000")]
    cut = [each[:15] + "000" for each in others[:600]]
    fits = [each for each in cut if normalised(each)]
    assert 20 < len(fits) < 120
    report = prepare("resident_id", cut, duplicates="first").report
    assert (report.keys, report.document()["invalid"]) == (0, {"digits-lost": 600})
    # A few of them in a column are enough; who is 000 by birth can't be told from them.
    mixed = [*others[600:], *genuine, *cut[:120]]
    found = prepare("resident_id", mixed, duplicates="first")
    assert found.keys == others[600:]
    assert found.report.document()["invalid"] == {"digits-lost": 124}
    # Nothing else is lost: they are people like others. One slip of the pen changes nothing.
    slip = genuine[0][:5] + str((int(genuine[0][5]) + 1) % 10) + genuine[0][6:]
    for more in ([], [slip]):
        assert prepare("resident_id", [*others, *genuine, *more], duplicates="first").keys == [
            *others,
            *genuine,
        ]


def test_fifteen_digits_are_no_cut_ones() -> None:
    """They become 18, which may end in 000, and were whole before."""
    olds = [each[:6] + each[8:17] for each in residents(30_000) if each.endswith("000")][:3]
    cut = [each[:15] + "000" for each in residents(600)]
    found = prepare("resident_id", [*cut, *olds], duplicates="first")
    assert found.rows == [600, 601, 602]
    assert all(key.endswith("000") for key in found.keys)


def normalised(cell: str) -> bool:
    try:
        return normalise("resident_id", cell) is not None
    except Rejected:
        return False
