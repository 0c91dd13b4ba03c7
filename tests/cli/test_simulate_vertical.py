"""``fusion simulate vertical`` over UCI Adult, cut by columns: the gain, equal to pooled's."""

from __future__ import annotations

import csv
import json
import resource
import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fusion.catalogue.identifiers import person_check
from fusion.cli.app import run
from tests.faulting import forked
from tests.vertical import adult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return adult.write(tmp_path_factory.mktemp("adult"), ("local", "state", "federal"))


def words(files: dict[str, Path], *more: str) -> list[str]:
    return [
        "simulate", "vertical", "--label-party", str(files["registry"]),
        "--party", f"tax={files['tax']}", "--party", str(files["employer"]),
        "--id", "person", "--label", "over50k", *more,
    ]  # fmt: skip


def document(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "more",
    [
        ("--backend", "dealer", "--trees", "25", "--depth", "4", "--learning-rate", "0.3"),
        ("--model", "logistic", "--epochs", "30"),
    ],
)
def test_joint_is_as_good_as_pooled_and_better_than_alone(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    found = document(words(files, *more), capsys)
    assert found["schema"] == "fusion.simulate-vertical/1"
    assert found["rows_aligned"] == 6351
    assert found["parties"] == ["registry", "tax", "employer"]
    for part in ("train", "test"):
        joint, pooled = found["auc"][part], found["auc_pooled"][part]
        assert abs(joint - pooled) <= 0.002
        assert joint > found["auc_label_party_alone"][part] + 0.02
    assert found["auc"]["test"] > 0.87
    if "dealer" in more:
        assert found["auc"] == found["auc_pooled"]
    assert found["bytes"]["total"] == sum(v for k, v in found["bytes"].items() if k != "total")
    assert {"align", "train", "cpu", "cpu_by_party"} < set(found["seconds"])
    told = found["leak"]["report"]
    assert (told["schema"], told["rows_training"]) == ("fusion.leak-report/1", 5081)
    assert [each["party"] for each in told["labels"]] == ["tax", "employer"]
    for each in told["labels"]:
        assert each["guesses"][-1]["gain"]["low_micro"] > 50_000
    assert told["membership"]["auc"]["low_micro"] < 520_000
    assert found["leak"]["verdict"]["released"]
    # Three lists of 32 bytes an item go all the way round.
    assert found["bytes"]["align"] > 3 * 3 * 32 * found["rows_aligned"] * 0.8
    assert list(found["identifiers"]) == found["parties"]
    for report in found["identifiers"].values():
        assert report["kind"] == "text"
        assert report["rows"] == report["keys"] == report["rewritten"] > found["rows_aligned"]


FULL_WIDTH = str.maketrans(
    "0123456789X", "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff38"
)


def resident(number: int) -> str:
    """Return an identifier of 18 digits; a larger number has a larger one."""
    day = date(1950, 1, 1) + timedelta(days=number // 900)
    body = f"110105{day:%Y%m%d}{number % 900:03d}"
    return body + person_check(body)


def rewritten(
    files: dict[str, Path], folder: Path, *, only: set[int] | None = None
) -> dict[str, Path]:
    """Write the files with another identifier: in each another spelling, or joined in the clear."""
    found = {}
    for party, path in files.items():
        header, *rows = csv.reader(path.read_text("utf-8").splitlines())
        numbered = [(int(row[0][-6:]), row[1:]) for row in rows]
        if only is not None:
            numbered = sorted(each for each in numbered if each[0] in only)
        found[party] = folder / f"{party}.csv"
        with found[party].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for number, row in numbered:
                key = resident(number)
                old = key[:6] + key[8:17]
                spelt = {"registry": key.translate(FULL_WIDTH), "tax": old}.get(party, key)
                writer.writerow([f"{number:06d}" if only is not None else spelt, *row])
    return found


def test_models_are_those_of_the_clear_join(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows shuffled and missing, identifiers in full width, of 15 digits and of 18."""
    plain = adult.write(tmp_path, ("local",))
    (tmp_path / "spelt").mkdir()
    (tmp_path / "clear").mkdir()
    numbers = []
    for path in plain.values():
        lines = path.read_text("utf-8").splitlines()[1:]
        numbers.append({int(line.split(",")[0][-6:]) for line in lines})
    common = set.intersection(*numbers)
    spelt = rewritten(plain, tmp_path / "spelt")
    clear = rewritten(plain, tmp_path / "clear", only=common)
    more = ("--backend", "plain", "--trees", "4")
    found = document(words(spelt, "--id-kind", "resident_id", *more), capsys)
    wanted = document(words(clear, *more), capsys)
    assert found["rows_aligned"] == len(common) < min(map(len, numbers))
    for name in ("rows_training", "auc", "auc_label_party_alone", "auc_pooled"):
        assert found[name] == wanted[name]
    assert found["auc"]["test"] > 0.75
    with plain["tax"].open("a", encoding="utf-8") as file:
        file.write("P000005,0,0,9\n")
    assert run(words(plain, *more)) == 4
    said = capsys.readouterr().err
    assert "A-10" in said
    assert "1 repeated)" in said
    kept = document(words(plain, *more, "--duplicates", "unique-only"), capsys)
    assert kept["rows_aligned"] == len(common) - 1
    assert kept["identifiers"]["tax"]["repeated_keys"] == 1


def test_how_trees_grow(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    call = [
        "simulate", "vertical", "--label-party", str(files["registry"]),
        "--party", str(files["tax"]), "--id", "person", "--label", "over50k", "--backend", "plain",
    ]  # fmt: skip
    steep = ("--trees", "40", "--depth", "6", "--learning-rate", "0.6", "--min-leaf", "1")
    early = document([*call, *steep, "--l2", "0", "--patience", "2"], capsys)
    assert 2 < early["trees"] < 40
    assert early["auc"] == early["auc_pooled"]
    gentle = ("--trees", "6", "--goss", "0.3:0.2", "--monotone", "age:+")
    up, down = (
        document([*call, *gentle, "--monotone", f"education-num:{sign}"], capsys) for sign in "+-"
    )
    for found in (up, down):
        assert found["auc"] == found["auc_pooled"]
    assert up["auc"]["train"] > down["auc"]["train"] + 0.01


def test_a_table_for_people(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words(files, "--backend", "plain", "--trees", "2", "--test-fraction", "0")) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["auc", "joint", "registry alone", "pooled"]
    assert lines[1].split()[1:] == lines[3].split()[1:]
    assert lines[1].endswith("-")
    assert "6351 rows aligned, boosting with plain" in captured.err


@pytest.mark.parametrize("model", ["linear", "poisson", "boosting"])
def test_numbers_and_counts(
    files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
) -> None:
    """Years of education; the label party has no column of its own."""
    text = files["tax"].read_text("utf-8").splitlines()
    path = tmp_path / "school.csv"
    cut = ["person,years", *(",".join([r.split(",")[0], r.split(",")[3]]) for r in text[1:])]
    path.write_text("\n".join(cut), "utf-8")
    call = [
        "simulate", "vertical", "--label-party", str(path), "--party", str(files["employer"]),
        "--id", "person", "--label", "years", "--model", model,
    ]  # fmt: skip
    # No tree of a party without columns is a tree: more of them, and steeper.
    trees = ["--backend", "plain", "--learning-rate", "0.4"]
    more = trees if model == "boosting" else ["--epochs", "30"]
    found = document([*call, *more], capsys)
    assert found["metric"] == ("deviance explained" if model == "poisson" else "r2")
    assert abs(found["auc"]["test"] - found["auc_pooled"]["test"]) < 0.01
    assert found["auc"]["test"] > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--id", "nobody"), "no column 'nobody'"),
        (("--label", "nothing"), "no column 'nothing'"),
        (("--model", "logistic", "--backend", "plain"), "have no back end"),
        (("--depth", "99"), "It is from 1 to 10."),
        (("--trees", "0"), "It is from 1 to 10000."),
        (("--bins", "0"), "It is from 2 to 128."),
        (("--model", "logistic", "--epochs", "0"), "It is from 1 to "),
        (("--model", "scorecard", "--bins", "1"), "greater than or equal to 2"),
        (("--model", "logistic", "--goss", "0.2:0.1"), "The model logistic has no --goss."),
        (("--model", "linear", "--patience", "5"), "The model linear has no --patience."),
        (("--words", "nothing"), "No party has a column 'nothing'"),
        (("--positive", "2"), "No common row of the label 'over50k' is '2'"),
        (("--test-fraction", "1"), "from 0 to below 1"),
        (("--label", "person"), "'person' is the identifier, and can't be the label"),
        (("--goss", "0.2"), "is not two shares"),
        (("--goss", "0.9:0.2"), "at most 1 together"),
        (("--monotone", "age"), "has no direction"),
        (("--monotone", "sex:+"), "No party has a column 'sex' of numbers"),
        (("--model", "logistic", "--min-leaf", "5"), "has no --min-leaf"),
        (("--patience", "3", "--test-fraction", "0"), "nobody sees when to stop"),
    ],
)
def test_what_can_not_be_used_is_said(
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, ...],
    message: str,
) -> None:
    assert run(words(files, *change)) == 2
    assert message in capsys.readouterr().err


def test_one_command_line_does_for_several_models(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What one of them has not is said, and left aside."""
    sizes = ("--trees", "2", "--depth", "2", "--bins", "8", "--epochs", "2")
    for model, aside in (("boosting", ["epochs"]), ("logistic", ["trees", "depth", "bins"])):
        call = (*sizes, "--model", model, "--backend", "dealer", "--json")
        assert run(words(files, *call)) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["unused"] == aside
        assert all(f"--{each} is left aside" in said.err for each in aside)


def test_a_leak_report_is_written_and_held_to_limits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = adult.write(tmp_path, ("local",))
    call = words(plain, "--backend", "dealer", "--trees", "3", "--min-leaf", "5")
    file, page = tmp_path / "leak.json", tmp_path / "leak.html"
    assert run([*call, "--leak-report", str(file), "--smallest-leaf", "6"]) == 0
    said = capsys.readouterr().err
    assert "members told: advantage" in said
    assert "labels guessed by employer: AUC" in said
    assert "beyond the limits:\n  L-03: a weight rests on 5 rows; smallest_leaf is 6" in said
    written = json.loads(file.read_text("utf-8"))
    assert written["report"]["leaves"]["smallest"] == 5
    assert written["report"]["leaves"]["k"] == 6
    limits = (
        "--membership-permille",
        "300",
        "--label-leak-permille",
        "500",
        "--smallest-leaf",
        "5",
    )
    assert run([*call, *limits, "--leak-report", str(page)]) == 0
    assert "within the limits" in capsys.readouterr().err
    text = page.read_text("utf-8")
    assert "Every limit is kept." in text
    assert "<svg" in text
    assert "://" not in text
    assert run([*call, "--leak-report", str(tmp_path)]) == 2
    assert run([*call, "--membership-permille", "1001"]) == 2


@pytest.fixture
def local(tmp_path: Path) -> dict[str, Path]:
    return adult.write(tmp_path, ("local",))


def changed(path: Path, column: str, change: Callable[[int, str], str]) -> None:
    """Rewrite a column of a file, a cell by its row's number from 0."""
    header, *rows = csv.reader(path.read_text("utf-8").splitlines())
    at = header.index(column)
    for number, row in enumerate(rows):
        row[at] = change(number, row[at])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


QUICK = ("--backend", "plain", "--trees", "3")


def test_an_odd_cell_makes_no_categories_of_numbers(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "1,000"
    changed(local["employer"], "hours-per-week", lambda n, cell: odd if n == 7 else cell)
    assert run(words(local, *QUICK)) == 2
    said = capsys.readouterr().err
    assert "F-202" in said
    assert "'hours-per-week' of numbers with cells that are none" in said
    assert "1 of " in said
    assert "the first is in row 9" in said
    assert "--words 'hours-per-week'" in said
    assert odd not in said.replace("not 1,000", "")
    found = document(words(local, *QUICK, "--words", "hours-per-week"), capsys)
    assert found["columns"]["employer"]["hours-per-week"]["read_as"] == "words"


def test_marks_and_full_width_numbers_change_nothing_and_are_told(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    changed(local["employer"], "hours-per-week", lambda n, cell: "" if n == 7 else cell)
    wanted = document(words(local, *QUICK), capsys)
    odd = {"read_as": "numbers", "missing_marks": 0, "full_width_numbers": 0}
    assert wanted["columns"]["employer"]["hours-per-week"] == odd
    changed(
        local["employer"],
        "hours-per-week",
        lambda n, cell: "n/a" if n == 7 else cell.translate(FULL_WIDTH) if n < 20 else cell,
    )
    found = document(words(local, *QUICK), capsys)
    assert found["auc"] == wanted["auc"]
    told = {"read_as": "numbers", "missing_marks": 1, "full_width_numbers": 19}
    assert found["columns"]["employer"]["hours-per-week"] == told
    assert list(found["columns"]) == found["parties"]
    assert "over50k" not in found["columns"]["registry"]
    assert run(words(local, *QUICK)) == 0
    said = capsys.readouterr().err
    assert "cells read as missing: hours-per-week 1" in said
    assert "full-width numbers: hours-per-week 19" in said
    assert "registry: numbers are age" in said
    assert "; words are " in said


def test_a_label_of_words_needs_no_rewriting(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = document(words(local, *QUICK, "--positive", "1"), capsys)
    written = {"1": ">50K", "0": "<=50K"}
    changed(local["registry"], "over50k", lambda _, cell: written[cell])
    assert run(words(local, *QUICK)) == 2
    assert "--positive VALUE" in capsys.readouterr().err
    positive = ">50K"
    found = document(words(local, *QUICK, "--positive", positive), capsys)
    assert found["auc"] == wanted["auc"]
    assert (found["positive"], wanted["positive"]) == (positive, "1")
    changed(local["registry"], "over50k", lambda n, cell: "" if n < 50 else cell)
    assert run(words(local, *QUICK, "--positive", positive)) == 2
    assert "a value in every common row" in capsys.readouterr().err


def test_a_column_without_a_name_trains_nothing(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = local["tax"].read_text("utf-8").splitlines()
    numbered = [f"{n},{line}" for n, line in enumerate(lines)]
    local["tax"].write_text("\n".join([f",{lines[0]}", *numbered[1:]]), "utf-8")
    assert run(words(local, *QUICK)) == 2
    assert "tax.csv has a column without a name" in capsys.readouterr().err


def test_what_a_header_has_instead_is_told(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words(local), "--id", "PERSON"]) == 2
    assert "it has 'person': upper and lower case" in capsys.readouterr().err
    assert run([*words(local), "--label", "over"]) == 2
    assert "no column 'over' to be a label" in capsys.readouterr().err
    local["tax"].write_text("person;gain\nx;1\n", "utf-8")
    assert run(words(local)) == 2
    assert "separated by semicolons" in capsys.readouterr().err


def test_a_party_without_identifiers_is_told_what_was_found(
    local: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(local, *QUICK, "--id-kind", "phone")) == 4
    said = capsys.readouterr().err
    assert "A-17" in said
    assert "registry" in said
    assert "invalid length" in said or "invalid characters" in said
    assert "fusion align check FILE --column NAME --kind KIND" in said


def test_a_full_disk_costs_the_report_alone(
    local: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "leak.html"

    def full() -> tuple[str, str]:
        sys.dont_write_bytecode = True  # half a module would stay in the cache
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        return "exit", str(run([*words(local, *QUICK), "--leak-report", str(file)]))

    assert forked("", full).what == "3"
    out, err = capfd.readouterr()
    assert [line.split("  ")[0] for line in out.splitlines()][-1] == "pooled"
    assert f"F-300: {file} can't be written: File too large." in err
    assert not list(tmp_path.glob("*leak.html*"))
