"""One organisation of a federation: its keys, how long it is a member, and how its keys changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from fusion.crypto.sealing import SealingPublicKey
from fusion.crypto.signing import VerifyKey
from fusion.errors import InputInvalid, MemberRevoked, MessageInvalid
from fusion.identity.certificates import organisation_ca
from fusion.identity.keys import read_fleet_header
from fusion.types import OrgId, org_id
from fusion.wire import canonical
from fusion.wire.limits import MAX_CERTIFICATE_BYTES, MAX_NAME_CHARACTERS, MAX_ROTATION_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTHORITY: Final = "hub"
"""The key id of the authority's signature, therefore no organisation's identifier."""

MAX_ROTATIONS: Final = 64

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
FleetKey = Annotated[str, Field(max_length=512)]
Certificate = Annotated[str, Field(max_length=MAX_CERTIFICATE_BYTES * 4 // 3 + 4)]
Reason = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]


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
class PublicKeys:
    """The public half of all of an organisation's keys, each for one purpose.

    Attributes:
        statement_key: Verifies its statements.
        sealing_key: What only it may read is sealed to this.
        fleet_key: Its key on Flower's fleet interface, as the header ``flwr-public-key`` has it.
        log_key: Verifies the checkpoints of its log.
        witness_key: Verifies its cosignatures.
        ca: Its CA certificate (DER), which issues the leaves of its connections.
    """

    statement_key: VerifyKey
    sealing_key: SealingPublicKey
    fleet_key: str
    log_key: VerifyKey
    witness_key: VerifyKey
    ca: bytes

    def to_json(self) -> dict[str, str]:
        """Return the keys as documents have them."""
        return {
            "statement_key": self.statement_key.hex,
            "sealing_key": self.sealing_key.hex,
            "fleet_key": self.fleet_key,
            "log_key": self.log_key.hex,
            "witness_key": self.witness_key.hex,
            "ca": base64.b64encode(self.ca).decode(),
        }

    def digest(self) -> str:
        """Return the SHA-256 of the keys as documents have them (RFC 8785), in hexadecimal."""
        return hashlib.sha256(canonical.encode(self.to_json())).hexdigest()

    def with_changes(self, changes: Mapping[str, str], organisation: str) -> PublicKeys:
        """Return the keys with some of them replaced, given as documents have them.

        Raises:
            KeyRefused: One is no key of its kind.
            MessageInvalid: One is spelt in another way than documents have it.
            CertificateInvalid: The CA certificate is not one of this organisation's own.
        """
        return read_keys({**self.to_json(), **changes}, organisation)


KEY_NAMES: Final = tuple(field.name for field in fields(PublicKeys))


def read_keys(document: Mapping[str, str], organisation: str) -> PublicKeys:
    """Read what :meth:`PublicKeys.to_json` wrote.

    Raises:
        KeyRefused: One is no key of its kind.
        MessageInvalid: One is spelt in another way, or one key is there for two purposes.
        CertificateInvalid: The CA certificate is not one of this organisation's own.
    """
    read_fleet_header(document["fleet_key"])
    ca = _base64(document["ca"])
    organisation_ca(ca, organisation)
    signing = [document[name] for name in ("statement_key", "log_key", "witness_key")]
    if len(set(signing)) != len(signing):
        raise MessageInvalid(f"{organisation[:80]!r} uses one key for two purposes.")
    return PublicKeys(
        statement_key=VerifyKey.from_hex(document["statement_key"]),
        sealing_key=SealingPublicKey.from_hex(document["sealing_key"]),
        fleet_key=document["fleet_key"],
        log_key=VerifyKey.from_hex(document["log_key"]),
        witness_key=VerifyKey.from_hex(document["witness_key"]),
        ca=ca,
    )


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text:
        raise MessageInvalid("A certificate is not in base64, in its one spelling.")
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """That an organisation is a member no longer.

    Attributes:
        at: When, RFC 3339 in UTC.
        reason: In the authority's words.
    """

    at: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One organisation of a federation.

    Attributes:
        id: Identifier, unique in the federation.
        name: For people.
        keys: Its keys, as they are now.
        admitted_at: When, RFC 3339 in UTC.
        valid_from: From when on it may call, RFC 3339 in UTC.
        valid_until: Until when, if that is limited.
        revoked: When and why it was revoked, if it was.
        rotations: Its signed requests for other keys, oldest first: how its first keys became
            those of now (:mod:`fusion.identity.rotation`).
    """

    id: OrgId
    name: str
    keys: PublicKeys
    admitted_at: str
    valid_from: str
    valid_until: str | None = None
    revoked: Revoked | None = None
    rotations: tuple[str, ...] = ()

    @property
    def statement_key(self) -> VerifyKey:
        """Verifies its statements."""
        return self.keys.statement_key

    @property
    def sealing_key(self) -> SealingPublicKey:
        """What only it may read is sealed to this."""
        return self.keys.sealing_key

    @property
    def fleet_key(self) -> str:
        """Its key on Flower's fleet interface."""
        return self.keys.fleet_key

    @property
    def ca(self) -> bytes:
        """Its CA certificate (DER)."""
        return self.keys.ca

    @property
    def status(self) -> str:
        """``active`` or ``revoked``."""
        return "active" if self.revoked is None else "revoked"

    def check_active(self) -> None:
        """Return if the organisation was not revoked.

        Raises:
            MemberRevoked: It was.
        """
        if self.revoked is not None:
            raise MemberRevoked(
                f"{self.id} was revoked on {self.revoked.at}: {self.revoked.reason}",
                hint="Ask the data authority. What it signed before stays valid.",
            )

    def check_valid(self, now: datetime) -> None:
        """Return if the organisation is a member now.

        Raises:
            MemberRevoked: It was revoked, or is not valid yet or any more.
        """
        self.check_active()
        begins = moment(self.valid_from)
        ends = moment(self.valid_until) if self.valid_until is not None else None
        if now < begins or (ends is not None and now > ends):
            until = f" to {self.valid_until}" if self.valid_until is not None else " on"
            raise MemberRevoked(
                f"{self.id} is a member from {self.valid_from}{until}, and not now.",
                hint="The data authority prolongs it with `fusion hub roster extend`.",
            )

    def revoke(self, at: str, reason: str) -> Member:
        """Return the member, revoked."""
        return replace(self, revoked=Revoked(at=at, reason=reason))

    def to_json(self) -> dict[str, Any]:
        """Return the member as the roster's document has it."""
        revoked = self.revoked
        return {
            "id": self.id,
            "name": self.name,
            "keys": self.keys.to_json(),
            "admitted_at": self.admitted_at,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
            "revoked": None if revoked is None else {"at": revoked.at, "reason": revoked.reason},
            "rotations": list(self.rotations),
        }


def moment(text: str) -> datetime:
    """Return the time that a document names.

    Raises:
        MessageInvalid: There is no such time.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise MessageInvalid(f"{text[:40]!r} is no time.") from None


class KeysModel(BaseModel):
    """How documents write :class:`PublicKeys`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    statement_key: Digest
    sealing_key: Digest
    fleet_key: FleetKey
    log_key: Digest
    witness_key: Digest
    ca: Certificate


class _RevokedModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    at: Timestamp
    reason: Reason


class MemberModel(BaseModel):
    """How the roster writes a :class:`Member`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    id: Identifier
    name: Name
    keys: KeysModel
    admitted_at: Timestamp
    valid_from: Timestamp
    valid_until: Timestamp | None
    revoked: _RevokedModel | None
    rotations: Annotated[
        list[Annotated[str, Field(max_length=MAX_ROTATION_BYTES)]],
        Field(max_length=MAX_ROTATIONS),
    ]

    def member(self) -> Member:
        """Return the member.

        Raises:
            InputInvalid: The identifier is none.
            KeyRefused: A key is none.
            VerificationFailed: A time, a key's spelling or the CA certificate is wrong.
        """
        organisation = member_id(self.id)
        times = [self.admitted_at, self.valid_from, self.valid_until]
        times.append(self.revoked.at if self.revoked else None)
        for time in times:
            if time is not None:
                moment(time)
        return Member(
            id=organisation,
            name=self.name,
            keys=read_keys(self.keys.model_dump(), organisation),
            admitted_at=self.admitted_at,
            valid_from=self.valid_from,
            valid_until=self.valid_until,
            revoked=Revoked(at=self.revoked.at, reason=self.revoked.reason)
            if self.revoked
            else None,
            rotations=tuple(self.rotations),
        )
