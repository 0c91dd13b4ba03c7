"""Folders that can't be written, such as a backup: what reads them reads, what writes says so."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fusion.services.homes import HubHome, NodeHome
from fusion.services.ledger import Book
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DROP_FROM_BOUNDING_SET, _DAC_OVERRIDE = 24, 1
"""From <linux/prctl.h> and <linux/capability.h>."""
_RUN = """\
import contextlib, io, json, sys
from fusion.cli.app import run
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def _as_others() -> None:
    """Give up the superuser's right to write whatever the modes say."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_DROP_FROM_BOUNDING_SET, _DAC_OVERRIDE, 0, 0, 0) != 0:
            os._exit(77)


def _said(lines: list[list[str]]) -> list[tuple[int, str, str]]:
    """Run command lines in one process, without the superuser's rights."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(lines)],
        check=False, capture_output=True, text=True, preexec_fn=_as_others, timeout=120,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("the superuser's rights can't be given up here")
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Path]:
    """A hub's and a node's folder with a log, as an auditor has them: to be read alone."""
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "tax", "tax"))
    node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    for home in (HubHome.open(hub.path), NodeHome.open(node.path)):
        with Book(home) as book:
            book.bundle()
    folders = (hub.path, node.path, *hub.path.rglob("*"), *node.path.rglob("*"))
    modes = {path: path.stat().st_mode for path in folders if not path.is_symlink()}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield tmp_path
    for path, mode in modes.items():
        path.chmod(mode)


def test_an_auditor_reads_a_folder_that_can_only_be_read(backup: Path) -> None:
    out = backup / "log.bundle"
    hub, tax = str(backup / "hub"), str(backup / "tax")
    reading = [
        line
        for home in (hub, tax)
        for line in (
            ["ledger", "show", home, "--json"],
            ["ledger", "verify", home, "--json"],
            ["ledger", "export", home, "--out", str(out), "--json"],
            ["audit", str(out), "--unwitnessed", "--json"],
            ["grant", "list", "--home", home, "--json"],
        )
    ] + [["model", "list", "--home", tax, "--json"], ["query", "history", "--home", tax, "--json"]]
    for words, (code, said, err) in zip(reading, _said(reading), strict=True):
        assert code == 0, (words, err)
        assert json.loads(said)["schema"].startswith("fusion.")


def test_what_would_write_there_says_which_file_and_what_to_do(backup: Path) -> None:
    hub, tax = str(backup / "hub"), str(backup / "tax")
    writing = [
        ["query", "select 1", "--dataset", "bank/x", "--purpose", "dpv:A", "--home", tax],
        ["hub", "up", hub],
        ["node", "up", tax],
    ]
    for words, (code, _, err) in zip(writing, _said(writing), strict=True):
        assert (code, err[:5]) == (3, "F-300"), (words, err)
        assert str(backup) in err
        assert "\n-> " in err


def test_a_log_whose_newest_entries_can_not_be_read_there_is_not_cut(backup: Path) -> None:
    """SQLite reads a write-ahead log through a file beside it: without one, nothing is left out."""
    tax = backup / "tax"
    tax.chmod(0o700)
    log = tax / "state.sqlite-wal"
    # As from a copy: what another process has mapped is not in it.
    (tax / "state.sqlite-shm").unlink(missing_ok=True)
    log.write_bytes(b"what a crash left")
    tax.chmod(0o500)
    ((code, _, err),) = _said([["ledger", "show", str(tax)]])
    tax.chmod(0o700)
    log.unlink()
    assert code == 3
    assert "can't be read without state.sqlite-wal" in err
    assert "Copy the folder" in err
