"""A federation of four, a grant that permits everything, a request that it allows; and repairs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fusion.catalogue.descriptor import schema_digest
from fusion.crypto.hashing import digest
from fusion.crypto.signing import SigningKey
from fusion.grants import signing
from fusion.grants.budget import Amount
from fusion.grants.decide import State, decide
from fusion.grants.document import Grant, checked, moment_of
from fusion.grants.refusal import patched
from fusion.grants.request import Request
from fusion.identity.members import AUTHORITY
from fusion.identity.roster import Roster
from fusion.wire import canonical
from tests.members import light_member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.grants.permit import Permit
    from fusion.grants.refusal import Refusal
    from fusion.grants.signing import SignedGrant

NAMES = ("bank", "customs", "statistics", "tax")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SCHEMA = schema_digest({"region": "text", "turnover": "number", "overdue": "text"})
CODE = "c" * 64
# The same keys on every run: what fails on one machine fails on all.
KEYS = {
    name: SigningKey.from_bytes(digest("test/grants", name.encode()))
    for name in (*NAMES, AUTHORITY, "stranger")
}

DOCUMENT: dict[str, Any] = {
    "schema": "fusion.grant/1",
    "title": "Overdue firms",
    "assigners": ["customs", "tax"],
    "assignee": "bank",
    "dataset": {
        "id": "firms",
        "columns": ["region", "turnover", "overdue"],
        "schema_digest": SCHEMA,
    },
    "permissions": {
        "train": {
            "models": ["logistic"],
            "k": 3,
            "rounds": 10,
            "runs": 5,
            "epsilon_micro": 2_000_000,
            "membership_permille": 100,
            "label_leak_permille": 200,
            "smallest_leaf": 20,
        },
        "align": {
            "set_size": 1000,
            "outcomes": ["size", "both"],
            "minimum_intersection": 50,
            "minimum_overlap_permille": 100,
            "minimum_difference": 20,
            "runs": 2,
        },
        "query": {
            "outputs": ["table", "python"],
            "rows": 100,
            "epsilon_micro": 500_000,
            "runs": 3,
            "code": [CODE],
        },
        "score": {"rows": 500, "runs": 4, "only_models": ["credit"]},
        "mock": {"rows": 50, "epsilon_micro": 100_000, "runs": 1},
    },
    "purpose": "dpv:CreditChecking",
    "fee": {"kind": "industrial", "currency": "CNY", "ceiling_cents": 120_000},
    "product": "DP-2026-0001",
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2027-01-01T00:00:00Z",
    "duties": [
        {"kind": "delete", "by": "2027-02-01T00:00:00Z"},
        {"kind": "pay", "by": "2026-12-31T00:00:00Z", "cents": 120_000},
        {"kind": "attribute", "text": "Data of the city's tax office"},
    ],
    "signers": [
        {"role": "owner", "organisation": "customs"},
        {"role": "owner", "organisation": "tax"},
        {"role": "operator", "organisation": "bank"},
        {"role": "authority", "organisation": "hub"},
    ],
    "replaces": "0" * 64,
}

REQUESTS: dict[str, dict[str, Any]] = {
    "train": {
        "model": "logistic", "k": 3, "rounds": 10, "epsilon_micro": 400_000,
        "membership_permille": 100, "label_leak_permille": 150, "smallest_leaf": 20,
    },
    "align": {
        "set_size": 1000,
        "outcome": "size",
        "minimum_intersection": 50,
        "minimum_overlap_permille": 100,
    },
    "query": {"output": "table", "rows": 10, "epsilon_micro": 1000},
    "score": {"rows": 100, "model_names": ["e" * 64, "f" * 64, "credit"]},
    "mock": {"rows": 50, "epsilon_micro": 100_000},
}  # fmt: skip


def roster(names: tuple[str, ...] = NAMES) -> Roster:
    """Return the federation's roster."""
    members = tuple(light_member(name, KEYS[name].public) for name in sorted(names))
    return Roster(federation="test", epoch=1, authority_key=KEYS[AUTHORITY].public, members=members)


ROSTER = roster()


def document(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the grant's document with values at JSON pointers replaced."""
    return put(DOCUMENT, changes or {})


def put(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with values at ``/json/pointers`` replaced."""
    result = copy.deepcopy(dict(before))
    for path, value in changes.items():
        *way, last = path.strip("/").split("/")
        here: Any = result
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here[part]
        here[int(last) if isinstance(here, list) else last] = copy.deepcopy(value)
    return result


def grant_from(value: Mapping[str, Any]) -> Grant:
    """Return the grant that a document states."""
    return checked(Grant.model_validate_json(canonical.encode(dict(value))))


def signed_by(grant: Grant, names: tuple[str, ...] | None = None) -> SignedGrant:
    """Return a grant signed by these, or by all that it names."""
    signers = sorted(grant.required) if names is None else list(names)
    data = signing.propose(grant, signers[0], KEYS[signers[0]])
    for name in signers[1:]:
        data = signing.sign(data, name, KEYS[name])
    return signing.open_grant(data, ROSTER)


def request_from(action: str = "train", changes: Mapping[str, Any] | None = None) -> Request:
    """Return a request that the grant allows, with changes."""
    value = {
        "job": "job-1",
        "assignee": "bank",
        "party": "tax",
        "action": action,
        "dataset": "firms",
        "columns": ["region", "overdue"],
        "schema_digest": SCHEMA,
        "purpose": "dpv:CreditChecking",
        "study": "d" * 64,
        **REQUESTS.get(action, {}),
        **(changes or {}),
    }
    return Request.model_validate_json(canonical.encode(value))


@dataclass
class Case:
    """One request and everything that its decision depends on."""

    action: str = "train"
    request: dict[str, Any] = field(default_factory=dict)
    grant: dict[str, Any] = field(default_factory=dict)
    signers: tuple[str, ...] | None = None
    revoked: bool = False
    used: dict[str, int] = field(default_factory=dict)
    now: str = "2026-06-01T12:00:00Z"

    def decide(self) -> Permit | Refusal:
        """Return the decision."""
        grant = grant_from(document(self.grant))
        return decide(signed_by(grant, self.signers), *self._rest())

    def _rest(self) -> tuple[Request, State, datetime]:
        state = State(revoked=self.revoked, used=Amount(**self.used))
        return request_from(self.action, self.request), state, moment_of(self.now)

    def repaired(self, refusal: Refusal) -> Permit | Refusal:
        """Carry the repair out to the letter, and ask again."""
        repair = refusal.repair
        assert repair is not None
        request, state, now = self._rest()
        request = Request.model_validate_json(
            canonical.encode(patched(request.document(), repair, "request"))
        )
        grant = grant_from(document(self.grant))
        signers = self.signers
        if any(change.target == "grant" for change in repair):
            before = grant.id
            grant = grant_from(patched(grant.document(), repair, "grant"))
            assert grant.id != before
            # A new grant: everybody signs, nothing was used, nobody has revoked it.
            signers, state = None, State()
        for change in repair:
            if change.target == "signatures":
                signers = (*(signers or ()), change.value)
            if change.target == "time":
                now = moment_of(change.value)
        return decide(signed_by(grant, signers), request, state, now)
