"""The benchmark of scoring, with few records: its document, not its times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import scoring

if TYPE_CHECKING:
    import pytest


def test_it_prints_its_document(capsys: pytest.CaptureFixture[str]) -> None:
    scoring.main(["--rows", "120", "--records", "20", "--calls", "3", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "fusion.bench-scoring/1"
    assert [each["kind"] for each in document["models"]] == ["boosting", "logistic"]
    for each in document["models"]:
        assert each["single_p50_ms"] > 0
