"""Rules of models are listed where users look."""

from __future__ import annotations

from fusion.services.score_rules import Ruled, refused
from tests.docs.sources import ROOT


def test_every_rule_is_on_the_page_word_by_word() -> None:
    page = (ROOT / "docs/models.md").read_text("utf-8")
    for each in Ruled:
        rule = each.value
        assert f"| {rule.code} | {rule.message} | {rule.hint} |" in page
        assert refused(each, "tax").code == rule.code
    assert len({each.value.code for each in Ruled}) == len(Ruled)
