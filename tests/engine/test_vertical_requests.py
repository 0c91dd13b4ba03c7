"""Whatever a hub asks of a party in a vertical run is answered, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federated.cohort import Request
from federated.vertical.party import KINDS
from federated.vertical.study import parse_vertical
from fusion.link.talk import MAX_ATTEMPTS
from tests.engine.test_vertical import _text, world
from tests.engine.vertical_world import JOB
from tests.vertical.studies import linear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federated.cohort import Reply
    from tests.engine.vertical_world import World

__all__ = ["world"]

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 7, 2**31, 2**70, 1.5, float("nan"), "", "x", "../x", "é", "0" * 64,
    "a" * 5000, "\x00", [], [1], {}, {"step": 1}, {"step": 2**70, "attempt": 1},
    {"step": "1", "attempt": 1}, {"step": 0, "attempt": 1}, {"step": -1, "attempt": -1},
)  # fmt: skip


def _heads(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({}, whole)
    for key in whole:
        yield {name: value for name, value in whole.items() if name != key}
        for value in VALUES:
            yield {**whole, key: value}


def test_a_request_is_answered_or_refused_by_name(world: World) -> None:
    world.grant("south", permissions__align__runs=9, permissions__train__runs=9)
    text = _text(linear(epochs=1), patience=2.0)
    study = parse_vertical(text, "study.toml").canonical().decode()
    order = world.order(text)[1].decode()
    party, digest = world.start("south"), "0" * 64
    job = {"job": JOB}
    parts = dict.fromkeys(("north", "east", "south"), digest)
    whole: dict[str, dict[str, Any]] = {
        "prepare": {**job, "study": study, "order": order},
        "begin": {**job, "attempt": 1, "start": None},
        "look": job,
        "finish": {
            **job, "attempt": 1, "parts": parts, "steps": 1, "made": "2026-01-01T00:00:00Z",
        },
        "leave": {**job, "status": "failed"},
    }  # fmt: skip
    assert set(whole) == set(KINDS)
    refused = 0
    for kind in KINDS:
        for head in _heads(whole[kind]):
            reply: Reply = party.handle(Request(kind, head))
            if reply.failure is not None:
                refused += 1
                assert reply.failure.code != "F-000", (kind, head)
    assert refused > 150
    # A conversation has no such attempt: it would be waited for in vain.
    head = {"study": study, "order": world.order(text)[1].decode(), "job": f"job-{2:012x}"}
    assert party.handle(Request("prepare", head)).failure is None
    for number in (0, MAX_ATTEMPTS + 1):
        failure = party.handle(Request("begin", {"job": head["job"], "attempt": number})).failure
        assert failure is not None
        assert failure.code == "F-503"
