"""An organisation's folder: made without a hub, turned into a node, its certificate of the day."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fusion.errors import InputInvalid, KeyRefused, MemberRevoked, PassphraseWrong
from fusion.identity import certificates
from fusion.identity.callers import caller
from fusion.identity.request import open_request
from fusion.services import node as node_service
from fusion.services import organisations, rosters
from fusion.services.dialling import link_of
from fusion.services.enrolment import ROSTER
from fusion.services.homes import NodeHome
from fusion.services.leaves import ensure_leaf, leaf_pems
from fusion.services.organisations import OrgHome
from fusion.wire.limits import MAX_ROSTER_BYTES
from tests.link.federation import admit, at_port, make_hub, make_node, serving

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
FEDERATION = "city.example"
SECRET = b"five random words for this test"


def test_an_organisation_is_made_without_a_hub(tmp_path: Path) -> None:
    home = organisations.init(tmp_path / "org", "tax.city.example", "市税务局")
    request = open_request(home.request.read_bytes())
    assert (request.id, request.name) == ("tax.city.example", "市税务局")
    assert request.keys == home.public_keys()
    assert home.statement_key.public == request.keys.statement_key
    assert home.sealing_key.public == request.keys.sealing_key
    assert organisations.describe(OrgHome.open_org(tmp_path / "org"))["id"] == "tax.city.example"
    for file in home.key_folder.files():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(InputInvalid, match="organisation already"):
        organisations.init(tmp_path / "org", "tax.city.example")
    with pytest.raises(InputInvalid):
        organisations.init(tmp_path / "hub", "hub")


def test_its_folder_becomes_a_node_with_the_same_keys(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    made = organisations.init(tmp_path / "org", "tax.city.example", "Tax")
    before = made.public_keys()
    with pytest.raises(InputInvalid, match=r"folder of tax\.city\.example"):
        node_service.init(tmp_path / "org", hub=str(hub.invitation), org="other.example")
    node = node_service.init(tmp_path / "org", hub=str(hub.invitation))
    assert (node.config.id, node.config.name) == ("tax.city.example", "Tax")
    assert node.public_keys() == before
    member = rosters.admit(hub, node.request.read_bytes())
    assert member.keys == before
    with pytest.raises(InputInvalid, match="node already"):
        node_service.init(tmp_path / "org", hub=str(hub.invitation))


def test_a_new_node_needs_an_identifier(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    with pytest.raises(InputInvalid):
        node_service.init(tmp_path / "node", hub=str(hub.invitation))
    assert not (tmp_path / "node").exists()


# ---------------------------------------------------------------------- the leaf of the day


def test_a_leaf_is_renewed_in_the_second_half_of_its_life_and_not_before(tmp_path: Path) -> None:
    home = organisations.init(tmp_path / "org", "a.example")
    first = ensure_leaf(home, FEDERATION, NOW)
    early = NOW + timedelta(hours=11, minutes=50)
    assert ensure_leaf(home, FEDERATION, early) == first
    second = ensure_leaf(home, FEDERATION, NOW + timedelta(hours=12))
    assert second != first
    assert ensure_leaf(home, FEDERATION, NOW + timedelta(days=400)) != second


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_leaf_that_is_gone_or_damaged_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    home = organisations.init(tmp_path / "org", "a.example")
    first = ensure_leaf(home, FEDERATION, NOW)
    home.leaf.unlink() if damage is None else home.leaf.write_bytes(damage)
    assert ensure_leaf(home, FEDERATION, NOW) != first


def test_a_leaf_of_another_federation_or_ca_is_replaced(tmp_path: Path) -> None:
    home = organisations.init(tmp_path / "org", "a.example")
    first = ensure_leaf(home, FEDERATION, NOW)
    other = ensure_leaf(home, "town.example", NOW)
    assert other != first
    stranger = organisations.init(tmp_path / "b", "a.example")
    home.leaf.write_bytes(stranger.leaf.read_bytes() if stranger.leaf.exists() else b"")
    ensure_leaf(stranger, FEDERATION, NOW)
    home.leaf.write_bytes(stranger.leaf.read_bytes())
    ensure_leaf(home, FEDERATION, NOW)
    leaf = certificates.from_pem(home.leaf.read_bytes())
    leaf.verify_directly_issued_by(certificates.from_pem(home.org_ca.read_bytes()))


def test_a_leaf_as_tls_libraries_take_it(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = node_service.init(
        tmp_path / "a", hub=str(hub.invitation), org="a.example", passphrase=SECRET
    )
    rosters.admit(hub, node.request.read_bytes())
    now = datetime.now(UTC)
    certificate, key = leaf_pems(node, hub.config.federation, now)
    leaf = certificates.from_pem(certificate)
    assert caller(hub.roster(), certificates.der(leaf), now).id == "a.example"
    assert load_pem_private_key(key, None).public_key() == leaf.public_key()
    assert b"ENCRYPTED" in node.leaf.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=hub.roster().authorities_pem().decode())
    assert len(context.get_ca_certs()) == 1


def test_a_revoked_members_leaf_speaks_for_nobody(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    now = datetime.now(UTC)
    certificate, _ = leaf_pems(node, hub.config.federation, now)
    leaf = certificates.der(certificates.from_pem(certificate))
    roster = rosters.revoke(hub, "a.example", "left")
    with pytest.raises(MemberRevoked):
        caller(roster, leaf, now)
    assert roster.authorities_pem() == b""


class Watch:
    """A clock that is behind by some hours."""

    behind = timedelta(hours=13)

    def now(self) -> datetime:
        return datetime.now(UTC) - self.behind

    def monotonic(self) -> float:
        return 0.0


def test_a_link_goes_on_with_the_newest_leaf(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    made = admit(hub, make_node(hub, tmp_path / "a", "a.example"))
    watch = Watch()
    with serving(hub, 1) as port:
        node = at_port(made, port.port)
        with link_of(node, watch) as link:
            assert link.read(ROSTER, MAX_ROSTER_BYTES)
            first = node.leaf.read_bytes()
            watch.behind = timedelta()
            link.renew()
            assert link.read(ROSTER, MAX_ROSTER_BYTES)
            assert node.leaf.read_bytes() != first


# ---------------------------------------------------------------------- passphrases


def _as_if_new(home: OrgHome) -> OrgHome:
    return OrgHome.open_org(home.path)


def test_encrypted_keys_open_with_their_passphrase_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = organisations.init(tmp_path / "org", "a.example", passphrase=SECRET)
    assert all(b"ENCRYPTED" in file.read_bytes() for file in home.key_folder.files())
    assert home.statement_key.public == home.public_keys().statement_key
    file = tmp_path / "passphrase"
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(file))
    file.write_bytes(SECRET + b"\nnot this line\n")
    assert _as_if_new(home).statement_key == home.statement_key
    file.write_bytes(b"another one altogether")
    with pytest.raises(PassphraseWrong, match="does not open") as refused:
        _ = _as_if_new(home).statement_key
    # Which one was tried, and how to name another.
    assert str(file) in refused.value.message
    assert "FUSION_PASSPHRASE_FILE" in refused.value.hint
    with pytest.raises(PassphraseWrong, match="does not open the private keys"):
        organisations.change_passphrase(home.path, None, unencrypted=True)
    # What is public needs none.
    monkeypatch.delenv("FUSION_PASSPHRASE_FILE")
    assert organisations.describe(_as_if_new(home))["encrypted"]


def test_a_passphrase_is_changed_also_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = organisations.init(tmp_path / "org", "a.example", passphrase=SECRET)
    ensure_leaf(home, FEDERATION, NOW)
    serial = ensure_leaf(home, FEDERATION, NOW)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(SECRET)
    new.write_bytes(b"quite another passphrase\n")
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(old))
    # Half of the files have been changed already.
    half = [file.read_bytes() for file in home.key_folder.files()]
    assert organisations.change_passphrase(home.path, new, unencrypted=False) == 7
    for file, data in list(zip(home.key_folder.files(), half, strict=True))[::2]:
        file.write_bytes(data)
    assert organisations.change_passphrase(home.path, new, unencrypted=False) == 7
    with pytest.raises(KeyRefused):
        _ = _as_if_new(home).statement_key
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(new))
    changed = _as_if_new(home)
    assert changed.statement_key.public == home.public_keys().statement_key
    assert ensure_leaf(changed, FEDERATION, NOW) == serial
    leaf_pems(changed, FEDERATION, NOW)
    assert organisations.change_passphrase(home.path, None, unencrypted=True) == 7
    assert not _as_if_new(home).key_folder.encrypted
    with pytest.raises(InputInvalid, match="no private keys"):
        organisations.change_passphrase(tmp_path, new, unencrypted=False)


@pytest.mark.parametrize("text", [b"", b"short", b"x" * 2000, b"\nlong enough on another line"])
def test_a_passphrase_file_that_is_no_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    home = organisations.init(tmp_path / "org", "a.example", passphrase=SECRET)
    (tmp_path / "passphrase").write_bytes(text)
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    with pytest.raises(InputInvalid, match="bytes"):
        _ = NodeHome.open_org(home.path).statement_key
