"""``fusion doctor`` as a user meets it: words, exit code, one JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fusion.cli.app import run
from fusion.services import hub as hub_service
from fusion.services.homes import HubHome
from tests.link.federation import make_node

if TYPE_CHECKING:
    from pathlib import Path

CHECKS = ["ok", "warning", "problem"]


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSION_HOME", raising=False)


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    hub_service.init(tmp_path / "hub", address="127.0.0.1:0")
    return HubHome.open(tmp_path / "hub")


def document(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Run with ``--json``; return exit code and document."""
    code = run(["doctor", *words, "--json"])
    out, err = capsys.readouterr()
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return code, found


def test_the_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = document(capsys)
    assert code == 0
    assert (found["schema"], found["home"], found["kind"]) == ("fusion.doctor/1", None, None)
    assert [f["check"] for f in found["findings"]] == [
        "python",
        "packages",
        "engine",
        "threads",
        "isolation",
    ]


def test_a_full_document(hub: HubHome, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = document(capsys, str(hub.path))
    assert code == 0
    assert set(found) == {"schema", "home", "kind", "status", "findings"}
    assert (found["home"], found["kind"], found["status"]) == (str(hub.path), "hub", "warning")
    for finding in found["findings"]:
        assert set(finding) == {"check", "status", "message", "todo"}
        assert finding["status"] in CHECKS
        assert finding["message"]
        assert bool(finding["todo"]) == (finding["status"] != "ok")
    assert [f["check"] for f in found["findings"] if f["status"] == "warning"] == [
        "passphrase", "keys",
    ]  # fmt: skip


def test_a_problem_is_exit_3_with_what_to_do(
    hub: HubHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Port 0 is nobody's: the hub can't be reached.
    node = make_node(hub, tmp_path / "a", "a.example")
    (node.keys / "org-ca.pem").chmod(0o644)
    code, found = document(capsys, str(node.path))
    assert (code, found["status"]) == (3, "problem")
    problems = [f["check"] for f in found["findings"] if f["status"] == "problem"]
    assert problems == ["permissions", "hub"]
    assert run(["doctor", str(node.path)]) == 3
    out, err = capsys.readouterr()
    assert "problem  permissions" in out
    assert f"-> chmod 600 {node.keys / 'org-ca.pem'}" in out
    assert err == "2 problems, 4 warnings\n"


def test_the_home_is_taken_from_the_environment(
    hub: HubHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSION_HOME", str(hub.path))
    assert document(capsys)[1]["kind"] == "hub"


def test_a_folder_that_is_neither_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", str(tmp_path)]) == 2
    assert "neither a hub nor a node" in capsys.readouterr().err
