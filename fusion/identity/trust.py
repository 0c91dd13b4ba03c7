"""What a newcomer trusts: an invitation by hand, and the document it vouches for.

The invitation names the hub's address and the SHA-256 of the authority's public key. It comes over
a channel that the operator trusts. Everything else follows from it: the trust document is
signed by that key and holds the certification authority (CA) of the hub's TLS; the roster is
signed by it too.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.signing import SigningKey, VerifyKey
from fusion.errors import InputInvalid, KeyRefused, MessageInvalid, VerificationFailed
from fusion.identity.keys import authority_pin
from fusion.identity.members import Identifier, Name
from fusion.wire import envelope
from fusion.wire.limits import MAX_REQUEST_BYTES

_SCHEMA: Final = "fusion.trust/1"
_TYPE: Final = "application/vnd.fusion.trust/1+json"
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>\d{1,5})")
_INVITATION = re.compile(r"https://(?P<address>[^/#?@\s]+)/?#(?P<pin>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the hub's one port is.

    Attributes:
        host: DNS name or IP address, without brackets.
        port: TCP port; 0 stands for any free one, for tests on one machine.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``.

        Raises:
            InputInvalid: It is something else.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"]) > 65535:
            raise InputInvalid(
                f"{text[:100]!r} is not an address.",
                hint="Write host:port, such as hub.city.example:8443.",
            )
        return cls(found["host"].strip("[]").lower(), int(found["port"]))

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the hub's operator hands to an organisation.

    Attributes:
        address: Where the hub is.
        pin: SHA-256 of the authority's public key, in hexadecimal.
    """

    address: Address
    pin: str

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read ``https://host:port#pin``.

        Raises:
            InputInvalid: It is something else.
        """
        found = _INVITATION.fullmatch(text.strip())
        if found is None:
            raise InputInvalid(
                "The hub's URL is not an invitation.",
                hint="`fusion hub init` prints it: https://host:port#, then 64 hexadecimal digits.",
            )
        return cls(Address.parse(found["address"]), found["pin"])

    @property
    def url(self) -> str:
        """Where requests go: ``https://host:port``."""
        return f"https://{self.address}"

    def __str__(self) -> str:
        """Return what :meth:`parse` reads."""
        return f"{self.url}#{self.pin}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the authority says about its federation.

    Attributes:
        federation: Its identifier: the trust domain of its SPIFFE names.
        name: For people.
        authority_key: Verifies this document, the roster and the authority's statements.
        ca_pem: Certificate of the federation's CA.
        address: Where the hub is, ``host:port``.
    """

    federation: str
    name: str
    authority_key: VerifyKey
    ca_pem: str
    address: str


class _TrustModel(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.trust/1"] = Field(alias="schema")
    federation: Identifier
    name: Name
    ca_pem: Annotated[str, Field(max_length=16384)]
    address: Annotated[str, Field(max_length=300)]


def sign_trust(trust: Trust, key: SigningKey) -> bytes:
    """Return the trust document, signed; its key id is the authority's public key."""
    document = {
        "schema": _SCHEMA,
        "federation": trust.federation,
        "name": trust.name,
        "ca_pem": trust.ca_pem,
        "address": trust.address,
    }
    return envelope.sign(document, _TYPE, key, key.public.hex)


def open_trust(data: bytes, pin: str) -> Trust:
    """Verify a trust document against the pin of an invitation, and return it.

    Raises:
        VerificationFailed: It is signed with another key than the pinned one.
        SignatureInvalid: The signature does not verify.
        MessageInvalid: Too large, not decodable, or not a well-formed trust document.
    """
    claimed = envelope.signer(data, MAX_REQUEST_BYTES)
    try:
        key = VerifyKey.from_hex(claimed)
    except KeyRefused:
        raise MessageInvalid("A trust document does not name the authority's key.") from None
    if not hmac.compare_digest(authority_pin(key), pin):
        raise VerificationFailed(
            "The hub's trust document is signed with another key than the invitation pins.",
            hint="Ask the data authority for its invitation again; do not go on without it.",
        )
    _, payload = envelope.open_signed(data, _TYPE, {claimed: key}, MAX_REQUEST_BYTES)
    try:
        model = _TrustModel.model_validate(payload)
    except ValidationError:
        raise MessageInvalid("A trust document is signed but not well formed.") from None
    return Trust(
        federation=model.federation,
        name=model.name,
        authority_key=key,
        ca_pem=model.ca_pem,
        address=model.address,
    )
