"""The report's questions: statement, mark, rule, what would pass, table; and nothing runs in it."""

from __future__ import annotations

from typing import Any

from fusion.reports.queries import queries_section
from fusion.reports.training import render
from tests.reports.records import record
from tests.reports.test_training import HOSTILE, Page


def told(**changes: object) -> dict[str, Any]:
    """Return what became of two questions."""
    refused: dict[str, Any] = {
        "statement": "select max(hours) from workers",
        "outcome": "refused",
        "code": "Q-10",
        "message": "This aggregate shows a single person's value.",
        "hint": "Use a quantile.",
        "start": 11,
        "length": 5,
        **changes,
    }
    answered = {
        "statement": "select sex, count(*) as n\nfrom workers group by sex",
        "outcome": "answered",
        "columns": ["sex", "n"],
        "rows": [["Female", 1260], ["Male", None]],
        "notes": [{"message": "Held back.", "hint": "Ask otherwise."}],
    }
    return {
        "available": True,
        "owner": "local",
        "asker": "state",
        "grant": "a" * 64,
        "policy": "b" * 64,
        "questions": [refused, answered],
    }


def test_a_question_stands_with_what_became_of_it() -> None:
    text = queries_section({"queries": told()})
    assert "select max(<mark>hours</mark>) from workers" in text
    page = Page(text)
    assert page.open == []
    for words in (
        "Refused, Q-10: This aggregate shows a single person's value.",
        "What would pass: Use a quantile.",
        "已拒绝，Q-10：该聚合会显示某一个人的取值。",
        "1,260",
        "–: of too few people, or held back.",
        "Held back. Ask otherwise.",
        "state asked local",
    ):
        assert words in page.text


def test_a_refusal_without_a_place_or_a_translation_is_shown_as_it_is() -> None:
    text = queries_section({"queries": told(code="G-33", start=None, length=0)})
    assert "<mark>" not in text
    assert "已拒绝，G-33：This aggregate" in text


def test_where_nothing_was_asked_nothing_is_shown() -> None:
    assert queries_section({}) == ""
    text = Page(queries_section({"queries": {"available": False, "questions": []}})).text
    assert "no node answers questions here" in text


def test_whatever_comes_from_a_node_is_text() -> None:
    hostile = told(statement=HOSTILE, message=HOSTILE, hint=HOSTILE, code=HOSTILE, start=3)
    hostile["questions"][1] |= {
        "columns": [HOSTILE, "n"],
        "rows": [[HOSTILE, 1]],
        "notes": [{"message": HOSTILE, "hint": ""}],
    }
    page = Page(render({**record(), "queries": hostile | {"owner": HOSTILE}}))
    assert page.open == []
    assert not set(page.tags) & {"script", "img"}
