"""The roster: who is a member, with which keys; signed by the authority, numbered by epochs.

A reader never accepts an epoch older than the one it has (:func:`newer`), so that a member that
was removed can't be brought back by an old file.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.sealing import SealingPublicKey
from fusion.crypto.signing import VerifyKey
from fusion.errors import (
    InputInvalid,
    KeyRefused,
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.keys import read_fleet_header
from fusion.types import OrgId, org_id
from fusion.wire import envelope
from fusion.wire.limits import MAX_MEMBERS, MAX_NAME_CHARACTERS, MAX_ROSTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.crypto.signing import SigningKey

AUTHORITY: Final = "hub"
"""The key id of the authority's signature, therefore no organisation's identifier."""

_SCHEMA: Final = "fusion.roster/1"
_TYPE: Final = "application/vnd.fusion.roster/1+json"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(min_length=1, max_length=63)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


def member_id(text: str) -> OrgId:
    """Return ``text`` as an organisation's identifier.

    Raises:
        InputInvalid: It is none, or the one under which the authority signs.
    """
    if text == AUTHORITY:
        raise InputInvalid(
            f"{AUTHORITY!r} is the authority's own identifier.", hint="Choose another one."
        )
    return org_id(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One organisation of a federation.

    Attributes:
        id: Identifier, unique in the federation.
        name: For people.
        statement_key: Verifies its statements.
        sealing_key: What only it may read is sealed to this.
        fleet_key: Its key on Flower's fleet interface, as the header ``flwr-public-key`` has it.
        tls_fingerprint: SHA-256 of its client certificate (DER), in hexadecimal.
        admitted_at: When, RFC 3339 in UTC.
    """

    id: OrgId
    name: str
    statement_key: VerifyKey
    sealing_key: SealingPublicKey
    fleet_key: str
    tls_fingerprint: str
    admitted_at: str

    def to_json(self) -> dict[str, Any]:
        """Return the member as the roster's document has it."""
        return {
            "id": self.id,
            "name": self.name,
            "statement_key": self.statement_key.hex,
            "sealing_key": self.sealing_key.hex,
            "fleet_key": self.fleet_key,
            "tls_fingerprint": self.tls_fingerprint,
            "admitted_at": self.admitted_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The members of a federation at one epoch.

    Attributes:
        federation: Its identifier.
        epoch: Counts the versions, from 1.
        authority_key: Verifies the roster itself and the authority's statements.
        members: Sorted by identifier; no two share an identifier or a key.
    """

    federation: str
    epoch: int
    authority_key: VerifyKey
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        """Refuse members out of order, doubled, or sharing a key.

        Raises:
            MessageInvalid: One of these.
        """
        ids = [member.id for member in self.members]
        if ids != sorted(set(ids)):
            raise MessageInvalid("A roster's members are not sorted, or one is listed twice.")
        signing = [self.authority_key.hex, *(m.statement_key.hex for m in self.members)]
        for what, values in (
            ("statement key", signing),
            ("sealing key", [m.sealing_key.hex for m in self.members]),
            ("fleet key", [m.fleet_key for m in self.members]),
            ("certificate", [m.tls_fingerprint for m in self.members]),
        ):
            _refuse_shared(what, values)

    def member(self, organisation: str) -> Member:
        """Return a member.

        Raises:
            UnknownOrganisation: There is none of that identifier.
        """
        for member in self.members:
            if member.id == organisation:
                return member
        raise UnknownOrganisation(
            f"{organisation[:80]!r} is not in the roster (epoch {self.epoch}).",
            hint="The data authority admits it with `fusion hub admit REQUEST.csr`.",
        )

    def statement_keys(self) -> dict[str, VerifyKey]:
        """Return each member's statement key by its identifier."""
        return {member.id: member.statement_key for member in self.members}

    def with_member(self, member: Member) -> Roster:
        """Return the next epoch, with ``member`` added or replaced."""
        others = [m for m in self.members if m.id != member.id]
        return Roster(
            federation=self.federation,
            epoch=self.epoch + 1,
            authority_key=self.authority_key,
            members=tuple(sorted([*others, member], key=lambda m: m.id)),
        )


def _refuse_shared(what: str, values: Iterable[str]) -> None:
    if any(a == b for a, b in itertools.pairwise(sorted(values))):
        raise MessageInvalid(f"Two entries of a roster have the same {what}.")


class _MemberModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    id: Identifier
    name: Name
    statement_key: Digest
    sealing_key: Digest
    fleet_key: Annotated[str, Field(max_length=512)]
    tls_fingerprint: Digest
    admitted_at: Timestamp

    def member(self) -> Member:
        read_fleet_header(self.fleet_key)
        return Member(
            id=member_id(self.id),
            name=self.name,
            statement_key=VerifyKey.from_hex(self.statement_key),
            sealing_key=SealingPublicKey.from_hex(self.sealing_key),
            fleet_key=self.fleet_key,
            tls_fingerprint=self.tls_fingerprint,
            admitted_at=self.admitted_at,
        )


class _RosterModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.roster/1"] = Field(alias="schema")
    federation: Identifier
    epoch: Annotated[int, Field(ge=1, le=2**31 - 1)]
    authority_key: Digest
    members: Annotated[list[_MemberModel], Field(max_length=MAX_MEMBERS)]


def sign_roster(roster: Roster, key: SigningKey) -> bytes:
    """Return the roster in an envelope signed by the authority.

    Raises:
        SignatureInvalid: The key is not the one that the roster names.
    """
    if key.public != roster.authority_key:
        raise SignatureInvalid("A roster is signed by the authority it names, and nobody else.")
    document = {
        "schema": _SCHEMA,
        "federation": roster.federation,
        "epoch": roster.epoch,
        "authority_key": roster.authority_key.hex,
        "members": [member.to_json() for member in roster.members],
    }
    return envelope.sign(document, _TYPE, key, AUTHORITY)


def open_roster(data: bytes, authority: VerifyKey) -> Roster:
    """Verify and return a roster.

    Raises:
        SignatureInvalid: Not signed by ``authority``.
        UnknownOrganisation: Signed under another name.
        MessageInvalid: Too large, not decodable, or not a well-formed roster.
    """
    _, payload = envelope.open_signed(data, _TYPE, {AUTHORITY: authority}, MAX_ROSTER_BYTES)
    try:
        model = _RosterModel.model_validate(payload)
        members = tuple(member.member() for member in model.members)
    except (ValidationError, InputInvalid, KeyRefused):
        raise MessageInvalid("A roster is signed but not well formed.") from None
    if model.authority_key != authority.hex:
        raise MessageInvalid("A roster names another authority than the one that signed it.")
    return Roster(
        federation=model.federation, epoch=model.epoch, authority_key=authority, members=members
    )


def newer(known: Roster, offered: Roster) -> Roster:
    """Return ``offered`` if it may replace ``known``.

    Raises:
        VerificationFailed: It is of another federation or authority, of an earlier epoch, or
            another roster of the same epoch, or a member known here has other keys in it.
    """
    if (offered.federation, offered.authority_key) != (known.federation, known.authority_key):
        raise VerificationFailed("The roster offered is of another federation.")
    if offered.epoch < known.epoch:
        raise VerificationFailed(
            f"The roster offered is of epoch {offered.epoch}; epoch {known.epoch} is known here.",
            hint="An epoch never goes back. Ask the data authority what happened.",
        )
    if offered.epoch == known.epoch and offered != known:
        raise VerificationFailed(
            f"Two different rosters of epoch {known.epoch} are signed.",
            hint="Keep both files, and ask the data authority what happened.",
        )
    check_pins(pins_of(known), offered)
    return offered


Pins = dict[str, tuple[str, str, str]]
"""Statement, sealing and fleet key of every organisation ever seen, by its identifier."""


def pins_of(roster: Roster) -> Pins:
    """Return the keys that a roster lists."""
    return {m.id: (m.statement_key.hex, m.sealing_key.hex, m.fleet_key) for m in roster.members}


def check_pins(pins: Pins, offered: Roster) -> None:
    """Refuse a roster in which an organisation seen before has other keys.

    Whoever could change a member's statement key could contribute in its name, and take the sum
    apart. Keys are not replaced: an organisation that lost its own is admitted under a new name.

    Raises:
        VerificationFailed: One has.
    """
    listed = pins_of(offered)
    changed = sorted(name for name in pins.keys() & listed.keys() if pins[name] != listed[name])
    if changed:
        raise VerificationFailed(
            f"The roster offered has other keys for {', '.join(changed)} than were seen before.",
            hint="Ask that organisation, not the hub. Who lost its keys takes a new identifier.",
        )
