"""What a node answers who orders alignments, and who has none to order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.alignment.study import parse_study
from fusion.grants.order import sign_order
from fusion.services.align_jobs import job_of, jobs
from fusion.services.align_service import MAX_OPEN, Aligner, Asked, Reply, reply_of
from fusion.services.clock import SystemClock
from fusion.services.node_link import Connection
from tests.aligning.world import BANK, GOV, TAX, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.aligning.world import World


@pytest.fixture
def aligner(world: World) -> Iterator[Aligner]:
    """The registry's; nobody else is there."""
    with Connection(world.nodes[GOV]) as connection:
        found = Aligner(world.nodes[GOV], connection.conversations, lambda _: None)
        try:
            yield found
        finally:
            found.close()


def ordered(world: World, by: str = BANK, **changes: Any) -> Asked:  # noqa: ANN401 - fields
    """What a bank that orders an alignment says."""
    study = parse_study(study_text(operator=by), "study.toml")
    order, document = sign_order(
        federation=world.nodes[by].trust().federation,
        operator=by,
        study=changes.pop("digest", study.digest()),
        key=world.nodes[changes.pop("key", by)].statement_key,
        now=SystemClock().now(),
    )
    content: dict[str, Any] = {
        "kind": "begin",
        "job": job_of(order),
        "study": study.canonical().decode(),
        "order": document.decode(),
        **changes,
    }
    return Asked.model_validate(content)


def answer(aligner: Aligner, caller: str, asked: Asked) -> Reply:
    return reply_of(aligner.reply(caller, asked.canonical()))


def code_of(reply: Reply) -> str:
    assert reply.state is None
    assert reply.refusal is not None
    return reply.refusal.code


def test_who_may_not_order_is_refused_and_nothing_is_kept(world: World, aligner: Aligner) -> None:
    before = len(jobs(world.nodes[GOV]))
    assert code_of(answer(aligner, TAX, ordered(world))) == "G-52"
    assert code_of(answer(aligner, BANK, ordered(world, key=TAX))) == "G-52"
    assert code_of(answer(aligner, BANK, ordered(world, digest="a" * 64))) == "G-53"
    assert code_of(answer(aligner, BANK, ordered(world, job="align-0123456789ab"))) == "F-200"
    assert code_of(answer(aligner, BANK, ordered(world, order=None))) == "F-503"
    assert code_of(answer(aligner, BANK, ordered(world, study='{"schema":"?"}'))) == "F-503"
    assert code_of(reply_of(aligner.reply(BANK, b"rubbish"))) == "F-503"
    assert len(jobs(world.nodes[GOV])) == before


def test_a_job_is_shown_to_its_operator_alone_and_a_party_has_so_many(
    world: World, aligner: Aligner
) -> None:
    asked = [ordered(world) for _ in range(MAX_OPEN + 1)]
    for each in asked[:-1]:
        reply = answer(aligner, BANK, each)
        assert reply.state is not None
        assert reply.state.common is None
    assert answer(aligner, BANK, asked[0]).state is not None  # asked twice is asked once
    assert code_of(answer(aligner, BANK, asked[-1])) == "F-026"
    look = Asked(kind="look", job=asked[0].job)
    assert answer(aligner, BANK, look).state is not None
    assert code_of(answer(aligner, TAX, look)) == "F-200"
    assert code_of(answer(aligner, TAX, Asked(kind="stop", job=asked[0].job))) == "F-200"
    assert code_of(answer(aligner, BANK, Asked(kind="look", job=asked[-1].job))) == "F-200"
