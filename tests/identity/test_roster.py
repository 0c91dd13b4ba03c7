"""The roster: signed, well formed, distinct keys, epochs that never go back."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import (
    FusionError,
    InputInvalid,
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.keys import fleet_header, new_fleet_key
from fusion.identity.roster import (
    Member,
    Roster,
    check_pins,
    member_id,
    newer,
    open_roster,
    pins_of,
    sign_roster,
)
from fusion.types import OrgId
from fusion.wire import envelope

AUTHORITY = SigningKey.generate()


def _member(org: str, number: int) -> Member:
    return Member(
        id=OrgId(org),
        name=f"Office {number}",
        statement_key=SigningKey.generate().public,
        sealing_key=SealingKey.generate().public,
        fleet_key=fleet_header(new_fleet_key().public_key()),
        tls_fingerprint=f"{number:064x}",
        admitted_at="2026-11-25T08:00:00Z",
    )


A, B, C = (_member(f"{letter}.example", n) for n, letter in enumerate("abc"))
ROSTER = Roster(federation="city.example", epoch=7, authority_key=AUTHORITY.public, members=(A, B))
SIGNED = sign_roster(ROSTER, AUTHORITY)


def test_a_roster_survives_its_signature() -> None:
    assert open_roster(SIGNED, AUTHORITY.public) == ROSTER
    assert ROSTER.member("b.example") == B
    assert ROSTER.statement_keys() == {"a.example": A.statement_key, "b.example": B.statement_key}


def test_a_stranger_is_not_found() -> None:
    with pytest.raises(UnknownOrganisation, match="epoch 7"):
        ROSTER.member("c.example")


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_one_flipped_bit_is_found(bit: int) -> None:
    changed = bytearray(SIGNED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FusionError):
        open_roster(bytes(changed), AUTHORITY.public)


def test_nobody_else_signs_a_roster() -> None:
    other = SigningKey.generate()
    with pytest.raises(SignatureInvalid):
        sign_roster(ROSTER, other)
    forged = sign_roster(dataclasses.replace(ROSTER, authority_key=other.public), other)
    with pytest.raises(SignatureInvalid):
        open_roster(forged, AUTHORITY.public)


def test_the_next_epoch_adds_or_replaces() -> None:
    more = ROSTER.with_member(C)
    assert (more.epoch, more.members) == (8, (A, B, C))
    renewed = dataclasses.replace(B, tls_fingerprint="f" * 64)
    assert more.with_member(renewed).members == (A, renewed, C)


@pytest.mark.parametrize("field", ["statement_key", "sealing_key", "fleet_key", "tls_fingerprint"])
def test_no_two_members_share_a_key(field: str) -> None:
    twin = dataclasses.replace(C, **{field: getattr(A, field)})
    with pytest.raises(MessageInvalid, match="the same"):
        ROSTER.with_member(twin)


def test_no_member_has_the_authoritys_key() -> None:
    with pytest.raises(MessageInvalid, match="statement key"):
        ROSTER.with_member(dataclasses.replace(C, statement_key=AUTHORITY.public))


def test_members_are_listed_once_and_in_order() -> None:
    for members in ((B, A), (A, A)):
        with pytest.raises(MessageInvalid):
            dataclasses.replace(ROSTER, members=members)


def _payload() -> dict[str, object]:
    _, payload = envelope.open_signed(SIGNED, _type(), {"hub": AUTHORITY.public})
    return payload


def _type() -> str:
    kind: str = json.loads(SIGNED)["payloadType"]
    return kind


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fusion.roster/2"},
        {"epoch": 0},
        {"epoch": "7"},
        {"epoch": 7.5},
        {"federation": ""},
        {"unknown": 1},
        {"members": None},
        {"members": [{**A.to_json(), "id": "hub"}]},
        {"members": [{**A.to_json(), "id": "Capital.example"}]},
        {"members": [{**A.to_json(), "fleet_key": "QUJD"}]},
        {"members": [{**A.to_json(), "statement_key": "AB" * 32}]},
        {"members": [{**A.to_json(), "tls_fingerprint": "12"}]},
        {"members": [{**A.to_json(), "admitted_at": "yesterday"}]},
        {"members": [{**A.to_json(), "admin": True}]},
        {"members": [A.to_json()] * 1001},
    ],
)
def test_a_signed_roster_that_is_not_well_formed_is_refused(change: dict[str, object]) -> None:
    data = envelope.sign({**_payload(), **change}, _type(), AUTHORITY, "hub")
    with pytest.raises(MessageInvalid):
        open_roster(data, AUTHORITY.public)


def test_a_roster_names_the_authority_that_signed_it() -> None:
    stranger = SigningKey.generate().public.hex
    data = envelope.sign({**_payload(), "authority_key": stranger}, _type(), AUTHORITY, "hub")
    with pytest.raises(MessageInvalid, match="another authority"):
        open_roster(data, AUTHORITY.public)


@given(st.integers(1, 20), st.integers(1, 20))
def test_an_epoch_never_goes_back(known: int, offered: int) -> None:
    have = dataclasses.replace(ROSTER, epoch=known)
    offer = dataclasses.replace(ROSTER, epoch=offered)
    if offered >= known:
        assert newer(have, offer) == offer
    else:
        with pytest.raises(VerificationFailed, match="never goes back"):
            newer(have, offer)


def test_two_rosters_of_one_epoch_are_a_fork() -> None:
    with pytest.raises(VerificationFailed, match="Two different rosters"):
        newer(ROSTER, dataclasses.replace(ROSTER, members=(A,)))


def test_a_roster_of_another_federation_does_not_replace_ours() -> None:
    with pytest.raises(VerificationFailed, match="another federation"):
        newer(ROSTER, dataclasses.replace(ROSTER, federation="other.example", epoch=9))


def test_the_authoritys_identifier_is_no_members() -> None:
    assert member_id("hub.example") == "hub.example"
    with pytest.raises(InputInvalid, match="authority"):
        member_id("hub")


@pytest.mark.parametrize("field", ["statement_key", "sealing_key", "fleet_key"])
def test_a_member_never_has_other_keys(field: str) -> None:
    """The hub that could give a member another key could contribute in its name."""
    forged = dataclasses.replace(B, **{field: getattr(_member("b.example", 9), field)})
    offered = ROSTER.with_member(forged)
    with pytest.raises(VerificationFailed, match=r"other keys for b\.example"):
        newer(ROSTER, offered)


def test_a_member_that_was_gone_for_an_epoch_never_has_other_keys() -> None:
    without = dataclasses.replace(ROSTER, epoch=8, members=(A,))
    back = without.with_member(_member("b.example", 9))
    assert newer(without, back) == back
    with pytest.raises(VerificationFailed, match="other keys"):
        check_pins(pins_of(ROSTER), back)


def test_a_renewed_certificate_is_no_other_key() -> None:
    renewed = dataclasses.replace(B, tls_fingerprint=f"{99:064x}")
    assert newer(ROSTER, ROSTER.with_member(renewed)).member("b.example") == renewed
