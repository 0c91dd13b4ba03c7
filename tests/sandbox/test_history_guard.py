"""The guard on disk: decided and written before a number is made; changed files are refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import EnvironmentUnfit, FusionError, HistoryBroken, InputInvalid
from sandbox.history import records
from sandbox.history.cohorts import Roll, following
from sandbox.history.decide import Rules, decide
from sandbox.history.epoch import Cohort
from sandbox.history.guard import MAX_VALUE, History, Release
from sandbox.history.predicates import Attribute, Condition, Definitions
from sandbox.history.request import Reason, Request, Scope, Status
from sandbox.history.state import State
from sandbox.history.thresholds import Draws, Policy
from tests.sandbox.history_node import COHORT, PEOPLE, Node
from tests.sandbox.history_people import DEFINED, MEASURE, SCOPE, SECRET, People, by, where

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.history.predicates import Predicate

NEXT: Final = Scope("tax", "persons", "analysts", "income", "2027-Q1")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_what_was_given_is_given_again_after_a_restart(node: Node) -> None:
    first = node.ask(*by("sex", "f", "m"))
    assert first.query == "Q-1"
    assert first.values == ("1:0", "1:1")
    for _ in range(2):
        again = node.ask(*by("sex", "m", "f"))
        assert (again.query, again.values) == ("", ("1:1", "1:0"))
        node.again()
    assert node.made == 1
    assert node.history.verify() == 1


def test_what_is_rehearsed_is_neither_counted_nor_on_disk(node: Node) -> None:
    with node.history.rehearsal(SCOPE):
        rehearsed = node.ask(*by("sex", "f", "m"))
        assert rehearsed.query == "Q-1"
        # Within, what was decided before counts.
        oldest = int(np.sort(PEOPLE.columns["age"])[-5])
        assert node.ask(where(age=range(18, oldest))).query == "Q-2"
    assert node.history.heads() == {}
    assert node.history.released(SCOPE) == {}
    assert node.history.refusals_left(SCOPE, "2026-11") == node.history.policy.refusals
    real = node.ask(*by("sex", "f", "m"))
    assert (real.query, real.decision) == ("Q-1", rehearsed.decision)
    # One that fails half-way leaves nothing either.
    with pytest.raises(InputInvalid), node.history.rehearsal(SCOPE):
        node.history.release(PEOPLE.table(where()), DEFINED, COHORT, lambda _: ())
    assert len(node.history.released(SCOPE)) == 2
    assert node.history.verify() == 1


def test_a_rehearsal_leaves_memory_as_the_file_has_it(node: Node) -> None:
    for table in ([where()], by("sex", "f", "m"), [where(age=range(18, 60))]):
        node.ask(*table)
    before = node.history.opened(SCOPE)[0]
    for table in (by("district", *(f"d{n:02}" for n in range(24))), [where(age=range(30, 100))]):
        with node.history.rehearsal(SCOPE):
            assert node.ask(*table).query == "Q-4"
    # It is not read anew.
    assert node.history.opened(SCOPE)[0] is before
    node.ask(*by("district", *(f"d{n:02}" for n in range(9)), age=range(40, 100)))
    own = node.history.opened(SCOPE)[0]
    node.again()
    read = node.history.opened(SCOPE)[0]
    assert own is not read
    assert (own.released, own.settled, own.queries) == (read.released, read.settled, read.queries)
    assert np.array_equal(own.leverage.factor.lower, read.leverage.factor.lower)
    assert np.array_equal(own.leverage.appearances, read.leverage.appearances)
    assert own.leverage.h == pytest.approx(read.leverage.h, abs=1e-12)
    for one, other in zip(own.leverage.columns.tables(), read.leverage.columns.tables(),
                          strict=True):  # fmt: skip
        assert np.array_equal(one[1], other[1])


def test_a_snapped_cell_gets_the_earlier_text(node: Node) -> None:
    node.ask(where())
    oldest = int(np.sort(PEOPLE.columns["age"])[-5])
    near = node.ask(where(age=range(18, oldest)))
    assert near.decision.outcomes[0].status is Status.SNAPPED
    assert near.values == ("1:0",)


def test_cells_that_are_joined_have_one_text(node: Node) -> None:
    cells = by("district", *(f"d{n:02}" for n in range(24)), age=range(80, 100))
    release = node.ask(*cells)
    joined = {
        value
        for value, outcome in zip(release.values, release.decision.outcomes, strict=True)
        if outcome.status is Status.MERGED
    }
    assert len(joined) == 1
    node.again()
    assert node.ask(*cells).values == release.values


def test_numbers_are_made_after_the_decision_is_on_disk(node: Node) -> None:
    def fails(groups: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
        with closing(sqlite3.connect(node.path)) as connection:
            found = connection.execute("SELECT kind FROM event ORDER BY number").fetchall()
        assert [row[0] for row in found] == ["open", "table"]
        raise InterruptedError(str(groups))

    request = PEOPLE.table(*by("sex", "f", "m"))
    with pytest.raises(InterruptedError):
        node.history.release(request, DEFINED, COHORT, fails)
    # What was decided stays decided: asked again, it is answered, and counted once.
    again = node.ask(*by("sex", "f", "m"))
    assert again.values == ("1:0", "1:1")
    assert node.history.meter(SCOPE).cells == 2


@pytest.mark.parametrize("texts", [(), ("1",), ("1", "2", "3"), ("1", "x" * (MAX_VALUE + 1))])
def test_texts_that_do_not_fit_are_refused(node: Node, texts: tuple[str, ...]) -> None:
    request = PEOPLE.table(*by("sex", "f", "m"))
    with pytest.raises(InputInvalid):
        node.history.release(request, DEFINED, COHORT, lambda _: texts)


def test_two_that_use_one_file_see_what_the_other_did(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path)
    node.ask(*by("sex", "f", "m"))
    assert other.ask(*by("sex", "f", "m")).values == ("1:0", "1:1")
    assert other.ask(*by("region", "north", "south")).query == "Q-2"
    assert node.ask(where(age=range(30, 50))).query == "Q-3"
    assert node.history.heads() == other.history.heads()


def test_refusals_are_counted_over_all_ledgers_of_a_group(tmp_path: Path) -> None:
    node = Node(tmp_path, Policy(refusals=1))
    oldest = int(np.sort(PEOPLE.columns["age"])[-5])
    node.ask(where())
    node.ask(where(age=range(18, oldest)))
    other = Scope("tax", "persons", "analysts", "health", "2026-Q4")
    foreign = Scope("tax", "persons", "others", "income", "2026-Q4")
    assert node.ask(where(), scope=other).decision.outcomes[0].reason is Reason.BUDGET
    assert node.ask(where(), scope=foreign).decision.outcomes[0].status is Status.SERVED
    assert node.ask(where()).values == ("1:0",)


def test_an_epoch_keeps_its_cohort_and_declaration(node: Node) -> None:
    node.ask(where())
    request = PEOPLE.table(where())
    changed = Definitions([Attribute("age", 18, 99)])
    with pytest.raises(InputInvalid, match="epoch"):
        node.history.release(request, changed, COHORT, node.answer)
    with pytest.raises(InputInvalid, match="epoch"):
        node.history.release(request, DEFINED, Cohort(3000, "cd"), node.answer)
    with pytest.raises(InputInvalid):
        node.history.release(request, DEFINED, Cohort(2999, "ab"), node.answer)


def test_decisions_are_the_same_bytes_whatever_is_answered(tmp_path: Path) -> None:
    draw = np.random.default_rng(12)
    bands = [range(int(low), 98) for low in draw.integers(60, 95, 30)]
    told = []
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        node = Node(tmp_path / str(turn))
        node.made = 1000 * turn
        releases = [node.ask(*by("sex", "f", "m", age=band), noise=0.0) for band in bands]
        told.append([release.decision.encode() for release in releases])
        assert any(None in release.values for release in releases)
    assert told[0] == told[1]


def test_more_ledgers_than_stay_in_memory(node: Node) -> None:
    scopes = [Scope("tax", "persons", "analysts", f"f{number}", "2026-Q4") for number in range(7)]
    first = [node.ask(where(), scope=scope).values for scope in scopes]
    assert [node.ask(where(), scope=scope).values for scope in scopes] == first
    assert node.history.verify() == 7
    assert node.history.opened(scopes[3])[0].leverage.rows == 1


def test_a_meter_tells_how_full_a_ledger_is(node: Node) -> None:
    node.ask(*by("sex", "f", "m"))
    node.ask(*by("region", "north"))
    meter = node.history.meter(SCOPE)
    assert meter.cells == 3
    assert 0 < meter.largest < 0.1
    assert 0 < meter.used < 0.1
    assert meter.appearances[2] == 2
    with pytest.raises(HistoryBroken):
        node.history.meter(NEXT)


def test_many_tables_come_back_from_a_snapshot(node: Node) -> None:
    for low in range(18, 58, 2):
        node.ask(*by("sex", "f", "m", age=range(low, low + 25)))
    # What was computed for the owner is kept with the next decision.
    node.history.meter(SCOPE)
    node.ask(*by("sex", "f", "m", age=range(18, 30)))
    with closing(sqlite3.connect(node.path)) as connection:
        assert connection.execute("SELECT count(*) FROM snapshot").fetchone() == (1,)
    meter = node.history.meter(SCOPE)
    node.again()
    # Those of the snapshot are read, what came after it is bounded.
    assert meter.cells // 2 < node.history.opened(SCOPE)[0].leverage.known()[0]
    found = node.history.meter(SCOPE)
    assert found.largest == pytest.approx(meter.largest, abs=1e-12)
    assert found.cells == meter.cells
    assert node.history.verify() == 1


# ------------------------------------------------------------------------------ a changed file


def _change(path: Path, statement: str, *, disarm: bool = True) -> None:
    with closing(sqlite3.connect(path)) as connection:
        if disarm:
            for name in ("event_stays", "event_is_final", "event_in_order"):
                connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET charged = 1 - charged WHERE number = 1",
        "UPDATE event SET body = replace(body, '24', '25') WHERE kind = 'table'",
        "UPDATE event SET body = CAST(replace(body, '24', '25') AS BLOB) WHERE kind = 'table'",
        "UPDATE event SET codes = zeroblob(length(codes)) WHERE number = 1",
        "UPDATE event SET rows = zeroblob(length(rows)) WHERE number = 3",
        "UPDATE event SET month = '2026-10' WHERE number = 3",
        "UPDATE event SET query = 7 WHERE number = 3",
        "DELETE FROM event WHERE number = 1",
        "DELETE FROM event WHERE number = 0",
        "UPDATE event SET number = number + 10 WHERE number = 3",
        "UPDATE event SET link = zeroblob(32) WHERE number = 0",
    ],
)
def test_a_changed_file_is_refused(node: Node, statement: str) -> None:
    node.ask(*by("sex", "f", "m"))
    node.ask(*by("region", "north", "south"))
    node.history.close()
    _change(node.path, statement)
    node.history = History(node.path, SECRET)
    with pytest.raises(HistoryBroken):
        node.history.verify()
    with pytest.raises((HistoryBroken, EnvironmentUnfit)):
        node.ask(where())


def test_a_changed_snapshot_is_refused(node: Node) -> None:
    for low in range(18, 58, 2):
        node.ask(*by("sex", "f", "m", age=range(low, low + 25)))
    # What was computed for the owner is kept with the next decision.
    node.history.meter(SCOPE)
    node.ask(*by("sex", "f", "m", age=range(18, 30)))
    node.history.close()
    _change(node.path, "UPDATE snapshot SET h = zeroblob(length(h))")
    node.history = History(node.path, SECRET)
    with pytest.raises(HistoryBroken):
        node.history.verify()


def test_another_secret_does_not_read_the_file(node: Node) -> None:
    node.ask(where())
    with pytest.raises(HistoryBroken):
        History(node.path, bytes(32)).verify()
    with pytest.raises(InputInvalid):
        History(node.path, b"short")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(EnvironmentUnfit):
        Node(tmp_path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM event",
        "UPDATE event SET charged = 0",
        "INSERT INTO event SELECT scope, 9, party, month, kind, 9, 0, body, codes, rows, link "
        "FROM event",
    ],
)
def test_the_file_itself_refuses(node: Node, statement: str) -> None:
    node.ask(where())
    with pytest.raises(sqlite3.IntegrityError):
        _change(node.path, statement, disarm=False)


def _written() -> tuple[bytes, bytes, bytes]:
    state = State(PEOPLE.count)
    rules = Rules(Policy(), Draws(SECRET, "s", PEOPLE.count), DEFINED)
    _, addition = decide(state, PEOPLE.table(*by("sex", "f", "m")), rules, 0)
    assert addition is not None
    return records.encode(MEASURE, addition)


WRITTEN: Final = _written()


@settings(max_examples=200)
@given(st.integers(0, 2), st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_damaged_record_is_refused_or_the_same_shape(
    part: int, place: int, value: int, cut: bool
) -> None:
    pieces = list(WRITTEN)
    data = bytearray(pieces[part])
    if cut:
        del data[place % len(data) :]
    else:
        data[place % len(data)] = value
    pieces[part] = bytes(data)
    try:
        _, addition = records.decode(pieces[0], pieces[1], pieces[2], PEOPLE.count, 0)
    except FusionError as error:
        assert isinstance(error, HistoryBroken)  # noqa: PT017 - or it decodes
    else:
        assert addition.codes.shape == (PEOPLE.count,)
        assert addition.rows.shape == (2, 2)


def test_definitions_that_could_not_be_read_again_are_not_written(node: Node) -> None:
    wide = Definitions([Attribute(f"{number}" * 300, 0, 10**9) for number in range(4)])
    draw = np.random.default_rng(14)

    def box() -> tuple[Condition, ...]:
        lows = draw.integers(0, 10**8, 4).tolist()
        return tuple(
            Condition(f"{n}" * 300, low=low, high=10**8 + low) for n, low in enumerate(lows)
        )

    codes = (np.arange(PEOPLE.count) % 16).astype(np.int32)
    predicates = tuple(tuple(box() for _ in range(256)) for _ in range(16))
    request = Request(SCOPE, "2026-11", MEASURE, predicates, codes, 24.0)
    with pytest.raises(InputInvalid, match="too long"):
        node.history.release(request, wide, COHORT, node.answer)
    assert node.history.heads() == {}
    assert node.ask(where()).values == ("1:0",)


def test_a_record_that_unpacks_to_more_than_its_cohort_is_refused() -> None:
    with pytest.raises(HistoryBroken):
        records.decode(*WRITTEN, PEOPLE.count - 1, 0)
    assert records.decode(*WRITTEN, PEOPLE.count, 0)[0] == MEASURE


# ------------------------------------------------------------------------------------- epochs


def _roll(count: int) -> Roll:
    return Roll(tuple(f"p{number}" for number in range(count)))


def test_joiners_and_leavers_wait_for_their_batch() -> None:
    roll = _roll(100)
    present = {f"p{number}": "a" for number in range(100) if number not in {3, 4}}
    present |= {f"n{number}": "a" if number < 12 else "b" for number in range(15)}
    found = following(roll, present, {"p3": "a", "p4": "a"}, 10)
    assert found.waiting == {"n12", "n13", "n14"}
    assert found.staying == {"p3", "p4"}
    assert len(found.roll.persons) == 112
    assert found.roll.persons[:100] == roll.persons
    assert found.roll.digest(SECRET) != roll.digest(SECRET)
    later = {name: "a" for name in present if name not in {f"p{n}" for n in range(20)}}
    last = {f"p{number}": "a" for number in range(20)}
    then = following(found.roll, later, last, 10)
    assert then.staying == frozenset()
    assert len(then.roll.gone) == 20
    assert then.waiting == {"n12", "n13", "n14"}


def test_who_comes_back_gets_a_new_number() -> None:
    roll = _roll(20)
    gone = following(roll, {f"p{n}": 0 for n in range(10)}, {f"p{n}": 0 for n in range(10, 20)}, 10)
    back = following(gone.roll, {f"p{n}": 0 for n in range(20)}, {}, 10)
    assert sorted(back.roll.counted().values()) == [*range(10), *range(20, 30)]
    with pytest.raises(InputInvalid):
        following(roll, {}, {}, 10)
    with pytest.raises(InputInvalid):
        Roll(("a", "a"))


def test_a_carried_ledger_counts_what_was_released_before(node: Node) -> None:
    node.ask(*by("sex", "f", "m"))
    node.ask(where(region="north"))
    before = node.history.meter(SCOPE)
    grown = Cohort(PEOPLE.count + 12, "cd")
    node.history.carry([SCOPE], NEXT, "2027-01", DEFINED, grown)
    after = node.history.meter(NEXT)
    assert (after.cells, after.appearances) == (before.cells, before.appearances)
    assert after.largest == pytest.approx(before.largest, abs=1e-12)
    more = People(PEOPLE.count + 12, 1)
    for name, column in more.columns.items():
        column[: PEOPLE.count] = PEOPLE.columns[name]
    more.columns["district"][PEOPLE.count :] = 20
    more.columns["sex"][-12:] = [0] * 3 + [1] * 9

    def ask(*predicates: Predicate) -> Release:
        request = more.table(*predicates, scope=NEXT, month="2027-01")
        return node.history.release(request, DEFINED, grown, node.answer)

    # Nobody came to the north: the same people, a new value. Three women came: too few apart.
    assert ask(where(region="north")).decision.outcomes[0].status is Status.SERVED
    women = ask(where(sex="f")).decision.outcomes[0]
    assert (women.status, women.reason, women.collides_with) == (
        Status.WITHHELD,
        Reason.PAIR,
        ("Q-1",),
    )
    node.again()
    assert node.history.verify() == 2
    for wrong in (NEXT, Scope("tax", "visits", "analysts", "income", "2027-Q2")):
        with pytest.raises(InputInvalid):
            node.history.carry([SCOPE], wrong, "2027-01", DEFINED, grown)
    third = Scope("tax", "persons", "analysts", "income", "2027-Q2")
    with pytest.raises(InputInvalid):
        node.history.carry([NEXT], third, "2027-04", DEFINED, COHORT)
