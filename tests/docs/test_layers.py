"""The layers hold, and the contracts that hold them have teeth."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.docs.sources import ROOT, SHIPPED, imported_modules, name, python_files

if TYPE_CHECKING:
    from pathlib import Path

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
# Where Flower may be imported, and the part of it that is public.
FLOWER = (
    "federated/runtime/",
    "federated/strategies/",
    "federated/client_app.py",
    "federated/server_app.py",
)
FLOWER_PUBLIC = {"flwr", "flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy"}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the packages in ``folder``."""
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, to plant violations in."""
    folder = tmp_path_factory.mktemp("layers")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in SHIPPED:
        ignore = shutil.ignore_patterns("__pycache__", "data")
        shutil.copytree(ROOT / package, folder / package, ignore=ignore)
    return folder


def test_the_contracts_hold(copy: Path) -> None:
    result = _lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("fusion/crypto/rng.py", "import fusion.cli", "Layers"),
        ("fusion/wire/limits.py", "import socket", "core"),
        ("fusion/crypto/hashing.py", "import time", "core"),
        ("fusion/identity/roster.py", "import federated", "Layers"),
        ("federated/__init__.py", "import sandbox", "Layers"),
        ("fusion/wire/canonical.py", "import pickle", "unsafe"),
        ("fusion/services/homes.py", "import secrets", "random"),
        ("fusion/services/homes.py", "import flwr", "Flower"),
        ("federated/protocols/__init__.py", "import fusion.stores", "core"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    text = path.read_text("utf-8")
    path.write_text(f"{text}\n{line}\n", "utf-8")
    try:
        result = _lint(copy)
    finally:
        path.write_text(text, "utf-8")
    assert result.returncode == 1, result.stdout
    broken = [row for row in result.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), result.stdout


def test_every_package_has_its_place_in_the_layers() -> None:
    layers = " ".join(next(c for c in CONTRACTS["contracts"] if c["id"] == "layers")["layers"])
    placed = {word.strip("()") for word in layers.replace("|", " ").split()}
    there = {
        f"fusion.{path.relative_to(ROOT / 'fusion').parts[0].removesuffix('.py')}"
        for path in python_files("fusion")
    } - {"fusion.__init__"}
    assert not sorted(there - placed)


def test_flower_is_imported_where_it_may_be() -> None:
    astray = [
        name(path)
        for path in python_files(*SHIPPED)
        if any(module.split(".")[0] == "flwr" for module in imported_modules(path))
        and not name(path).startswith(FLOWER)
    ]
    assert not astray


def test_private_parts_of_flower_are_used_in_the_runtime_only() -> None:
    private = {
        name(path): sorted(used)
        for path in python_files(*SHIPPED)
        if not name(path).startswith("federated/runtime/")
        and (
            used := {m for m in imported_modules(path) if m.split(".")[0] == "flwr"} - FLOWER_PUBLIC
        )
    }
    assert not private
