"""The page of alignment says what the code says of a study's sections; its example is one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fusion.alignment import study
from fusion.alignment.study import parse_study
from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from fusion.wire.documents import Part

PAGE = (ROOT / "docs/alignment.md").read_text("utf-8")
SECTIONS: dict[str, type[Part]] = {
    "`[study]`": study.StudySection,
    "`[identifiers]`": study.Identifiers,
    "`[alignment]`": study.AlignmentSection,
    "`[[party]]`": study.PartySection,
}


def _rows(heading: str) -> dict[str, list[str]]:
    body = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in body.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row for row in rows}


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_the_keys_and_the_defaults_of_the_code(heading: str) -> None:
    fields = SECTIONS[heading].model_fields
    rows = _rows(heading)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        assert rows[key][2] == ("required" if field.is_required() else str(field.default)), key


def test_the_example_is_a_study() -> None:
    (text,) = re.findall(r"```toml\n(\[study\].*?)```", PAGE, re.DOTALL)
    assert parse_study(text, "docs/alignment.md").organisations == ("bank.example", "gov.example")
