"""Privacy budgets: never overspent, never given back, whoever asks at once or is killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.stores.rho import MAX_ANSWERS, Rho

if TYPE_CHECKING:
    from tests.stores.places import Place

ROOT = Path(__file__).parents[2]
CAP = Rho(grant=100, dataset=150)
WRITER = """
import os, sys
from fusion.stores.rho import Rho
from tests.stores.places import place_of

rho = place_of(sys.argv[1]).rho()
for number in range(int(sys.argv[3])):
    key = f"{sys.argv[2]} {number}"
    if rho.charge(key, "d", sys.argv[2], 7, Rho(grant=100, dataset=150)):
        print(key, flush=True)
print("end", flush=True)
sys.stdin.read()
"""


def test_a_charge_counts_for_grant_and_dataset(place: Place) -> None:
    rho = place.rho()
    assert rho.charge("a", "d", "g", 60, CAP)
    assert rho.charge("b", "d", "h", 70, CAP)
    assert rho.used("d", "g") == Rho(grant=60, dataset=130)
    assert CAP.without(rho.used("d", "g")).least == 20
    # The grant has 40, the dataset 20.
    assert not rho.charge("c", "d", "g", 21, CAP)
    assert rho.charge("c", "d", "g", 20, CAP)
    assert not rho.charge("e", "d", "h", 1, CAP)
    assert rho.charge("e", "other", "h", 100, CAP)
    assert rho.used("other", "h") == Rho(grant=100, dataset=100)
    assert not rho.charge("f", "other", "h", 1, CAP)
    # A cap that was lowered below what is spent leaves nothing.
    assert Rho(grant=10, dataset=10).without(rho.used("d", "g")) == Rho(grant=0, dataset=0)


def test_what_is_no_amount_or_was_charged_is_refused(place: Place) -> None:
    rho = place.rho()
    for amount in (0, -5, True, 1.5):
        with pytest.raises(InputInvalid):
            rho.charge("a", "d", "g", amount, CAP)  # type: ignore[arg-type]
    assert rho.charge("a", "d", "g", 1, CAP)
    with pytest.raises(InputInvalid):
        rho.charge("a", "d", "g", 1, CAP)
    assert rho.used("d", "g").dataset == 1


def test_nothing_is_given_back(place: Place) -> None:
    rho = place.rho()
    assert rho.charge("a", "d", "g", 50, CAP)
    for statement in ("DELETE FROM rho_charge", "UPDATE rho_charge SET rho_micro = 1"):
        with (
            pytest.raises(EnvironmentUnfit),
            rho._database.transaction() as connection,
        ):
            connection.execute(statement)
    assert rho.used("d", "g").grant == 50


def test_eight_threads_spend_no_more_than_there_is(place: Place) -> None:
    rho = place.rho()

    def spend(thread: int) -> int:
        return sum(rho.charge(f"{thread} {n}", "d", f"g{thread % 2}", 7, CAP) for n in range(6))

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(spend, range(8)))
    # 150 // 7 of the dataset; of a grant at most 100 // 7.
    assert done == 21
    assert rho.used("d", "g0").dataset == 147
    assert max(rho.used("d", name).grant for name in ("g0", "g1")) <= 98


def test_processes_that_are_killed_lose_nothing_that_was_charged(place: Place) -> None:
    rho = place.rho()
    words = [sys.executable, "-c", WRITER, place.argument]
    killed, other = (
        subprocess.Popen([*words, name, "40"], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in ("g0", "g1")
    )  # fmt: skip
    assert killed.stdout is not None
    assert other.stdout is not None
    said = [killed.stdout.readline()]
    # In the midst of its charges, as often as not.
    killed.send_signal(signal.SIGKILL)
    said += killed.stdout.readlines()
    while (line := other.stdout.readline()) not in {"end\n", ""}:
        said.append(line)
    for writer in (killed, other):
        with contextlib.suppress(BrokenPipeError):
            writer.communicate(timeout=100)
    kept = {key for (key,) in place.rows("SELECT key FROM rho_charge")}
    # The last line may be cut: what was not said in full was not acknowledged.
    assert {line[:-1] for line in said if line.endswith("\n")} - {"end"} <= kept
    assert rho.used("d", "g0").dataset == 7 * len(kept) <= 150
    # What the killed one had is gone for everybody, and nothing more.
    assert max(rho.used("d", name).grant for name in ("g0", "g1")) <= 98
    others = sum(key.startswith("g1") for key in kept)
    assert others == min(14, 21 - (len(kept) - others))


def test_answers_are_kept_the_newest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion.stores.rho.MAX_ANSWERS", 3)
    rho = place.rho()
    assert MAX_ANSWERS == 1000
    for number in range(5):
        rho.keep(f"a{number}", "d", b"%d" % number)
        rho.keep(f"a{number}", "d", b"another sample")
    rho.keep("b", "other", b"x")
    assert [rho.answer(f"a{number}") for number in range(5)] == [None, None, b"2", b"3", b"4"]
    assert rho.answer("b") == b"x"
