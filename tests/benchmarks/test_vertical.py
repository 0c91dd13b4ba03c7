"""The benchmark of vertical learning, with few rows: its document, not its times."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from benchmarks import vertical

if TYPE_CHECKING:
    import pytest


def test_it_prints_its_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--rows 400 --columns 2 --trees 1 --sum-rows 40 --linear-rows 300 --linear-columns 3 --json"
    )
    monkeypatch.setattr(sys, "argv", ["vertical", *words.split()])
    vertical.main()
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "fusion.bench-vertical/1"
    assert [each["backend"] for each in document["boosting"]] == ["paillier", "dealer", "plain"]
    assert all(each["equal_to_pooled"] for each in document["boosting"])
    assert document["linear"]["bytes_an_epoch"]["dealer to feature"] > 300 * 40 * 8
    assert all(each["us_a_row_and_column"] >= 0 for each in document["sums"]["results"])
    vertical.show(document)
    assert "as pooled" in capsys.readouterr().out
