"""When answers leave, on a scripted clock: at fixed steps; late ones are counted, and bounded."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.errors import EnvironmentUnfit, IsolationBusy, QueryFailed, QueryRefused
from fusion.stores.lateness import Asker
from sandbox.lateness import LAST_MILLISECONDS, least_step
from sandbox.policy import Time
from sandbox.refusals import RefusedOnData
from tests.sandbox.late_node import NOBODY, Node, Scripted

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.lateness import Question


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize(
    ("needs", "leaves", "events"),
    [(0.0, 0.25, 0), (0.25, 0.25, 0), (0.2501, 0.5, 1), (0.9, 1.0, 2), (31.9, 32.0, 7)],
)
def test_an_answer_leaves_at_the_end_of_a_step(
    node: Node, needs: float, leaves: float, events: int
) -> None:
    assert node.ask(needs) == (leaves, True)
    assert node.events() == len(node.said) == events


def test_what_was_late_once_takes_as_long_until_the_next_month(node: Node) -> None:
    assert node.ask(0.9, "select a from t where b = 5 and c in (1, 2, 3)") == (1.0, True)
    events = node.events()
    node.restart()
    # Another value, another list, upper case: the shape is the same; so is the next revision's.
    for needs in (0.1, 0.3, 0.9):
        found = node.ask(needs, "SELECT a FROM t WHERE b = 7 AND c IN (4, 5)")
        assert found == (1.0, True)
    assert node.events() == events
    # What is of another shape, or somebody else's, begins at the first.
    assert node.ask(0.1, "select a from t where b = 5 or c in (1, 2, 3)") == (0.25, True)
    other = Asker(dataset="persons", party="press")
    assert node.ask(0.1, "select a from t where b = 5 and c in (1)", asker=other) == (0.25, True)
    node.clock.month = 12
    assert node.ask(0.1, "select a from t where b = 5 and c in (1)") == (0.25, True)


def test_work_is_looked_at_when_a_step_ends_and_at_no_other_time(node: Node) -> None:
    # The analyst has gone, or waits two seconds: neither ends it earlier than a step.
    assert node.ask(0.2, gone=True) == (0.25, True)
    assert node.ask(0.3, gone=True) == (0.25, False)
    assert node.events() == 1
    assert node.ask(3.0, "select b", seconds=3.9) == (2.0, False)
    # 0.25, 0.5, 1 and 2 s ended without an answer.
    assert node.events() == 5


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (QueryFailed(), "failed"),
        # How many rows there are tells of the data, as a failure does.
        (RefusedOnData("", code="Q-16"), "had more rows than were asked for"),
    ],
)
def test_a_failure_is_counted_as_a_late_answer_is(node: Node, fails: Exception, said: str) -> None:
    assert node.ask(0.1, fails=fails) == (0.25, False)
    assert node.events() == 1
    assert said in node.said[0]
    # A longer step would not help.
    assert node.ask(0.1) == (0.25, True)


def test_what_is_waited_for_too_shortly_is_refused(node: Node) -> None:
    assert node.ask(1.9, "select 2") == (2.0, True)
    with pytest.raises(QueryRefused) as refused:
        node.ask(0.1, "select 2", seconds=1)
    assert refused.value.code == "Q-26"
    assert "2 s" in refused.value.message


def test_each_quarter_makes_the_least_step_twice_as_long() -> None:
    usual = Time()
    assert [least_step(usual, used) for used in (0, 7, 8, 16, 24, 31)] == [
        250, 250, 500, 1000, 2000, 2000,
    ]  # fmt: skip
    assert least_step(Time(first_milliseconds=16_000), 31) == LAST_MILLISECONDS


def test_when_all_are_used_up_nothing_is_answered_until_the_next_month(tmp_path: Path) -> None:
    node = Node(tmp_path, late=6)
    while node.events() < 6:
        node.ask(40.0, f"select {'a' * (node.asked + 1)}")
    with pytest.raises(QueryRefused) as refused:
        node.ask(0.0, "select b")
    assert refused.value.code == "Q-25"
    assert node.events() == 6
    node.restart()
    with pytest.raises(QueryRefused):
        node.ask(0.0, "select b")
    # Others have theirs, and the next month is a new one.
    other = Asker(dataset="persons", party="press")
    assert node.ask(0.0, "select b", asker=other) == (0.25, True)
    node.clock.month = 12
    assert node.ask(0.0, "select b") == (0.25, True)


def test_queries_under_way_keep_what_they_may_need(tmp_path: Path) -> None:
    node = Node(tmp_path, late=10)
    with ExitStack() as held:
        held.enter_context(node.late.course(node.question()))  # 8 steps, 0.25 to 32 s
        second = held.enter_context(node.late.course(node.question("select 2")))
        # Two are left, so that it has two steps.
        assert second.most_seconds < 11
        with pytest.raises(IsolationBusy):
            held.enter_context(node.late.course(node.question("select 3")))
    assert node.ask(0.0, "select 3") == (0.25, True)


@pytest.mark.parametrize("others", [frozenset({"press"}), frozenset({"press", "shop"}), None])
def test_a_pool_that_is_made_or_grows_brings_no_new_events(
    tmp_path: Path, others: frozenset[str] | None
) -> None:
    node = Node(tmp_path, late=6)
    while node.events() < 6:
        node.ask(40.0, f"select {'a' * (node.asked + 1)}")
    for party, with_it in (("bank", others), ("press", others and frozenset({"bank"}))):
        asker = Asker(dataset="persons", party=party, others=with_it)
        with pytest.raises(QueryRefused) as refused:
            node.ask(0.0, "select b", asker=asker)
        assert refused.value.code == "Q-25"


def test_a_query_under_way_keeps_its_events_from_a_pool_that_is_made_meanwhile(
    tmp_path: Path,
) -> None:
    node = Node(tmp_path, late=8)
    pooled = Asker(dataset="persons", party="press", others=frozenset({"bank"}))
    with ExitStack() as held:
        held.enter_context(node.late.course(node.question()))  # 8 steps, 0.25 to 32 s
        with pytest.raises(IsolationBusy):
            held.enter_context(node.late.course(node.question(asker=pooled)))
    assert node.ask(0.0, asker=pooled) == (0.25, True)


def test_an_event_that_cant_be_written_ends_the_work_and_counts(tmp_path: Path) -> None:
    node = Node(tmp_path, late=8)
    with node.late.course(node.question()) as course:
        with node.store._database.transaction() as connection:
            connection.execute("ALTER TABLE late_answer RENAME TO away")
            connection.execute("CREATE VIEW late_answer AS SELECT * FROM away")
        with pytest.raises(EnvironmentUnfit):
            course.answer(Future(), NOBODY, node.clock)
        assert course.over.is_set()
    assert node.events() == 0
    # One of eight is used, so that a query has seven steps, the last of 16 s.
    with node.late.course(node.question("select 2")) as course:
        assert course.most_seconds < 27


def test_many_at_once_never_have_more_events_than_there_may_be(tmp_path: Path) -> None:
    node = Node(tmp_path, late=9)
    questions = [node.question(f"select {'a' * (n + 1)}") for n in range(40)]

    def ask(question: Question) -> int:
        # Each has a clock of its own; the store and what is kept are shared.
        clock = Scripted()
        late = node.late
        try:
            with late.course(question) as course:
                course._clock = clock
                course.begin()
                course.answer(Future(), NOBODY, clock)
        except QueryFailed:
            return 1
        except (IsolationBusy, QueryRefused):
            return 0
        raise AssertionError

    with ThreadPoolExecutor(8) as pool:
        begun = sum(pool.map(ask, questions))
    assert begun
    assert node.events() == len(node.said) <= 9


def test_no_attack_guesses_more_than_its_late_answers(tmp_path: Path) -> None:
    """Work that is late exactly where she is there: the best there can be."""
    node = Node(tmp_path, late=32)
    targets, right, draw = 2000, 0.0, np.random.default_rng(11)
    there = draw.integers(0, 2, targets).astype(bool)
    for place, present in enumerate(there):
        # The attacker knows at which step it begins, and chooses work that ends just after.
        step = least_step(node.time, node.events()) / 1000
        name = "".join("ab"[int(bit)] for bit in f"{place:b}")
        try:
            found = node.ask(step + 0.001 if present else 0.0, f"select {name} as c{name}")
        except QueryRefused:
            right += 0.5
            continue
        right += (found[0] > step) == present
    assert node.events() == 32
    # As the claim says, at most so many more than half; certain of about twice as many people.
    assert right <= targets / 2 + 32 + 4 * np.sqrt(32)
    assert right > targets / 2 + 16
