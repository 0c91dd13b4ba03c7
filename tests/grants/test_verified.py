"""What was verified before is served for the very same bytes and roster, and for nothing else."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import FusionError, GrantRefused, SignatureInvalid, UnknownOrganisation
from fusion.grants import signing
from fusion.grants.refusal import Code
from fusion.services import grants
from fusion.services.grant_choice import choose
from fusion.services.grants import GrantFolder
from fusion.services.verified import VerifiedGrants
from tests.grants.grants import DOCUMENT, NOW, ROSTER, grant_from, request_from, signed_by
from tests.grants.test_service import asked, desk, finalised
from tests.members import with_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.identity.roster import Roster
    from fusion.services.homes import HubHome, NodeHome

SIGNED = signed_by(grant_from(DOCUMENT))


def rekeyed(roster: Roster, name: str, *, epoch: int) -> Roster:
    """Return a roster in which a member has another statement key."""
    members = tuple(
        with_keys(member, statement_key=SigningKey.generate().public)
        if member.id == name
        else member
        for member in roster.members
    )
    previous = "0" * 64 if epoch > 1 else ""
    return dataclasses.replace(roster, members=members, epoch=epoch, previous=previous)


def test_the_same_bytes_are_verified_once() -> None:
    verified = VerifiedGrants()
    first = verified.open(SIGNED.envelope, ROSTER)
    assert first == SIGNED
    assert verified.open(bytes(bytearray(SIGNED.envelope)), ROSTER) is first
    assert len(verified) == 1


def test_any_changed_byte_is_verified_again_and_refused() -> None:
    verified = VerifiedGrants()
    verified.open(SIGNED.envelope, ROSTER)
    for place in range(0, len(SIGNED.envelope), 37):
        changed = bytearray(SIGNED.envelope)
        changed[place] ^= 1
        with pytest.raises(FusionError):
            verified.open(bytes(changed), ROSTER)
    for changed_length in (SIGNED.envelope + b" ", SIGNED.envelope[:-1], b""):
        with pytest.raises(FusionError):
            verified.open(changed_length, ROSTER)
    assert len(verified) == 1


@pytest.mark.parametrize("epoch", [ROSTER.epoch, ROSTER.epoch + 1])
def test_another_roster_makes_everything_be_verified_again(epoch: int) -> None:
    """Also one of the same epoch, which an honest authority never signs."""
    verified = VerifiedGrants()
    verified.open(SIGNED.envelope, ROSTER)
    with pytest.raises(SignatureInvalid):
        verified.open(SIGNED.envelope, rekeyed(ROSTER, "tax", epoch=epoch))
    assert len(verified) == 0
    assert verified.open(SIGNED.envelope, ROSTER) == SIGNED


def test_a_member_that_left_is_no_signer_any_more() -> None:
    verified = VerifiedGrants()
    verified.open(SIGNED.envelope, ROSTER)
    fewer = tuple(member for member in ROSTER.members if member.id != "tax")
    with pytest.raises(UnknownOrganisation):
        verified.open(
            SIGNED.envelope,
            dataclasses.replace(ROSTER, members=fewer, epoch=ROSTER.epoch + 1, previous="0" * 64),
        )


def test_a_new_epoch_with_the_same_keys_verifies_once_more() -> None:
    verified = VerifiedGrants()
    first = verified.open(SIGNED.envelope, ROSTER)
    later = dataclasses.replace(ROSTER, epoch=ROSTER.epoch + 1, previous="0" * 64)
    again = verified.open(SIGNED.envelope, later)
    assert again == first
    assert again is not first


def test_no_more_than_so_many_are_kept_and_the_oldest_go() -> None:
    verified = VerifiedGrants(limit=2)
    three = [signed_by(grant_from({**DOCUMENT, "title": title})) for title in ("A", "B", "C")]
    first = verified.open(three[0].envelope, ROSTER)
    second = verified.open(three[1].envelope, ROSTER)
    assert verified.open(three[0].envelope, ROSTER) is first
    verified.open(three[2].envelope, ROSTER)
    assert len(verified) == 2
    assert verified.open(three[0].envelope, ROSTER) is first
    assert verified.open(three[1].envelope, ROSTER) is not second


def test_it_is_the_same_for_threads() -> None:
    verified = VerifiedGrants(limit=2)
    three = [signed_by(grant_from({**DOCUMENT, "title": title})) for title in ("A", "B", "C")]
    rosters = (ROSTER, dataclasses.replace(ROSTER, epoch=ROSTER.epoch + 1, previous="0" * 64))
    wrong: list[object] = []

    def work(start: int) -> None:
        for turn in range(40):
            each = three[(start + turn) % 3]
            if verified.open(each.envelope, rosters[turn // 7 % 2]) != each:
                wrong.append(each)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(verified) <= 2


# ------------------------------------------------------------------------------ at the desk


def test_a_revocation_counts_at_once(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    kept = finalised(hub, nodes)
    at = desk(nodes["tax"])
    at.admit(asked(job="first"))
    grants.revoke(nodes["tax"], kept.signed.id, "no longer needed")
    with pytest.raises(GrantRefused) as caught:
        at.admit(asked(job="second"))
    assert caught.value.code == Code.REVOKED


def test_a_file_that_was_changed_is_not_served_as_it_was(
    hub: HubHome, nodes: Mapping[str, NodeHome]
) -> None:
    kept = finalised(hub, nodes)
    at = desk(nodes["tax"])
    at.admit(asked(job="first"))
    data = kept.path.read_bytes()
    kept.path.write_bytes(data.replace(b"sig", b"sog", 1))
    with pytest.raises(GrantRefused) as caught:
        at.admit(asked(job="second"))
    assert caught.value.code == Code.NO_GRANT
    kept.path.write_bytes(data)
    at.admit(asked(job="second"))


def test_a_signature_less_is_seen(hub: HubHome, nodes: Mapping[str, NodeHome]) -> None:
    """A valid envelope with fewer signatures, under the same name, is another one."""
    kept = finalised(hub, nodes)
    at = desk(nodes["tax"])
    at.admit(asked(job="first"))
    alone = signing.propose(kept.signed.grant, "tax", nodes["tax"].statement_key)
    kept.path.write_bytes(alone)
    with pytest.raises(GrantRefused) as caught:
        at.admit(asked(job="second"))
    assert caught.value.code == Code.NOT_SIGNED


def test_a_folder_follows_the_roster(tmp_path: Path) -> None:
    current = [ROSTER]
    folder = GrantFolder(tmp_path, lambda: current[0])
    folder.keep(SIGNED.envelope)
    said: list[str] = []
    assert [kept.signed for kept in folder.readable(said.append)] == [SIGNED]
    current[0] = rekeyed(ROSTER, "bank", epoch=ROSTER.epoch + 1)
    assert folder.readable(said.append) == []
    assert "left out" in said[0]
    result = choose(folder.readable(said.append), request_from(), None, NOW)
    assert getattr(result, "code", None) == Code.NO_GRANT
