"""What pages show is found in the shell of whoever types it: the command, the module, the paths."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.deployment.walk import shell_of
from tests.docs.sources import ROOT, documents, name, shown_commands

if TYPE_CHECKING:
    from pathlib import Path

ACTIVATE = ". .venv/bin/activate"


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/deploy.md"])
def test_the_command_is_found_after_what_the_page_shows_before_it(page: str) -> None:
    environment = shell_of(page)
    shown = subprocess.run(
        ["fusion", "--version"],  # noqa: S607 - found on the path: that is the question
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.startswith("banyan-fusion ")


def test_a_module_of_the_examples_is_found_after_what_its_page_shows_before_it() -> None:
    pages = [page for page in documents() if name(page).startswith("examples/")]
    assert len(pages) > 1
    for page in pages:
        first = shown_commands(page)[0]
        assert first == ACTIVATE, name(page)
        (module,) = {w.split()[2] for w in shown_commands(page) if w.startswith("python -m ")}
        done = subprocess.run(
            ["/bin/sh", "-c", f"{first} && python -m {module} --help"],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "No module named" not in done.stderr, name(page)


def test_dev_keeps_the_folder_of_its_caller(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id\nP1\nP2\n", "utf-8")
    words = ["fusion", "align", "check", "ids.csv", "--column", "id", "--kind", "text", "--json"]
    done = subprocess.run(
        [ROOT / "dev", *words],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"keys": 2' in done.stdout
