"""The roster: who is a member, with which keys; signed by the authority, numbered by epochs.

Each epoch names the digest of the one before, so that the epochs are a chain. A reader never
accepts an epoch older than the one it has, nor one that forgets or brings back a member, nor other
keys for a member than its own rotations lead to (:func:`newer`). Members are never taken off the
roster, only revoked: so a signature can be judged by the epoch that was in force when it was made.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import (
    InputInvalid,
    KeyRefused,
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.certificates import from_der, pem
from fusion.identity.members import (
    AUTHORITY,
    Digest,
    Identifier,
    Member,
    MemberModel,
    PublicKeys,
    Timestamp,
    moment,
)
from fusion.identity.rotation import follow, read_rotation, rotated
from fusion.wire import envelope
from fusion.wire.limits import MAX_MEMBERS, MAX_ROSTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.crypto.signing import SigningKey, VerifyKey

_SCHEMA: Final = "fusion.roster/2"
_TYPE: Final = "application/vnd.fusion.roster/2+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The members of a federation at one epoch.

    Attributes:
        federation: Its identifier.
        epoch: Counts the versions, from 1.
        previous: SHA-256 of the signed document of the epoch before; empty in the first.
        issued_at: When the authority signed it, RFC 3339 in UTC.
        authority_key: Verifies the roster itself and the authority's statements.
        members: Sorted by identifier, those revoked included; no two share an identifier or a key.
        digest: SHA-256 of the signed document it was read from; empty if it was not.
    """

    federation: str
    epoch: int
    previous: str = ""
    issued_at: str = "1970-01-01T00:00:00Z"
    authority_key: VerifyKey
    members: tuple[Member, ...]
    digest: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Refuse members out of order, doubled, or sharing a key, and a chain without a link.

        Raises:
            MessageInvalid: One of these.
        """
        if (self.epoch == 1) != (not self.previous):
            raise MessageInvalid("Every epoch of a roster but the first names the one before.")
        ids = [member.id for member in self.members]
        if ids != sorted(set(ids)):
            raise MessageInvalid("A roster's members are not sorted, or one is listed twice.")
        keys = [member.keys for member in self.members]
        signing = [self.authority_key.hex]
        for own in keys:
            signing += [own.statement_key.hex, own.log_key.hex, own.witness_key.hex]
        for what, values in (
            ("signing key", signing),
            ("sealing key", [own.sealing_key.hex for own in keys]),
            ("fleet key", [own.fleet_key for own in keys]),
            ("certificate", [own.ca.hex() for own in keys]),
        ):
            _refuse_shared(what, values)

    @property
    def active(self) -> tuple[Member, ...]:
        """Members that were not revoked."""
        return tuple(member for member in self.members if member.revoked is None)

    def listed(self, organisation: str) -> Member:
        """Return a member, also one that was revoked.

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

    def member(self, organisation: str) -> Member:
        """Return a member.

        Raises:
            UnknownOrganisation: There is none of that identifier.
            MemberRevoked: It was revoked.
        """
        member = self.listed(organisation)
        member.check_active()
        return member

    def statement_keys(self) -> dict[str, VerifyKey]:
        """Return the statement key of each member that was not revoked, by its identifier."""
        return {member.id: member.statement_key for member in self.active}

    def authorities_pem(self) -> bytes:
        """Return the CA certificates of all members that were not revoked, in PEM form.

        These are the roots that TLS trusts; :func:`fusion.identity.callers.caller` does the rest.
        """
        return b"".join(pem(from_der(member.ca)) for member in self.active)

    def with_member(self, member: Member, issued_at: str) -> Roster:
        """Return the next epoch, with ``member`` added or replaced.

        Raises:
            VerificationFailed: This epoch was not read from a signed document.
        """
        if not self.digest:
            raise VerificationFailed("Only a signed roster has an epoch after it.")
        others = [m for m in self.members if m.id != member.id]
        return Roster(
            federation=self.federation,
            epoch=self.epoch + 1,
            previous=self.digest,
            issued_at=max(issued_at, self.issued_at),
            authority_key=self.authority_key,
            members=tuple(sorted([*others, member], key=lambda m: m.id)),
        )

    def with_rotation(self, data: bytes, issued_at: str) -> Roster:
        """Return the next epoch, in which a member's request for other keys is granted.

        Raises:
            UnknownOrganisation: It is of nobody who is listed.
            MemberRevoked: It is of a member that was revoked.
            VerificationFailed: It was not made for the keys that are listed, or not signed by
                the member's old statement key and its new one.
            MessageInvalid: It is not well formed, or a key in it is another member's.
        """
        rotation = read_rotation(data)
        member = self.member(rotation.id)
        if rotation.number != len(member.rotations) + 1:
            raise VerificationFailed(
                f"This is request {rotation.number} of {rotation.id} for other keys; "
                f"{len(member.rotations)} were granted.",
                hint="Was it granted already? Else make it anew with `fusion org rotate`.",
            )
        keys = rotated(member.keys, rotation)
        changed = replace(member, keys=keys, rotations=(*member.rotations, data.decode()))
        return self.with_member(changed, issued_at)


def _refuse_shared(what: str, values: Iterable[str]) -> None:
    if any(a == b for a, b in itertools.pairwise(sorted(values))):
        raise MessageInvalid(f"Two entries of a roster have the same {what}.")


class RosterModel(BaseModel):
    """How the roster is written."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.roster/2"] = Field(alias="schema")
    federation: Identifier
    epoch: Annotated[int, Field(ge=1, le=2**31 - 1)]
    previous: Digest | Literal[""]
    issued_at: Timestamp
    authority_key: Digest
    members: Annotated[list[MemberModel], Field(max_length=MAX_MEMBERS)]


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
        "previous": roster.previous,
        "issued_at": roster.issued_at,
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
        model = RosterModel.model_validate(payload)
        members = tuple(member.member() for member in model.members)
    except (ValidationError, InputInvalid, KeyRefused, VerificationFailed):
        raise MessageInvalid("A roster is signed but not well formed.") from None
    if model.authority_key != authority.hex:
        raise MessageInvalid("A roster names another authority than the one that signed it.")
    moment(model.issued_at)
    return Roster(
        federation=model.federation,
        epoch=model.epoch,
        previous=model.previous,
        issued_at=model.issued_at,
        authority_key=authority,
        members=members,
        digest=hashlib.sha256(data).hexdigest(),
    )


def newer(known: Roster, offered: Roster) -> Roster:
    """Return ``offered`` if it may replace ``known``.

    Raises:
        VerificationFailed: It is of another federation or authority, of an earlier epoch, another
            roster of the same epoch, not the successor that it should be, forgets a member, brings
            a revoked one back, or has keys for a member that no rotation of it leads to.
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
    follows = offered.epoch > known.epoch + 1 or offered.previous == known.digest
    if offered.epoch > known.epoch and (not follows or offered.issued_at < known.issued_at):
        raise VerificationFailed(
            f"The roster offered, of epoch {offered.epoch}, does not follow epoch {known.epoch}.",
            hint="Keep both files, and ask the data authority what happened.",
        )
    _check_members(known, offered)
    check_pins(pins_of(known), offered)
    return offered


def _check_members(known: Roster, offered: Roster) -> None:
    """Refuse a roster that says less of a member than the one before."""
    listed = {member.id: member for member in offered.members}
    for before in known.members:
        now = listed.get(before.id)
        if now is None:
            raise VerificationFailed(
                f"The roster offered does not list {before.id} any more.",
                hint="A member is revoked, never taken off. Ask the data authority.",
            )
        if before.revoked is not None and now.revoked != before.revoked:
            raise VerificationFailed(
                f"The roster offered brings {before.id} back, which was revoked.",
                hint="Who was revoked comes back under a new identifier.",
            )
        if now.rotations[: len(before.rotations)] != before.rotations:
            raise VerificationFailed(f"The roster offered tells another history of {before.id}.")


Pins = dict[str, PublicKeys]
"""The keys of every organisation ever seen, by its identifier."""


def pins_of(roster: Roster) -> Pins:
    """Return the keys that a roster lists."""
    return {member.id: member.keys for member in roster.members}


def check_pins(pins: Pins, offered: Roster) -> None:
    """Refuse a roster in which an organisation seen before has keys that it did not ask for.

    Whoever could change a member's statement key could contribute in its name, and take the sum
    apart. Keys change by a request that the member's old key has signed, and in no other way.

    Raises:
        VerificationFailed: One has.
    """
    for member in offered.members:
        if member.id in pins:
            follow(pins[member.id], member)
