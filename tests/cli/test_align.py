"""``fusion align check`` and ``fusion simulate align`` as a user meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.catalogue.identifiers import made_up
from tests.cli.test_app import Terminal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def people() -> list[str]:
    return [made_up("gb11643") for _ in range(30)]


def write(path: Path, cells: list[str]) -> Path:
    path.write_text("ID,amount\n" + "".join(f"{cell},1\n" for cell in cells), "utf-8")
    return path


def test_a_column_is_examined(tmp_path: Path, fusion: Terminal, people: list[str]) -> None:
    # Of another check digit there is always an error; of two digits, one time in eleven, none.
    wrong = people[1][:-1] + ("1" if people[1][-1] != "1" else "2")
    cells = [*people, people[0].lower(), "", "1.1E+17", wrong]
    file = write(tmp_path / "gov.csv", cells)
    words = ("align", "check", file, "--column", "ID", "--kind", "resident_id")
    report = fusion.document(*words)
    assert report["schema"] == "fusion.align-check/1"
    assert (report["rows"], report["missing"], report["valid"]) == (34, 1, 31)
    assert sum(report["invalid"].values()) == 2
    assert (report["repeated_keys"], report["repeated_rows"], report["keys"]) == (1, 1, 30)
    assert fusion(*words) == 0
    assert "digits-lost" in fusion.out
    assert "A-10" in fusion.err
    assert not any(person in fusion.out + fusion.err for person in people)


@pytest.mark.parametrize("outcome", ["one", "both", "size"])
def test_two_files_are_aligned(
    outcome: str, tmp_path: Path, fusion: Terminal, people: list[str]
) -> None:
    gov = write(tmp_path / "gov.csv", people[:20])
    bank = write(tmp_path / "bank.csv", [person.lower() for person in people[8:]])
    words = ("simulate", "align", gov, bank, "--id", "ID", "--kind", "resident_id")
    found = fusion.document(*words, "--outcome", outcome)
    assert found["schema"] == "fusion.simulate-align/1"
    assert found["common"] == 12
    assert [party["report"]["keys"] for party in found["parties"]] == [20, 22]
    assert set(found["seconds"]) == {"prepare", "mask", "exchange", "total", "cpu"}
    assert all(count > 500 for count in found["bytes"].values())
    assert fusion(*words) == 0
    assert "common   12" in fusion.out


def test_refusals_name_their_rule(tmp_path: Path, fusion: Terminal, people: list[str]) -> None:
    gov = write(tmp_path / "gov.csv", people[:20])
    bank = write(tmp_path / "bank.csv", people[18:])
    twice = write(tmp_path / "twice.csv", [*people[:5], people[0]])
    end = ("--id", "ID", "--kind", "resident_id")
    assert fusion("simulate", "align", gov, bank, *end, "--minimum-intersection", "3") == 4
    assert "A-14" in fusion.err
    assert fusion("simulate", "align", gov, bank, *end, "--minimum-overlap", "500") == 4
    assert "A-13" in fusion.err
    assert fusion("simulate", "align", gov, twice, *end) == 4
    assert "A-10" in fusion.err
    assert "5 keys of 6 rows as resident_id (0 missing, 1 repeated)" in fusion.err
    others = write(tmp_path / "others.csv", ["1", "2", "3"])
    assert fusion("simulate", "align", others, bank, *end) == 4
    assert "A-17" in fusion.err
    assert f"{others}: 0 keys of 3 rows as resident_id" in fusion.err
    assert "fusion align check FILE" in fusion.err
    assert fusion("simulate", "align", gov, twice, *end, "--duplicates", "first") == 0
    assert fusion("simulate", "align", gov, gov, *end) == 2
    assert fusion("align", "check", gov, "--column", "id", "--kind", "uscc") == 2
