"""``fusion model`` and ``fusion score`` as a user meets them; single records at a socket."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.ledger.entry import ModelRevocationHeard
from fusion.services import score_server
from fusion.services.models import find_model
from tests.cli.test_app import Terminal
from tests.models.local import Local
from tests.models.world import FIRST, LABEL, Served, identifier, served
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = trained.scorecard((LABEL, FIRST), [2, 2])
    with served(tmp_path_factory.mktemp("card"), model, "scorecard", {FIRST: {3}}) as found:
        yield found


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_a_file_of_identifiers_is_scored_line_by_line(
    world: Served, fusion: Terminal, tmp_path: Path
) -> None:
    ids, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    ids.write_text("\n".join(["who", *(identifier(i) for i in range(6)), "nobody"]) + "\n")
    home = world.nodes[LABEL].path
    words = ("score", "--model", "credit", "--ids", ids, "--column", "who", "--home", home)
    found = fusion.document(*words, "--out", out)
    assert (found["schema"], found["rows"], found["scored"]) == ("fusion.scores/1", 7, 5)
    assert found["missing"] == {"not at registry": 1, "not in the own table": 1}
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert [line["id"] for line in lines] == [*(identifier(i) for i in range(6)), "nobody"]
    for i, line in enumerate(lines[:6]):
        if i != 3:
            assert abs(float(line["score"]) - world.model.scores[i]) < 1e-6
    assert lines[3]["missing"] == "not at registry"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    shown = fusion.document(*words)
    assert [row["id"] for row in shown["scores"]] == [line["id"] for line in lines]
    reasons = [reason["name"] for row in shown["scores"] for reason in row.get("reasons", ())]
    assert set(reasons) <= {"c0", "c1", "place", FIRST}
    assert fusion(*words) == 0
    assert fusion.out.splitlines()[0] == "id,score,output,reasons,missing"
    assert "no score for 1: not at registry" in fusion.err


def test_no_line_of_a_file_is_lost(world: Served, fusion: Terminal, tmp_path: Path) -> None:
    ids, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    words = ("score", "--model", "credit", "--ids", ids, "--home", world.nodes[LABEL].path)
    one, two = identifier(0), identifier(1)
    ids.write_text(f"{one}\n{two}\n")
    assert fusion(*words, "--out", out) == 2
    assert "Write id as its first line, or name its column with --column" in fusion.err
    assert not out.exists()
    assert fusion(*words, "--column", "who") == 2
    assert "has no column 'who'" in fusion.err
    for content in (f"id\n{one}\n\n{two}\n\n", f"id,more\n{one},1\n\n{two},2\n,3\n"):
        ids.write_text(content)
        found = fusion.document(*words)
        assert [row["id"] for row in found["scores"]] == [one, "", two, ""]
        assert found["missing"] == {"identifier not valid": 2}


def test_scores_that_can_not_be_written_are_printed(
    world: Served, fusion: Terminal, tmp_path: Path
) -> None:
    ids, out = tmp_path / "ids.csv", tmp_path / ("s" * 250)  # its draft's name is too long
    ids.write_text(f"id\n{identifier(0)}\n")
    words = ("score", "--model", "credit", "--ids", ids, "--home", world.nodes[LABEL].path)
    assert fusion(*words, "--out", out) == 3
    assert fusion.out.splitlines()[1].startswith(f"{identifier(0)},")
    assert f"F-300: {out} can't be written" in fusion.err
    assert list(tmp_path.iterdir()) == [ids]


def test_scores_take_the_place_of_no_file(world: Served, fusion: Terminal, tmp_path: Path) -> None:
    ids, out = tmp_path / "ids.csv", tmp_path / "scores.csv"
    ids.write_text(f"id\n{identifier(0)}\n")
    out.write_text("mine")
    words = ("score", "--model", "credit", "--ids", ids, "--home", world.nodes[LABEL].path)
    for taken in (ids, out):
        before = taken.read_text()
        assert fusion(*words, "--out", taken) == 2
        assert "is there already" in fusion.err
        assert taken.read_text() == before


def test_what_can_not_be_scored_is_said(world: Served, fusion: Terminal, tmp_path: Path) -> None:
    home = world.nodes[LABEL].path
    assert fusion("score", "--home", home) == 2
    assert "--model NAME --ids" in fusion.err
    assert fusion("score", "--model", "other", "--ids", tmp_path / "x.csv", "--home", home) == 2
    ids = tmp_path / "ids.csv"
    ids.write_text("a,b\n1,2\n")
    assert fusion("score", "--model", "credit", "--ids", ids, "--home", home) == 2
    first = world.nodes[FIRST].path
    ids.write_text("id\nx\n")
    assert fusion("score", "--model", "credit", "--ids", ids, "--home", first) == 4
    assert "M-12" in fusion.err


def test_a_card_says_what_the_holder_knows(world: Served, fusion: Terminal, tmp_path: Path) -> None:
    home = ("--home", world.nodes[FIRST].path)
    listed = fusion.document("model", "list", *home)["models"]
    assert [each["name"] for each in listed] == ["credit/1"]
    assert fusion.document("model", "show", "credit", *home)["role"] == "feature"
    page = tmp_path / "card.html"
    card = fusion.document("model", "card", "credit", "--html", page, *home)
    assert card["schema"] == "fusion.model-card/1"
    assert card["data"]["own"]["columns"] == ["c0", "c1", "place"]
    assert [each["organisation"] for each in card["holders"]] == [LABEL, FIRST]
    assert [each["for"] for each in card["grants"]] == [["score"]]
    assert card["grants"][0]["score_used"]["runs"] >= 1
    assert card["scored"][0]["organisation"] == LABEL
    points = {each["column"]: each["bins"] for each in card["points"]}
    assert set(points) == {"c0", "c1", "place"}
    assert {"north", "south", "1"} <= {each["values"] for each in points["place"]}
    assert points["c0"][0]["values"].startswith("up to ")
    assert all(bins[-1]["values"] == "missing, or never seen" for bins in points.values())
    text = page.read_text("utf-8")
    assert "Model card: credit/1" in text
    assert "模型卡" in text
    assert "up to " in text
    assert "http" not in text.replace("http-equiv", "")
    for words in (("list",), ("show", "credit"), ("card", "credit")):
        assert fusion("model", *words, *home) == 0
        assert "credit/1" in fusion.out


def test_what_a_grant_lets_leave_is_exported(
    world: Served, fusion: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "model.json"
    for name in (LABEL, FIRST):
        home = ("--home", world.nodes[name].path)
        words = ("model", "export", "credit", "--out", file)
        found = fusion.document(*words, "--part", *home)
        content = json.loads(file.read_text("utf-8"))
        assert content["schema"] == "fusion.model-export/1"
        assert content["part"] == json.loads(world.model.parts[name])
        entry = world.logged(name, "model-exported")[-1]
        assert getattr(entry, "digest", "") == found["sha256"]
        # No row of anybody's table leaves with it.
        assert identifier(1) not in file.read_text("utf-8")
    world.revoke_grants(FIRST)
    for kept in world.known_grants(FIRST):
        world.tell(LABEL, kept)
    home = ("--home", world.nodes[LABEL].path)
    assert fusion("model", "export", "credit", "--out", file, "--part", *home) == 4
    assert "M-20" in fusion.err
    assert fusion("model", "export", "credit", "--out", file, *home) == 0
    content = json.loads(file.read_text("utf-8"))
    assert (content["part"], content["card"]["points"]) == (None, [])
    # A grant of the same owner for another of its tables, or another model, does not do.
    others: tuple[dict[str, Any], ...] = ({"dataset": "companies"}, {"only": ("another",)})
    for at, changes in enumerate(others):
        known = world.grant(FIRST, **changes)
        assert fusion("model", "export", "credit", "--out", file, "--part", *home) == 4
        assert "M-20" in fusion.err, (at, known)
    world.grant(FIRST)


def test_single_records_are_served_at_a_socket(world: Served, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with world.scorer() as scorer, score_server.serving(path, scorer, {"name": "credit/1"}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        local = Local(path)
        assert local.call("GET", "/v1/model") == (200, {"name": "credit/1"})
        status, said = local.call("POST", "/v1/score", {"id": identifier(1)})
        assert status == 200
        assert abs(said["score"] - world.model.scores[1]) < 1e-6
        assert local.call("POST", "/v1/score", {"id": "nobody"})[1]["missing"]
        refused: list[tuple[str, str, Any, int]] = [
            ("POST", "/v1/score", b"[", 400),
            ("POST", "/v1/score", {"id": 1}, 400),
            ("POST", "/v1/score", {"id": "a", "more": 1}, 400),
            ("POST", "/v1/score", b'"' + b"x" * 5000 + b'"', 400),
            ("POST", "/v1/score", b"", 400),
            ("POST", "/v1/score", b"[" * 4000, 400),
            ("POST", "/other", {"id": "a"}, 404),
            ("GET", "/", None, 404),
        ]
        for verb, where, body, wanted in refused:
            status, said = local.call(verb, where, body)
            assert (status, set(said["error"])) == (wanted, {"code", "message", "hint"})
        with pytest.raises(EnvironmentUnfit, match="served already"):
            score_server.ScoreServer(path, scorer, {})
        world.revoke_grants(FIRST)
        status, said = local.call("POST", "/v1/score", {"id": identifier(1)})
        assert status == 403
        assert said["error"]["code"].startswith("G-")
        world.grant(FIRST)
        local.close()
    assert not path.exists()
    path.write_text("not a socket")
    with pytest.raises(InputInvalid, match="no socket"), world.scorer() as scorer:
        score_server.ScoreServer(path, scorer, {})
    with pytest.raises(InputInvalid, match="at most"), world.scorer() as scorer:
        score_server.ScoreServer(tmp_path / ("x" * 100), scorer, {})


def test_the_command_serves_until_it_is_told_to_stop(world: Served, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    words = ["score", "serve", "--model", "credit", "--socket", str(path)]
    home = {"FUSION_HOME": str(world.nodes[LABEL].path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "fusion.cli", *words],
        env={**os.environ, **home}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    with contextlib.closing(Local(path)) as local:
        status, said = local.call("POST", "/v1/score", {"id": identifier(2)})
    assert status == 200
    assert abs(said["score"] - world.model.scores[2]) < 1e-6
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "is served at" in told
    assert not path.exists()


def test_nothing_is_said_to_be_served_where_no_socket_can_be_made(
    world: Served, fusion: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "x"
    home = ("--home", world.nodes[LABEL].path)
    assert fusion("score", "serve", "--model", "credit", "--socket", path, *home) == 3
    assert "is served at" not in fusion.err
    assert f"F-300: {path} can't be made: No such file or directory.\n-> " in fusion.err


def test_a_revoked_model_is_no_more_exported(
    world: Served, fusion: Terminal, tmp_path: Path
) -> None:
    node = world.nodes[FIRST]
    home = ("--home", node.path)
    words = ("model", "revoke", "credit", "--reason", "the study is over")
    assert fusion.document(*words, *home)["standing"] == "revoked"
    assert find_model(node, "credit").revoked
    card = fusion.document("model", "card", "credit", *home)
    assert card["revocation"]["reason"] == "the study is over"
    out = tmp_path / "model.json"
    assert fusion("model", "export", "credit", "--out", out, "--part", *home) == 4
    # The label party has not heard of it; it asks before its own part leaves.
    label = ("--home", world.nodes[LABEL].path)
    assert find_model(world.nodes[LABEL], "credit").standing == "kept"
    assert fusion("model", "export", "credit", "--out", out, "--part", *label) == 4
    assert "M-11" in fusion.err
    assert FIRST in fusion.err
    assert not out.exists()
    (line,) = fusion.document("model", "list", *label)["models"]
    assert (line["standing"], line["heard_revoked"]) == ("revoked", [FIRST])
    known = fusion.document("model", "card", "credit", *label)
    assert (known["standing"], known["revocation"]) == ("revoked", None)
    (heard,) = known["heard_revoked"]
    assert (heard["organisation"], heard["heard"][:2]) == (FIRST, "20")
    page = tmp_path / "card.html"
    assert fusion("model", "card", "credit", "--html", page, *label) == 0
    assert f"heard from it {heard['heard']}" in fusion.out
    assert f"by {FIRST}, heard from it" in page.read_text("utf-8")
    assert fusion("model", "export", "credit", "--out", out, *label) == 0
    assert fusion("model", "revoke", "credit", "--reason", "again", *home) == 0
    assert fusion("model", "list", *home) == 0
    assert "revoked" in fusion.out
    world.audited(FIRST)
    world.audited(LABEL)


def test_a_revocation_is_heard_while_scoring(tmp_path: Path, fusion: Terminal) -> None:
    model = trained.scorecard((LABEL, FIRST), [2, 2])
    with served(tmp_path, model, "scorecard", {}) as world:
        node = world.nodes[LABEL]
        ids = tmp_path / "ids.csv"
        ids.write_text(f"id\n{identifier(1)}\n", "utf-8")
        words = ("model", "revoke", "credit", "--reason", "over", "--home", world.nodes[FIRST].path)
        assert fusion(*words) == 0
        scoring = ("score", "--model", "credit", "--ids", ids, "--home", node.path)
        assert fusion(*scoring) == 4
        assert "M-11" in fusion.err
        assert set(find_model(node, "credit").heard) == {FIRST}
        assert find_model(node, "credit").standing == "revoked"
        # Heard again it is the same entry; an audit shows what was heard, when and from whom.
        assert fusion(*scoring) == 4
        (entry,) = world.logged(LABEL, "model-revocation-heard")
        assert isinstance(entry, ModelRevocationHeard)
        assert (entry.model, entry.organisation) == (world.shared.id, FIRST)
        world.audited(LABEL)
        bundle = tmp_path / "label.bundle"
        assert fusion("ledger", "export", node.path, "--out", bundle) == 0
        assert fusion("audit", bundle, "--unwitnessed") == 0
        assert f"{LABEL} heard at {entry.at}" in " ".join(fusion.err.split())


def test_a_part_does_not_leave_while_another_holder_can_not_be_asked(
    tmp_path: Path, fusion: Terminal
) -> None:
    model, out = trained.scorecard((LABEL, FIRST), [2, 2]), tmp_path / "model.json"
    with served(tmp_path, model, "scorecard", {}, away=FIRST) as world:
        home = ("--home", world.nodes[LABEL].path)
        assert fusion("model", "export", "credit", "--out", out, "--part", *home) == 4
        assert "M-21" in fusion.err
        assert FIRST in fusion.err
        assert not out.exists()
        assert fusion("model", "export", "credit", "--out", out, *home) == 0
        assert find_model(world.nodes[LABEL], "credit").standing == "kept"
