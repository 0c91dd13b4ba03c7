"""The benchmark of restricted queries, with few rows: its document, not its times."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from benchmarks import query

if TYPE_CHECKING:
    import pytest


def test_it_prints_its_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["query", "--rows", "3000", "--repeats", "1", "--json"])
    query.main()
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "freezing" in err
    assert document["schema"] == "fusion.bench-query/1"
    assert len(document["results"]) == len(query.QUERIES)
    for each in document["results"]:
        assert set(each) == {
            "query", "rows", "raw_s", "guarded_s", "ratio", "cpu_ratio", "whole_s",
        }  # fmt: skip
