"""``fusion data`` as a user meets it: from a file to the federation's catalogue and its graph."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from fusion.services import node as node_service
from tests.catalogue.tables import text, write
from tests.cli.test_app import Terminal
from tests.deployment.walk import commands
from tests.link.federation import admit, make_hub

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A hub, two members, a table and its declaration on the desk."""
    hub = make_hub(tmp_path / "hub")
    for name in ("tax", "bank"):
        admit(hub, node_service.init(tmp_path / name, hub=str(hub.invitation), org=name))
    for name in ("tax", "bank"):
        shutil.copy(hub.roster_file, tmp_path / name / "roster.json")
    write(tmp_path / "firms.parquet")
    (tmp_path / "level.yaml").write_text(text(), "utf-8")
    (tmp_path / "samples").mkdir()
    return tmp_path


def _add(world: Path, fusion: Terminal, org: str = "tax", dataset: str = "firms") -> None:
    words = ("--id", dataset, "--classify", world / "level.yaml", "--home", world / org)
    assert fusion("data", "add", world / "firms.parquet", *words) == 0, fusion.err


def test_from_a_file_to_the_catalogue_of_everyone(world: Path, fusion: Terminal) -> None:
    tax, bank, hub = (("--home", world / name) for name in ("tax", "bank", "hub"))
    _add(world, fusion)
    assert "identifies enterprise (gb32100)" in fusion.out
    listed = fusion.document("data", "list", *tax)
    assert [each["id"] for each in listed["datasets"]] == ["firms"]
    assert listed["not_described"] == []
    file, all_of_it = world / "firms.json", world / "all.json"
    assert fusion("data", "publish", "firms", "--out", file, *tax) == 0
    assert fusion("data", "import", file, *hub) == 0
    assert "tax/firms  taken in" in fusion.out
    assert fusion("data", "publish", "--out", all_of_it, *hub) == 0
    assert fusion.document("data", "import", all_of_it, *bank)["new"] == ["tax/firms"]
    assert fusion("data", "list", *bank) == 0
    assert "tax/firms" in fusion.out
    shown = fusion.document("data", "show", "tax/firms", *bank)
    assert shown["descriptor"]["level"] == "general-3"
    assert fusion("data", "remove", "firms", *tax) == 0
    assert "withdrawn, revision 2" in fusion.out
    assert fusion.document("data", "list", *tax)["datasets"] == []
    assert len(fusion.document("data", "list", "--withdrawn", *tax)["datasets"]) == 1


def test_the_schema_digest_is_the_one_that_a_grant_names(world: Path, fusion: Terminal) -> None:
    _add(world, fusion)
    shown = fusion.document("data", "show", "firms", "--home", world / "tax")
    named = fusion.document("grant", "schema", "firms", "--home", world / "tax")
    assert shown["descriptor"]["schema_digest"] == named["schema_digest"]


def test_a_sample_and_what_is_left(world: Path, fusion: Terminal) -> None:
    _add(world, fusion)
    words = ("data", "mock", "firms", "--home", world / "tax", "--out", world / "samples")
    made = fusion.document(*words, "--epsilon", "0.4", "--rows", "20")
    assert made["left"] == {"epsilon_micro": 600_000, "runs": 2, "rows": 4980}
    assert "epsilon = 0.4 in all" in str(made["says"])
    assert fusion(*words, "--epsilon", "0.7") == 4
    assert "G-32" in fusion.err
    assert fusion(*words, "--epsilon", "a lot") == 2
    assert "is no epsilon" in fusion.err


def test_the_graph_in_each_of_its_forms(world: Path, fusion: Terminal) -> None:
    _add(world, fusion)
    _add(world, fusion, "bank", "loans")
    file = world / "loans.json"
    assert fusion("data", "publish", "loans", "--out", file, "--home", world / "bank") == 0
    assert fusion("data", "import", file, "--home", world / "tax") == 0
    page, drawing = world / "graph.html", world / "graph.svg"
    said = fusion.document(
        "data", "graph", "--home", world / "tax", "--html", page, "--svg", drawing
    )
    assert {join["entity"] for join in said["joins"]} == {"enterprise", "place"}
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert drawing.read_text("utf-8").startswith("<svg")
    assert fusion("data", "graph", "--home", world / "tax") == 0
    assert "bank/loans.uscc" in fusion.out
    assert fusion("data", "graph", "--language", "fr", "--home", world / "tax") == 2


def test_the_export_is_one_document(world: Path, fusion: Terminal) -> None:
    _add(world, fusion)
    out = world / "catalogue.jsonld"
    assert fusion("data", "export", "--dcat", "--out", out, "--home", world / "tax") == 0
    assert fusion("data", "export", "--home", world / "tax") == 0
    there, here = json.loads(out.read_text("utf-8")), json.loads(fusion.out)
    assert [node["@id"] for node in there["@graph"]] == [node["@id"] for node in here["@graph"]]


def test_a_draft_is_where_to_start(world: Path, fusion: Terminal) -> None:
    assert fusion("data", "draft", world / "firms.parquet") == 0
    (world / "level.yaml").write_text(fusion.out, "utf-8")
    _add(world, fusion)
    assert "general-4" in fusion.out


def test_mistakes_are_named_with_what_to_do(world: Path, fusion: Terminal) -> None:
    home = ("--home", world / "tax")
    path = world / "level.yaml"
    words = ("data", "add", world / "firms.parquet", "--id", "firms", "--classify", path, *home)
    assert fusion(*words, "--entity", "firm:uscc") == 2
    assert "-> Write --entity enterprise:uscc" in fusion.err
    assert fusion(*words, "--entity", "enterprise:usc") == 2
    assert "-> Did you mean 'uscc'?" in fusion.err
    path.write_text("schema: fusion.declaration/1\nlevle: general-1\n", "utf-8")
    assert fusion(*words) == 2
    assert f"F-204: {path}:2: `levle` is not known here." in fusion.err
    assert "-> Did you mean `level`?" in fusion.err
    assert fusion("data", "show", "firms", *home) == 2
    assert "-> `fusion data list` shows them" in fusion.err
    assert fusion("data", "publish", "firms", "--out", world / "x", *home) == 2


def test_the_commands_of_the_page_lead_where_it_says(
    world: Path, fusion: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setenv("FUSION_HOME", str(world / "tax"))
    seen = 0
    for line in commands("docs/catalogue.md"):
        if line.startswith("fusion data"):
            seen += 1
            assert fusion(*shlex.split(line)[1:]) == 0, (line, fusion.err)
    assert seen > 8
