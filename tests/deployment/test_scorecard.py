"""A scorecard from its study to its last score, between processes: trained, scored, revoked."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.engine import ENGINE
from federated.metrics import auc
from federated.vertical.parts import floats
from federated.vertical.tables import training_rows
from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.ledger.verify import Expectations
from fusion.services.audit import audit_all
from fusion.services.homes import HubHome, NodeHome
from fusion.services.ledger import Book
from fusion.services.storage import open_budgets
from tests.deployment.processes import Deployment
from tests.deployment.revoking import check_stops_within_a_second
from tests.models.local import Local
from tests.vertical.studies import scorecard, study_text, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.soak, pytest.mark.deployment, pytest.mark.timeout(600)]

LABEL, OTHERS = "north", ("east", "south")
NAMES = (LABEL, *OTHERS)
MODEL = "made-up"
WITHIN = 1e-6


def grant(owner: str, path: Path) -> dict[str, Any]:
    """Return an owner's grant to align, to train, and to score."""
    schema = read_schema(path)
    return {
        "schema": "fusion.grant/1",
        "title": "A scorecard of what is known of the same people",
        "assigners": [owner],
        "assignee": LABEL,
        "dataset": {
            "id": "people", "columns": list(schema), "schema_digest": schema_digest(schema),
        },
        "permissions": {
            "align": {
                "set_size": 10000, "outcomes": ["both"], "minimum_intersection": 20, "runs": 2,
            },
            "train": {"models": ["scorecard"], "k": 3, "rounds": 300, "runs": 2},
            "score": {"rows": 5000, "runs": 400, "only_models": [MODEL]},
        },
        "purpose": "dpv:ServiceProvision",
        "fee": {"kind": "public-interest"},
        "not_before": "2020-01-01T00:00:00Z",
        "not_after": "2120-01-01T00:00:00Z",
        "signers": [
            {"role": "owner", "organisation": owner},
            {"role": "operator", "organisation": LABEL},
        ],
    }  # fmt: skip


class Trained:
    """A deployment in which a scorecard was trained, and what its parties were granted."""

    def __init__(self, deployment: Deployment, paths: dict[str, Path]) -> None:
        self.deployment, self.paths = deployment, paths
        self.grants = {name: self._granted(name) for name in NAMES}
        study = deployment.folder / "study.toml"
        study.write_text(study_text(scorecard(epochs=12), OTHERS, label=LABEL, patience=30.0))
        self.result = deployment.json("train", study, "--home", deployment.node(LABEL))
        self.parts = {name: self._exported(name) for name in NAMES}

    def _granted(self, owner: str) -> str:
        run, node = self.deployment, self.deployment.node
        file, signed = run.folder / f"{owner}.grant.json", run.folder / f"{owner}.signed.json"
        file.write_text(json.dumps(grant(owner, self.paths[owner])))
        found = run.json("grant", "propose", file, "--home", node(owner), "--out", signed)
        if owner != LABEL:
            run.fusion("grant", "sign", signed, "--home", node(LABEL))
        return str(found["id"])

    def _exported(self, name: str) -> Any:  # noqa: ANN401 - JSON
        file = self.deployment.folder / f"{name}.model.json"
        self.deployment.fusion(
            "model", "export", MODEL, "--part", "--out", file, "--home", self.deployment.node(name)
        )
        return json.loads(file.read_text())["part"]

    def trained(self, name: str) -> int:
        """Return runs that count as used for training at a party."""
        budgets = open_budgets(NodeHome.open(self.deployment.node(name)))
        return budgets.used(self.grants[name], "train").runs

    def used(self, name: str) -> tuple[int, int]:
        """Return runs and rows that were charged for scores at a party."""
        used = open_budgets(NodeHome.open(self.deployment.node(name))).used(
            self.grants[name], "score"
        )
        return used.runs, used.rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("scorecard")
    paths = tables(folder / "tables", OTHERS, label=LABEL)
    with Deployment(folder / "all", NAMES, data=paths, grants=True) as deployment:
        yield Trained(deployment, paths)


@pytest.fixture(scope="module")
def table(trained: Trained) -> dict[str, dict[str, str]]:
    """Everybody's cells of the records that all parties have, by identifier."""
    found: list[dict[str, dict[str, str]]] = []
    for path in trained.paths.values():
        with path.open(encoding="utf-8", newline="") as file:
            found.append({line["id"]: line for line in csv.DictReader(file)})
    common = sorted(set.intersection(*(set(each) for each in found)))
    return {key: {k: v for each in found for k, v in each[key].items()} for key in common}


@pytest.fixture(scope="module")
def served(trained: Trained) -> Iterator[Path]:
    """The socket at which single records are scored."""
    run = trained.deployment
    path = run.folder.parent / "s.sock"
    words = ["score", "serve", "--model", MODEL, "--socket", str(path)]
    home = ["--home", str(run.node(LABEL))]
    with (run.logs / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fusion.cli", *words, *home], stdout=log, stderr=log
        )
    began = time.monotonic()
    while not path.exists():
        assert process.poll() is None, (run.logs / "serve.log").read_text()
        assert time.monotonic() - began < 120
        time.sleep(0.1)
    yield path
    process.terminate()
    assert process.wait(60) == 0


def call(path: Path, key: str) -> tuple[int, Any]:
    with contextlib.closing(Local(path)) as local:
        return local.call("POST", "/v1/score", {"id": key})


def points_of(part: Any, cells: dict[str, str]) -> dict[str, float]:  # noqa: ANN401 - JSON
    """Look up what a record's cells are worth, by column, in a part as it was exported."""
    found = {}
    for each in part["points"]:
        column = part["columns"][each["column"]]
        cuts, points = floats(each["cuts"]).tolist(), floats(each["points"]).tolist()
        cell, words = cells[column["name"]], column["words"]
        value = float(words.index(cell)) if words is not None else float(cell)
        found[column["name"]] = points[bisect_left(cuts, value)]
    return found


def expected(trained: Trained, cells: dict[str, str]) -> tuple[float, list[tuple[str, float]]]:
    """Return a record's points and what cost it most, by hand from everybody's exported part."""
    worth = {name: points_of(part, cells) for name, part in trained.parts.items()}
    label = trained.parts[LABEL]
    total = float.fromhex(label["base"]) + sum(sum(each.values()) for each in worth.values())
    means = {
        label["columns"][each["column"]]["name"]: float.fromhex(each["mean"])
        for each in label["points"]
    }
    lost = {name: means[name] - points for name, points in worth[LABEL].items()}
    theirs = sum(map(float.fromhex, label["means"]))
    lost[" + ".join(OTHERS)] = theirs - sum(sum(worth[name].values()) for name in OTHERS)
    ordered = sorted(lost.items(), key=lambda each: -each[1])
    return total, [(name, amount) for name, amount in ordered if amount > 0][:4]


def test_a_file_is_scored_as_in_training(
    trained: Trained, table: dict[str, dict[str, str]]
) -> None:
    run = trained.deployment
    ids = run.folder / "ids.csv"
    ids.write_text("\n".join(["id", *table, "nobody"]) + "\n")
    before = {name: trained.used(name) for name in NAMES}
    found = run.json("score", "--model", MODEL, "--ids", ids, "--home", run.node(LABEL))
    assert (found["rows"], found["scored"]) == (len(table) + 1, len(table))
    assert found["scores"][-1]["missing"] == "not in the own table"
    for row, (key, cells) in zip(found["scores"], table.items(), strict=False):
        total, reasons = expected(trained, cells)
        assert (row["id"], row["output"]) == (key, row["score"])
        assert abs(row["score"] - total) < WITHIN
        assert [each["name"] for each in row["reasons"]] == [name for name, _ in reasons]
        for said, (_, amount) in zip(row["reasons"], reasons, strict=True):
            assert abs(said["amount"] - amount) < WITHIN
    assert any(len(row["reasons"]) > 1 for row in found["scores"][:-1])
    # A call is a run, and its records are rows, at every party.
    for name in NAMES:
        runs, rows = before[name]
        assert trained.used(name) == (runs + 1, rows + len(table))
    # The joint model was judged by these very points when it was trained.
    points = np.array([row["score"] for row in found["scores"][:-1]])
    labels = np.array([float(cells["over"] == "yes") for cells in table.values()])
    training = training_rows(len(labels), 0.25, 7)
    joint = trained.result["quality"]["joint"]
    for which, chosen in (("train", training), ("test", ~training)):
        assert auc(-points[chosen], labels[chosen]) == pytest.approx(joint[which], abs=1e-9)


def test_single_records_are_scored_and_counted(
    trained: Trained, served: Path, table: dict[str, dict[str, str]]
) -> None:
    before = {name: trained.used(name) for name in NAMES}
    keys = list(table)[:5]
    for key in keys:
        status, said = call(served, key)
        total, reasons = expected(trained, table[key])
        assert status == 200, said
        assert abs(said["score"] - total) < WITHIN
        assert [each["name"] for each in said["reasons"]] == [name for name, _ in reasons]
    for name in NAMES:
        runs, rows = before[name]
        assert trained.used(name) == (runs + len(keys), rows + len(keys))


def test_another_purpose_is_not_permitted(trained: Trained) -> None:
    run, before = trained.deployment, trained.used("south")
    ids = run.folder / "one.csv"
    ids.write_text("id\nP00100\n")
    words = ("score", "--model", MODEL, "--ids", ids, "--purpose", "dpv:Marketing")
    refused = run.fusion(*words, "--home", run.node(LABEL), check=False)
    assert refused.returncode == 4
    assert "G-16" in refused.stderr
    assert trained.used("south") == before


def test_a_node_that_was_away_at_the_end_of_a_run_gives_back_its_charge(trained: Trained) -> None:
    """It had agreed, nothing was begun: one party did not answer, and this one was killed."""
    run = trained.deployment
    study = run.folder / "again.toml"
    text = study_text(scorecard(epochs=13), OTHERS, label=LABEL, patience=5.0)
    study.write_text(text)
    before = trained.trained("south")
    run.signal("east", signal.SIGSTOP)
    try:
        job = run.json("train", study, "--home", run.node(LABEL), "--detach")["job"]
        while trained.trained("south") == before:
            time.sleep(0.1)
        run.kill("south")
        *_, end = ENGINE.follow(HubHome.open(run.hub), job, stop=threading.Event())
        assert (end["status"], end["code"]) == ("failed", "F-604")
    finally:
        run.signal("east", signal.SIGCONT)
    assert trained.trained("south") == before + 1
    run.start("south")
    run.wait_ready(["south"])
    began = time.monotonic()
    while trained.trained("south") != before:
        assert time.monotonic() - began < 30
        time.sleep(0.1)


def test_who_is_killed_is_found_again(
    trained: Trained, served: Path, table: dict[str, dict[str, str]]
) -> None:
    run, key = trained.deployment, next(iter(table))
    run.kill("east")
    began = time.monotonic()
    status, said = call(served, key)
    assert time.monotonic() - began < 70
    assert (status, said["error"]["code"]) == (502, "F-600"), said
    assert "east" in said["error"]["message"]
    run.start("east")
    run.wait_ready(["east"])
    while call(served, key)[0] != 200:
        assert time.monotonic() - began < 200
        time.sleep(0.2)
    status, said = call(served, key)
    assert abs(said["score"] - expected(trained, table[key])[0]) < WITHIN


def test_nothing_comes_after_a_revocation(
    trained: Trained, served: Path, table: dict[str, dict[str, str]]
) -> None:
    key = next(iter(table))
    assert call(served, key)[0] == 200
    home, grant = trained.deployment.node("south"), trained.grants["south"]
    check_stops_within_a_second(home, grant, lambda: call(served, key))


def test_an_export_follows_the_grant(trained: Trained) -> None:
    """Once the revocation has come to the label party's node, by way of the hub."""
    run, file = trained.deployment, trained.deployment.folder / "late.json"
    mark = run.node(LABEL) / "grants" / f"{trained.grants['south']}.revocation.json"
    began = time.monotonic()
    while not mark.exists():
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    words = ("model", "export", MODEL, "--out", file, "--home")
    refused = run.fusion(*words, run.node(LABEL), "--part", check=False)
    assert refused.returncode == 4
    assert "M-20" in refused.stderr
    run.fusion(*words, run.node(LABEL))
    assert json.loads(file.read_text())["part"] is None
    run.fusion(*words, run.node("south"), "--part")
    assert json.loads(file.read_text())["part"] == trained.parts["south"]


def test_logs_hold_together(trained: Trained, tmp_path: Path) -> None:
    files = []
    for name in NAMES:
        node = NodeHome.open(trained.deployment.node(name))
        with Book(node) as book:
            files.append(tmp_path / f"{name}.bundle")
            book.export(files[-1])
    audit_all(files, Expectations(witnessed=False))
