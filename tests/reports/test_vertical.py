"""The report, the lines and the record of a vertical run."""

from __future__ import annotations

import io
from typing import Any

from federated.records import record
from fusion.cli.live import TrainingView
from fusion.cli.vertical_lines import vertical_facts
from fusion.reports.training import render

AT = "2026-11-26T00:00:00.000+00:00"
EVENTS: list[dict[str, Any]] = [
    {
        "event": "start", "kind": "vertical", "job": "job-1", "study": "income",
        "model": "boosting", "backend": "dealer", "organisations": ["registry", "tax"],
        "label_party": "registry", "operator": "registry", "steps": 3, "unit": "trees",
    },
    {"event": "setup", "organisation": "tax", "status": "ready", "message": ""},
    {"event": "attempt", "number": 1, "step": 0, "reason": ""},
    {"event": "aligned", "training": 1200, "judging": 300},
    {"event": "step", "step": 1, "of": 3, "unit": "trees", "bytes": 1_000_000, "seconds": 0.5},
    {"event": "attempt", "number": 2, "step": 1, "reason": "tax was started anew."},
    {"event": "step", "step": 3, "of": 3, "unit": "trees", "bytes": 3_000_000, "seconds": 0.5},
    {
        "event": "quality", "metric": "auc", "joint": {"train": 0.92, "test": 0.9095},
        "alone": {"train": 0.85, "test": 0.8291},
    },
    {
        "event": "model", "model": "5d" * 32, "name": "income", "parts": {}, "steps": 3,
        "training": 1200, "judging": 300,
    },
    {"event": "end", "status": "done", "message": "", "exit_code": 0},
]  # fmt: skip
EVENTS = [{**event, "at": AT} for event in EVENTS]


def test_a_vertical_run_has_a_line_an_event() -> None:
    stream = io.StringIO()
    with TrainingView(stream) as view:
        for event in EVENTS:
            view.feed(event)
    text = stream.getvalue()
    assert len(text.splitlines()) == len(EVENTS)
    for words in (
        "3 trees; boosting, dealer", "1200 common records train, 300 judge", "tree     1 of 3",
        "2 goes on after 1: tax was started anew.", "joint 0.9095 (test)",
        "label party alone 0.8291 (test)", "income 5d5d5d5d5d5d5d5d",
    ):  # fmt: skip
        assert words in text
    assert (view.progress.round, view.progress.rounds, view.progress.status) == (3, 3, "done")
    view.render()


def test_its_record_has_what_closing_lines_and_report_say() -> None:
    found = record(EVENTS)
    assert [each["number"] for each in found["attempts"]] == [1, 2]
    facts = dict(vertical_facts(found))
    assert facts["common records"] == "1200 train, 300 judge"
    assert facts["model"] == "income 5d5d5d5d5d5d5d5d"
    baselines = {"tax": {"train": 0.7, "test": 0.6}, "pooled": {"train": 0.92, "test": 0.9095}}
    for text in (
        render(found),
        render({**record([]), "vertical": {**found, "baselines": baselines}}),
    ):
        assert "0.9095" in text
        assert "+0.0804" in text
        assert "registry alone" in text
    assert "+0.3095" in text


def test_what_is_not_known_of_a_run_has_no_closing_line() -> None:
    facts = vertical_facts(record(EVENTS[:1]))
    assert "common records" not in dict(facts)
    assert all(value for _, value in facts)


def test_a_run_that_broke_off_has_a_report_as_well() -> None:
    for count in range(len(EVENTS)):
        assert "<html" in render(record(EVENTS[:count]))
