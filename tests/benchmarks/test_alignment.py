"""The benchmark of alignment, with few items: its document, not its times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import alignment

if TYPE_CHECKING:
    import pytest


def test_it_prints_its_document(capsys: pytest.CaptureFixture[str]) -> None:
    alignment.main(["--items", "300", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "fusion.bench-alignment/1"
    assert document["results"]
    for each in document["results"]:
        assert each["cpu_s"] > 0
        assert 80 <= each["bytes_an_item"] < 100
    alignment.main(["--items", "40", "--engines", "sodium,abacus", "--no-peers"])
    assert "left out: banyan abacus: there is no engine" in capsys.readouterr().out
