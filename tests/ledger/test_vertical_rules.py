"""Entries about vertical runs stand where they can, and nowhere else."""

from __future__ import annotations

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger.vertical_entries import AttemptBegun, PartTrained, RecordsAligned
from fusion.ledger.vertical_rules import VerticalRules

AT, D = "2026-11-26T00:00:00.000Z", "5d" * 32


def _broken(why: str) -> None:
    raise LedgerBroken(why, index=0)


def _known(job: str) -> None:
    if job != "job-1":
        _broken(f"job {job} was neither agreed to nor begun")


@pytest.fixture
def rules() -> VerticalRules:
    made = VerticalRules(_known, _broken)  # type: ignore[arg-type]
    made.begin("job-1", ("east", "west"))
    return made


def feed(rules: VerticalRules, *entries: RecordsAligned | PartTrained | AttemptBegun) -> None:
    for entry in entries:
        rules.rules[type(entry)](entry)


def aligned(**changes: object) -> RecordsAligned:
    fields = {
        "at": AT, "job": "job-1", "attempt": 1, "commitment": D, "records": 9, "peers": ("west",),
        "peer_commitments": (D,), "peer_records": (8,), "common": 7,
    }  # fmt: skip
    return RecordsAligned.model_validate({**fields, **changes})


def trained(**changes: object) -> PartTrained:
    fields = {"at": AT, "job": "job-1", "attempt": 1, "steps": 3, "part": D}
    return PartTrained.model_validate({**fields, **changes})


def begun(attempt: int, job: str = "job-1") -> AttemptBegun:
    return AttemptBegun(at=AT, job=job, attempt=attempt, step=0)


def test_a_run_as_it_goes(rules: VerticalRules) -> None:
    feed(rules, begun(1), begun(2), aligned(), trained(attempt=2), aligned(attempt=3))


WRONG = {
    "an unknown job": ((aligned(job="job-2"),), "neither"),
    "a stranger": ((aligned(peers=("mars",)),), "mars takes no part"),
    "a peer twice": (
        (aligned(peers=("west", "west"), peer_commitments=(D, D), peer_records=(8, 8)),), "twice",
    ),
    "fewer sizes": ((aligned(peer_records=(8, 8)),), "not as many"),
    "more common": ((aligned(common=9),), "more records are common"),
    "aligned again": ((aligned(), aligned()), "aligned records before"),
    "a part of nothing": ((trained(),), "no entry before it aligns"),
    "a part of an earlier attempt": ((aligned(attempt=2), trained()), "no entry before it aligns"),
    "a part twice": ((aligned(), trained(), trained()), "gave a part before"),
    "an attempt twice": ((begun(1), begun(1)), "was begun before"),
    "an attempt of no job": ((begun(1, "job-2"),), "neither"),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "why"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_is_named(
    rules: VerticalRules, entries: tuple[RecordsAligned, ...], why: str
) -> None:
    with pytest.raises(LedgerBroken, match=why):
        feed(rules, *entries)
    with pytest.raises(LedgerBroken, match="takes part in the run twice"):
        rules.begin("job-3", ("east", "east"))
