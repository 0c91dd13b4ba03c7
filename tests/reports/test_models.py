"""A model's card for people: a table of measures, the leak report in words, no document keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.cli import model
from fusion.grants.leakage import Limits
from fusion.reports.models import model_page
from tests.reports.test_leakage import told
from tests.reports.test_training import Page

if TYPE_CHECKING:
    import pytest

METRICS = {
    "metric": "auc",
    "joint": {"train": 0.92, "test": 0.8972},
    "alone": {"train": 0.85, "test": 0.8123},
}


def card(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON values
    """Return the card of a label party, as it stands after a run."""
    own = {
        "dataset": "people", "identifier": "id", "columns": ["age"], "label": "late",
        "schema_digest": "5d" * 32,
    }  # fmt: skip
    return {
        "model": "5d" * 32, "name": "credit/1", "kind": "boosting", "role": "label",
        "holder": "bank", "standing": "kept", "revocation": None, "heard_revoked": [],
        "at": "2026-11-26T00:00:00Z", "made": "2026-11-26T00:00:00Z", "study": "5d" * 32,
        "job": "job-1", "operator": "bank", "purpose": "dpv:CreditChecking",
        "data": {
            "identifier": {"field": "id", "kind": "text"}, "rows_aligned": 10, "rows_training": 8,
            "steps": 3, "own": own,
        },
        "holders": [
            {"organisation": "bank", "role": "label", "dataset": "people", "part": "5d" * 32},
            {"organisation": "tax", "role": "feature", "dataset": "people", "part": "5e" * 32},
        ],
        "grants": [], "metrics": METRICS, "points": [],
        "leakage": told(Limits(smallest_leaf=2)), "scored": [], "epoch": None,
        "versions": [{"version": 1, "model": "5d" * 32, "made": "2026-11-26T00:00:00Z",
                      "standing": "kept"}],
        **changes,
    }  # fmt: skip


def test_a_terminal_is_shown_measures_and_leaks_in_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model._print(card())
    shown = capsys.readouterr().out
    for words in (
        "AUC of the joint model", "0.8972 on rows that judged, 0.9200 on rows that trained",
        "AUC of the label party alone", "Promised: a weight rests on at least 2 rows.",
        "labels guessed by tax: AUC 0.871", "members told: advantage 0.033", "within the limits",
    ):  # fmt: skip
        assert words in shown, words
    assert "{" not in shown
    assert "--json" not in shown
    model._print(card(role="feature", holder="tax", metrics={}, leakage=None))
    assert "the report is with bank" in capsys.readouterr().out


def test_a_page_has_a_table_of_measures_and_the_leak_report_itself() -> None:
    text = model_page(card())
    assert Page(text).open == []
    for words in (
        "AUC of the joint model", "0.8972", "What the model tells", "labels: who guesses",
        "Every limit is kept.", "至少基于 2 行",
    ):  # fmt: skip
        assert words in text, words
    for key in ("high_micro", "value_micro", "report.", "verdict", "http://"):
        assert key not in text, key
    assert "There is no leak report." in model_page(card(leakage=None))
    heard = [{"organisation": "tax", "heard": "2026-11-27T00:00:00Z"}]
    assert "by tax, heard from it" in model_page(card(standing="revoked", heard_revoked=heard))
