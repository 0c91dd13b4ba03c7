"""Whoever has no grant that holds is told nothing of another's, whatever it asks the node."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import InputInvalid, PartyFailed
from fusion.grants.python_job import header_of
from fusion.services import addressing, grants, querying
from fusion.services import python_messages as jobs
from fusion.services.query_messages import Asked, to_bytes
from tests.queries.python_world import TOTAL, Jobs
from tests.queries.world import ANALYST, OTHER, OWNER, PURPOSE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.queries.world import Up, World

DATASET = "anothers"
NOT_AFTER = "2088-08-08T08:08:08Z"
TERMS = (ANALYST, "dpv:CreditChecking", "2088", "7321", "Not for the press", "person_id", "income")
"""What the analyst's grant says; the press asks about a region, for the public's benefit."""
ENDED: dict[str, Any] = {
    "not_before": "2020-01-01T00:00:00Z",
    "not_after": "2021-01-01T00:00:00Z",
}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def _document(world: World, assignee: str, **changes: Any) -> dict[str, Any]:
    signers = [
        {"role": "owner", "organisation": OWNER},
        {"role": "operator", "organisation": assignee},
    ]
    return world.document(DATASET, assignee=assignee, signers=signers, **changes)


def _signed(world: World, document: dict[str, Any]) -> str:
    """Have the press sign a grant, and the owner know it."""
    kept = grants.propose(world.owner, json.dumps(document), "own.yaml")
    kept = grants.sign(world.other, kept.signed.envelope)
    return grants.add(world.owner, kept.signed.envelope).signed.id


def _asked() -> Iterator[tuple[str, bytes]]:
    """Yield every message that a caller may send, and of which kind it is."""
    statement = "select region, count(*) as n from persons group by region"
    for said in (statement, "select income from persons", "nonsense"):
        query = Asked(kind="query", dataset=DATASET, statement=said, purpose=PURPOSE, rows=1)
        yield "query", to_bytes(query)
    yield "budget", to_bytes(Asked(kind="budget", dataset=DATASET))
    yield "describe", to_bytes(Asked(kind="describe", dataset=DATASET))
    submit = jobs.Submission(
        dataset=DATASET, purpose=PURPOSE, script=TOTAL, returns=header_of(TOTAL, "job.py"), note=""
    )
    yield "python", jobs.to_bytes(jobs.Asked(submit=submit))
    run = jobs.Run(job="a" * 64, dataset=DATASET)
    yield "python", jobs.to_bytes(jobs.Asked(run=run))
    yield "python", jobs.to_bytes(jobs.Asked(collect=jobs.Collect(run=f"p-{0:032x}")))


def _answers(up: Up) -> list[tuple[str, str]]:
    stop = threading.Event()
    return [
        (
            kind,
            (up.service.reply_python if kind == "python" else up.service.reply)(
                OTHER, asked, stop
            ).decode(),
        )
        for kind, asked in _asked()
    ]


@pytest.fixture(scope="module")
def anothers(up: Up) -> str:
    """The analyst's grant, of which the press is to learn nothing."""
    return up.world.grant(
        DATASET, rows=7321, purpose="dpv:CreditChecking", title="Not for the press",
        not_after=NOT_AFTER,
    )  # fmt: skip


def test_whatever_a_party_asks_nothing_of_anothers_grant_leaves(up: Up, anothers: str) -> None:
    """One after the other: no grant, one that is over, one that was revoked, one not signed."""
    world = up.world
    part = {"id": DATASET, "columns": ["region"], "schema_digest": world.attached["schema_digest"]}
    spoken = set()
    for code, make in (
        ("G-00", lambda: None),
        ("G-01", lambda: grants.propose(
            world.owner,
            json.dumps(_document(world, OTHER, dataset=part, title="Proposed")), "own.yaml",
        )),
        ("G-02", lambda: grants.revoke(
            world.owner,
            _signed(world, _document(world, OTHER, dataset=part, title="Revoked")), "over",
        )),
        ("G-04", lambda: _signed(
            world,
            _document(world, OTHER, dataset=part, title="Ended",
                      not_before="2020-01-01T00:00:00Z", not_after="2021-01-01T00:00:00Z"),
        )),
    ):  # fmt: skip
        if code != "G-00":
            _forget(world)
        make()
        for kind, said in _answers(up):
            assert anothers[:16] not in said
            assert not [term for term in TERMS if term in said], (kind, said)
            found = json.loads(said)
            if kind == "budget":
                assert found["budget"] == []
                continue
            spoken.add((code, kind, found["refusal"]["code"]))
    assert spoken == {
        *((code, "describe", "G-00") for code in ("G-00", "G-01", "G-02", "G-04")),
        *((code, kind, code) for code in ("G-00", "G-01", "G-02", "G-04")
          for kind in ("query", "python")),
        # A run of somebody else, or none: the same.
        *((code, "python", "P-10") for code in ("G-00", "G-01", "G-02", "G-04")),
    }  # fmt: skip


def _forget(world: World) -> None:
    """Take the press's grants away, as if there had never been one."""
    for home in (world.owner, world.other):
        for kept in grants.folder_of(home).all():
            if kept.signed.grant.assignee == OTHER:
                kept.path.unlink()


@pytest.fixture(autouse=True)
def forgotten(up: Up) -> Iterator[None]:
    """Leave the press as other tests know it."""
    yield
    _forget(up.world)


def test_a_job_is_not_taken_under_a_grant_that_is_over(up: Up) -> None:
    query = {"outputs": ["table", "python"], "rows": 10, "epsilon_micro": 10, "runs": 1}
    up.world.grant("waning", permissions={"query": query}, **ENDED)
    with pytest.raises(PartyFailed) as refused:
        Jobs(up, "waning").submit(TOTAL)
    assert refused.value.code == "G-04"


def test_only_grants_that_hold_count_in_a_budget_and_leave_a_choice(up: Up) -> None:
    up.world.grant("waning", title="Over", not_after="2021-01-01T00:00:00Z")
    grants.propose(
        up.world.analyst, json.dumps(up.world.document("waning", title="Proposed")), "grant.yaml"
    )
    assert querying.budget(up.analyst, f"{OWNER}/waning") == []
    assert f"{OWNER}/waning" not in addressing.datasets_granted(up.world.analyst, NOW)
    with pytest.raises(InputInvalid, match="is not signed by tax"):
        addressing.purpose_of(up.world.analyst, f"{OWNER}/waning", NOW)
    held = up.world.grant("waning", title="Holds")
    (left,) = querying.budget(up.analyst, f"{OWNER}/waning")
    assert left.grant == held
    assert addressing.purpose_of(up.world.analyst, f"{OWNER}/waning", NOW) == PURPOSE


def test_a_grant_that_is_over_is_said_to_be(up: Up) -> None:
    _signed(up.world, _document(up.world, OTHER, title="Was theirs", **ENDED))
    with pytest.raises(InputInvalid, match="is over since 2021-01-01T00:00:00Z") as refused:
        addressing.purpose_of(up.world.other, f"{OWNER}/{DATASET}", NOW)
    assert "fusion grant propose" in refused.value.hint
