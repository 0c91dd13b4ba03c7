"""Signatures under a grant, and where it stands because of them.

A grant is in force when *every* signer it names has signed the very bytes, each with the key that
the roster lists for it, and none of them has revoked it. Where it stands in between is told in the
state names of the Dataspace Protocol. A signature is judged against the roster at hand; a reader
that wants to judge it against an older epoch hands over that roster.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import MessageInvalid, SignatureInvalid
from fusion.grants.document import MAX_GRANT_BYTES, Digest, Grant, Moment, Name, checked, grant_of
from fusion.identity.members import AUTHORITY
from fusion.wire import canonical, countersigned, envelope

if TYPE_CHECKING:
    from datetime import datetime

    from fusion.crypto.signing import SigningKey, VerifyKey
    from fusion.identity.roster import Roster

TYPE: Final = "application/vnd.fusion.grant/1+json"
REVOCATION_TYPE: Final = "application/vnd.fusion.revocation/1+json"
MAX_SIGNED_BYTES: Final = 2 * MAX_GRANT_BYTES + countersigned.MAX_SIGNATURES * 200
MAX_REVOCATION_BYTES: Final = 8 * 1024


class Standing(StrEnum):
    """Where a grant stands: states of the Dataspace Protocol's contract negotiation.

    ``VERIFIED`` is never stored: each reader verifies every signature whenever it reads.
    """

    REQUESTED = "REQUESTED"
    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    AGREED = "AGREED"
    VERIFIED = "VERIFIED"
    FINALIZED = "FINALIZED"
    TERMINATED = "TERMINATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedGrant:
    """A grant whose signatures were verified; made by :func:`open_grant` and nothing else.

    Attributes:
        id: SHA-256 of the signed bytes, in hexadecimal.
        grant: The document.
        signed: Who has signed it so far.
        envelope: The bytes it was read from.
    """

    id: str
    grant: Grant
    signed: frozenset[str]
    envelope: bytes

    @property
    def missing(self) -> tuple[str, ...]:
        """Who has yet to sign, sorted."""
        return tuple(sorted(self.grant.required - self.signed))


class Revocation(BaseModel):
    """A signer's word that a grant holds no longer; there is no way back.

    Attributes:
        grant: Its id.
        organisation: Who revokes.
        at: When it was signed; it counts from when it is read, whatever this says.
        reason: For people.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    schema_: Literal["fusion.revocation/1"] = Field(alias="schema")
    grant: Digest
    organisation: Annotated[str, Field(min_length=1, max_length=63)]
    at: Moment
    reason: Name


def keys_of(roster: Roster) -> dict[str, VerifyKey]:
    """Return who may sign anything here, with which key: the members and the authority."""
    return {**roster.statement_keys(), AUTHORITY: roster.authority_key}


def propose(grant: Grant, name: str, key: SigningKey) -> bytes:
    """Return a grant in an envelope with its first signature.

    Raises:
        GrantInvalid: It breaks a rule.
        SignatureInvalid: ``name`` is not one of its signers.
    """
    payload = checked(grant).canonical()
    _check_signer(grant, name)
    return countersigned.Countersigned(TYPE, payload, {}).signed_by(name, key).to_bytes()


def sign(data: bytes, name: str, key: SigningKey) -> bytes:
    """Return a grant with one more signature; open it first, to see what it says.

    Raises:
        MessageInvalid: It is not a grant.
        SignatureInvalid: ``name`` is not one of its signers, or has signed already.
    """
    found = countersigned.parse(data, TYPE, MAX_SIGNED_BYTES)
    _check_signer(grant_of(found.payload), name)
    return found.signed_by(name, key).to_bytes()


def _check_signer(grant: Grant, name: str) -> None:
    if name not in grant.required:
        raise SignatureInvalid(
            f"{name} is not one of the signers of this grant.",
            hint=f"It is signed by {', '.join(sorted(grant.required))}.",
        )


def open_grant(data: bytes, roster: Roster) -> SignedGrant:
    """Verify every signature of a grant and return it; it need not be complete.

    Raises:
        UnknownOrganisation: Signed by, or naming, somebody who is not in the roster.
        SignatureInvalid: A signature does not verify, or is by nobody that the grant names.
        MessageInvalid: Not a grant that keeps every rule; signed twice by one signer.
    """
    found = countersigned.parse(data, TYPE, MAX_SIGNED_BYTES)
    signed = found.verify(keys_of(roster))
    grant = grant_of(found.payload)
    for name in sorted(signed):
        _check_signer(grant, name)
    for name in sorted(grant.required - {AUTHORITY}):
        roster.member(name)
    return SignedGrant(
        id=hashlib.sha256(found.payload).hexdigest(), grant=grant, signed=signed, envelope=data
    )


def merged(one: SignedGrant, other: SignedGrant) -> bytes:
    """Return the envelope with the signatures of both; both were verified.

    Raises:
        MessageInvalid: They are two different grants.
    """
    if one.id != other.id:
        raise MessageInvalid("Signatures under two different grants can't be put together.")
    first = countersigned.parse(one.envelope, TYPE, MAX_SIGNED_BYTES)
    second = countersigned.parse(other.envelope, TYPE, MAX_SIGNED_BYTES)
    # Ed25519 is deterministic, but not unique: where both have one, the first stays.
    signatures = {**second.signatures, **first.signatures}
    return countersigned.Countersigned(TYPE, first.payload, signatures).to_bytes()


def standing(signed: SignedGrant, *, revoked: bool) -> Standing:
    """Return where a grant stands: by who has signed, and whether somebody revoked it."""
    if revoked:
        return Standing.TERMINATED
    if not signed.missing:
        return Standing.FINALIZED
    owners = frozenset(signed.grant.assigners)
    if signed.grant.assignee in signed.signed:
        if owners <= signed.signed:
            return Standing.AGREED
        both = signed.signed & (owners - {signed.grant.assignee})
        return Standing.ACCEPTED if both else Standing.REQUESTED
    return Standing.OFFERED


def revoke(signed: SignedGrant, name: str, key: SigningKey, *, reason: str, now: str) -> bytes:
    """Return a signed revocation of a grant.

    Args:
        signed: The grant.
        name: Who revokes: any one of its signers.
        key: Of that signer.
        reason: For people.
        now: RFC 3339 in UTC.

    Raises:
        SignatureInvalid: ``name`` is not one of the grant's signers.
    """
    _check_signer(signed.grant, name)
    document = {
        "schema": "fusion.revocation/1",
        "grant": signed.id,
        "organisation": name,
        "at": now,
        "reason": reason,
    }
    return envelope.sign(document, REVOCATION_TYPE, key, name)


def is_revocation(data: bytes) -> bool:
    """Return whether a file says that it is a revocation; nothing of it is verified.

    Raises:
        MessageInvalid: It is no envelope.
    """
    document = canonical.decode(data, MAX_SIGNED_BYTES)
    return isinstance(document, dict) and document.get("payloadType") == REVOCATION_TYPE


def open_revocation(data: bytes, roster: Roster) -> Revocation:
    """Verify a revocation and return it.

    Raises:
        UnknownOrganisation: Signed by somebody who is not in the roster.
        SignatureInvalid: The signature does not verify, or is by another than it names.
        MessageInvalid: Not a revocation.
    """
    keys = keys_of(roster)
    signer, payload = envelope.open_signed(data, REVOCATION_TYPE, keys, MAX_REVOCATION_BYTES)
    try:
        revocation = Revocation.model_validate(payload)
    except ValidationError:
        raise MessageInvalid("A revocation is signed but not well formed.") from None
    if revocation.organisation != signer:
        raise SignatureInvalid("A revocation names another signer than it has.")
    return revocation


def check_revokes(revocation: Revocation, signed: SignedGrant) -> None:
    """Return if a verified revocation ends this grant.

    Raises:
        MessageInvalid: It is about another grant.
        SignatureInvalid: It is by somebody who does not sign this grant.
    """
    if revocation.grant != signed.id:
        raise MessageInvalid("A revocation is about another grant.")
    _check_signer(signed.grant, revocation.organisation)


def stamp(moment: datetime) -> str:
    """Return a moment as grants write it: RFC 3339 in UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
