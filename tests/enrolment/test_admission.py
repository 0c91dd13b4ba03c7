"""Admission: the data authority's decision, and what it refuses."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import (
    InputInvalid,
    MemberRevoked,
    MessageInvalid,
    Refused,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.identity import certificates, keys
from fusion.identity.request import make_request
from fusion.services import hub as hub_service
from fusion.services import rosters
from fusion.stores.ledger import SqliteLedger
from fusion.types import OrgId
from tests.link.federation import make_hub, make_node
from tests.members import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import HubHome


class Later:
    """A clock that is ahead."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._days)

    def monotonic(self) -> float:
        return 0.0


def request(keys: Keys, **other: Any) -> bytes:  # noqa: ANN401 - keys of each kind
    """A request with these keys, some of them another's."""
    public = replace(keys.public(), **other)
    return make_request(
        OrgId(keys.org), "", public, statement=keys.statement, authority=keys.authority
    )


KINDS = ("sealing_key", "fleet_key", "log_key", "witness_key")


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    """A hub without members."""
    return make_hub(tmp_path / "hub")


def test_a_member_is_on_the_next_roster_with_its_own_keys(hub: HubHome, tmp_path: Path) -> None:
    node = make_node(hub, tmp_path / "a", "a.example")
    member = rosters.admit(hub, node.request.read_bytes())
    roster = hub.roster()
    assert (roster.epoch, roster.members) == (2, (member,))
    assert member.keys == node.public_keys()
    assert member.statement_key == node.statement_key.public
    assert member.sealing_key == node.sealing_key.public
    assert member.fleet_key == keys.fleet_header(node.fleet_private_key().public_key())
    assert member.ca == certificates.der(certificates.from_pem(node.org_ca.read_bytes()))


def test_members_keep_their_places_as_others_come(hub: HubHome) -> None:
    for org in ("c.example", "a.example", "b.example"):
        rosters.admit(hub, request(Keys(org)))
    assert [m.id for m in hub.roster().members] == ["a.example", "b.example", "c.example"]
    assert hub.roster().epoch == 4


def test_the_same_request_again_changes_nothing(hub: HubHome) -> None:
    asked = request(Keys("a.example"))
    member = rosters.admit(hub, asked)
    before, logged = _files(hub), SqliteLedger(hub.ledger).size()
    assert rosters.admit(hub, asked) == member
    assert _files(hub) == before
    assert SqliteLedger(hub.ledger).size() == logged


def _files(hub: HubHome) -> dict[Path, bytes]:
    """What is in the hub's folder, but for SQLite's own files: opening one may change them."""
    files = [p for p in hub.path.rglob("*") if p.is_file()]
    return {p: p.read_bytes() for p in files if not p.name.startswith("ledger.sqlite")}


@pytest.mark.parametrize("kind", [*KINDS, "statement_key", "ca"])
def test_a_member_is_not_replaced_by_a_request_with_other_keys(hub: HubHome, kind: str) -> None:
    own, other = Keys("a"), Keys("a")
    rosters.admit(hub, request(own))
    before = hub.roster_file.read_bytes()
    mixed = {
        "statement_key": replace(own, statement=other.statement),
        "ca": replace(own, authority=other.authority),
    }.get(kind, own)
    changes = {kind: getattr(other.public(), kind)} if kind in KINDS else {}
    with pytest.raises(Refused, match="other keys") as refusal:
        rosters.admit(hub, request(mixed, **changes))
    assert refusal.value.hint
    assert hub.roster_file.read_bytes() == before


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_members_have_a_key_in_common(hub: HubHome, kind: str) -> None:
    first = Keys("a.example")
    rosters.admit(hub, request(first))
    with pytest.raises(Refused, match=r"a\.example"):
        rosters.admit(hub, request(Keys("b.example"), **{kind: getattr(first.public(), kind)}))


def test_the_authoritys_key_is_nobodys(hub: HubHome) -> None:
    with pytest.raises(Refused, match="authority"):
        rosters.admit(hub, request(Keys("a.example", statement=hub.authority_key)))


def test_a_request_that_is_not_authentic_is_refused(hub: HubHome, tmp_path: Path) -> None:
    with pytest.raises(MessageInvalid):
        rosters.admit(hub, b"junk")
    # The middle of the signature at the end of the request.
    changed = bytearray(request(Keys("a.example")))
    at = changed.index(b"-----END") - 30
    changed[at] = ord("A") if changed[at] != ord("A") else ord("B")
    with pytest.raises((SignatureInvalid, MessageInvalid)):
        rosters.admit(hub, bytes(changed))
    assert hub.roster().epoch == 1
    with pytest.raises(InputInvalid):
        make_node(hub, tmp_path / "node", "hub")


def test_admissions_at_the_same_time_do_not_lose_each_other(hub: HubHome) -> None:
    requests = [request(Keys(f"org{n}")) for n in range(6)]
    threads = [threading.Thread(target=rosters.admit, args=(hub, r)) for r in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.id for m in hub.roster().members] == [f"org{n}" for n in range(6)]
    assert hub.roster().epoch == 7


def test_an_admission_that_is_repeated_changes_nothing(hub: HubHome) -> None:
    asked = request(Keys("a.example"))
    member = rosters.admit(hub, asked)
    assert rosters.admit(hub, asked) == member
    assert hub.roster().epoch == 2


def test_a_revoked_organisation_is_not_admitted_again(hub: HubHome) -> None:
    asked = request(Keys("a.example"))
    rosters.admit(hub, asked)
    rosters.revoke(hub, "a.example", "left the federation")
    with pytest.raises(MemberRevoked, match="left the federation"):
        rosters.admit(hub, asked)
    with pytest.raises(MemberRevoked):
        rosters.revoke(hub, "a.example", "again")
    with pytest.raises(InputInvalid):
        rosters.revoke(hub, "a.example", " ")
    assert hub.roster().listed("a.example").status == "revoked"


def test_every_epoch_is_kept_and_tells_what_it_changed(hub: HubHome) -> None:
    rosters.admit(hub, request(Keys("a.example")), until="2030-01-01")
    rosters.extend(hub, "a.example", None)
    rosters.revoke(hub, "a.example", "left")
    told = rosters.history(hub)
    assert [(t["epoch"], t["members"]) for t in told] == [(1, 0), (2, 1), (3, 1), (4, 0)]
    assert [c["what"] for t in told for c in t["changes"]] == [
        "admitted", "valid until revoked", "revoked: left",
    ]  # fmt: skip
    assert all(t["previous"] == before["digest"] for before, t in pairwise(told))
    (hub.rosters / "3.json").write_bytes((hub.rosters / "2.json").read_bytes())
    with pytest.raises(VerificationFailed):
        rosters.history(hub)


def test_the_hubs_own_certificates_are_renewed_in_time(hub: HubHome) -> None:
    before = hub.server_certificate.read_bytes(), hub.superlink_ca.read_bytes()
    assert not hub_service.renew_certificates(hub)
    assert (hub.server_certificate.read_bytes(), hub.superlink_ca.read_bytes()) == before
    ca = hub.ca.read_bytes()
    assert hub_service.renew_certificates(hub, clock=Later(days=5 * 365 - 30))
    assert hub.server_certificate.read_bytes() != before[0]
    assert hub.superlink_ca.read_bytes() != before[1]
    # Nodes trust the CA: it stays.
    assert hub.ca.read_bytes() == ca
