"""The page of alignment says what the code says of a study's sections; its example is one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from fusion.alignment import study
from fusion.alignment.study import parse_study
from tests.docs.sources import ROOT, table_of

if TYPE_CHECKING:
    from fusion.wire.documents import Part

PAGE = (ROOT / "docs/alignment.md").read_text("utf-8")
SECTIONS: dict[str, type[Part]] = {
    "`[study]`": study.StudySection,
    "`[identifiers]`": study.Identifiers,
    "`[alignment]`": study.AlignmentSection,
    "`[[party]]`": study.PartySection,
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_the_keys_and_the_defaults_of_the_code(heading: str) -> None:
    fields = SECTIONS[heading].model_fields
    rows = table_of(PAGE, heading)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        assert rows[key][2] == ("required" if field.is_required() else str(field.default)), key


def test_the_example_is_a_study() -> None:
    (text,) = re.findall(r"```toml\n(\[study\].*?)```", PAGE, re.DOTALL)
    assert parse_study(text, "docs/alignment.md").organisations == ("bank.example", "gov.example")
