"""The demonstration as a newcomer runs it: one command, real processes, one document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fusion.ledger.entry import QueryAnswered, decode
from fusion.services import engines
from fusion.services.homes import NodeHome
from fusion.services.ledger import Book

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(240)]


def _demo(*words: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    done = subprocess.run(
        [*before, sys.executable, "-m", "fusion.cli", "demo", "--json", *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        # As whoever has typed the README's `export`; the demo's keys are its own.
        env={**os.environ, "FUSION_PASSPHRASE_FILE": "/etc/banyan/passphrase"},
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _running(folder: Path) -> list[str]:
    """Return the command lines of processes that work in or below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in words and int(entry.name) != os.getpid():
                found.append(words)
    return found


@pytest.mark.parametrize("model", ["logistic", pytest.param("mlp", marks=pytest.mark.soak)])
def test_the_demo_trains_and_leaves_nothing_running(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "kept"
    result = _demo("--model", model, "--rounds", "1", "--keep", str(folder))
    assert result["schema"] == "fusion.demo/1"
    assert [row["id"] for row in result["organisations"]] == [
        "federal",
        "state",
        "local",
        "enterprise",
    ]
    assert all(row["rows"] > 1000 and 0.7 < row["auc_alone"] < 1 for row in result["organisations"])
    assert 0.8 < result["auc"]["joint"] < 1
    assert result["max_abs_error_vs_plain"] <= 1e-6
    assert result["bytes_per_parameter"] <= 8.6
    assert result["key"]["bits"] == 3072
    assert result["key"]["threshold"] == 3
    assert result["key"]["hub_holds_share"] is False
    assert [log["organisation"] for log in result["ledgers"]] == [
        "hub",
        *sorted(row["id"] for row in result["organisations"]),
    ]
    assert all(log["witnessed"] == log["entries"] > 10 for log in result["ledgers"])
    assert all(len(log["witnesses"]) >= log["quorum"] for log in result["ledgers"])
    _check_questions(result["queries"], folder / "local")
    vertical = result["vertical"]
    joint = vertical["quality"]["joint"]["test"]
    assert joint == vertical["columns_alone"]["pooled"]["test"]
    alone = [vertical["columns_alone"][name]["test"] for name in vertical["parties"]]
    assert joint > max(alone) + 0.05
    page = Path(result["report"]).read_text("utf-8")
    assert "max(<mark>hours</mark>)" in page
    assert "What the logs prove" in page
    assert "The same people, different columns" in page
    for words in (
        "What the model tells", "labels: who guesses", "federal (as a registry)",
        "Under which grants", "dpv:", "The demo's vertical study", "The demo's questions",
        "What left each party", "cells of groups in all", "In the training of this model",
    ):  # fmt: skip
        assert words in page.replace("&#x27;", "'").replace("&#39;", "'"), words
    assert all(each["aligning"] and each["training"] for each in vertical["sent"].values())
    assert "<svg" in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    # What a child of a child does at its end takes a moment.
    until = time.monotonic() + 60
    while left := _running(folder):
        assert time.monotonic() < until, left
        time.sleep(0.05)


def _check_questions(told: dict[str, Any], owner: Path) -> None:
    """Look at what became of the questions, and at what the owner's log says of them."""
    if not told["available"]:
        assert not engines.isolation().examine()[0]
        return
    first, refused, repaired = told["questions"]
    assert [each["outcome"] for each in told["questions"]] == ["answered", "refused", "answered"]
    # 3,136 people; counts are multiples of 5.
    assert [row[:2] for row in first["rows"]] == [["Female", 1260], ["Male", 1880]]
    assert refused["code"] == "Q-10"
    assert "quantile" in refused["hint"]
    marked = refused["statement"][refused["start"] :]
    assert marked[: refused["length"]] == "hours"
    assert "max(hours)" in refused["statement"]
    assert "max" not in repaired["statement"]
    assert len(repaired["rows"]) == 8
    with Book(NodeHome.open(owner)) as book:
        answered = [
            entry
            for entry in map(decode, book.bundle().entries)
            if isinstance(entry, QueryAnswered)
        ]
    assert [(each.organisation, each.policy) for each in answered] == [
        (told["asker"], told["policy"])
    ] * 2


@pytest.mark.soak
def test_the_demo_runs_without_a_network() -> None:
    """In a network of its own that has nothing but a loopback."""
    up = 'ip link set lo up && exec "$@"'
    result = _demo("--rounds", "1", before=("unshare", "-rn", "sh", "-c", up, "sh"))
    assert result["rounds"] == 1


@pytest.mark.soak
def test_the_joint_model_is_as_good_as_pooled_data_and_better_than_anyone_alone() -> None:
    result = _demo()
    auc = result["auc"]
    assert abs(auc["joint"] - auc["pooled"]) <= 0.002
    assert all(auc["joint"] > row["auc_alone"] for row in result["organisations"])
