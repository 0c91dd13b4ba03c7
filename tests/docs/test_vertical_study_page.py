"""The page of vertical studies says what the code says of a model; its example is a study."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from federated.vertical.model_section import Boosting, Linear, Scorecard
from federated.vertical.study import parse_vertical
from fusion.alignment.study import parse_study
from fusion.grants.leakage import Limits
from tests.docs.sources import ROOT, shown_studies, table_of

if TYPE_CHECKING:
    from fusion.wire.documents import Part

PAGE = (ROOT / "docs/vertical-study.md").read_text("utf-8")
SECTIONS: dict[str, type[Part]] = {
    '`[model]`, `kind = "boosting"`': Boosting,
    '`[model]`, `kind = "logistic"`': Linear,
    '`[model]`, `kind = "scorecard"`': Scorecard,
    "`[leakage]`": Limits,
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_has_the_keys_and_the_defaults_of_the_code(heading: str) -> None:
    fields = SECTIONS[heading].model_fields
    rows = table_of(PAGE, heading)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        default = (
            "required" if field.is_required() else field.get_default(call_default_factory=True)
        )
        assert rows[key][2] == ("none" if default == {} else str(default)), key


def test_the_example_is_a_study() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    study = parse_vertical(text, "docs/vertical-study.md")
    assert study.organisations == ("registry", "tax")
    assert study.promises.smallest_leaf == 20


@pytest.mark.parametrize(("page", "text"), shown_studies())
def test_a_study_that_a_page_shows_serves_alignment_too(page: str, text: str) -> None:
    alignment = parse_study(text, page)
    if "[model]" in text:
        assert set(parse_vertical(text, page).organisations) == set(alignment.organisations)


def test_the_demos_study_serves_alignment_too() -> None:
    text = (ROOT / "federated/demo/study-vertical.toml").read_text("utf-8")
    assert set(parse_study(text, "x").organisations) == set(parse_vertical(text, "x").organisations)


def test_only_the_page_of_alignments_shows_a_study_without_a_model() -> None:
    assert [page for page, text in shown_studies() if "[model]" not in text] == [
        "docs/alignment.md"
    ]
    assert "docs/vertical-study.md" in [page for page, _ in shown_studies()]
