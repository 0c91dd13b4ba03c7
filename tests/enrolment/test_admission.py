"""Admission: the data authority's decision, and what it refuses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid, MessageInvalid, Refused, SignatureInvalid
from fusion.identity import certificates, keys
from fusion.identity.request import make_request, open_request
from fusion.services import hub as hub_service
from fusion.stores.ledger import SqliteLedger
from fusion.types import OrgId
from tests.link.federation import make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec

    from fusion.services.homes import HubHome


class Later:
    """A clock that is ahead."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self._days)

    def monotonic(self) -> float:
        return 0.0


@dataclass(frozen=True, slots=True)
class Keys:
    """An organisation's four keys."""

    statement: SigningKey = field(default_factory=SigningKey.generate)
    sealing: SealingKey = field(default_factory=SealingKey.generate)
    fleet: ec.EllipticCurvePrivateKey = field(default_factory=keys.new_fleet_key)
    tls: ec.EllipticCurvePrivateKey = field(default_factory=keys.new_tls_key)

    def request(self, org: str) -> bytes:
        """A request with these keys."""
        return make_request(
            OrgId(org),
            "",
            statement=self.statement,
            sealing=self.sealing,
            fleet=self.fleet,
            tls=self.tls,
        )

    def given(self, kind: str, other: Keys) -> Keys:
        """These keys, but one of them another's."""
        match kind:
            case "statement":
                return replace(self, statement=other.statement)
            case "sealing":
                return replace(self, sealing=other.sealing)
            case "fleet":
                return replace(self, fleet=other.fleet)
            case _:
                return replace(self, tls=other.tls)


@pytest.fixture
def hub(tmp_path: Path) -> HubHome:
    """A hub without members."""
    return make_hub(tmp_path / "hub")


def test_a_member_is_on_the_next_roster_with_its_own_keys(hub: HubHome, tmp_path: Path) -> None:
    node = make_node(hub, tmp_path / "a", "a.example")
    member = hub_service.admit(hub, node.request.read_bytes())
    roster = hub.roster()
    assert (roster.epoch, roster.members) == (2, (member,))
    assert member.statement_key == node.statement_key.public
    assert member.sealing_key == node.sealing_key.public
    assert member.fleet_key == keys.fleet_header(node.fleet_private_key().public_key())
    certificate = certificates.from_pem((hub.admitted / "a.example.pem").read_bytes())
    assert member.tls_fingerprint == certificates.fingerprint(certificate)


def test_members_keep_their_places_as_others_come(hub: HubHome) -> None:
    for org in ("c.example", "a.example", "b.example"):
        hub_service.admit(hub, Keys().request(org))
    assert [m.id for m in hub.roster().members] == ["a.example", "b.example", "c.example"]
    assert hub.roster().epoch == 4


def test_the_same_request_again_changes_nothing(hub: HubHome) -> None:
    request = Keys().request("a.example")
    member = hub_service.admit(hub, request)
    before, logged = _files(hub), SqliteLedger(hub.ledger).size()
    assert hub_service.admit(hub, request) == member
    assert _files(hub) == before
    assert SqliteLedger(hub.ledger).size() == logged


def _files(hub: HubHome) -> dict[Path, bytes]:
    """What is in the hub's folder, but for SQLite's own files: opening one may change them."""
    files = [p for p in hub.path.rglob("*") if p.is_file()]
    return {p: p.read_bytes() for p in files if not p.name.startswith("ledger.sqlite")}


def test_a_certificate_about_to_expire_is_issued_anew(hub: HubHome) -> None:
    request = Keys().request("a.example")
    member = hub_service.admit(hub, request)
    renewed = hub_service.admit(hub, request, clock=Later(days=330))
    assert renewed.tls_fingerprint != member.tls_fingerprint
    assert renewed.admitted_at == member.admitted_at
    assert hub.roster().members == (renewed,)


def test_a_member_may_change_its_tls_key(hub: HubHome) -> None:
    own = Keys()
    first = hub_service.admit(hub, own.request("a"))
    second = hub_service.admit(hub, own.given("tls", Keys()).request("a"))
    assert second.tls_fingerprint != first.tls_fingerprint
    assert hub.roster().members == (second,)


@pytest.mark.parametrize("kind", ["statement", "sealing", "fleet"])
def test_a_member_is_not_replaced_by_a_request_with_other_keys(hub: HubHome, kind: str) -> None:
    own = Keys()
    hub_service.admit(hub, own.request("a"))
    before = hub.roster_file.read_bytes()
    with pytest.raises(Refused, match="other keys") as refusal:
        hub_service.admit(hub, own.given(kind, Keys()).request("a"))
    assert refusal.value.hint
    assert hub.roster_file.read_bytes() == before


@pytest.mark.parametrize("kind", ["statement", "sealing", "fleet"])
def test_no_two_members_have_a_key_in_common(hub: HubHome, kind: str) -> None:
    first = Keys()
    hub_service.admit(hub, first.request("a.example"))
    with pytest.raises(Refused, match=r"a\.example"):
        hub_service.admit(hub, Keys().given(kind, first).request("b.example"))


def test_the_authoritys_key_is_nobodys(hub: HubHome) -> None:
    with pytest.raises(Refused, match="authority"):
        hub_service.admit(hub, Keys(statement=hub.authority_key).request("a.example"))


def test_a_request_that_is_not_authentic_is_refused(hub: HubHome, tmp_path: Path) -> None:
    with pytest.raises(MessageInvalid):
        hub_service.admit(hub, b"junk")
    # The middle of the signature at the end of the request.
    request = bytearray(Keys().request("a.example"))
    at = request.index(b"-----END") - 30
    request[at] = ord("A") if request[at] != ord("A") else ord("B")
    with pytest.raises((SignatureInvalid, MessageInvalid)):
        hub_service.admit(hub, bytes(request))
    assert hub.roster().epoch == 1
    with pytest.raises(InputInvalid):
        make_node(hub, tmp_path / "node", "hub")


def test_admissions_at_the_same_time_do_not_lose_each_other(hub: HubHome) -> None:
    requests = [Keys().request(f"org{n}") for n in range(6)]
    threads = [threading.Thread(target=hub_service.admit, args=(hub, r)) for r in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.id for m in hub.roster().members] == [f"org{n}" for n in range(6)]
    assert hub.roster().epoch == 7


def test_an_admission_that_was_interrupted_is_completed_by_the_next(hub: HubHome) -> None:
    request = Keys().request("a.example")
    hub_service.admit(hub, request)
    # The last file of an admission is the one that the node waits for.
    issued = hub.requests / f"{open_request(request).digest}.pem"
    issued.unlink()
    member = hub_service.admit(hub, request)
    certificate = certificates.from_pem(issued.read_bytes())
    assert member.tls_fingerprint == certificates.fingerprint(certificate)
    assert hub.roster().members == (member,)


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
