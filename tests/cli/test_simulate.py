"""``fusion simulate``: a study tried on this machine, with its events, result and report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from fusion.cli.app import run
from fusion.services import engines

if TYPE_CHECKING:
    from pathlib import Path

PARTIES = ("federal", "state", "local")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return the demo's study, cut down to one round."""
    text = engines.training().demo_files()["study"].read_text("utf-8")
    path = tmp_path / "study.toml"
    path.write_text(re.sub(r"(?m)^rounds\s*=\s*\d+", "rounds = 1", text), "utf-8")
    return path


def parties() -> list[str]:
    tables = engines.training().demo_files()["tables"]
    return [word for name in PARTIES for word in ("--party", f"{name}={tables[name]}")]


def test_one_document_and_a_report(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    words = ["simulate", "horizontal", *parties(), str(study), "--report", str(report), "--json"]
    assert run(words) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert (record["schema"], record["status"]) == ("fusion.run/1", "done")
    assert record["organisations"] == list(PARTIES)
    assert 0.5 < record["metrics"][-1]["auc"] < 1
    assert "end      done" in captured.err
    page = report.read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "//" not in page


def test_the_private_demo_study_tells_its_epsilon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = engines.training().demo_files()
    study = files["study"].with_name("study-private.toml").read_text("utf-8")
    path, report = tmp_path / "private.toml", tmp_path / "report.html"
    path.write_text(study.replace("rounds = 20 ", "rounds = 1 "), "utf-8")
    words = ["simulate", "horizontal", *parties(), str(path)]
    assert run([*words, "--report", str(report)]) == 0
    captured = capsys.readouterr()
    assert re.search(r"privacy +epsilon 1 of 1 at delta 1e-06, for each row", captured.out)
    assert "Differential privacy" in report.read_text("utf-8")
    assert run([*words, "--json"]) == 0
    privacy = json.loads(capsys.readouterr().out)["privacy"]
    assert privacy["spent_micro"] == privacy["epsilon_micro"] == 1_000_000


def test_a_mistake_in_the_study_is_refused_by_the_line(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = study.read_text("utf-8").splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith("rounds"))
    lines[at] = 'rounds = "ten"'
    study.write_text("\n".join(lines), "utf-8")
    assert run(["simulate", "horizontal", *parties(), str(study)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"F-201: {study}:{at + 1}" in captured.err


def test_one_party_is_not_a_federation(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "horizontal", *parties()[:2], str(study)]) == 2
    assert "at least two parties" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["nowhere/x.html", "."])
def test_a_report_that_can_not_be_written_is_refused_before_the_run(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    words = ["simulate", "horizontal", *parties(), str(study), "--report", str(tmp_path / where)]
    assert run(words) == 2
    captured = capsys.readouterr()
    assert "can't be written" in captured.err
    assert "F-200" in captured.err
    assert "start" not in captured.err


def test_a_run_that_fails_is_a_document_as_well(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", "utf-8")
    words = ["simulate", "horizontal", *parties(), "--party", f"bad={tmp_path / 'bad.csv'}"]
    assert run([*words, str(study), "--json"]) == 2
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert (record["schema"], record["status"], record["exit_code"]) == (
        "fusion.run/1",
        "failed",
        2,
    )
    assert record["message"].startswith("bad: ")
    assert "end      failed bad: " in captured.err


def test_a_party_is_told_what_is_odd_in_its_table(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = parquet.read_table(engines.training().demo_files()["tables"]["local"])
    hours = table.column_names.index("hours-per-week")
    cells = table.column(hours).cast(pa.string()).to_pylist()
    cells[0] = "1,000"
    csv.write_csv(table.set_column(hours, "hours-per-week", [cells]), tmp_path / "odd.csv")
    words = ["simulate", "horizontal", *parties(), "--party", str(tmp_path / "odd.csv")]
    assert run([*words, str(study)]) == 2
    said = capsys.readouterr().err
    assert "The data file odd.csv has a column 'hours-per-week' of numbers" in said
    assert f"note     odd: column 'hours-per-week': 1 of {len(cells)} cells" in said
    assert "1,000" not in said.replace("not 1,000", "")
