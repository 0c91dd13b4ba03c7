"""Other keys for an organisation: its own signed request, by the old statement key and the new one.

The authority puts the request into the roster, where every reader finds it: keys that were pinned
give way to others only along such requests. So neither the hub nor the authority can swap a
member's key, and a stolen statement key alone can't either without leaving the request behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import (
    InputInvalid,
    KeyRefused,
    MessageInvalid,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.identity.members import (
    MAX_ROTATIONS,
    Certificate,
    Digest,
    FleetKey,
    Identifier,
    Member,
    PublicKeys,
    Timestamp,
    member_id,
    moment,
)
from fusion.wire import canonical, countersigned
from fusion.wire.limits import MAX_ROTATION_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.crypto.signing import SigningKey
    from fusion.types import OrgId

_SCHEMA: Final = "fusion.rotation/1"
_TYPE: Final = "application/vnd.fusion.rotation/1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A request for other keys; nothing of it is believed before :func:`rotated`.

    Attributes:
        id: The organisation.
        number: Counts its requests, from 1.
        at: When it was made, RFC 3339 in UTC.
        previous: Digest of all its keys before.
        changes: The keys that change, as documents have them.
        envelope: The request as it is signed.
    """

    id: OrgId
    number: int
    at: str
    previous: str
    changes: Mapping[str, str]
    envelope: countersigned.Countersigned


class _Changes(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    statement_key: Digest | None = None
    sealing_key: Digest | None = None
    fleet_key: FleetKey | None = None
    log_key: Digest | None = None
    witness_key: Digest | None = None
    ca: Certificate | None = None


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.rotation/1"] = Field(alias="schema")
    id: Identifier
    number: Annotated[int, Field(ge=1, le=MAX_ROTATIONS)]
    at: Timestamp
    previous: Digest
    changes: _Changes


def make_rotation(
    member: tuple[OrgId, PublicKeys, int],
    new: PublicKeys,
    *,
    at: str,
    old_key: SigningKey,
    new_key: SigningKey,
) -> bytes:
    """Return a request for other keys.

    Args:
        member: The organisation, its keys until now, and the number of its requests before.
        new: All its keys from then on.
        at: Now, RFC 3339 in UTC.
        old_key: Its statement key until now.
        new_key: Its statement key from then on; the same if that one stays.

    Raises:
        InputInvalid: Nothing changes.
        SignatureInvalid: A signing key is not the one that is listed.
    """
    organisation, old, before = member
    if (old_key.public, new_key.public) != (old.statement_key, new.statement_key):
        raise SignatureInvalid("A rotation is signed by the old statement key and the new one.")
    had, has = old.to_json(), new.to_json()
    changes = {name: value for name, value in has.items() if had[name] != value}
    if not changes:
        raise InputInvalid("A rotation changes at least one key.")
    document = {
        "schema": _SCHEMA,
        "id": organisation,
        "number": before + 1,
        "at": at,
        "previous": old.digest(),
        "changes": changes,
    }
    unsigned = countersigned.Countersigned(_TYPE, canonical.encode(document), {})
    signed = unsigned.signed_by(old_key.public.hex, old_key)
    if new_key.public != old_key.public:
        signed = signed.signed_by(new_key.public.hex, new_key)
    return signed.to_bytes()


def read_rotation(data: bytes) -> Rotation:
    """Take a request apart.

    Raises:
        MessageInvalid: Too large, not decodable, or not a well-formed request.
    """
    envelope = countersigned.parse(data, _TYPE, MAX_ROTATION_BYTES)
    if envelope.to_bytes() != data:
        raise MessageInvalid("A rotation is not in canonical form (RFC 8785).")
    try:
        found = _Document.model_validate(canonical.decode(envelope.payload, MAX_ROTATION_BYTES))
        organisation = member_id(found.id)
    except (ValidationError, InputInvalid):
        raise MessageInvalid("A rotation is not well formed.") from None
    moment(found.at)
    changes = found.changes.model_dump(exclude_unset=True)
    if not changes or None in changes.values():
        raise MessageInvalid("A rotation changes nothing.")
    return Rotation(
        id=organisation,
        number=found.number,
        at=found.at,
        previous=found.previous,
        changes=changes,
        envelope=envelope,
    )


def rotated(keys: PublicKeys, rotation: Rotation) -> PublicKeys:
    """Return the keys after a request, once both statement keys are found to have signed it.

    Raises:
        VerificationFailed: It was made for other keys than these.
        SignatureInvalid: A signature is missing, wrong, or of somebody else.
        MessageInvalid: A key in it is none, or is there for two purposes.
        CertificateInvalid: Its CA certificate is not one of the organisation's own.
    """
    if rotation.previous != keys.digest():
        raise VerificationFailed(
            f"A rotation of {rotation.id} was made for other keys than it has.",
            hint="Make it anew with `fusion org rotate`.",
        )
    try:
        new = keys.with_changes(rotation.changes, rotation.id)
    except KeyRefused as error:
        raise MessageInvalid(f"A rotation is not acceptable: {error.message}") from None
    signers = {key.hex: key for key in (keys.statement_key, new.statement_key)}
    if set(rotation.envelope.signatures) != set(signers):
        raise SignatureInvalid(
            f"A rotation of {rotation.id} is not signed by exactly its old statement key and its "
            "new one."
        )
    rotation.envelope.verify(signers)
    return new


def follow(pinned: PublicKeys, member: Member) -> None:
    """Return if a member's keys follow from those that were pinned, by its own signed requests.

    Raises:
        VerificationFailed: They do not.
    """
    keys = pinned
    for text in member.rotations:
        rotation = read_rotation(text.encode())
        if rotation.previous == keys.digest() and rotation.id == member.id:
            keys = rotated(keys, rotation)
    if keys != member.keys:
        raise VerificationFailed(
            f"The roster offered has other keys for {member.id} than were seen before.",
            hint="Ask that organisation, not the hub: nothing it signed leads to these keys.",
        )
