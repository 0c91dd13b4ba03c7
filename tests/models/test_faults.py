"""Any fault at any message of scoring: either side ends with a named error, and goes on."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from federated import seeds
from fusion.alignment.asking import Asker
from fusion.errors import FusionError, ModelRefused, PartyUnreachable, VerificationFailed
from fusion.grants import signing
from fusion.grants.refusal import Code
from fusion.services import score_asking, score_service
from fusion.services.clock import SystemClock, timestamp
from fusion.services.grants import folder_of
from fusion.services.maskers import maskers
from fusion.services.models import find_model, keep_part, revoke_model
from fusion.services.score_messages import (
    Asked,
    Epoch,
    Preparing,
    Reply,
    asked_of,
    reply_of,
    to_bytes,
)
from fusion.services.score_rules import Ruled
from fusion.services.score_service import MAX_A_CALLER
from fusion.services.scoring import Scorer
from tests.models.faults import At, between
from tests.models.test_scoring import ask, check_scores, linear, trees
from tests.models.world import (
    FIRST,
    LABEL,
    PURPOSE,
    D,
    Served,
    facts,
    identifier,
    served,
    shared,
)
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.crypto.ristretto.group import Masker

__all__ = ["linear", "trees"]

ROWS = [*map(identifier, range(40))]
Heard = list[tuple[str, bytes, bytes]]
"""Of each message: who answered, the question, the answer."""

LATE = 0.4
"""Seconds after which a party is taken for silent, where answers do not come."""

KINDS = ["linear", "trees", "card"]
EVERY = [389, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
"""One of so many faults is tried."""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A scorecard of which one feature party has points: they open by themselves."""
    model = trained.scorecard((LABEL, FIRST), [1, 1])
    with served(tmp_path_factory.mktemp("card"), model, "scorecard", {FIRST: {3}}) as found:
        yield found


def _score(world: Served) -> list[Any]:
    """Score with nothing on disk: sets are fetched anew."""
    shutil.rmtree(world.kept.path / "sets", ignore_errors=True)
    with world.scorer() as scorer:
        return scorer.score(ROWS)


def _heard(world: Served) -> Heard:
    """Return the messages of a question, when answers are prepared: the same number each time."""
    check_scores(world, _score(world))
    found: Heard = []

    def put(name: str, frame: bytes, answer: bytes) -> bytes:
        found.append((name, frame, answer))
        return answer

    with between(world, put):
        check_scores(world, _score(world))
    return found


def _faults(frame: bytes, earlier: list[bytes]) -> Iterator[bytes]:
    """Yield what may come in place of a question or of an answer."""
    draw = seeds.generator("tests-score-faults", len(frame))
    yield from (b"", b"rubbish", frame[:-1], frame + b"\0", frame[: len(frame) // 2])
    yield from (draw.bytes(len(frame)), b"\xff" * 8 + frame, bytes(4) + frame)
    yield from earlier
    length = int.from_bytes(frame[:4], "big")
    head, body = json.loads(frame[4 : 4 + length]), frame[4 + length :]
    for key, value in head.items():
        yield _framed({k: v for k, v in head.items() if k != key}, body)
        others: tuple[Any, ...] = (None, -1, 2**60, "x", "0" * 64, [], {}, True, 1.5)
        for other in others:
            yield _framed({**head, key: other}, body)
        if isinstance(value, dict):
            for inner in value:
                for other in (None, -1, 2**31 - 1, "x", [], {}):
                    yield _framed({**head, key: {**value, inner: other}}, body)
    if body:
        yield frame[: 4 + length] + draw.bytes(len(body))
        yield frame[: 4 + length] + bytes(len(body))
        for at in draw.integers(0, len(body), 12).tolist():
            changed = bytearray(frame)
            changed[4 + length + at] ^= 1 << int(draw.integers(0, 8))
            yield bytes(changed)
    yield frame[: 4 + length]
    yield frame + bytes(2 << 20)


def _ended(world: Served) -> str:
    """Score; return the code of the error, or nothing if all went well."""
    try:
        check_scores(world, _score(world))
    except FusionError as error:
        return error.code
    return ""


def _forgotten(world: Served) -> None:
    """Have parties forget questions that ended half way, as they do after a minute (M-15)."""
    for service in world.services.values():
        for question in service._questions.values():
            question.evaluator.close()
        service._questions.clear()


def _shown(kind: str, what: str, messages: int, said: Counter[str]) -> None:
    """Write what became of the faults of a walk, by code; none where all went well."""
    sys.stdout.write(f"{kind}, {what}: {messages} messages, {said.total()} faults, {dict(said)}\n")


def _framed(head: dict[str, Any], body: bytes) -> bytes:
    data = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    return len(data).to_bytes(4, "big") + data + body


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_label_party_asks_is_answered_or_refused_by_rule(
    kind: str, every: int, request: pytest.FixtureRequest
) -> None:
    world: Served = request.getfixturevalue(kind)
    heard, number = _heard(world), 0
    said: Counter[str] = Counter()
    for at, (name, frame, _) in enumerate(heard):
        service = world.services[name]
        earlier = [question for _, question, _ in heard[:at]] or [heard[-1][1]]
        for wrong in _faults(frame, earlier):
            number += 1
            if number % every:
                continue
            reply, _ = reply_of(service.reply(LABEL, wrong, None))  # type: ignore[arg-type]
            code = "" if reply.refusal is None else reply.refusal.code
            said[code] += 1
            assert code != Ruled.UNANSWERED.value.code, (at, wrong, world.said)
    _shown(kind, "questions", len(heard), said)
    assert said.total() - said[""] > number / every / 3
    check_scores(world, _score(world))


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_feature_party_answers_ends_by_name(
    kind: str, every: int, request: pytest.FixtureRequest
) -> None:
    world: Served = request.getfixturevalue(kind)
    heard, number = _heard(world), 0
    said: Counter[str] = Counter()
    earlier = [answer for name, _, answer in _heard(world) if name == heard[0][0]]
    own = len([1 for name, *_ in heard if name == heard[0][0]])
    for at in range(own):
        mine = [answer for name, _, answer in heard if name == heard[0][0]]
        # Those of this question, and of the one before it.
        others = [*mine[:at], earlier[at], to_bytes(Reply(take=2**31 - 1))]
        for wrong in _faults(mine[at], others):
            number += 1
            if number % every:
                continue
            if number % 300 == 0:
                for name in world.model.names:  # each question is a run
                    world.grant(name)
            asked = 0

            def put(
                name: str, _: bytes, answer: bytes, wrong: bytes = wrong, at: int = at
            ) -> bytes:
                nonlocal asked
                if name != heard[0][0]:
                    return answer
                asked += 1
                return wrong if asked == at + 1 else answer

            with between(world, put):
                ended = _ended(world)
            _forgotten(world)
            assert ended != FusionError.code, (at, wrong)
            said[ended] += 1
            check_scores(world, _score(world)) if number % 50 == 0 else None
    _shown(kind, "answers", own, said)
    assert said.total() - said[""] > number / every / 3
    check_scores(world, _score(world))


def _unheard() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Yield in which ways an answer does not come."""

    def frozen(answer: bytes) -> bytes:
        time.sleep(2 * LATE)
        return answer

    def gone(_: bytes) -> bytes:
        raise ConnectionResetError

    yield "frozen", frozen
    yield "gone", gone


@pytest.mark.parametrize(
    ("kind", "every"),
    [("card", 7), *(pytest.param(kind, 1, marks=pytest.mark.soak) for kind in KINDS)],
)
def test_an_answer_that_does_not_come_ends_by_name(
    kind: str, every: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every message of every feature party: it is frozen, or its connection is lost."""
    world: Served = request.getfixturevalue(kind)
    messages = Counter(name for name, *_ in _heard(world))
    said: Counter[str] = Counter()
    monkeypatch.setattr(score_asking, "CALL_SECONDS", LATE)
    for way, act in _unheard():
        for who, count in messages.items():
            for at in range(0, count, every):
                with between(world, At(who, at, act)), pytest.raises(PartyUnreachable, match=who):
                    _score(world)
                said[way] += 1
                _forgotten(world)
    monkeypatch.undo()
    _shown(kind, "answers that do not come", messages.total(), said)
    check_scores(world, _score(world))


def _asked_at_once(world: Served, count: int) -> list[Reply]:
    """Ask one question, begun in several threads at once; return what came."""
    service = world.services[FIRST]
    with world.scorer() as scorer:
        scorer.prepare()
        reader = scorer._sides[0]._reader
    assert reader is not None
    frames = []
    for at in range(count):
        asker = Asker(reader, LABEL, [identifier(at)], maskers(1))
        asked = Asked(
            kind="ask", model=world.shared.id, purpose=PURPOSE, terms=reader.terms.digest,
            question="a" * 32, records=1,
        )  # fmt: skip
        frames.append(to_bytes(asked, asker.message(0)))
    together = threading.Barrier(count)

    def ask(frame: bytes) -> Reply:
        together.wait()
        return reply_of(service.reply(LABEL, frame, threading.Event()))[0]

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, frames))


def test_a_question_that_is_begun_by_many_at_once_is_answered_once(trees: Served) -> None:
    """It is charged once."""
    found = _asked_at_once(trees, 10)
    assert sum(reply.body for reply in found) == 1
    assert {reply.refusal.code for reply in found if reply.refusal} == {"F-503"}


class _Held:
    """A masker that comes to its work when it is let."""

    def __init__(self, masker: Masker, reached: threading.Semaphore, gate: threading.Event) -> None:
        self._masker, self._reached, self._gate = masker, reached, gate
        self.mask, self.close = masker.mask, masker.close

    def multiply(self, points: bytes) -> bytes:
        self._reached.release()
        assert self._gate.wait(100)
        return self._masker.multiply(points)


def test_a_caller_has_so_many_questions_also_all_at_once(
    trees: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are being answered count: they were none between two messages."""
    service, reached, gate = trees.services[FIRST], threading.Semaphore(0), threading.Event()
    with trees.scorer() as scorer:
        reader = scorer.prepare()[0].reader
    monkeypatch.setattr(
        score_service,
        "maskers",
        lambda items: lambda scalar: _Held(maskers(items)(scalar), reached, gate),
    )

    def ask_once(number: int) -> Reply:
        asker = Asker(reader, LABEL, [identifier(1)], maskers(1))
        asked = Asked(
            kind="ask", model=trees.shared.id, purpose=PURPOSE, terms=reader.terms.digest,
            question=f"b{number:031x}", records=1,
        )  # fmt: skip
        frame = to_bytes(asked, asker.message(0))
        return reply_of(service.reply(LABEL, frame, threading.Event()))[0]

    with ThreadPoolExecutor(MAX_A_CALLER) as pool:
        try:
            waiting = [pool.submit(ask_once, number) for number in range(MAX_A_CALLER)]
            assert all(reached.acquire(timeout=100) for _ in waiting)
            refused = ask_once(MAX_A_CALLER).refusal
            again = ask_once(0).refusal
        finally:
            gate.set()
        assert refused is not None
        assert refused.code == Ruled.BUSY.value.code
        assert again is not None
        assert again.code == "F-503"
        assert all(each.result(100).body for each in waiting)
    assert ask_once(MAX_A_CALLER + 1).body


def test_more_answers_than_a_node_takes_in_are_not_fetched(trees: Served) -> None:
    with trees.scorer() as scorer:
        scorer.prepare()
        (side,) = scorer._sides
        epoch = side.epoch
        assert epoch is not None
        terms = epoch.terms.model_copy(update={"set_size": 10**8, "payload": 100})
        with pytest.raises(VerificationFailed, match=f"answers of {FIRST} are more than"):
            side.fetch(epoch.model_copy(update={"terms": terms}), lambda: None)


def test_nobody_waits_for_answers_after_a_revocation(trees: Served) -> None:
    """A feature party that prepares for ever holds up nothing but itself."""
    node = trees.nodes[LABEL]
    of = shared(trees.model.parts, job="job-9", name="waited", kind="boosting")
    columns = find_model(node, "credit").facts.own.columns
    keep_part(node, facts(of, LABEL, columns=columns, schema_digest=D), trees.model.parts[LABEL])
    kept, asked = find_model(node, "waited"), threading.Event()

    def put(_: str, frame: bytes, __: bytes) -> bytes:
        question = asked_of(frame)[0]
        if question.epoch is None:
            return to_bytes(Reply(take=1))
        asked.set()
        return to_bytes(Reply(preparing=Preparing(number=1, done=0, total=10)))

    def revoke() -> None:
        assert asked.wait(100)
        time.sleep(0.5)
        revoke_model(node, kept, "a test")

    with between(trees, put), Scorer(trees.connection, node, kept) as scorer:
        thread = threading.Thread(target=revoke)
        thread.start()
        with pytest.raises(ModelRefused, match="revoked"):
            scorer.score([identifier(1)])
        thread.join()


def test_a_refusal_is_logged_after_the_revocation_that_it_follows_from(trees: Served) -> None:
    """A crash left files of revocations without entries: they are logged before the refusal."""
    service, model, node = trees.services[FIRST], trees.shared.id, trees.nodes[FIRST]
    with trees.scorer() as scorer:
        scorer.prepare()
        epoch = scorer._sides[0].epoch
    assert isinstance(epoch, Epoch)
    at = timestamp(SystemClock().now())
    for kept in folder_of(node).all():
        if FIRST in kept.signed.grant.assigners and not kept.revoked:
            data = signing.revoke(kept.signed, FIRST, node.statement_key, reason="a test", now=at)
            folder_of(node).keep_revocation(data)
    refused = ask(
        service, LABEL, b"rubbish", kind="ask", terms=epoch.terms.digest, question="7" * 32,
        records=1, model=model,
    ).refusal  # fmt: skip
    assert refused.code == Code.REVOKED
    trees.audited(FIRST)
    trees.grant(FIRST)
