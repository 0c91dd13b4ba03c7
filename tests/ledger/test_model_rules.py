"""Entries about joint models that can't stand where they do: nothing scored that is not charged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger import entry as entries
from fusion.ledger.verify import audit
from tests.ledger.made import AT, World, hexed

if TYPE_CHECKING:
    from fusion.ledger.entry import Entry

WORLD = World()
BEGIN = WORLD.node_log("north")[:2]
MODEL = hexed("model")
KEPT = entries.ModelKept(at=AT, job="j", study=hexed("s"), model=MODEL, part=hexed("p"), number=1)
PUBLISHED = entries.AnswersPublished(
    at=AT, model=MODEL, epoch=hexed("e"), commitment=hexed("c"), records=9
)
REVOKED = entries.ModelRevoked(at=AT, model=MODEL)
HEARD = entries.ModelRevocationHeard(at=AT, model=MODEL, organisation="east")
EXPORTED = entries.ModelExported(at=AT, model=MODEL, output="card", digest=hexed("d"))
PART = EXPORTED.model_copy(update={"output": "part"})


def charged(name: str = "r", action: str = "score") -> entries.BudgetMoved:
    return entries.BudgetMoved.model_validate(
        {
            "at": AT, "grant": hexed("g"), "action": action, "budget": "runs", "move": "reserved",
            "reservation": hexed(name), "amount": 1,
        }
    )  # fmt: skip


def scored(name: str = "r") -> entries.ModelScored:
    return entries.ModelScored(
        at=AT, model=MODEL, organisation="east", reservation=hexed(name), records=2
    )


WHOLE: list[Entry] = [
    KEPT, PUBLISHED, charged(), scored(), charged("q"), scored("q"), EXPORTED, HEARD, REVOKED,
    EXPORTED,
]  # fmt: skip
CASES: list[tuple[str, list[Entry], str]] = [
    ("kept twice", [KEPT, KEPT], "kept before"),
    ("published unknown", [PUBLISHED], "keeps a part"),
    ("published twice", [KEPT, PUBLISHED, PUBLISHED], "for the epoch before"),
    ("published after the end", [KEPT, REVOKED, PUBLISHED], "revoked"),
    ("scored unknown", [charged(), scored()], "keeps a part"),
    ("scored uncharged", [KEPT, scored()], "not charged"),
    ("scored on the charge of a query", [KEPT, charged(action="query"), scored()], "not charged"),
    ("scored twice on one charge", [KEPT, charged(), scored(), scored()], "used before"),
    ("scored after the end", [KEPT, REVOKED, charged(), scored()], "revoked"),
    ("revoked unknown", [REVOKED], "keeps a part"),
    ("exported unknown", [EXPORTED], "keeps a part"),
    ("a part exported after the end", [KEPT, REVOKED, PART], "revoked before"),
    ("a part exported after another's end", [KEPT, HEARD, PART], "heard to be"),
    ("heard of an unknown model", [HEARD], "keeps a part"),
    ("heard twice", [KEPT, HEARD, HEARD], "heard that before"),
    ("heard of itself", [KEPT, HEARD.model_copy(update={"organisation": "north"})], "itself"),
]


def test_a_model_from_its_first_entry_to_its_last_is_in_order() -> None:
    found = audit(WORLD.bundle("north", [*BEGIN, *WHOLE]))
    (notice,) = found.replay.notices
    place = len(BEGIN) + WHOLE.index(HEARD)
    assert notice.startswith(f"entry {place}: north heard at {AT} that east revoked the model")


@pytest.mark.parametrize(("found", "why"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_can_not_be_is_named(found: list[Entry], why: str) -> None:
    with pytest.raises(LedgerBroken, match=why) as error:
        audit(WORLD.bundle("north", [*BEGIN, *found]))
    assert error.value.index == len(BEGIN) + len(found) - 1
