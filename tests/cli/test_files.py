"""Files that a command line names: whole or not there, and none of the user's is taken away."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import pytest

import fusion.cli
from fusion.cli.app import run
from fusion.cli.files import check_new
from fusion.errors import InputInvalid
from tests.faulting import forked


def test_a_full_disk_leaves_no_policy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"

    def full() -> tuple[str, str]:
        sys.dont_write_bytecode = True  # half a module would stay in the cache
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        return "exit", str(run(["policy", "init", str(file)]))

    assert forked("", full).what == "3"
    assert f"F-300: {file} can't be written: File too large." in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(["policy", "init", str(file)]) == 0


def test_no_verb_writes_a_file_in_place() -> None:
    """Files of users go through ``write_atomic``, which a full disk leaves as they were."""
    direct = re.compile(r"\.write_(?:text|bytes)\(|open\([^)]*[\"'][wax]")
    modules = list(Path(fusion.cli.__file__).parent.glob("*.py"))
    assert len(modules) > 20
    assert not [path.name for path in modules if direct.search(path.read_text("utf-8"))]


def test_what_is_there_already_is_not_written(tmp_path: Path) -> None:
    check_new(None)
    check_new(tmp_path / "new")
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    for path in (file, link):
        with pytest.raises(InputInvalid, match="is there already"):
            check_new(path)
    with pytest.raises(InputInvalid, match="it is a folder"):
        check_new(tmp_path)
