"""Under which grants it is decided: those of whoever asks; nothing of another's is told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import FusionError, GrantRefused
from fusion.grants.decide import State, decide
from fusion.grants.permit import Permit
from fusion.ledger.entry import stamp
from fusion.ledger.verify import Expectations
from fusion.services import grant_evidence as evidence
from fusion.services import grants
from fusion.services.audit import audit_whole
from fusion.services.ledger import Book
from fusion.wire import canonical
from tests.grants.grants import NOW, REQUESTS, document, request_from
from tests.grants.test_service import SCHEMA, Watch, desk, finalised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fusion.grants.request import Request
    from fusion.services.homes import HubHome, NodeHome

    World = tuple[HubHome, Mapping[str, NodeHome]]

FOREIGN: dict[str, Any] = {
    "/title": "Terms of another",
    "/purpose": "dpv:PublicBenefit",
    "/dataset/columns": ["turnover"],
    "/not_after": "2044-04-04T04:04:04Z",
    "/permissions/train": {"models": ["poisson"], "k": 777, "rounds": 7321, "runs": 5},
    "/permissions/align/set_size": 73212,
    "/permissions/query": {
        "outputs": ["statistic"],
        "rows": 73213,
        "epsilon_micro": 73214,
        "runs": 3,
    },
    "/permissions/score": {"rows": 73215, "runs": 4, "only_models": ["anothers"]},
    "/permissions/mock": {"rows": 73216, "epsilon_micro": 73217, "runs": 1},
}
"""What the bank's grant says; the request below agrees with nothing of it."""
TERMS = (
    "bank", "Terms of another", "PublicBenefit", "turnover", "2044", "poisson", "777", "7321",
    "7322", "statistic", "anothers",
)  # fmt: skip


def _proposal(changes: Mapping[str, Any] | None = None) -> str:
    """Return a grant of customs' own for the tax office's table, as somebody writes it."""
    signers = [
        {"role": "owner", "organisation": "tax"},
        {"role": "operator", "organisation": "customs"},
    ]
    return json.dumps(
        document(
            {
                "/assigners": ["tax"],
                "/assignee": "customs",
                "/signers": signers,
                "/duties": [],
                "/dataset/schema_digest": SCHEMA,
                "/dataset/columns": ["region"],
                **(changes or {}),
            }
        )
    )


def _own(world: World, changes: Mapping[str, Any]) -> str:
    """Have both sign it, and the owner know it."""
    nodes = world[1]
    kept = grants.propose(nodes["tax"], _proposal(changes), "own.yaml")
    kept = grants.sign(nodes["customs"], kept.signed.envelope)
    return grants.add(nodes["tax"], kept.signed.envelope).signed.id


def _none(world: World) -> None:
    del world


def _expired(world: World) -> None:
    _own(world, {"/not_before": "2020-01-01T00:00:00Z", "/not_after": "2021-01-01T00:00:00Z"})


def _later(world: World) -> None:
    _own(world, {"/not_before": "2026-12-01T00:00:00Z"})


def _revoked(world: World) -> None:
    grants.revoke(world[1]["tax"], _own(world, {}), "no longer needed")


def _proposed(world: World) -> None:
    grants.propose(world[1]["tax"], _proposal(), "own.yaml")


STANDINGS: dict[str, tuple[Callable[[World], None], str]] = {
    "none": (_none, "G-00"),
    "expired": (_expired, "G-04"),
    "later": (_later, "G-03"),
    "revoked": (_revoked, "G-02"),
    "proposed": (_proposed, "G-01"),
}


def _asked(action: str) -> Request:
    return request_from(
        action,
        {
            "assignee": "customs",
            "schema_digest": SCHEMA,
            "columns": ["region"],
            "job": f"{action}-1",
        },
    )


@pytest.mark.parametrize("standing", STANDINGS)
def test_nothing_of_anothers_grant_is_told(
    hub: HubHome, nodes: Mapping[str, NodeHome], standing: str
) -> None:
    """For every action, by every way that decides; and an auditor comes to the same."""
    theirs = finalised(hub, nodes, FOREIGN).signed.id
    make, code = STANDINGS[standing]
    make((hub, nodes))
    here = desk(nodes["tax"])
    for action in REQUESTS:
        asked = _asked(action)
        said: list[str] = []
        for attempt in (here.check_some_holds, here.admit):
            with pytest.raises(GrantRefused) as refused:
                attempt(asked)
            assert refused.value.code == code, action
            said.append(str(refused.value))
        text = canonical.encode(asked.document()).decode()
        _, result = grants.check(nodes["tax"], text, "request.json", clock=Watch())
        assert not isinstance(result, Permit)
        said.append(json.dumps(result.to_json(), ensure_ascii=False))
        for each in said:
            assert theirs[:16] not in each
            assert not [term for term in TERMS if term in each], (action, each)
    with Book(nodes["tax"]) as book:
        bundle = book.bundle()
    audit_whole(bundle, Expectations(witnessed=False), ())


def test_who_has_a_grant_that_holds_goes_on_to_the_decision(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    finalised(hub, nodes)
    watch = Watch()
    here = desk(nodes["tax"], watch)
    asked = request_from("train", {"schema_digest": SCHEMA, "rounds": 11})
    here.check_some_holds(asked)
    with pytest.raises(GrantRefused) as refused:
        here.admit(asked)
    assert refused.value.code == "G-24"
    watch.time = NOW + timedelta(days=365)
    with pytest.raises(GrantRefused) as over:
        here.check_some_holds(asked)
    assert over.value.code == "G-04"
    # Of the rest of the request nothing is said: it was not looked at.
    assert "rounds" not in str(over.value)


def test_a_charge_of_another_is_no_way_to_its_grant(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    """A job is charged under its name; who asks under the name of another's job has no grant."""
    finalised(hub, nodes)
    here = desk(nodes["tax"])
    job = request_from("train", {"schema_digest": SCHEMA})
    here.admit(job)
    with pytest.raises(GrantRefused) as refused:
        here.admit(job.model_copy(update={"assignee": "customs"}))
    assert refused.value.code == "G-00"
    assert isinstance(refused.value, FusionError)


def test_without_any_grant_one_is_told_to_propose_one(nodes: Mapping[str, NodeHome]) -> None:
    with pytest.raises(GrantRefused) as refused:
        desk(nodes["tax"]).admit(_asked("query"))
    assert "fusion grant propose GRANT.yaml --home NODE" in refused.value.hint


def test_a_log_from_before_in_which_anothers_grant_refused_still_holds(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    """Earlier nodes refused with G-12 under the grant that was nearest, whosever it was."""
    kept = finalised(hub, nodes)
    asked, at = _asked("query"), stamp(NOW)
    result = decide(kept.signed, asked, State(), NOW)
    assert not isinstance(result, Permit)
    with Book(nodes["tax"]) as book:
        evidence.refused(book, asked, result, result.error(), at)
        bundle = book.bundle()
    assert result.code == "G-12"
    audit_whole(bundle, Expectations(witnessed=False), ())
