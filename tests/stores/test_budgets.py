"""Budgets: never overspent, nothing acknowledged is lost, whatever is killed when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fusion.errors import EnvironmentUnfit, GrantRefused
from fusion.grants.budget import NO_EVIDENCE, Amount, Budgets, Cap
from fusion.stores.budgets import MemoryBudgets, SqliteBudgets
from tests.postgres import STORES, new_schema
from tests.stores.places import Place

CAP = Cap(runs=5, epsilon_micro=1000, rows=None)
ONE = Amount(runs=1, epsilon_micro=300)


@pytest.fixture(params=STORES)
def budgets(request: pytest.FixtureRequest, tmp_path: Path) -> Budgets:
    if request.param == "postgres":
        return Place(new_schema(request.getfixturevalue("server"))).budgets()
    return SqliteBudgets(tmp_path / "b.sqlite") if request.param == "sqlite" else MemoryBudgets()


def test_what_is_reserved_is_used(budgets: Budgets) -> None:
    assert budgets.used("g", "train") == Amount()
    budgets.reserve("a", "g", "train", ONE, CAP)
    assert budgets.used("g", "train") == ONE
    budgets.commit("a")
    assert budgets.used("g", "train") == ONE
    assert budgets.used("g", "query") == Amount()
    assert budgets.used("h", "train") == Amount()


def test_what_is_still_reserved_is_listed(budgets: Budgets) -> None:
    assert budgets.reserved() == []
    for key in "cab":
        budgets.reserve(key, "g", "train", ONE, CAP)
    assert budgets.reserved() == ["a", "b", "c"]
    budgets.commit("a")
    budgets.release("b")
    assert budgets.reserved() == ["c"]


def test_the_same_again_is_charged_once(budgets: Budgets) -> None:
    for _ in range(3):
        budgets.reserve("a", "g", "train", ONE, CAP)
    budgets.commit("a")
    budgets.commit("a")
    budgets.reserve("a", "g", "train", ONE, CAP)
    assert budgets.used("g", "train") == ONE


@pytest.mark.parametrize(
    ("grant", "action", "amount"),
    [
        ("g", "train", Amount(runs=1, epsilon_micro=299)),
        ("g", "train", Amount(runs=2, epsilon_micro=300)),
        ("h", "train", ONE),
        ("g", "query", ONE),
    ],
)
def test_the_same_key_for_something_else_is_refused(
    budgets: Budgets, grant: str, action: str, amount: Amount
) -> None:
    budgets.reserve("a", "g", "train", ONE, CAP)
    with pytest.raises(GrantRefused, match="something else"):
        budgets.reserve("a", grant, action, amount, CAP)


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (Amount(runs=6), "G-31"),
        (Amount(runs=1, epsilon_micro=1001), "G-32"),
        (Amount(runs=1, rows=1), "G-33"),
    ],
)
def test_beyond_the_cap_is_refused_with_the_code(
    budgets: Budgets, amount: Amount, code: str
) -> None:
    with pytest.raises(GrantRefused) as refused:
        budgets.reserve("a", "g", "train", amount, CAP)
    assert refused.value.code == code
    assert budgets.used("g", "train") == Amount()


def test_a_release_gives_back_and_ends_the_key(budgets: Budgets) -> None:
    budgets.reserve("a", "g", "train", ONE, CAP)
    budgets.release("a")
    budgets.release("a")
    assert budgets.used("g", "train") == Amount()
    with pytest.raises(GrantRefused, match="given up"):
        budgets.reserve("a", "g", "train", ONE, CAP)
    with pytest.raises(GrantRefused, match="released"):
        budgets.commit("a")


def test_what_is_committed_is_not_given_back(budgets: Budgets) -> None:
    budgets.reserve("a", "g", "train", ONE, CAP)
    budgets.commit("a")
    with pytest.raises(GrantRefused, match="committed"):
        budgets.release("a")
    assert budgets.used("g", "train") == ONE


def test_what_was_never_reserved_is_neither_committed_nor_released(budgets: Budgets) -> None:
    with pytest.raises(GrantRefused, match="never reserved"):
        budgets.commit("a")
    with pytest.raises(GrantRefused, match="never reserved"):
        budgets.release("a")


def test_an_amount_is_a_whole_number_from_zero_up() -> None:
    for wrong in (-1, True, 1.0):
        with pytest.raises(GrantRefused):
            Amount(runs=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM charge",
        "DELETE FROM charge_cap",
        "UPDATE charge_cap SET runs = 100",
        "UPDATE charge SET runs = 0",
        "UPDATE charge SET state = 'reserved'",
        "UPDATE charge SET state = 'released' WHERE key = 'a'",
        "INSERT INTO charge VALUES ('z', 'g', 'train', 99, 0, 0, 'reserved')",
        "INSERT INTO charge VALUES ('z', 'g', 'train', -1, 0, 0, 'reserved')",
    ],
)
def test_the_database_itself_refuses(place: Place, statement: str) -> None:
    budgets = place.budgets()
    budgets.reserve("a", "g", "train", ONE, CAP)
    budgets.commit("a")
    with pytest.raises(EnvironmentUnfit):
        place.run(statement)
    assert budgets.used("g", "train") == ONE


class _Model(RuleBasedStateMachine):
    """Both adapters against a list of what happened, the file opened again now and then."""

    def __init__(self) -> None:
        super().__init__()
        from tempfile import mkdtemp  # noqa: PLC0415 - hypothesis makes many

        self.path = Path(mkdtemp(prefix="budgets-")) / "b.sqlite"
        self.disk, self.memory = SqliteBudgets(self.path), MemoryBudgets()
        self.charged: dict[str, tuple[Amount, str]] = {}

    def _both(self, what: str, *arguments: object) -> bool:
        results = []
        for adapter in (self.disk, self.memory):
            try:
                getattr(adapter, what)(*arguments)
            except GrantRefused as error:
                results.append(error.code)
            else:
                results.append("")
        assert results[0] == results[1]
        return results[0] == ""

    @rule(key=st.sampled_from("abcdef"), runs=st.integers(0, 3), micro=st.integers(0, 600))
    def reserve(self, key: str, runs: int, micro: int) -> None:
        amount = Amount(runs=runs, epsilon_micro=micro)
        if self._both("reserve", key, "g", "train", amount, CAP):
            self.charged.setdefault(key, (amount, "reserved"))

    @rule(key=st.sampled_from("abcdef"))
    def commit(self, key: str) -> None:
        if self._both("commit", key):
            self.charged[key] = (self.charged[key][0], "committed")

    @rule(keys=st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3))
    def commit_all(self, keys: set[str]) -> None:
        """All of them or none."""
        if self._both("commit_all", dict.fromkeys(sorted(keys), NO_EVIDENCE)):
            for key in keys:
                self.charged[key] = (self.charged[key][0], "committed")

    @rule(key=st.sampled_from("abcdef"))
    def release(self, key: str) -> None:
        if self._both("release", key):
            self.charged[key] = (self.charged[key][0], "released")

    @precondition(lambda self: bool(self.charged))
    @rule()
    def open_again(self) -> None:
        self.disk = SqliteBudgets(self.path)

    @invariant()
    def the_sum_is_right_and_within_the_cap(self) -> None:
        expected = Amount()
        for amount, state in self.charged.values():
            expected += Amount() if state == "released" else amount
        assert self.disk.used("g", "train") == self.memory.used("g", "train") == expected
        assert not CAP.exceeded(expected, Amount())


TestModel = _Model.TestCase


# ------------------------------------------------------------------------- real processes

WRITER = """
import sys
from fusion.errors import GrantRefused
from fusion.grants.budget import NO_EVIDENCE, Amount, Cap
from tests.stores.places import place_of
place, acks = place_of(sys.argv[1]), open(sys.argv[2], "a")
name, cap = sys.argv[3], int(sys.argv[4])
budgets = place.budgets()
print("ready", flush=True)
limits = Cap(runs=cap, epsilon_micro=3 * cap)
for count in range(10**6):
    key = f"{name}-{count}"
    try:
        budgets.reserve(key, "g", "train", Amount(runs=1, epsilon_micro=3), limits)
    except GrantRefused as error:
        assert error.code == "G-31", error
        break
    acks.write(key + "\\n")
    acks.flush()
    if count % 3 == 0:
        budgets.commit(key)
"""


def _start(place: Place, acks: Path, name: str, cap: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, place.argument, str(acks), name, str(cap)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)


def _check(place: Place, acks: list[Path], cap: int) -> int:
    """Nothing that was acknowledged is lost, nothing is overspent; return what is used."""
    acknowledged = {
        line for file in acks if file.exists() for line in file.read_text().split("\n")[:-1]
    }
    # One read: the others go on writing.
    rows = place.rows("SELECT key, runs, epsilon_micro FROM charge")
    if isinstance(place.at, Path):
        assert place.rows("PRAGMA integrity_check") == [("ok",)]
    assert acknowledged <= {key for key, _, _ in rows}
    runs = sum(int(row[1]) for row in rows)
    assert runs == len(rows) <= cap
    assert sum(row[2] for row in rows) == 3 * runs
    return runs


def test_eight_writers_at_once_spend_exactly_the_cap(place: Place, tmp_path: Path) -> None:
    cap = 60
    acks = [tmp_path / f"acks-{index}" for index in range(8)]
    writers = [_start(place, file, f"w{index}", cap) for index, file in enumerate(acks)]
    for writer in writers:
        writer.communicate(timeout=100)
        assert writer.returncode == 0
    assert _check(place, acks, cap) == cap


def _kill_loop(place: Place, folder: Path, *, kills: int, cap: int) -> None:
    """Kill one of three writers again and again, in the middle of whatever it does."""
    place.budgets().close()
    acks: list[Path] = []
    running: list[subprocess.Popen[str]] = []
    try:
        for number in range(kills):
            while len(running) < 3:
                acks.append(folder / f"acks-{len(acks)}")
                running.append(_start(place, acks[-1], f"w{len(acks)}", cap))
            writer = running.pop(0)
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.005 * (number % 7))
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate(timeout=100)
            _check(place, acks, cap)
        # Where all were killed before they spent anything, those that are left still do.
        until = time.monotonic() + 100
        while not any(file.exists() and file.read_text() for file in acks):
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        for writer in running:
            writer.kill()
            writer.communicate(timeout=100)
    assert _check(place, acks, cap) > 0


def test_a_few_kills_lose_nothing_and_overspend_nothing(place: Place, tmp_path: Path) -> None:
    _kill_loop(place, tmp_path, kills=2, cap=10_000)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_forty_kills_lose_nothing_and_overspend_nothing(place: Place, tmp_path: Path) -> None:
    _kill_loop(place, tmp_path, kills=40, cap=400)


def test_a_crash_leaves_it_charged(place: Place, tmp_path: Path) -> None:
    writer = _start(place, tmp_path / "acks", "w", 10**6)
    assert writer.stdout is not None
    writer.stdout.readline()
    while not (tmp_path / "acks").exists() or not (tmp_path / "acks").read_text():
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate(timeout=100)
    assert place.budgets().used("g", "train").runs >= 1
