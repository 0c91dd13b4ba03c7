"""The roster: signed, well formed, distinct keys, epochs that never go back."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fusion.crypto.signing import SigningKey
from fusion.errors import (
    FusionError,
    InputInvalid,
    MemberRevoked,
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.members import KEY_NAMES, member_id
from fusion.identity.roster import (
    Roster,
    RosterModel,
    check_pins,
    newer,
    open_roster,
    pins_of,
    sign_roster,
)
from fusion.wire import envelope
from tests.members import SINCE, Keys, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTHORITY = SigningKey.generate()


LATER = "2026-11-25T09:00:00Z"
KEYS = {letter: Keys(f"{letter}.example") for letter in "abc"}
A, B, C = (KEYS[letter].member() for letter in "abc")
FIRST = Roster(
    federation="city.example",
    epoch=7,
    previous="ab" * 32,
    issued_at=SINCE,
    authority_key=AUTHORITY.public,
    members=(A, B),
)
SIGNED = sign_roster(FIRST, AUTHORITY)
ROSTER = open_roster(SIGNED, AUTHORITY.public)


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


def test_the_next_epoch_adds_or_replaces_and_names_the_one_before() -> None:
    more = ROSTER.with_member(C, LATER)
    assert (more.epoch, more.members) == (8, (A, B, C))
    assert (more.previous, more.issued_at) == (hashlib.sha256(SIGNED).hexdigest(), LATER)
    ended = dataclasses.replace(B, valid_until=LATER)
    assert _signed(more).with_member(ended, LATER).members == (A, ended, C)
    with pytest.raises(VerificationFailed, match="signed"):
        more.with_member(ended, LATER)


def _signed(roster: Roster) -> Roster:
    return open_roster(sign_roster(roster, AUTHORITY), AUTHORITY.public)


@pytest.mark.parametrize("field", KEY_NAMES)
def test_no_two_members_share_a_key(field: str) -> None:
    twin = with_keys(C, **{field: getattr(A.keys, field)})
    with pytest.raises(MessageInvalid, match="the same"):
        ROSTER.with_member(twin, LATER)


@pytest.mark.parametrize("field", ["statement_key", "log_key", "witness_key"])
def test_no_member_has_the_authoritys_key(field: str) -> None:
    with pytest.raises(MessageInvalid, match="signing key"):
        ROSTER.with_member(with_keys(C, **{field: AUTHORITY.public}), LATER)


def test_members_are_listed_once_and_in_order() -> None:
    for members in ((B, A), (A, A)):
        with pytest.raises(MessageInvalid):
            dataclasses.replace(ROSTER, members=members)


def _keys(**change: str) -> dict[str, object]:
    document = A.to_json()
    return {**document, "keys": {**document["keys"], **change}}


def _payload() -> dict[str, object]:
    _, payload = envelope.open_signed(SIGNED, _type(), {"hub": AUTHORITY.public})
    return payload


def _type() -> str:
    kind: str = json.loads(SIGNED)["payloadType"]
    return kind


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "fusion.roster/1"},
        {"previous": ""},
        {"previous": "12"},
        {"epoch": 1},
        {"issued_at": "2026-13-01T00:00:00Z"},
        {"epoch": 0},
        {"epoch": "7"},
        {"epoch": 7.5},
        {"federation": ""},
        {"unknown": 1},
        {"members": None},
        {"members": [{**A.to_json(), "id": "hub"}]},
        {"members": [{**A.to_json(), "id": "Capital.example"}]},
        {"members": [_keys(fleet_key="QUJD")]},
        {"members": [_keys(statement_key="AB" * 32)]},
        {"members": [_keys(ca="12")]},
        {"members": [_keys(ca=B.to_json()["keys"]["ca"])]},
        {"members": [_keys(log_key=A.keys.witness_key.hex)]},
        {"members": [_keys(other="12")]},
        {"members": [{**A.to_json(), "valid_until": ""}]},
        {"members": [{**A.to_json(), "revoked": {"at": SINCE}}]},
        {"members": [{**A.to_json(), "rotations": ["x"] * 65}]},
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


@given(st.integers(2, 20), st.integers(2, 20))
def test_an_epoch_never_goes_back(known: int, offered: int) -> None:
    have = dataclasses.replace(ROSTER, epoch=known, digest="cd" * 32)
    previous = have.digest if offered == known + 1 else have.previous
    offer = dataclasses.replace(ROSTER, epoch=offered, previous=previous)
    if offered >= known:
        assert newer(have, offer) == offer
    else:
        with pytest.raises(VerificationFailed, match="never goes back"):
            newer(have, offer)


def test_two_rosters_of_one_epoch_are_a_fork() -> None:
    with pytest.raises(VerificationFailed, match="Two different rosters"):
        newer(ROSTER, dataclasses.replace(ROSTER, members=(A,)))


def test_the_next_epoch_names_this_one_and_is_no_older() -> None:
    following = ROSTER.with_member(C, LATER)
    assert newer(ROSTER, following) == following
    for wrong in (
        dataclasses.replace(following, previous="cd" * 32),
        dataclasses.replace(following, issued_at="2025-01-01T00:00:00Z"),
    ):
        with pytest.raises(VerificationFailed, match="does not follow"):
            newer(ROSTER, wrong)


def test_a_member_is_revoked_for_good_and_never_forgotten() -> None:
    gone = _signed(ROSTER.with_member(B.revoke(LATER, "left"), LATER))
    assert newer(ROSTER, gone) == gone
    assert (gone.active, gone.listed("b.example").status) == ((A,), "revoked")
    assert gone.authorities_pem().count(b"BEGIN") == 1
    with pytest.raises(MemberRevoked, match="left"):
        gone.member("b.example")
    with pytest.raises(VerificationFailed, match=r"brings .* back"):
        newer(gone, gone.with_member(B, LATER))
    with pytest.raises(VerificationFailed, match="does not list"):
        newer(ROSTER, dataclasses.replace(ROSTER.with_member(C, LATER), members=(A, C)))


def test_a_roster_of_another_federation_does_not_replace_ours() -> None:
    with pytest.raises(VerificationFailed, match="another federation"):
        newer(ROSTER, dataclasses.replace(ROSTER, federation="other.example", epoch=9))


def test_the_authoritys_identifier_is_no_members() -> None:
    assert member_id("hub.example") == "hub.example"
    with pytest.raises(InputInvalid, match="authority"):
        member_id("hub")


@pytest.mark.parametrize("field", KEY_NAMES)
def test_a_member_never_has_other_keys_that_it_did_not_ask_for(field: str) -> None:
    """The hub that could give a member another key could contribute in its name."""
    forged = with_keys(B, **{field: getattr(Keys("b.example").public(), field)})
    with pytest.raises(VerificationFailed, match=r"other keys for b\.example"):
        newer(ROSTER, ROSTER.with_member(forged, LATER))
    with pytest.raises(VerificationFailed, match="other keys"):
        check_pins(pins_of(ROSTER), ROSTER.with_member(forged, LATER))


# ------------------------------------------------------------------------- from the schema


def _places(
    model: type[BaseModel], document: dict[str, Any], where: tuple[Any, ...] = ()
) -> Iterator[Any]:
    """Yield each place in a roster's document, read off the models: none can be forgotten."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield (*where, key)
        value = document[key]
        for below in _models(field.annotation):
            found = value[0] if isinstance(value, list) else value
            rest = (0,) if isinstance(value, list) else ()
            yield from _places(below, found, (*where, key, *rest))


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models(part)]


WHOLE = ROSTER.with_member(
    dataclasses.replace(A.revoke(LATER, "left"), valid_until=LATER, rotations=("{}",)), LATER
)
DOCUMENT = envelope.open_signed(sign_roster(WHOLE, AUTHORITY), _type(), {"hub": AUTHORITY.public})[
    1
]
PLACES = list(_places(RosterModel, DOCUMENT))


def test_the_places_are_all_of_a_roster() -> None:
    assert len(PLACES) == 7 + 8 + 6 + 2


MAY_BE = {("null", "valid_until"), ("null", "revoked"), ("text", "name"), ("text", "reason")}
WRONG = [
    (how, place)
    for how in ("gone", "null", "number", "text", "list", "more")
    for place in PLACES
    if (how, place[-1]) not in MAY_BE
]


@pytest.mark.parametrize(("how", "place"), WRONG, ids=str)
def test_no_field_of_a_roster_can_be_left_out_or_be_of_another_kind(
    how: str, place: tuple[Any, ...]
) -> None:
    document = copy.deepcopy(DOCUMENT)
    parent = document
    for step in place[:-1]:
        parent = parent[step]
    match how:
        case "gone":
            del parent[place[-1]]
        case "null":
            parent[place[-1]] = None
        case "number":
            parent[place[-1]] = -1
        case "text":
            parent[place[-1]] = "?"
        case "list":
            parent[place[-1]] = [1]
        case _:
            parent["unknown"] = parent[place[-1]]
    data = envelope.sign(document, _type(), AUTHORITY, "hub")
    with pytest.raises(MessageInvalid):
        open_roster(data, AUTHORITY.public)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: ".".join(map(str, p)))
def test_no_field_of_a_roster_can_be_changed_without_the_authority(place: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(DOCUMENT)
    parent = changed
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = "another"
    other = SigningKey.generate()
    with pytest.raises(SignatureInvalid):
        open_roster(envelope.sign(changed, _type(), other, "hub"), AUTHORITY.public)
