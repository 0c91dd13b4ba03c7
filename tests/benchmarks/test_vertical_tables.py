"""Models of real tables: what is written and printed; the models are in the long suite."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import vertical_tables
from benchmarks.vertical_tables import CASES, Case
from federated.vertical import options

if TYPE_CHECKING:
    from pathlib import Path


def test_the_files_of_the_parties_are_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vertical_tables.main(["--table", "adult", "--write", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["results"] == []
    heads, keys = {}, {}
    for party, names in vertical_tables.ADULT.items():
        lines = (tmp_path / "adult" / f"{party}.csv").read_text("utf-8").splitlines()
        heads[party], *rows = csv.reader(lines)
        assert heads[party][1 : len(names) + 1] == list(names)
        keys[party] = [row[0] for row in rows]
    assert heads["registry"][-1] == "y"
    assert keys["registry"] == keys["tax"][::-1] == keys["employer"]
    assert len(keys["registry"]) == 46_012


def test_a_table_for_people() -> None:
    part = {"train": 0.9, "test": 0.8}
    result = {
        "table": "adult", "model": "logistic", "backend": "dealer", "metric": "auc", "rows": 10,
        "joint": part, "pooled": part, "alone": {"train": 0.8, "test": 0.7}, "cpu_s": 1.0,
    }  # fmt: skip
    gone = {"table": "fair", "reason": "not installed (statsmodels)"}
    found = vertical_tables.lines({"results": [result], "missing": [gone]}).splitlines()
    assert found[1].split()[-4:] == ["0.8000", "0.8000", "0.7000", "1.0"]
    assert found[2] == "left out: fair: not installed (statsmodels)"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_one_that_can_be_run(case: Case) -> None:
    options.check(case.model, {"test_fraction": 0.2, "backend": case.backend, **case.options})
