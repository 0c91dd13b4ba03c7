"""Rotation: keys change by a request of both statement keys, and in no other way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

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
from fusion.identity.members import KEY_NAMES, PublicKeys
from fusion.identity.roster import Roster, newer, open_roster, pins_of, sign_roster
from fusion.identity.rotation import follow, make_rotation, read_rotation, rotated
from fusion.types import OrgId
from fusion.wire import canonical, countersigned
from tests.members import SINCE, Keys

AT = "2026-11-25T09:00:00Z"
TYPE = "application/vnd.fusion.rotation/1+json"
AUTHORITY = SigningKey.generate()
OWN, NEW, OTHER = Keys("a.example"), Keys("a.example"), Keys("b.example")
A, B = OWN.member(), OTHER.member()
ROSTER = open_roster(
    sign_roster(
        Roster(
            federation="city.example",
            epoch=1,
            issued_at=SINCE,
            authority_key=AUTHORITY.public,
            members=(A, B),
        ),
        AUTHORITY,
    ),
    AUTHORITY.public,
)
FRESH = NEW.public()


def keys_with(*names: str) -> PublicKeys:
    """A's keys, with these of them new."""
    changes: dict[str, Any] = {name: getattr(FRESH, name) for name in names}
    return replace(A.keys, **changes)


def asked(new: PublicKeys, *, number: int = 0, old: PublicKeys = A.keys) -> bytes:
    """A's request for these keys."""
    statements = {key.public: key for key in (OWN.statement, NEW.statement)}
    return make_rotation(
        (OrgId("a.example"), old, number),
        new,
        at=AT,
        old_key=statements[old.statement_key],
        new_key=statements[new.statement_key],
    )


def signed(roster: Roster) -> Roster:
    return open_roster(sign_roster(roster, AUTHORITY), AUTHORITY.public)


@pytest.mark.parametrize("name", KEY_NAMES)
def test_each_key_can_be_replaced_and_whoever_pinned_the_old_one_follows(name: str) -> None:
    new = keys_with(name)
    data = asked(new)
    assert len(read_rotation(data).envelope.signatures) == (2 if name == "statement_key" else 1)
    roster = signed(ROSTER.with_rotation(data, AT))
    assert roster.member("a.example").keys == new
    assert newer(ROSTER, roster) == roster
    assert roster.member("b.example") == B


def test_several_rotations_are_followed_from_wherever_one_stood() -> None:
    first, second = keys_with("statement_key"), keys_with("statement_key", "ca")
    roster = signed(ROSTER.with_rotation(asked(first), AT))
    roster = signed(roster.with_rotation(asked(second, number=1, old=first), AT))
    member = roster.member("a.example")
    for pinned in (A.keys, first, second):
        follow(pinned, member)
    with pytest.raises(VerificationFailed, match="other keys"):
        follow(OTHER.public(), member)
    assert newer(ROSTER, replace(roster, epoch=9)) == replace(roster, epoch=9)


def forged(swap: dict[str, str], *signers: SigningKey, **document: object) -> bytes:
    """A request that says this, signed by these."""
    content = {
        "schema": "fusion.rotation/1",
        "id": "a.example",
        "number": 1,
        "at": AT,
        "previous": A.keys.digest(),
        "changes": swap,
        **document,
    }
    envelope = countersigned.Countersigned(TYPE, canonical.encode(content), {})
    for key in signers:
        envelope = envelope.signed_by(key.public.hex, key)
    return envelope.to_bytes()


SWAP = {"statement_key": NEW.statement.public.hex}


@pytest.mark.parametrize(
    "signers",
    [
        (NEW.statement,),
        (OWN.statement,),
        (AUTHORITY,),
        (AUTHORITY, NEW.statement),
        (OWN.statement, NEW.statement, AUTHORITY),
        (OTHER.statement, NEW.statement),
    ],
)
def test_without_exactly_both_signatures_nothing_changes(signers: tuple[SigningKey, ...]) -> None:
    """The hub, which signs rosters, has neither key; a thief has one of them at most."""
    data = forged(SWAP, *signers)
    with pytest.raises(SignatureInvalid, match="exactly"):
        ROSTER.with_rotation(data, AT)
    # Nor if the authority puts it into its roster all the same.
    member = replace(A, keys=keys_with("statement_key"), rotations=(data.decode(),))
    with pytest.raises(VerificationFailed):
        newer(ROSTER, signed(ROSTER.with_member(member, AT)))
    ROSTER.with_rotation(forged(SWAP, OWN.statement, NEW.statement), AT)


def test_a_signature_of_a_right_name_and_a_wrong_key_is_found() -> None:
    good = json.loads(forged(SWAP, OWN.statement, NEW.statement))
    for item in good["signatures"]:
        if item["keyid"] == OWN.statement.public.hex:
            item["sig"] = good["signatures"][0 if item is not good["signatures"][0] else 1]["sig"]
    with pytest.raises(SignatureInvalid, match="does not verify"):
        ROSTER.with_rotation(canonical.encode(good), AT)


def test_a_rotation_is_for_the_keys_it_was_made_for_and_once() -> None:
    data = asked(keys_with("sealing_key"))
    roster = signed(ROSTER.with_rotation(data, AT))
    with pytest.raises(VerificationFailed, match="request 1"):
        roster.with_rotation(data, AT)
    stale = asked(keys_with("witness_key"), number=1)
    with pytest.raises(VerificationFailed, match="other keys than it has"):
        roster.with_rotation(stale, AT)


def test_a_rotation_is_its_own_organisations() -> None:
    new = keys_with("sealing_key")
    with pytest.raises(VerificationFailed):
        ROSTER.with_rotation(
            forged({"sealing_key": new.sealing_key.hex}, OWN.statement, id="b.example"), AT
        )
    with pytest.raises(UnknownOrganisation):
        ROSTER.with_rotation(
            forged({"sealing_key": new.sealing_key.hex}, OWN.statement, id="z.example"), AT
        )
    with pytest.raises(MessageInvalid, match="the same"):
        ROSTER.with_rotation(forged({"log_key": B.keys.log_key.hex}, OWN.statement), AT)
    gone = signed(ROSTER.with_member(A.revoke(AT, "left"), AT))
    with pytest.raises(MemberRevoked):
        gone.with_rotation(asked(new), AT)


def test_who_makes_one_has_both_keys_and_changes_something() -> None:
    with pytest.raises(InputInvalid):
        asked(A.keys)
    with pytest.raises(SignatureInvalid):
        make_rotation(
            (OrgId("a.example"), A.keys, 0),
            keys_with("statement_key"),
            at=AT,
            old_key=OWN.statement,
            new_key=OWN.statement,
        )


@pytest.mark.parametrize(
    "document",
    [
        {"schema": "fusion.rotation/2"},
        {"id": "hub"},
        {"id": "A"},
        {"number": 0},
        {"number": "1"},
        {"number": 65},
        {"at": "today"},
        {"at": "2026-02-30T00:00:00Z"},
        {"previous": "12"},
        {"changes": {}},
        {"changes": {"sealing_key": None}},
        {"changes": {"sealing_key": "?"}},
        {"changes": {"authority_key": "12" * 32}},
        {"changes": {"ca": 1}},
        {"more": 1},
    ],
)
def test_what_is_no_rotation_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(MessageInvalid):
        read_rotation(forged(SWAP, OWN.statement, NEW.statement, **document))


def test_a_rotation_has_one_sequence_of_bytes() -> None:
    data = asked(keys_with("statement_key"))
    for changed in (data + b" ", data.replace(b",", b", ", 1), data[:-1], b"", b"x" * 20_000):
        with pytest.raises(MessageInvalid):
            read_rotation(changed)


def test_every_byte_of_a_rotation_counts() -> None:
    data = asked(keys_with("statement_key", "sealing_key"))
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(FusionError):
            rotated(A.keys, read_rotation(bytes(changed)))


def test_the_ca_in_a_rotation_is_the_organisations_own() -> None:
    document = B.to_json()["keys"]["ca"]
    with pytest.raises(VerificationFailed):
        ROSTER.with_rotation(forged({"ca": document}, OWN.statement), AT)


def test_pins_move_on_with_the_keys() -> None:
    roster = signed(ROSTER.with_rotation(asked(keys_with("ca")), AT))
    assert pins_of(roster)["a.example"] == keys_with("ca")
    with pytest.raises(VerificationFailed):
        follow(pins_of(roster)["a.example"], A)
