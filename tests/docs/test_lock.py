"""The lock: everything pinned and hashed, no host named, and in step with what is declared."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.sources import ROOT, SHIPPED, imported_modules, python_files

LOCKS = ("requirements.lock", "bootstrap.lock", "spark.lock")
APART = {"pyspark": "spark.lock"}
"""What is too large for everybody: `./dev spark` installs it."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUNTIME = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
OPTIONAL = [
    Requirement(line)
    for lines in PROJECT["project"].get("optional-dependencies", {}).values()
    for line in lines
]
DEVELOPMENT = [Requirement(line) for line in PROJECT["dependency-groups"]["dev"]]
# Imported by name only: grpcio is what flwr's fleet interface is generated for.
NOT_IMPORTED: set[str] = set()


def _entries(file: str) -> list[str]:
    """Return the logical lines of a lock."""
    return [
        line
        for line in (ROOT / file).read_text("utf-8").replace("\\\n", " ").splitlines()
        if line.strip()
    ]


def _pins(file: str) -> dict[str, str]:
    """Return distribution name to version."""
    pins: dict[str, str] = {}
    for line in _entries(file):
        match = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", line)
        assert match, line
        pins[canonicalize_name(match[1])] = match[2]
    return pins


@pytest.mark.parametrize("file", LOCKS)
def test_no_host_is_named(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    assert not re.search(r"://|file:|^--|^-[a-z]| @ ", text, re.MULTILINE)


@pytest.mark.parametrize("file", LOCKS)
def test_every_line_is_pinned_and_hashed(file: str) -> None:
    assert _pins(file)
    assert not [
        line for line in _entries(file) if not re.search(r"--hash=sha256:[0-9a-f]{64}", line)
    ]


@pytest.mark.parametrize(
    "requirement", [*RUNTIME, *OPTIONAL, *DEVELOPMENT], ids=lambda item: item.name
)
def test_the_lock_satisfies_what_is_declared(requirement: Requirement) -> None:
    file = APART.get(requirement.name, "requirements.lock")
    version = _pins(file).get(canonicalize_name(requirement.name))
    assert version is not None, "run ./dev lock"
    assert requirement.specifier.contains(version, prereleases=True), "run ./dev lock"


def _imported_distributions() -> set[str]:
    """Return the distributions that the shipped packages import."""
    owners = packages_distributions()
    tops = {
        module.split(".")[0] for path in python_files(*SHIPPED) for module in imported_modules(path)
    }
    foreign = tops - set(sys.stdlib_module_names) - set(SHIPPED)
    return {canonicalize_name(owner) for top in foreign for owner in owners.get(top, [top])}


def test_every_import_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in [*RUNTIME, *OPTIONAL]}
    assert not sorted(_imported_distributions() - declared)


def test_every_declared_dependency_is_imported() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    assert not sorted(declared - _imported_distributions() - NOT_IMPORTED)
