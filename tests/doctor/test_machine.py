"""What the doctor says of a machine, from values that a test can choose."""

from __future__ import annotations

import pytest

from fusion.crypto.paillier.engines import selection
from fusion.services import engines
from fusion.services.doctor_machine import (
    engine_finding,
    isolation_finding,
    machine_findings,
    package_findings,
    python_finding,
    threads_finding,
)
from fusion.services.findings import ok, problem, warning, worst

REQUIRED = (
    "flwr<1.42,>=1.41",
    "gmpy2>=2.2",
    "numpy<3,>=1.26",
    "rich >=13",
    "sphinx>=7; extra == 'docs'",
)
GOOD = {"flwr": "1.41.0", "gmpy2": "2.3.2.post1", "numpy": "2.1", "rich": "13"}


def test_this_machine_is_fit() -> None:
    found = machine_findings()
    assert {finding.check for finding in found} == {"python", "packages", "engine", "threads"}
    assert worst(found) != "problem"
    assert all(finding.todo for finding in found if finding.status != "ok")


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10), "problem"), ((2, 7), "problem"), ((3, 11), "ok"), ((3, 13), "warning")],
)
def test_a_version_of_python(version: tuple[int, int], status: str) -> None:
    assert python_finding(version).status == status


def test_packages_as_declared() -> None:
    (found,) = package_findings(REQUIRED, GOOD.get)
    assert (found.status, found.message) == ("ok", "4 packages within their declared ranges")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flwr": "1.42.0"}, "flwr 1.42.0 is installed; <1.42,>=1.41 is needed."),
        ({"flwr": "1.40.9"}, "flwr 1.40.9 is installed"),
        ({"gmpy2": "2.1.5"}, "gmpy2 2.1.5 is installed"),
        ({"numpy": "3.0.0"}, "numpy 3.0.0 is installed"),
        ({"rich": "9.13"}, "rich 9.13 is installed"),
        ({"rich": None}, "rich is not installed."),
    ],
)
def test_a_package_that_does_not_fit_is_named(change: dict[str, str | None], message: str) -> None:
    (found,) = package_findings(REQUIRED, {**GOOD, **change}.get)
    assert found.status == "problem"
    assert found.message.startswith(message)
    assert "requirements.lock" in found.todo


def test_the_engine_is_named_with_its_reason() -> None:
    choice = selection.choice()
    found = engine_finding({})
    assert found.message == f"{choice.engine.name}: {choice.reason}"
    assert engine_finding({selection.VARIABLE: choice.engine.name}).status == "ok"


def test_an_engine_that_was_asked_for_and_does_not_run_is_a_warning() -> None:
    found = engine_finding({selection.VARIABLE: "abacus"})
    assert found.status == "warning"
    assert "asks for abacus" in found.message
    assert selection.choice().reason in found.message


@pytest.mark.parametrize(
    ("processors", "quota", "status", "words"),
    [
        (8, None, "ok", "8 processors to use"),
        (8, 2.5, "ok", "2.5 processors to use"),
        (2, 16.0, "ok", "2 processors to use"),
        (1, None, "warning", "1 processor to use"),
        (8, 0.5, "warning", "0.5 processors to use"),
    ],
)
def test_processors(processors: int, quota: float | None, status: str, words: str) -> None:
    found = threads_finding(processors, quota)
    assert (found.status, found.message) == (status, words)


class Found:
    """What an isolation's diagnosis can be."""

    def __init__(self, *found: object) -> None:
        self._found = found

    def examine(self, account: str = "nobody") -> tuple[bool, str, str]:
        works, message, todo = self._found
        return bool(works), f"{message} for {account}", str(todo)


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        ((True, "both", ""), "ok", "both for worker"),
        ((True, "landlock only", "install"), "warning", "landlock only for worker"),
        ((False, "none", "install"), "warning", "Queries and Python jobs would be refused: none"),
    ],
)
def test_an_isolation(found: tuple[object, ...], status: str, words: str) -> None:
    finding = isolation_finding(Found(*found), "worker")
    assert finding.status == status
    assert finding.message.startswith(words)
    assert bool(finding.todo) == (status != "ok")


def test_the_isolation_of_this_machine_is_found_by_name() -> None:
    finding = isolation_finding(engines.isolation(), "nobody")
    assert finding.check == "isolation"
    assert "bubblewrap: " in finding.message
    assert "landlock: " in finding.message


def test_the_worst_finding_counts() -> None:
    assert worst([]) == "ok"
    assert worst([ok("a", "")]) == "ok"
    assert worst([ok("a", ""), warning("b", "", "")]) == "warning"
    assert worst([problem("c", "", ""), ok("a", ""), warning("b", "", "")]) == "problem"
