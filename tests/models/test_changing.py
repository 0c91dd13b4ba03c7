"""Epochs that end under a call: its answers are of one of them, or there is no score."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import MessageInvalid, ModelRefused, PartyFailed
from fusion.services import scoring
from fusion.services.query_messages import Refusal
from fusion.services.score_asking import FeatureSide, Taken
from fusion.services.score_messages import Reply, asked_of, reply_of, to_bytes
from fusion.services.score_rules import Ruled, refused
from tests.models.faults import between
from tests.models.test_scoring import check_scores, linear
from tests.models.world import FIRST, SECOND, Served, identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["linear"]

SECONDS = 100.0
OVER = to_bytes(Reply(refusal=Refusal.of(refused(Ruled.OVER, FIRST))))


class Late(FeatureSide):
    """Comes to ask the second party only when it is let: as who waits for a thread."""

    reached, gate = threading.Event(), threading.Event()

    def ask(self, *given: Any) -> Any:  # noqa: ANN401 - as it is asked
        if self.name == SECOND and not self.reached.is_set():
            self.reached.set()
            assert self.gate.wait(SECONDS)
        return super().ask(*given)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Late]]:
    monkeypatch.setattr(scoring, "FeatureSide", Late)
    Late.reached, Late.gate = threading.Event(), threading.Event()
    yield Late
    Late.gate.set()


def test_a_call_has_its_answers_of_one_epoch(linear: Served, late: type[Late]) -> None:
    """Masks of two epochs do not cancel: what came of them looked like a score."""
    rows = [identifier(0), identifier(1)]
    with linear.scorer() as scorer, ThreadPoolExecutor(1) as pool:
        first = scorer.prepare()
        waits = pool.submit(scorer.score, rows)
        assert late.reached.wait(SECONDS)
        os.utime(linear.nodes[SECOND].config.data["people"])  # as if its table had changed
        check_scores(linear, scorer.score(rows))
        assert scorer.prepare()[0].epoch.number > first[0].epoch.number
        late.gate.set()
        found = waits.result(SECONDS)
        assert all(row.scored for row in found)
        check_scores(linear, found)


def test_epochs_of_two_numbers_are_not_asked_about(linear: Served) -> None:
    with linear.scorer() as scorer:
        one, other = scorer.prepare()
        later = Taken(other.epoch.model_copy(update={"number": 10**6}), other.reader)
        with pytest.raises(ModelRefused, match="epoch"):
            scorer._asked((one, later), [identifier(0)], lambda: None)


def test_a_party_that_has_another_epoch_than_was_asked_for_is_named(linear: Served) -> None:
    def put(name: str, _: bytes, answer: bytes) -> bytes:
        reply = reply_of(answer)[0]
        if name != FIRST or reply.epoch is None:
            return answer
        other = reply.epoch.model_copy(update={"number": reply.epoch.number + 1})
        return to_bytes(reply.model_copy(update={"epoch": other}))

    with (
        between(linear, put),
        linear.scorer() as scorer,
        pytest.raises(MessageInvalid, match=FIRST),
    ):
        scorer.score([identifier(0)])


class Ending:
    """Has the first party's epoch be over for so many questions."""

    def __init__(self, count: int) -> None:
        self.left, self.asked = count, 0

    def __call__(self, name: str, frame: bytes, answer: bytes) -> bytes:
        if name != FIRST or asked_of(frame)[0].kind != "ask":
            return answer
        self.asked += 1
        self.left -= 1
        return OVER if self.left >= 0 else answer


def test_a_call_asks_again_a_few_times(linear: Served) -> None:
    ending = Ending(3)
    with between(linear, ending), linear.scorer() as scorer:
        found = scorer.score([identifier(0)])
    assert found[0].scored
    check_scores(linear, found)
    assert ending.asked == 4


def test_a_call_does_not_ask_for_ever(linear: Served) -> None:
    ending = Ending(10**6)
    with between(linear, ending), linear.scorer() as scorer:
        with pytest.raises(PartyFailed) as error:
            scorer.score([identifier(0)])
        assert error.value.code == "M-13"
        assert ending.asked == 6


def test_who_leaves_an_epoch_does_not_end_a_newer_one(linear: Served) -> None:
    with linear.scorer() as scorer:
        first = scorer.prepare()
        scorer._leave(first)
        second = scorer.prepare()
        scorer._leave(first)
        assert scorer.prepare() is second
