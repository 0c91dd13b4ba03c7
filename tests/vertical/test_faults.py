"""Any fault at any message: the other side ends with a named error or goes on, whole.

``./dev soak`` runs every case, ``./dev test`` some: see ``faults.py`` and ``study_faults.py``.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fusion.crypto.paillier.keys import PrivateKey
from tests.vertical.faults import PROTOCOLS, cases
from tests.vertical.studies import boosting, linear, scorecard
from tests.vertical.study_faults import HEALS, LIES, parts_of, undisturbed, with_fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keys import Dealt
    from tests.vertical.study_faults import Fault

SOME = {
    "boosting-dealer": 127, "boosting-paillier": 127, "logistic-dealer": 263,
    "linear-paillier": 347, "counting": 97, "judging": 3,
}  # fmt: skip
"""One of so many cases is run in every test run."""

STUDIES = {
    "boosting with a dealer": boosting("dealer", 2),
    "logistic with a dealer": linear(epochs=2),
    "linear with a dealer": linear("linear", epochs=2),
    "poisson with a dealer": linear("poisson", epochs=2),
    "scorecard with a dealer": scorecard(epochs=2, min_bin=10),
}
WITHOUT_A_DEALER = {
    "boosting with Paillier": boosting("paillier", 2),
    "logistic with Paillier": linear("logistic", epochs=2, backend="paillier"),
    "linear with Paillier": linear("linear", epochs=2, backend="paillier"),
    "poisson with Paillier": linear("poisson", epochs=2, backend="paillier"),
    "scorecard with Paillier": scorecard(epochs=2, backend="paillier", min_bin=10),
}


@pytest.fixture(autouse=True)
def _counting_keys(monkeypatch: pytest.MonkeyPatch, dealt: Dealt) -> None:
    """A scorecard's bins are counted under a key that is there: safe primes take seconds."""

    def key(_: int) -> PrivateKey:
        return PrivateKey(*dealt.primes)

    monkeypatch.setattr("federated.vertical.scorecard_work.own_key", key)


@pytest.mark.parametrize("protocol", SOME)
def test_some_faults_are_refused_by_name_or_understood(protocol: str, dealt: Dealt) -> None:
    every, seen, refused = SOME[protocol], 0, 0
    for case in cases(protocol, 1, dealt, lambda n, place: (37 * n + place) % every == 0):
        assert not case.wrong, case
        seen += 1
        refused += case.ended == "refused"
    assert refused >= seen / 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_fault_is_refused_by_name_or_understood(
    protocol: str, others: int, dealt: Dealt
) -> None:
    wrong = [case for case in cases(protocol, others, dealt) if case.wrong]
    assert not wrong


def _check(folder: Path, name: str, names: tuple[str, ...], faults: list[Fault]) -> int:
    """Run a study with each fault, some at once; return how many faults were due."""
    model = (STUDIES | WITHOUT_A_DEALER)[name]
    before = set(threading.enumerate())
    expected = undisturbed(folder / "undisturbed", model, names)

    def run(item: tuple[int, Fault]) -> bool:
        number, fault = item
        found = with_fault(folder / str(number), model, names, fault)
        if found is not None and "boosting" in name and fault.what not in LIES:
            # Sums are exact: whatever was drawn anew, trees are the same to the last bit.
            assert parts_of(found) == expected.parts, fault
        return found is not None

    with ThreadPoolExecutor(6) as pool:
        due = sum(pool.map(run, enumerate(faults)))
    until = time.monotonic() + 60
    while left := [
        thread.name
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith(("talk", "vertical"))
    ]:
        assert time.monotonic() < until, left
        time.sleep(0.05)
    return due


def test_a_study_heals_ends_by_name_or_goes_on(tmp_path: Path) -> None:
    name, names = "boosting with a dealer", ("tax",)
    every = list(undisturbed(tmp_path / "first", STUDIES[name], names).faults())
    assert len(every) > 300
    chosen = [fault for fault in every if fault.what not in (*HEALS, *LIES)][20::48]
    chosen += [fault for fault in every if fault.what in (*HEALS, *LIES)][7::61]
    assert _check(tmp_path, name, names, chosen) >= len(chosen) - 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("names", [("tax",), ("tax", "work")])
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_with_every_fault(tmp_path: Path, name: str, names: tuple[str, ...]) -> None:
    every = list(undisturbed(tmp_path / "first", STUDIES[name], names).faults())
    assert _check(tmp_path, name, names, every) > len(every) * 0.9


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WITHOUT_A_DEALER)
def test_a_study_without_a_dealer_with_some_faults(tmp_path: Path, name: str) -> None:
    """Each draws two keys an attempt: that takes its time."""
    names = ("tax",)
    every = list(undisturbed(tmp_path / "first", WITHOUT_A_DEALER[name], names).faults())
    chosen = every[3::29]
    assert _check(tmp_path, name, names, chosen) > len(chosen) * 0.8
