"""What a party reads of its own table, what it is told of that, and what others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from federated.vertical.own_table import own_table
from federated.vertical.study import parse_vertical
from fusion.errors import AlignmentRefused, DataInvalid
from tests.vertical.studies import boosting, study_text

if TYPE_CHECKING:
    from pathlib import Path

    from federated.vertical.study import VerticalStudy

SECRET = "secret-cell"


def study(words: str = "") -> VerticalStudy:
    text = study_text(boosting("dealer"))
    return parse_vertical(text.replace('"tword"]', f'"tword"]{words}'), "s")


def table(folder: Path, key: str = "P{0}", **odd: str) -> Path:
    """Write 40 rows of the tax office, its row 9 with other cells."""
    identifier = study().party("tax").identifier
    lines = [f"{identifier},t0,t1,tword"]
    for row in range(40):
        cells = {"t0": str(row), "t1": f"{row}.5", "tword": "ab"[row % 2]}
        if row == 9:
            cells |= odd
        lines.append(",".join([key.format(row), *cells.values()]))
    path = folder / "returns.csv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_the_party_is_told_how_columns_were_read(tmp_path: Path) -> None:
    found = own_table(study(), "tax", table(tmp_path, t0="n/a", t1="\uff13"))
    assert found.notices == (
        "columns of numbers: t0, t1",
        "columns of words: tword",
        "1 cells of column 't0' hold a mark for a missing one.",
        "1 cells of column 't1' hold full-width numbers.",
    )


def test_an_odd_cell_is_refused_unless_the_study_says_words(tmp_path: Path) -> None:
    path = table(tmp_path, t1=SECRET)
    with pytest.raises(DataInvalid) as caught:
        own_table(study(), "tax", path)
    assert "'t1' of numbers" in str(caught.value)
    # What the hub gets of it has no cell, and does not say how many or where.
    told = caught.value.message + caught.value.hint
    assert not any(text in told for text in (SECRET, "40", "11", str(tmp_path)))
    assert caught.value.__notes__ == [
        "column 't1': 1 of 40 cells; the first is in row 11, counting the header as row 1"
    ]
    found = own_table(study('\nwords = ["t1"]'), "tax", path)
    assert found.columns["t1"].tolist()[8:10] == ["8.5", SECRET]
    assert found.notices[1] == "columns of words: t1, tword"


def test_who_has_no_identifier_is_told_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(AlignmentRefused) as caught:
        own_table(study(), "tax", table(tmp_path, key=""))
    assert caught.value.code == "A-17"
    assert "fusion align check" in caught.value.hint
    assert "40" not in caught.value.message + caught.value.hint
    assert caught.value.__notes__ == ["0 keys of 40 rows as text (40 missing, 0 repeated)"]
