"""Which keys an organisation keeps its log and witnesses others with, by its own signature.

A small document, signed with the statement key, travels with every checkpoint; the roster has to
list the same keys. The three keys are apart: whoever has the log key can fork a log, and can't make
a statement or witness for it. The data authority is no member, and states its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.crypto.signing import VerifyKey
from fusion.errors import (
    MessageInvalid,
    SignatureInvalid,
    UnknownOrganisation,
    VerificationFailed,
)
from fusion.identity.members import AUTHORITY
from fusion.ledger.fields import Hex, Organisation
from fusion.wire import envelope
from fusion.wire.limits import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.signing import SigningKey
    from fusion.identity.roster import Roster

_SCHEMA: Final = "banyan.log-keys/1"
_TYPE: Final = "application/vnd.banyan.log-keys/1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """One organisation's keys for logs.

    Attributes:
        federation: Its federation.
        organisation: Its identifier; ``hub`` for the data authority.
        log: Signs the checkpoints of its own log.
        witness: Cosigns the checkpoints of others.
    """

    federation: str
    organisation: str
    log: VerifyKey
    witness: VerifyKey

    @property
    def origin(self) -> str:
        """Names the log in its checkpoints, and the organisation as a witness."""
        return origin_of(self.federation, self.organisation)

    @property
    def log_id(self) -> str:
        """Names the log and its key: a log under a new key is another log."""
        return f"{self.origin} {self.log.hex}"


def origin_of(federation: str, organisation: str) -> str:
    """Return the name of an organisation's log in its checkpoints."""
    return f"{federation}/{organisation}"


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["banyan.log-keys/1"] = Field(alias="schema")
    federation: Organisation
    organisation: Organisation
    log_key: Hex
    witness_key: Hex


def sign_log_keys(keys: LogKeys, statement_key: SigningKey) -> bytes:
    """Return the document, signed by the organisation."""
    document = {
        "schema": _SCHEMA,
        "federation": keys.federation,
        "organisation": keys.organisation,
        "log_key": keys.log.hex,
        "witness_key": keys.witness.hex,
    }
    return envelope.sign(document, _TYPE, statement_key, keys.organisation)


def open_log_keys(data: bytes, roster: Roster) -> LogKeys:
    """Verify and return an organisation's keys for logs.

    Args:
        data: The document.
        roster: Says which statement key the organisation has.

    Raises:
        SignatureInvalid: Not signed by the organisation it speaks of.
        UnknownOrganisation: The roster does not have it.
        MessageInvalid: Too large, malformed, or of another federation.
    """
    signers = {AUTHORITY: roster.authority_key, **roster.statement_keys()}
    signer, payload = envelope.open_signed(data, _TYPE, signers, MAX_REQUEST_BYTES)
    try:
        found = _Document.model_validate(payload)
    except ValidationError:
        raise MessageInvalid("A statement of log keys is signed but not well formed.") from None
    if found.organisation != signer:
        raise SignatureInvalid(f"{signer} signs the log keys of {found.organisation}.")
    if found.federation != roster.federation:
        raise MessageInvalid("A statement of log keys is of another federation.")
    if len({found.log_key, found.witness_key, signers[signer].hex}) != 3:
        raise MessageInvalid(f"{signer} uses one key for two purposes.")
    if signer != AUTHORITY:
        listed = roster.member(signer).keys
        if (listed.log_key.hex, listed.witness_key.hex) != (found.log_key, found.witness_key):
            raise SignatureInvalid(f"{signer} states other log keys than the roster lists.")
    return LogKeys(
        federation=found.federation,
        organisation=found.organisation,
        log=VerifyKey.from_hex(found.log_key),
        witness=VerifyKey.from_hex(found.witness_key),
    )


def open_stated_keys(data: bytes, epochs: Sequence[Roster]) -> LogKeys:
    """Verify and return an organisation's keys for logs, as one of several epochs has them.

    Args:
        data: The document.
        epochs: The rosters that were in force, oldest first; the newest that fits counts.

    Raises:
        SignatureInvalid: Not signed by the organisation it speaks of, or not with these keys.
        UnknownOrganisation: No roster has it, or none is given.
        MessageInvalid: Too large, malformed, or of another federation.
    """
    failure: VerificationFailed = UnknownOrganisation("No roster says whose log keys these are.")
    for roster in reversed(epochs):
        try:
            return open_log_keys(data, roster)
        except VerificationFailed as error:
            if roster is epochs[-1]:
                failure = error
    raise failure
