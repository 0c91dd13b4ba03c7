"""Entries about Python jobs that can't stand where they do: no run without its approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger import entry as entries
from fusion.ledger.verify import audit
from tests.ledger.made import AT, World, hexed

if TYPE_CHECKING:
    from fusion.ledger.entry import Entry

WORLD = World()
BEGIN = WORLD.node_log("north")[:2]
JOB, GRANT = hexed("job"), hexed("grant")
SUBMITTED = entries.PythonSubmitted(at=AT, organisation="east", job=JOB, script=hexed("s"))
APPROVED = entries.PythonJudged(
    at=AT, organisation="east", job=JOB, verdict=hexed("v"), approved=True, checked=True, runs=1
)
REFUSED = APPROVED.model_copy(update={"verdict": hexed("no"), "approved": False, "runs": 0})


def charged(name: str = "r") -> entries.BudgetMoved:
    return entries.BudgetMoved(
        at=AT, grant=GRANT, action="query", budget="runs", move="reserved",
        reservation=hexed(name), amount=1,
    )  # fmt: skip


def run(name: str = "r", **changes: Any) -> entries.PythonRun:  # noqa: ANN401 - any field
    made = entries.PythonRun(
        at=AT, organisation="east", job=JOB, verdict=hexed("v"), reservation=hexed(name)
    )
    return made.model_copy(update=changes)


def released(name: str = "r", **changes: Any) -> entries.PythonReleased:  # noqa: ANN401 - any field
    made = entries.PythonReleased(
        at=AT, job=JOB, reservation=hexed(name), result=hexed("t"), checked=True
    )
    return made.model_copy(update=changes)


ANSWERED = entries.QueryAnswered(
    at=AT, organisation="east", reservation=hexed("r"), statement=GRANT, policy=GRANT, result=GRANT
)
WHOLE: list[Entry] = [SUBMITTED, APPROVED, charged(), run(), released()]
CASES: list[tuple[str, list[Entry], str]] = [
    ("submitted twice", [SUBMITTED, SUBMITTED], "submitted before"),
    ("judged unsubmitted", [APPROVED], "not submitted"),
    ("judged another's", [SUBMITTED, APPROVED.model_copy(update={"organisation": "west"})], "not"),
    ("approved for no run", [SUBMITTED, APPROVED.model_copy(update={"runs": 0})], "has runs"),
    ("judged twice by one word", [SUBMITTED, APPROVED, APPROVED], "logged before"),
    ("run without approval", [SUBMITTED, charged(), run()], "approves the job"),
    ("run after a refusal", [SUBMITTED, APPROVED, REFUSED, charged(), run()], "approves the job"),
    ("run by another", [*WHOLE[:3], run(organisation="west")], "another organisation"),
    ("run uncharged", [SUBMITTED, APPROVED, run()], "not charged"),
    ("run on the charge of a query", [*WHOLE[:3], ANSWERED, run()], "used before"),
    ("a query on the charge of a run", [*WHOLE[:4], ANSWERED], "second time"),
    ("more runs", [*WHOLE[:4], charged("q"), run("q")], "more runs"),
    ("released without a run", [*WHOLE[:3], released()], "not logged"),
    ("released of another job", [*WHOLE[:4], released(job=GRANT)], "not logged"),
    ("released twice", [*WHOLE, released()], "second time"),
    ("released unseen", [*WHOLE[:4], released(checked=False)], "nobody looked"),
]


def test_a_job_from_submission_to_release_is_in_order() -> None:
    audit(WORLD.bundle("north", [*BEGIN, *WHOLE]))


@pytest.mark.parametrize(("name", "logged", "match"), CASES, ids=[case[0] for case in CASES])
def test_what_must_not_happen_is_found(name: str, logged: list[Entry], match: str) -> None:
    del name
    with pytest.raises(LedgerBroken, match=match) as found:
        audit(WORLD.bundle("north", [*BEGIN, *logged]))
    assert found.value.index == len(BEGIN) + len(logged) - 1
