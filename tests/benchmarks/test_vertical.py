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
        "--rows 400 --columns 2 --trees 1 --sum-rows 40 --linear-rows 300 --linear-columns 3 "
        "--encrypted-rows 60 --encrypted-columns 2 --json"
    )
    monkeypatch.setattr(sys, "argv", ["vertical", *words.split()])
    vertical.main()
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "fusion.bench-vertical/1"
    assert [each["backend"] for each in document["boosting"]] == ["paillier", "dealer", "plain"]
    assert all(each["equal_to_pooled"] for each in document["boosting"])
    assert document["linear"]["bytes_an_epoch"]["dealer to feature"] > 300 * 40 * 8
    encrypted = document["linear_encrypted"]
    assert encrypted["bytes_an_epoch"]["feature to label"] > 60 * 512 * 8
    assert encrypted["bytes_once"]["label to feature"] > (60 + 4) * 512
    assert "--spu" in document["linear_peers"]["missing"][0]["reason"]
    assert all(each["us_a_row_and_column"] >= 0 for each in document["sums"]["results"])
    vertical.show(document)
    assert "as pooled" in capsys.readouterr().out
