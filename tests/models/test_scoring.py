"""Scores between nodes are those of training, are counted, and end with grant or model."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.vertical import applying
from fusion.alignment.asking import Asker, SetReader
from fusion.alignment.published import Evaluator
from fusion.errors import (
    FusionError,
    GrantRefused,
    InputInvalid,
    ModelRefused,
    PartyFailed,
    VerificationFailed,
)
from fusion.grants.budget import Amount
from fusion.grants.refusal import Code
from fusion.services import score_messages as messages
from fusion.services.grant_evidence import MAX_REFUSALS
from fusion.services.grants import folder_of
from fusion.services.ledger import Book
from fusion.services.maskers import maskers
from fusion.services.models import find_model, keep_part, revoke_model
from fusion.services.score_messages import Asked, Epoch, Reply
from fusion.services.score_port import OnFirstModel
from fusion.services.score_service import ScoreService, evaluate
from fusion.services.scoring import Scorer
from fusion.services.storage import open_budgets
from tests.models.world import (
    FIRST,
    LABEL,
    PURPOSE,
    SECOND,
    D,
    Served,
    facts,
    identifier,
    make_nodes,
    served,
    shared,
    write_table,
)
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.alignment.published import PublishedSet
    from fusion.alignment.values import SetTerms

NAMES = (LABEL, FIRST, SECOND)
LACKING = {LABEL: {7}, FIRST: {3, 5}, SECOND: {5, 11}}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = trained.linear("logistic", NAMES, [2, 2, 1])
    with served(tmp_path_factory.mktemp("linear"), model, "logistic", LACKING) as found:
        yield found


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = trained.boosting(NAMES[:2], [2, 2])
    with served(tmp_path_factory.mktemp("trees"), model, "boosting", LACKING) as found:
        yield found


def check_scores(world: Served, rows: list[Any]) -> None:
    for i, row in enumerate(rows):
        if row.scored is not None:
            assert abs(row.scored.score - world.model.scores[i]) < 1e-6
            assert abs(row.scored.output - world.model.outputs[i]) < 1e-6


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_a_joint_score_is_that_of_training(kind: str, request: pytest.FixtureRequest) -> None:
    world: Served = request.getfixturevalue(kind)
    with world.scorer() as scorer:
        found = scorer.score([*map(identifier, range(60)), "nobody", "", None])
    parties = set(world.model.names)
    missing = {
        3: "not at registry",
        5: "not at registry, tax" if SECOND in parties else "not at registry",
        7: "not in the own table",
        **({11: "not at tax"} if SECOND in parties else {}),
    }
    assert {i: row.missing for i, row in enumerate(found[:60]) if row.missing} == missing
    assert [row.missing for row in found[60:]] == [
        "not in the own table",
        "identifier not valid",
        "identifier not valid",
    ]
    assert [i for i, row in enumerate(found[:60]) if row.scored is None] == sorted(missing)
    check_scores(world, found[:60])
    assert any(row.scored.reasons for row in found if row.scored)
    for name in parties:
        assert world.logged(name, "model-scored")
        world.audited(name)
    assert len(world.logged(FIRST, "answers-published")) == 1


def test_only_the_sum_of_feature_parties_opens(linear: Served) -> None:
    opened: dict[str, Any] = {}
    with linear.scorer() as scorer:
        taken = scorer.prepare()
        keys = [identifier(i) for i in (0, 1, 2, 4, 6)]
        for side, epoch in zip(scorer._sides, taken, strict=True):
            found = side.ask(epoch, keys, lambda: None).values()
            opened[side.name] = np.array([int.from_bytes(v, "big") for v in found], np.uint64)
    rows = np.array([0, 1, 2, 4, 6])
    plain = {
        name: np.frombuffer(
            applying.answers(applying.feature_part(linear.model.parts[name]), table, rows), ">u8"
        ).astype(np.uint64)
        for name, table in zip(NAMES[1:], linear.model.tables[1:], strict=True)
    }
    assert np.array_equal(sum(opened.values()), sum(plain.values()))
    for name in NAMES[1:]:
        assert not np.isin(opened[name], plain[name]).any()
        # Nor are masks the same for two records.
        assert len(set((opened[name] - plain[name]).tolist())) == len(rows)


def test_calls_and_records_are_charged_before_the_work(trees: Served) -> None:
    for name in (LABEL, FIRST):
        trees.revoke_grants(name)
        trees.grant(name, runs=3, rows=50)
    with trees.scorer() as scorer:
        scorer.score([identifier(i) for i in range(20, 60)])
        with pytest.raises(GrantRefused) as own:
            scorer.score([identifier(i) for i in range(20, 60)])
    # Beside it there is a revoked one: which of the two refuses is not what this is about.
    assert own.value.code in {Code.ROWS, Code.REVOKED}
    for name in (LABEL, FIRST):
        node = trees.nodes[name]
        grant = next(
            kept.signed.id
            for kept in folder_of(node).all()
            if not kept.revoked and name in kept.signed.grant.assigners
        )
        assert open_budgets(node).used(grant, "score") == Amount(runs=1, rows=40)
    # The label party has more left than the owner: it is the owner's count that holds.
    trees.grant(LABEL)
    with trees.scorer() as scorer, pytest.raises(PartyFailed) as theirs:
        scorer.score([identifier(i) for i in range(20, 60)])
    assert theirs.value.code in {Code.ROWS, Code.REVOKED}
    assert theirs.value.exit_code == 4
    trees.grant(FIRST)
    with trees.scorer() as scorer:
        assert scorer.score([identifier(1)])[0].scored


@pytest.mark.parametrize("who", [LABEL, FIRST])
def test_nothing_is_scored_within_a_second_of_a_grants_revocation(trees: Served, who: str) -> None:
    with trees.scorer() as scorer:
        assert scorer.score([identifier(1)])[0].scored
        trees.revoke_grants(who)
        # For the very next question.
        with pytest.raises(FusionError) as error:
            scorer.score([identifier(1)])
        assert error.value.code.startswith("G-")
        assert error.value.exit_code == 4
    trees.grant(who)


@pytest.mark.parametrize("who", [LABEL, FIRST])
def test_a_grant_is_bound_to_a_model_at_every_holder(trees: Served, who: str) -> None:
    for name in trees.shared.names:
        trees.revoke_grants(who)
        trees.grant(who, only=(D[::-1], name))
        with trees.scorer() as scorer:
            assert scorer.score([identifier(1)])[0].scored
    trees.revoke_grants(who)
    trees.grant(who, only=("another", D[::-1]))
    with trees.scorer() as scorer, pytest.raises(FusionError) as error:
        scorer.score([identifier(1)])
    # Beside it there are revoked ones: which of them refuses is not what this is about.
    assert error.value.code in {Code.ANOTHER_MODEL, Code.REVOKED}
    assert error.value.exit_code == 4
    trees.revoke_grants(who)
    trees.grant(who)
    with trees.scorer() as scorer:
        assert scorer.score([identifier(1)])[0].scored


def test_what_is_evaluated_needs_a_permit_that_holds(trees: Served) -> None:
    service, node = trees.services[FIRST], trees.nodes[FIRST]
    kept = find_model(node, "credit")
    with trees.scorer() as scorer:
        scorer.prepare()
    ready = service._epochs.ready(kept)
    assert ready is not None
    asked = Asked(kind="open", model=kept.id, purpose=PURPOSE)
    permit = service._desk.admit(service._request(LABEL, kept, asked, "s-test", 1))
    asker = Asker(read_set(ready.published), LABEL, [identifier(1)], maskers(1))
    evaluator = Evaluator(ready.published, LABEL, maskers(1), left=1)
    with pytest.raises(GrantRefused, match="begun with"):
        evaluate(permit, evaluator, service._desk, kept, asker.message(0))
    permit.spend()
    trees.revoke_grants(FIRST)
    with pytest.raises(GrantRefused) as error:
        evaluate(permit, evaluator, service._desk, kept, asker.message(0))
    assert error.value.code == Code.REVOKED
    trees.grant(FIRST)


def test_a_table_that_has_changed_is_answered_from_in_a_new_epoch(linear: Served) -> None:
    with linear.scorer() as scorer:
        scorer.prepare()
        before = {side.name: side.epoch for side in scorer._sides}
        table = {**linear.model.tables[1], "c0": linear.model.tables[1]["c0"] + 1}
        path = linear.nodes[FIRST].config.data["people"]
        write_table(path, table, [i for i in range(300) if i != 3])
        os.utime(path, ns=(1, 1))
        found = scorer.score([identifier(i) for i in range(6)])
        # Both parties made their answers anew, under one number: masks have to meet.
        for side in scorer._sides:
            earlier = before[side.name]
            assert side.epoch is not None
            assert earlier is not None
            assert side.epoch.number == earlier.number + 1
            assert side.epoch.terms.digest != earlier.terms.digest
        opened = {
            name: applying.answers(
                applying.feature_part(linear.model.parts[name]), mine, np.arange(6)
            )
            for name, mine in zip(NAMES[1:], [table, linear.model.tables[2]], strict=True)
        }
        label = applying.label_part(linear.model.parts[LABEL])
        wanted = applying.scores(label, linear.model.tables[0], np.arange(6), opened)
        for row, want in zip(found, wanted, strict=True):
            assert row.scored is None or abs(row.scored.score - want.score) < 1e-9
        assert found[5].missing == "not at tax"
    write_table(path, linear.model.tables[1], [i for i in range(300) if i not in LACKING[FIRST]])


def test_answers_that_can_not_be_made_are_made_later_under_another_number(trees: Served) -> None:
    path = trees.nodes[FIRST].config.data["people"]
    content, moment = path.read_bytes(), path.stat().st_mtime_ns
    with trees.scorer() as scorer:
        scorer.prepare()
        before = scorer._sides[0].epoch
        # A column of numbers with a word in it is a column of words.
        path.write_bytes(content + b"id-9999,word,word,north\n")
        with pytest.raises(PartyFailed) as error:
            scorer.score([identifier(1)])
        path.write_bytes(content)
        os.utime(path, ns=(moment, moment))
        assert error.value.code == "M-16"
        assert "can't be made" in " ".join(trees.said[FIRST])
        check_scores(trees, scorer.score([identifier(i) for i in range(3)]))
        after = scorer._sides[0].epoch
    assert before is not None
    assert after is not None
    # The number of the one that failed is not used again.
    assert after.number == before.number + 2


def test_an_epoch_is_kept_sealed_and_goes_on_after_a_restart(trees: Served) -> None:
    with trees.scorer() as scorer:
        scorer.prepare()
        number = scorer._sides[0].epoch
    assert number is not None
    kept = find_model(trees.nodes[FIRST], "credit")
    folder = kept.path / "epochs"
    assert {file.name for file in folder.iterdir()} == {
        "begun", f"{number.number}.json", f"{number.number}.set",
    }  # fmt: skip
    again = ScoreService(trees.nodes[FIRST], lambda _: None)
    try:
        ready = again._epochs.ready(kept)
        assert ready is not None
        assert ready.published.terms == number.terms
        # What is on disk says nothing by itself: the scalar is not in the open.
        assert (
            bytes(ready.published.scalar.held) not in (folder / f"{number.number}.set").read_bytes()
        )
        # A number that was begun is never used again, whatever became of it.
        (folder / "begun").write_text(str(number.number + 1))
        fresh = ScoreService(trees.nodes[FIRST], lambda _: None)
        assert fresh._epochs.look(kept, None) == number.number + 2
        fresh.close()
    finally:
        (folder / "begun").write_text(str(number.number))
        again.close()


def read_set(published: PublishedSet) -> SetReader:
    """Take a set as an asker does."""
    reader = SetReader(published.terms)
    for number in range(published.parts):
        reader.take(published.message(number))
    return reader


def ask(service: ScoreService, caller: str, body: bytes = b"", **changes: Any) -> Any:  # noqa: ANN401
    content = {"kind": "open", "model": D, "purpose": PURPOSE, **changes}
    frame = messages.to_bytes(Asked(**content), body)
    return messages.reply_of(service.reply(caller, frame, None))[0]  # type: ignore[arg-type]


def test_who_may_not_ask_is_refused_by_rule(trees: Served) -> None:
    service, model = trees.services[FIRST], trees.shared.id
    assert ask(service, LABEL).refusal.code == "M-10"
    assert ask(service, SECOND, model=model).refusal.code == "M-12"
    assert (
        ask(service, LABEL, model=model, purpose="dpv:PublicBenefit").refusal.code == Code.PURPOSE
    )
    said = ask(service, LABEL, model=model, kind="part", terms=D)
    assert said.refusal.code == "M-13"
    question = {"kind": "ask", "terms": D, "question": "0" * 32, "records": 1, "model": model}
    assert ask(service, LABEL, b"x", **question).refusal.code == "M-13"
    for frame in (b"", b"rubbish", b"\0\0\0\x02{}", b"\xff" * 40):
        reply, _ = messages.reply_of(service.reply(LABEL, frame, None))  # type: ignore[arg-type]
        assert reply.refusal is not None
        assert reply.refusal.code == "F-503"


def test_questions_that_are_refused_do_not_fill_the_log(trees: Served) -> None:
    """Each under another name, and for another number of records."""
    service, model = trees.services[FIRST], trees.shared.id
    with trees.scorer() as scorer:
        scorer.prepare()
        epoch = scorer._sides[0].epoch
    assert isinstance(epoch, Epoch)

    def refused(number: int, records: int) -> None:
        question = {
            "kind": "ask", "terms": epoch.terms.digest, "question": f"{number:032x}",
            "records": records, "model": model,
        }  # fmt: skip
        assert ask(service, LABEL, b"rubbish", **question).refusal.code.startswith("G-")

    with Book(trees.nodes[FIRST]) as book:
        begun = book.ledger.size()
        for number in range(5):
            refused(1000 + number, 900_000)
        assert book.ledger.size() == begun + 1
        for number in range(MAX_REFUSALS + 20):
            refused(2000 + number, 900_001 + number)
        assert book.ledger.size() <= begun + MAX_REFUSALS


def test_rubbish_in_a_question_is_charged_and_ends_it(trees: Served) -> None:
    service, model = trees.services[FIRST], trees.shared.id
    with trees.scorer() as scorer:
        scorer.prepare()
        epoch = scorer._sides[0].epoch
    assert isinstance(epoch, Epoch)
    question = {
        "kind": "ask", "terms": epoch.terms.digest, "question": "1" * 32, "records": 1,
        "model": model,
    }  # fmt: skip
    before = len(trees.logged(FIRST, "model-scored"))
    assert ask(service, LABEL, b"rubbish", **question).refusal.code == "A-50"
    assert len(trees.logged(FIRST, "model-scored")) == before + 1
    # Neither goes on nor is asked again under its name.
    assert ask(service, LABEL, b"rubbish", **question).refusal.code == "F-503"


def test_what_a_feature_party_says_wrongly_ends_with_a_name_for_it(trees: Served) -> None:
    service, node = trees.services[FIRST], trees.nodes[FIRST]
    kept = find_model(node, "credit")
    with trees.scorer() as scorer:
        scorer.prepare()
        ready = service._epochs.ready(kept)
        assert ready is not None
        others = [
            b"",
            b"rubbish",
            messages.to_bytes(Reply(take=7)),
            messages.to_bytes(Reply(body=True), b"rubbish"),
            messages.to_bytes(Reply(body=True), ready.published.message(0)),
            messages.to_bytes(Reply(body=True), bytes(64)),
        ]
        for wrong in others:
            service.reply = lambda *_, said=wrong: said  # type: ignore[method-assign]
            with pytest.raises(VerificationFailed):
                scorer.score([identifier(1)])
        del service.reply
        assert scorer.score([identifier(1)])[0].scored


def test_an_epoch_is_not_begun_at_any_number_or_time(trees: Served) -> None:
    node, model = trees.nodes[FIRST], trees.shared.id
    kept = find_model(node, "credit")
    service = ScoreService(node, lambda _: None)
    try:
        newest = ask(service, LABEL, model=model).take
        assert ask(service, LABEL, model=model, epoch=2**31 - 1).take == newest
        said = ask(service, LABEL, model=model, epoch=newest + 1)
        begun = int((kept.path / "epochs" / "begun").read_bytes())
        # As long as the table is the same, another epoch has to wait.
        assert said.refusal is None or said.refusal.code == "M-18"
        until = time.monotonic() + 100
        while said.preparing is not None and time.monotonic() < until:
            said = ask(service, LABEL, model=model, epoch=begun)
        assert ask(service, LABEL, model=model, epoch=begun + 1).refusal.code == "M-18"
    finally:
        service.close()


def test_a_node_answers_once_it_keeps_a_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    node = make_nodes(tmp_path_factory.mktemp("first"), {FIRST: {}})[1][0]
    first = OnFirstModel(node, lambda _: None)
    assert first.service() is None
    of = shared({LABEL: b"leaves", FIRST: b"splits"})
    keep_part(node, facts(of, FIRST), b"splits")
    assert first.service() is not None
    first.close()
    assert first.service() is None


def test_a_model_that_a_holder_has_revoked_scores_no_more(trees: Served) -> None:
    node, label = trees.nodes[FIRST], trees.nodes[LABEL]
    of = shared(trees.model.parts, job="job-2", name="ended", kind="boosting")
    for name in (LABEL, FIRST):
        keep_part(
            trees.nodes[name],
            facts(
                of, name,
                columns=find_model(trees.nodes[name], "credit").facts.own.columns,
                schema_digest=D,
            ),
            trees.model.parts[name],
        )  # fmt: skip
    with Scorer(trees.connection, label, find_model(label, "ended")) as scorer:
        check_scores(trees, scorer.score([identifier(i) for i in range(3)]))
        revoke_model(node, find_model(node, "ended"), "a test")
        with pytest.raises(PartyFailed) as theirs:
            scorer.score([identifier(1)])
        assert theirs.value.code == "M-11"
        revoke_model(label, find_model(label, "ended"), "a test")
        with pytest.raises(ModelRefused):
            scorer.score([identifier(1)])
    with pytest.raises(ModelRefused):
        Scorer(trees.connection, label, find_model(label, "ended"))
    trees.audited(FIRST)
    trees.audited(LABEL)


class Side:
    """A feature party in memory: an epoch that is always ready, or always another."""

    def __init__(self, name: str, pairing: str, terms: SetTerms, step: int = 0) -> None:
        self.name, self.epoch = name, None
        self._pairing, self._terms, self._step, self._number = pairing, terms, step, 1

    def take(self) -> int:
        return self._number

    def open(self, number: int) -> Epoch | int:
        self._number = number + self._step
        if self._step:
            return self._number
        return Epoch(number=number, terms=self._terms, parts=1, pairing=self._pairing)


def test_answers_that_are_hidden_under_different_keys_are_not_summed(trees: Served) -> None:
    with trees.scorer() as scorer:
        scorer.prepare()
        epoch = scorer._sides[0].epoch
        assert epoch is not None
        scorer._leave(scorer.prepare())
        sides: Any = [Side("a", D, epoch.terms), Side("b", D[::-1], epoch.terms)]
        scorer._sides = sides
        with pytest.raises(ModelRefused) as error:
            scorer.prepare()
        assert error.value.code == "M-17"
        # A party that always names another epoch is not followed for ever.
        scorer._sides = [Side("a", D, epoch.terms, step=1)]  # type: ignore[list-item]
        with pytest.raises(ModelRefused) as error:
            scorer.prepare()
        assert error.value.code == "M-13"


def test_a_feature_party_does_not_score(trees: Served) -> None:
    node = trees.nodes[FIRST]
    with pytest.raises(ModelRefused, match="label's part"):
        Scorer(trees.connection, node, find_model(node, "credit"))


def test_a_question_has_a_size(trees: Served) -> None:
    with trees.scorer(most=2) as scorer, pytest.raises(InputInvalid, match="at most"):
        scorer.score([identifier(i) for i in range(10)])
