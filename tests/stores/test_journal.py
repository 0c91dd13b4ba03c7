"""What the hub remembers of a run: one contract, in memory and on disk, and what the disk adds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.errors import EnvironmentUnfit
from fusion.stores.journal import SqliteJournal
from fusion.stores.memory import MemoryJournal

if TYPE_CHECKING:
    from pathlib import Path

OPENING = {"manifest": b"\x00\xff", "attempt": 2, "contributions": [[b"a", b"b"], ["text", None]]}


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryJournal | SqliteJournal:
    """One implementation after the other; what holds for one holds for both."""
    return MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "j.sqlite")


def test_attempts_count_from_one_for_each_round(journal: MemoryJournal | SqliteJournal) -> None:
    assert [journal.next_attempt(3) for _ in range(3)] == [1, 2, 3]
    assert journal.next_attempt(4) == 1
    assert journal.next_attempt(3) == 4


def test_an_opening_is_returned_as_it_was_kept(journal: MemoryJournal | SqliteJournal) -> None:
    assert journal.opening(1) is None
    journal.keep_opening(1, OPENING)
    assert journal.opening(1) == OPENING
    assert journal.opening(2) is None


def test_only_the_newest_opening_is_kept(journal: MemoryJournal | SqliteJournal) -> None:
    journal.keep_opening(1, OPENING)
    journal.keep_opening(2, {"manifest": b"another"})
    assert journal.opening(1) is None
    assert journal.opening(2) == {"manifest": b"another"}
    journal.keep_opening(2, OPENING)
    assert journal.opening(2) == OPENING


def test_absences_are_those_kept_last(journal: MemoryJournal | SqliteJournal) -> None:
    assert journal.absences() == {}
    journal.keep_absences({"a": "t1", "b": "t2"})
    assert journal.absences() == {"a": "t1", "b": "t2"}
    journal.keep_absences({"b": "t2"})
    assert journal.absences() == {"b": "t2"}


def test_states_come_back_in_order_the_newest_as_the_last(
    journal: MemoryJournal | SqliteJournal,
) -> None:
    assert journal.last_round() is None
    assert list(journal.rounds()) == []
    for number in (2, 0, 10, 1):
        journal.keep_round(number, {"parameters": bytes([number]), "number": number})
    journal.keep_round(1, {"parameters": b"again"})
    assert [number for number, _ in journal.rounds()] == [0, 1, 2, 10]
    assert journal.last_round() == (10, {"parameters": b"\n", "number": 10})
    assert dict(journal.rounds())[1] == {"parameters": b"again"}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=16),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4).filter(lambda k: k != "$hex"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(document=st.dictionaries(st.text(max_size=8), _VALUES, max_size=4))
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_state_comes_back_unchanged(
    journal: MemoryJournal | SqliteJournal, document: dict[str, object]
) -> None:
    journal.keep_round(1, document)
    assert journal.last_round() == (1, document)


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    before = SqliteJournal(path)
    before.next_attempt(5)
    before.keep_opening(5, OPENING)
    before.keep_round(4, {"parameters": b"\x01"})
    after = SqliteJournal(path)
    assert after.opening(5) == OPENING
    assert after.last_round() == (4, {"parameters": b"\x01"})
    # An attempt that was begun is used up, whatever became of it.
    assert after.next_attempt(5) == 2


def test_no_attempt_is_given_twice(tmp_path: Path) -> None:
    journals = [SqliteJournal(tmp_path / "journal.sqlite") for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        given_out = list(pool.map(lambda i: journals[i % 2].next_attempt(1), range(40)))
    assert sorted(given_out) == list(range(1, 41))


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("not a database, but long enough to look at" * 50, "utf-8")
    with pytest.raises(EnvironmentUnfit, match=r"journal\.sqlite") as refused:
        SqliteJournal(path)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("change", [(b"aabb", b"aabz"), (b'{"p', b'["p'), (b'"aabb"', b"  1111")])
def test_a_changed_document_is_found(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    path = tmp_path / "journal.sqlite"
    SqliteJournal(path).keep_round(1, {"p": b"\xaa\xbb"})
    data = path.read_bytes()  # the last connection left nothing in the write-ahead log
    assert data.count(change[0]) == 1
    path.write_bytes(data.replace(*change))
    with pytest.raises(EnvironmentUnfit, match="damaged"):
        SqliteJournal(path).last_round()
