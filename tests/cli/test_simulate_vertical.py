"""``fusion simulate vertical`` over UCI Adult, cut by columns: the gain, equal to pooled's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fusion.cli.app import run
from tests.vertical import adult

if TYPE_CHECKING:
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
        "--id", "person", "--label", "years", "--model", model, "--epochs", "30",
    ]  # fmt: skip
    # No tree of a party without columns is a tree: more of them, and steeper.
    more = ["--backend", "plain", "--learning-rate", "0.4"] if model == "boosting" else []
    found = document([*call, *more], capsys)
    assert found["metric"] == ("deviance explained" if model == "poisson" else "r2")
    assert abs(found["auc"]["test"] - found["auc_pooled"]["test"]) < 0.01
    assert found["auc"]["test"] > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--id", "nobody"), "no column 'nobody'"),
        (("--label", "nothing"), "no column 'nothing'"),
        (("--model", "logistic", "--backend", "paillier"), "have no back end"),
        (("--depth", "99"), "out of its range"),
        (("--test-fraction", "1"), "from 0 to below 1"),
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
