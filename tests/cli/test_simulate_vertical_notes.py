"""``fusion simulate vertical``: what was left out or not learned is said, and so is what to do."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from federated import seeds
from fusion.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS = 400
PLAIN = ("--backend", "plain", "--trees", "2")
LINEAR = ("--model", "logistic", "--epochs", "2")


class Files:
    """Two parties' files: the label follows a column of each."""

    def __init__(self, folder: Path) -> None:
        own, other, chance = seeds.generator("test-notes").normal(size=(3, ROWS))
        score = own + other + chance / 2
        self.folder = folder
        self.label: dict[str, Sequence[object]] = {
            "id": [f"k{n}" for n in range(ROWS)],
            "own": own.tolist(),
            "y": [int(each > 0) for each in score],
        }
        self.other: dict[str, Sequence[object]] = {"id": self.label["id"], "other": other.tolist()}

    def call(self, *more: str, label: str = "y") -> list[str]:
        """Write both files, and return a command line."""
        for name, columns in (("gov", self.label), ("bank", self.other)):
            with (self.folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
        gov, bank = (str(self.folder / f"{name}.csv") for name in ("gov", "bank"))
        parties = ["--label-party", gov, "--party", bank, "--id", "id", "--label", label]
        return ["simulate", "vertical", *parties, *more]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def told(call: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Return what ``--json`` prints, and what people read."""
    assert run([*call, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert run(call) == 0
    captured = capsys.readouterr()
    return found, captured.out + captured.err


def refused(call: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(call) == 2
    return capsys.readouterr().err


def test_a_usual_run_has_no_notes(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    for more in (PLAIN, ("--model", "logistic")):
        found, text = told(files.call(*more), capsys)
        assert found["notes"] == []
        assert "rejected" not in text
        assert "missing" not in text


def test_epochs_that_do_not_suffice_are_told(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = told(files.call(*LINEAR), capsys)
    (note,) = found["notes"]
    assert (note["about"], note["party"]) == ("not-converged", None)
    assert "2 epochs have not converged: more --epochs" in text


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--min-leaf", "300"), "320 rows make a tree, and 600 are needed"),
        (("--min-leaf", "70", "--goss", "0.2:0.1"), "96 rows make a tree, and 140 are needed"),
    ],
)
def test_trees_without_a_split_say_why(
    files: Files, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], why: str
) -> None:
    found, text = told(files.call(*PLAIN, *more), capsys)
    assert found["auc"] == found["auc_pooled"] == {"train": 0.5, "test": 0.5}
    assert [note["about"] for note in found["notes"]] == ["no-split"]
    assert "--min-leaf" in text
    assert why in text


@pytest.mark.parametrize(
    ("other", "about", "words"),
    [
        ({}, "no-columns", "bank: no column beside the identifier"),
        ({"x": [3] * ROWS}, "nothing-varies", "bank: no column varies"),
        ({"x": ["a"] * ROWS, "y": [""] * ROWS}, "nothing-varies", "bank: no column varies"),
        ({"x": ["a", "b"] * (ROWS // 2)}, "no-split", "bank: no tree splits"),
    ],
)
def test_a_party_of_which_nothing_is_learned_is_named(
    files: Files,
    capsys: pytest.CaptureFixture[str],
    other: dict[str, list[object]],
    about: str,
    words: str,
) -> None:
    files.other = {"id": files.label["id"], **other}
    found, text = told(files.call(*PLAIN, "--depth", "1"), capsys)
    assert [(note["about"], note["party"]) for note in found["notes"]] == [(about, "bank")]
    assert words in text
    if about != "no-split":
        said = refused(files.call(*LINEAR), capsys)
        assert "No column of bank" in said
        assert "leave the party out" in said
        assert all(name in said for name in other)


@pytest.mark.parametrize("more", [PLAIN, LINEAR])
def test_a_measure_that_is_not_defined_is_null(
    files: Files, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    found, text = told(files.call(*more, "--test-fraction", "0.0025"), capsys)
    assert found["rows_training"] == ROWS - 1
    for key in ("auc", "auc_label_party_alone", "auc_pooled"):
        assert found[key]["train"] > 0.5
        assert found[key]["test"] is None
    assert "not-defined" in {note["about"] for note in found["notes"]}
    lines = [
        line for line in text.splitlines() if line.startswith(("joint", "gov alone", "pooled"))
    ]
    assert [line.split()[-1] for line in lines] == ["-"] * 3


def test_identifiers_that_are_left_out_are_counted_by_party(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    phones = [f"139{n:08d}" for n in range(ROWS)]
    files.label["id"] = phones
    files.other["id"] = ["12", "", "x3900000009", phones[4], phones[4], *phones[5:]]
    found, text = told(
        files.call(*PLAIN, "--id-kind", "phone", "--duplicates", "unique-only"), capsys
    )
    assert found["rows_aligned"] == ROWS - 5
    (line,) = [line for line in text.splitlines() if "identifiers" in line]
    assert line == (
        "bank: of 400 identifiers 2 rejected (0.5%: characters 1, length 1); 1 missing (0.2%); "
        "1 keys on several rows (1 rows beyond their first; none is taken); 395 keys are aligned"
    )


def test_a_label_that_can_not_be_one_is_said(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(files.call(*PLAIN, label="id"), capsys)
    assert "'id' is the identifier, and can't be the label" in said
    files.label["word"] = ["yes" if each else "no" for each in files.label["y"]]
    said = refused(files.call("--model", "linear", label="word"), capsys)
    assert "--positive" not in said
    assert "column of numbers" in said
    assert "--positive VALUE" in refused(files.call(*PLAIN, label="word"), capsys)
    files.label["y"] = [n * 1e200 for n in range(ROWS)]
    for more in (("--model", "linear"), PLAIN):
        assert "another unit" in refused(files.call(*more), capsys)
    files.label["y"] = [n - 1 for n in range(ROWS)]
    assert "a count or a rate" in refused(files.call("--model", "poisson"), capsys)


@pytest.mark.filterwarnings("error")
def test_cells_that_are_infinite_or_huge_leave_no_warning(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.other["other"] = [1e300 * float(str(x)) for x in files.other["other"]]
    assert run(files.call(*LINEAR)) == 0
    assert "Warning" not in capsys.readouterr().err
    files.other["other"] = ["inf", *list(files.other["other"])[1:]]
    said = refused(files.call(*LINEAR), capsys)
    assert "'other' of numbers with cells that are none" in said
    assert "row 2" in said


def test_a_file_that_is_not_there_or_empty_is_said(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    call = files.call(*PLAIN)
    bank = files.folder / "bank.csv"
    bank.write_text("")
    assert "bank.csv is empty" in refused(call, capsys)
    bank.unlink()
    assert "bank.csv does not exist" in refused(call, capsys)


@pytest.mark.parametrize("seed", ["-1", str(2**53), str(10**23)])
def test_a_seed_that_a_study_has_not_is_refused(
    files: Files, capsys: pytest.CaptureFixture[str], seed: str
) -> None:
    assert "from 0 to 9007199254740991" in refused(files.call(*PLAIN, "--seed", seed), capsys)
