"""``fusion ledger`` and ``fusion audit``: what is printed, and what an auditor is told."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusion.ledger import bundle as bundles
from fusion.ledger import entry as entries
from fusion.ledger.entry import encode
from fusion.services.files import write_atomic
from fusion.services.ledger import Book
from tests.cli.test_app import Terminal
from tests.ledger.made import AT, World, hexed
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path

WORLD = World()


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's folder whose log has six entries."""
    hub = make_hub(tmp_path / "hub")
    home = admit(hub, make_node(hub, tmp_path / "node", "a.example"))
    book = Book(home)
    book.see_roster()
    for number in range(4):
        refused = entries.StudyRefused(
            at=AT, job=f"job-{number}", study=hexed("study"), code="F-400"
        )
        book.ledger.append([encode(refused)])
    return home.path


@pytest.fixture
def exported(tmp_path: Path) -> dict[str, Path]:
    """Bundles of a run that everybody witnessed."""
    logs = {"hub": WORLD.hub_log(), **{n: WORLD.node_log(n) for n in WORLD.members}}
    files = {}
    for name, logged in logs.items():
        files[name] = tmp_path / f"{name}.bundle"
        write_atomic(files[name], b"".join(bundles.lines_of(WORLD.bundle(name, logged))))
    return files


def test_a_log_is_shown_as_a_table_and_as_a_document(fusion: Terminal, node: Path) -> None:
    assert fusion("ledger", "show", node) == 0
    lines = fusion.out.splitlines()
    assert len(lines) == 6
    assert "organisation-made" in lines[0]
    assert "organisation a.example" in lines[0]
    assert lines[5].endswith("code F-400")
    assert "6 of 6 entries" in fusion.err
    shown = fusion.document("ledger", "show", node, "--last", "1")
    assert (shown["schema"], shown["size"]) == ("fusion.ledger/1", 6)
    assert shown["entries"][0]["number"] == 5
    assert shown["entries"][0]["study"] == hexed("study")
    shown = fusion.document("ledger", "show", node, "--kind", "roster-seen")
    assert [item["number"] for item in shown["entries"]] == [1]


def test_a_log_that_nobody_has_cosigned_is_right_and_said_to_be_so(
    fusion: Terminal, node: Path, tmp_path: Path
) -> None:
    found = fusion.document("ledger", "verify", node)
    assert (found["schema"], found["entries"], found["witnessed"]) == (
        "fusion.ledger-verified/1",
        6,
        0,
    )
    assert fusion("ledger", "verify", node) == 0
    assert "no quorum" in fusion.err
    # With one member there is nobody else to witness.
    out = tmp_path / "a.bundle"
    assert fusion.document("ledger", "export", node, "--out", out)["entries"] == 6
    assert fusion("audit", out) == 5
    assert "F-501" in fusion.err
    assert fusion("audit", out, "--unwitnessed") == 0


def test_an_entry_changed_in_the_file_is_named(fusion: Terminal, node: Path) -> None:
    with closing(sqlite3.connect(node / "state.sqlite")) as connection:
        connection.execute("DROP TRIGGER entry_stays")
        connection.execute(
            "UPDATE entry SET body = replace(body, 'job-1', 'job-9') WHERE number = 3"
        )
        connection.commit()
    assert fusion("ledger", "verify", node) == 5
    assert "F-506: Entry 3 is not the one that was logged." in fusion.err


def test_several_logs_are_audited_together(fusion: Terminal, exported: dict[str, Path]) -> None:
    authority = WORLD.hub.statement.public.hex
    found = fusion.document("audit", *exported.values(), "--authority", authority)
    assert found["schema"] == "fusion.audit/1"
    assert found["authority_given"] is True
    assert [log["organisation"] for log in found["logs"]] == list(exported)
    assert [log["quorum"] for log in found["logs"]] == [3, 2, 2, 2, 2]
    assert found["logs"][1]["sums"][0]["opening"] == found["logs"][0]["sums"][0]["opening"]
    assert fusion("audit", *exported.values()) == 0
    assert len(fusion.out.splitlines()) == 6
    assert "authority as the bundle says" in fusion.err
    assert fusion("audit", exported["hub"], "--authority", hexed("another")) == 5


def test_a_changed_bundle_ends_with_5_and_the_number_of_the_entry(
    fusion: Terminal, exported: dict[str, Path]
) -> None:
    file = exported["north"]
    file.write_bytes(file.read_bytes().replace(b'"round":2', b'"round":7', 1))
    assert fusion("audit", *exported.values()) == 5
    assert fusion.err.startswith("F-506: Entry 7 is not the one that was logged.")
    assert fusion.out == ""


def test_a_log_that_went_back_is_found_against_what_was_seen_before(
    fusion: Terminal, exported: dict[str, Path], tmp_path: Path
) -> None:
    before, note = tmp_path / "before.bundle", tmp_path / "before.note"
    shorter = WORLD.bundle("north", WORLD.node_log("north")[:6])
    write_atomic(before, b"".join(bundles.lines_of(shorter)))
    write_atomic(note, shorter.checkpoints[-1])
    assert fusion("audit", exported["north"], "--since", before) == 0
    assert fusion("audit", exported["north"], "--since", note) == 0
    assert fusion("audit", before, "--since", exported["north"]) == 5
    assert "gone back" in fusion.err
    assert "Entry 6" in fusion.err
    assert fusion("audit", before, note, "--since", note) == 2


def test_what_cannot_be_read_is_said(fusion: Terminal, tmp_path: Path) -> None:
    assert fusion("audit", tmp_path / "missing") == 2
    assert fusion("ledger", "show", tmp_path) == 2
    (tmp_path / "x").write_bytes(b"something else\n")
    assert fusion("audit", tmp_path / "x") == 5


def test_an_audit_needs_nothing_but_the_bundles(exported: dict[str, Path]) -> None:
    """In a process of its own, in an empty folder, without a network."""
    code = """
import sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise PermissionError(event)

sys.addaudithook(refuse)
from fusion.cli.app import run
sys.exit(run(sys.argv[1:]))
"""
    words = [sys.executable, "-c", code, "audit", *map(str, exported.values()), "--json"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=200)
    assert len(json.loads(done.stdout)["logs"]) == 5
