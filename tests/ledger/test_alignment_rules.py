"""Entries about alignments that can't stand where they do: no set without its order and charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger import alignment_entries
from fusion.ledger import entry as entries
from fusion.ledger.rules import Replay
from tests.ledger.made import AT, World, hexed

if TYPE_CHECKING:
    from fusion.ledger.entry import Entry

WORLD = World()
BEGIN = WORLD.node_log("north")[:2]
ORDER = entries.OrderTaken(
    at=AT, job="j", study=hexed("s"), operator="east", id=hexed("o")[:32], order=hexed("o")
)


def charged(name: str = "r", action: str = "align") -> entries.BudgetMoved:
    return entries.BudgetMoved.model_validate(
        {
            "at": AT, "grant": hexed("g"), "action": action, "budget": "runs", "move": "reserved",
            "reservation": hexed(name), "amount": 1,
        }
    )  # fmt: skip


def committed(**changes: Any) -> alignment_entries.SetCommitted:  # noqa: ANN401 - any field
    made = alignment_entries.SetCommitted(
        at=AT,
        job="j",
        reservation=hexed("r"),
        commitment=hexed("c"),
        records=9,
        peers=("west",),
        peer_commitments=(hexed("d"),),
        peer_records=(8,),
    )
    return made.model_copy(update=changes)


def aligned(**changes: Any) -> alignment_entries.SetAligned:  # noqa: ANN401 - any field
    made = alignment_entries.SetAligned(
        at=AT, job="j", reservation=hexed("r"), learned="size", common=3
    )
    return made.model_copy(update=changes)


WHOLE: list[Entry] = [ORDER, charged(), committed(), aligned()]
CASES: list[tuple[str, list[Entry], str]] = [
    ("without an order", [charged(), committed()], "no order"),
    ("without a charge", [ORDER, committed()], "not charged"),
    ("on the charge of a query", [ORDER, charged(action="query"), committed()], "not charged"),
    ("twice", [ORDER, charged(), committed(), charged("q"), committed(reservation=hexed("q"))],
     "before"),
    ("a size too few", [ORDER, charged(), committed(peer_records=())], "not as many"),
    ("learned of nothing", [ORDER, charged(), aligned()], "no set was committed"),
    ("learned on another charge", [*WHOLE[:3], aligned(reservation=hexed("q"))], "on this charge"),
    ("learned twice", [*WHOLE, aligned(common=4)], "said before"),
    ("nothing, and how much", [*WHOLE[:3], aligned(learned="nothing")], "learns nothing"),
]  # fmt: skip


def replay(found: list[Entry]) -> None:
    own = WORLD.organisation("north")
    log = Replay(own.keys, own.statement.public.hex)
    for entry in [*BEGIN, *found]:
        log.feed(entry)


def test_an_alignment_is_in_order() -> None:
    replay(WHOLE)
    replay([*WHOLE[:2], committed(peer_commitments=(), peer_records=())])


@pytest.mark.parametrize(("found", "why"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_can_not_be_is_named(found: list[Entry], why: str) -> None:
    with pytest.raises(LedgerBroken, match=why) as error:
        replay(found)
    assert error.value.index == len(BEGIN) + len(found) - 1
