"""Logs whose trees and signatures are right, and that say what must not have happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger import entry as entries
from fusion.ledger.merkle import roots_of
from fusion.ledger.verify import audit, compare
from tests.ledger.made import AT, World, hexed, vector

if TYPE_CHECKING:
    from fusion.ledger.entry import Entry

WORLD = World()
NODE, HUB = WORLD.node_log("north"), WORLD.hub_log()
G = hexed("grant")


def _budget(move: str, amount: int, reservation: str = "r") -> entries.BudgetMoved:
    return entries.BudgetMoved(
        at=AT,
        grant=G,
        action="train",
        budget="runs",
        move=move,  # type: ignore[arg-type]  # a literal
        reservation=hexed(reservation),
        amount=amount,
    )


def _answered() -> entries.QueryAnswered:
    return entries.QueryAnswered(
        at=AT, organisation="east", reservation=hexed("r"), statement=G, policy=G, result=G
    )


QUERY = _budget("reserved", 1).model_copy(update={"action": "query"})


def _like(item: Entry, **changes: Any) -> Entry:  # noqa: ANN401 - any field
    return item.model_copy(update=changes)


def _broken(name: str, logged: list[Entry], match: str) -> int:
    with pytest.raises(LedgerBroken, match=match) as found:
        audit(WORLD.bundle(name, logged))
    return found.value.index


OPENED = NODE[4]
CASES: list[tuple[str, list[Entry], int, str]] = [
    ("no beginning", NODE[1:], 0, "begins with"),
    ("two beginnings", [NODE[0], *NODE], 1, "begins with"),
    ("another's", [WORLD.members["east"].made(), *NODE[1:]], 0, "another organisation"),
    ("an epoch again", [*NODE[:2], *NODE[1:]], 2, "epoch 5"),
    ("a strange federation", [NODE[0], _like(NODE[1], federation="x")], 1, "roster of x"),
    ("a roster nobody has", [NODE[0], _like(NODE[1], digest=hexed("?"))], 1, "does not have"),
    ("agreed twice", [*NODE[:3], *NODE[2:]], 3, "agreed to before"),
    ("contributed before agreeing", [*NODE[:2], NODE[3]], 2, "neither agreed"),
    ("contributed twice", [*NODE[:4], *NODE[3:]], 4, "contributed to before"),
    (
        "a vector again",
        [*NODE[:4], _like(NODE[3], round=1)],
        4,
        "released before, in entry 3",
    ),
    (
        "a round opened twice",
        [*NODE[:5], _like(OPENED, opening=hexed("other"), contributions=(hexed("x"),))],
        5,
        "round 0 of job was opened before, in entry 4",
    ),
    (
        "a contribution opened twice",
        [
            *NODE[:5],
            _like(OPENED, round=1, contributions=(hexed("x"), vector("east", 0, "job"))),
        ],
        5,
        "opened before, in entry 4",
    ),
    (
        "the own contribution left out of its own list",
        [*NODE[:4], _like(OPENED, contributions=tuple(vector(n, 0, "job") for n in ("east",)))],
        4,
        "own contribution",
    ),
    ("opened after the end", [*NODE, _like(OPENED, round=9)], len(NODE), "has ended"),
    ("ended twice", [*NODE, NODE[-1]], len(NODE), "has ended"),
    ("a hub's entry", [*NODE[:2], HUB[2]], 2, "no place"),
    ("a query answered uncharged", [*NODE[:2], _answered()], 2, "not charged"),
    ("a query of a training run", [*NODE[:2], _budget("reserved", 1), _answered()], 3, "not char"),
    ("a query answered twice", [*NODE[:2], QUERY, _answered(), _answered()], 4, "second time"),
    ("a budget settled unreserved", [*NODE[:2], _budget("committed", 1)], 2, "settles"),
    (
        "a budget overspent",
        [*NODE[:2], _budget("reserved", 1), _budget("committed", 2)],
        3,
        "settles",
    ),
    (
        "a budget settled twice",
        [*NODE[:2], _budget("reserved", 1), _budget("committed", 1), _budget("released", 1)],
        4,
        "settles",
    ),
    (
        "a budget reserved twice",
        [*NODE[:2], _budget("reserved", 1), _budget("reserved", 1)],
        3,
        "reserves again",
    ),
]


@pytest.mark.parametrize(("name", "logged", "index", "match"), CASES, ids=[c[0] for c in CASES])
def test_a_node_that_logs_what_must_not_happen_is_found(
    name: str, logged: list[Entry], index: int, match: str
) -> None:
    del name
    assert _broken("north", logged, match) == index


LISTED, SUMMED = HUB[3:5]
HUB_CASES: list[tuple[str, list[Entry], int, str]] = [
    ("begun twice", [*HUB[:3], HUB[2]], 3, "begun before"),
    ("a sum before the beginning", [*HUB[:2], SUMMED], 2, "neither agreed to nor begun"),
    ("a list before the beginning", [*HUB[:2], LISTED], 2, "neither agreed to nor begun"),
    ("a sum of no list", [*HUB[:3], SUMMED], 3, "lists what it sums"),
    (
        "a sum of another attempt's list",
        [*HUB[:4], _like(SUMMED, attempt=2)],
        4,
        "lists what it sums",
    ),
    (
        "a sum of fewer than listed",
        [
            *HUB[:4],
            _like(SUMMED, contributors=("east", "north", "south"), contributions=(G,) * 3),
        ],
        4,
        "lists what it sums",
    ),
    ("a list again", [*HUB[:4], LISTED], 4, "listed before"),
    ("an opening of another list", [*HUB[:4], _like(SUMMED, listing=hexed("?"))], 4, "its opening"),
    ("a list of another opening", [*HUB[:3], _like(LISTED, listing=hexed("?"))], 3, "its opening"),
    (
        "too few",
        [
            *HUB[:3],
            _like(
                LISTED,
                contributors=("east", "north"),
                commitments=(hexed("a"), hexed("b")),
            ),
        ],
        3,
        "the quorum is 3",
    ),
    ("uneven", [*HUB[:4], _like(SUMMED, contributors=("east", "north", "south"))], 4, "as many"),
    (
        "twice in a sum",
        [*HUB[:4], _like(SUMMED, contributors=("east", "east", "south", "west"))],
        4,
        "twice",
    ),
    (
        "a stranger",
        [*HUB[:4], _like(SUMMED, contributors=("east", "north", "south", "x"))],
        4,
        "x takes no part",
    ),
    ("a round again", [*HUB[:5], SUMMED], 5, "opened before"),
    ("a model from nowhere", [*HUB[:5], HUB[-2]], 5, "no entry says"),
    ("after the end", [*HUB, HUB[-3]], len(HUB), "has ended"),
    ("a node's entry", [*HUB[:2], NODE[2]], 2, "no place"),
]


@pytest.mark.parametrize(
    ("name", "logged", "index", "match"), HUB_CASES, ids=[c[0] for c in HUB_CASES]
)
def test_a_hub_that_logs_what_must_not_happen_is_found(
    name: str, logged: list[Entry], index: int, match: str
) -> None:
    del name
    assert _broken("hub", logged, match) == index


@pytest.mark.parametrize(("permit", "code"), [(True, "F-400"), (False, "")])
def test_a_permit_has_no_code_and_a_refusal_has_one(*, permit: bool, code: str) -> None:
    decided = entries.Decided(at=AT, grant=G, request=hexed("r"), permit=permit, code=code)
    assert _broken("north", [*NODE[:2], decided], "no code") == 2


def test_nothing_is_permitted_under_a_revoked_grant() -> None:
    revoked = entries.GrantRevoked(at=AT, grant=G, organisation="east", revocation=hexed("x"))
    permit = entries.Decided(at=AT, grant=G, request=hexed("r"), permit=True, code="")
    refused = permit.model_copy(update={"permit": False, "code": "F-400"})
    audit(WORLD.bundle("north", [*NODE[:2], permit, revoked, refused]))
    assert _broken("north", [*NODE[:2], revoked, permit], "revoked") == 3


def test_a_job_may_be_agreed_to_again_and_its_rounds_stay_opened() -> None:
    audit(WORLD.bundle("north", [*NODE, NODE[2], NODE[-1]]))
    again = [*NODE, NODE[2], _like(OPENED, opening=hexed("?"), contributions=(hexed("?"),))]
    assert _broken("north", again, "opened before") == len(NODE) + 1


# ---------------------------------------------------------------------------- logs together


def test_a_sum_that_the_hub_does_not_have_is_found() -> None:
    node = audit(WORLD.bundle("north", NODE))
    for hub_log in (WORLD.hub_log(rounds=2), WORLD.hub_log(job="other")):
        hub = audit(WORLD.bundle("hub", hub_log))
        with pytest.raises(LedgerBroken, match="does not have so") as found:
            compare([node, hub])
        assert found.value.index in {4, 8}


def test_a_contribution_that_its_contributor_does_not_know_is_found() -> None:
    hub = audit(WORLD.bundle("hub", HUB))
    node = audit(WORLD.bundle("north", [*NODE[:3], NODE[-1]]))
    with pytest.raises(LedgerBroken, match="contribution of north") as found:
        compare([node, hub])
    assert found.value.index == 4


def test_a_hub_that_showed_a_holder_another_log_is_found() -> None:
    hub_bundle = WORLD.bundle("hub", HUB)
    hub = audit(hub_bundle)
    right = roots_of(hub_bundle.leaves, {4})[4]
    for root, size in ((hexed("fork"), 4), (right.hex(), 4), (hexed("longer"), 400)):
        seen = entries.CheckpointSeen(at=AT, organisation="hub", size=size, root=root)
        node = audit(WORLD.bundle("north", [*NODE[:4], seen, *NODE[4:]]))
        if (root, size) == (right.hex(), 4):
            compare([node, hub])
            continue
        with pytest.raises(LedgerBroken, match="relied on") as found:
            compare([node, hub])
        assert found.value.index == 4
