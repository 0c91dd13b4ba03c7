"""The benchmark of what models tell, with few trees: its document, not its figures."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from benchmarks import leakage

if TYPE_CHECKING:
    import pytest


def test_it_prints_its_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--trees 2 --shadows 3 --organisations local --json"
    monkeypatch.setattr(sys, "argv", ["leakage", *words.split()])
    leakage.main()
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "fusion.bench-leakage/1"
    models = {each["model"]: each for each in document["models"]}
    assert len(models) == 7
    assert models["leaves of one, steep"]["report"]["leaves"]["smallest"] == 1
    assert models["as by default"]["report"]["leaves"]["smallest"] >= 50
    assert models["as by default"]["likelihood_ratio"]["rows"] > 500
    assert 0.3 < models["as by default"]["likelihood_ratio"]["auc"] < 0.7
    assert models["logistic"]["report"]["leaves"] is None
    leakage.show(document)
    assert "members by 3 shadow models" in capsys.readouterr().out
