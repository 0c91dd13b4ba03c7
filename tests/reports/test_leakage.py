"""A leak report for people: every number, what is withheld and why, and nothing that runs."""

from __future__ import annotations

from typing import Any

import pytest

from fusion.grants.leakage import Limits, report_of, verdict
from fusion.reports import leakage
from fusion.wire import canonical
from tests.reports.test_training import HOSTILE, Page


def bounds(value: int, low: int, high: int) -> dict[str, int]:
    return {"value_micro": value, "low_micro": low, "high_micro": high}


def document(**changes: object) -> dict[str, Any]:
    """Return a report on two trees and one feature party."""
    guesses = [
        {"trees": 1, "auc": bounds(600_000, 580_000, 620_000), "gain": bounds(0, 0, 0),
         "held_out": None},
        {"trees": 2, "auc": bounds(871_000, 850_000, 880_000),
         "gain": bounds(271_000, 250_000, 290_000), "held_out": bounds(801_000, 700_000, 900_000)},
    ]  # fmt: skip
    tree = {"leaves": 4, "smallest": 3, "small": 1, "pure": 1}
    return {
        "schema": "fusion.leak-report/1", "model": "boosting", "backend": "dealer",
        "rows_training": 4000, "rows_held_out": 1000,
        "membership": {
            "rows_in": 4000, "rows_out": 1000, "auc": bounds(512_000, 500_000, 524_000),
            "attacks": [
                {"name": "mean-loss", "advantage": bounds(21_000, -9_000, 51_000)},
                {"name": "tuned", "advantage": bounds(33_000, 1_000, 65_000)},
            ],
            "caught": [{"false_positives_micro": 10_000,
                        "true_positives": bounds(14_000, 11_000, 17_000)}],
        },
        "labels": [{"party": "tax", "sees": "partition", "baseline": "columns",
                    "known_labels": 100, "alone": bounds(600_000, 580_000, 620_000),
                    "guesses": guesses}],
        "leaves": {"k": 20, "smallest": 3, "small": 2, "small_rows": 17, "pure": 2, "pure_rows": 60,
                   "singletons": 0, "told_apart": 7, "trees": [tree, tree]},
        "weights": [], "rows_told": 0, **changes,
    }  # fmt: skip


def told(limits: Limits, **changes: object) -> dict[str, Any]:
    report = report_of(canonical.encode(document(**changes)))
    return {"report": report.document(), "verdict": verdict(report, limits)}


def test_a_page_has_every_number_in_two_languages() -> None:
    found = told(Limits())
    text = leakage.page(found["report"], found["verdict"])
    page = Page(text)
    assert page.open == []
    for words in (
        "What the model tells", "模型泄露评估", "Nothing was promised", "0.033", "0.001 to 0.065",
        "0.512", "members told at 1 % false alarms", "0.271 (0.250 to 0.290)", "0.801",
        "tax, from row partitions", "4,000", "leaves below 20 rows", "17", "独占一叶的行",
    ):  # fmt: skip
        assert words in page.text
    assert text.count("<svg") == 2
    assert "://" not in text
    assert leakage.page(found["report"], found["verdict"], "zh").startswith("<!DOCTYPE html>")


def test_a_report_says_what_it_cost_to_measure() -> None:
    words = "the label party was told"
    assert not any(words in line for line in leakage.lines(told(Limits())))
    found = told(Limits(), rows_told=5000)
    assert f"{words} the others' scores of 5000 rows" in leakage.lines(found)
    assert "获知其他各方得分之和" in leakage.leak_section(found["report"], found["verdict"])


def test_a_section_says_what_is_withheld_and_what_would_pass() -> None:
    limits = Limits(membership_permille=60, label_leak_permille=280, smallest_leaf=10)
    found = told(limits)
    page = Page(leakage.leak_section(found["report"], found["verdict"]))
    for words in (
        "Withheld",
        "已扣留",
        "L-01：可识别训练成员",
        "L-02",
        "L-03",
        "membership_permille = 60",
        "65",
    ):
        assert words in page.text
    kept = told(Limits(membership_permille=65, label_leak_permille=290, smallest_leaf=3))
    assert "Every limit is kept." in leakage.leak_section(kept["report"], kept["verdict"])


def test_lines_for_a_terminal() -> None:
    lines = leakage.lines(told(Limits(membership_permille=60)))
    without = "0.600 without what training shows"
    advantage = "an advantage of telling members of 33 per mille, 65 by its upper bound"
    assert lines == [
        "members told: advantage 0.033 (0.001 to 0.065), AUC 0.512",
        f"labels guessed by tax: AUC 0.871, 0.801 of rows held out; {without}",
        "leaves: smallest 3, 2 below 20 rows, 2 of one label (60 rows)",
        "beyond the limits:",
        f"  L-01: {advantage}; membership_permille is 60",
    ]
    assert leakage.lines(told(Limits(smallest_leaf=1)))[-1] == "within the limits"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_was_not_measured_is_said(language: str) -> None:
    support = [{"party": "tax", "smallest": 5}]
    found = told(Limits(), membership=None, labels=[], leaves=None, weights=support)
    text = leakage.page(found["report"], found["verdict"], language)
    assert "no rows were held out" in text
    assert "too few rows of a class" in text
    assert "fewest rows of a weight of tax" in text
    assert "<svg" not in text
    lines = leakage.lines(found)
    assert lines == [
        "members told: not measured, no rows were held out",
        "labels guessed: not measured, too few rows of a class",
        "weights of tax: each rests on 5 rows or more",
    ]


def test_a_partys_name_is_no_markup() -> None:
    labels = document()["labels"]
    labels[0]["party"] = HOSTILE
    found = told(Limits(), labels=labels)
    text = leakage.page(found["report"], found["verdict"])
    assert HOSTILE not in text
    assert Page(text).open == []


def test_what_was_promised_is_said_in_words() -> None:
    found = told(Limits(smallest_leaf=20))
    assert [words.en for words in leakage.limit_words(found["verdict"])] == [
        "Promised: a weight rests on at least 20 rows."
    ]
    assert leakage.limit_words(told(Limits())["verdict"]) == []
    assert "至少基于 20 行" in leakage.leak_section(found["report"], found["verdict"])
