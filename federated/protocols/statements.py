"""The signed statements of a round: join, manifest, commitment, list, submission.

Each is a strict document with a ``schema`` field, in RFC 8785 form, in a DSSE envelope by exactly
one key (``docs/adr/0004-canonical-json-dsse.md``). A statement names the digest of the manifest it
belongs to, so none can be moved to another job, round or attempt.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusion.crypto.hashing import digest
from fusion.errors import MessageInvalid, SignatureInvalid
from fusion.wire import canonical, envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.crypto.signing import SigningKey, VerifyKey

Purpose = Literal["moments", "train", "evaluate"]
"""What a sum is for; each purpose has its own layout."""

HUB: Final = "hub"
"""Key id under which the federation's authority signs."""

MAX_STATEMENT_BYTES: Final = 256 * 1024
MAX_COHORT: Final = 256
"""Parties of one masked sum: each masks with every other."""
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=63)]
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Statement(BaseModel):
    """Strict, frozen, nothing unknown."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    SCHEMA: ClassVar[str]

    def document(self) -> dict[str, Any]:
        """Return what is signed."""
        return {"schema": self.SCHEMA, **self.model_dump()}

    def encoded(self) -> bytes:
        """Canonical bytes of the document."""
        return canonical.encode(self.document())


class Join(_Statement):
    """A party's promise to take part in one attempt of a masked sum, with its key for it.

    Attributes:
        job: The run.
        study: Digest of the study.
        round: Number of the round.
        attempt: Of that round.
        organisation: Who joins.
        key: X25519 public key that is used for this attempt only.
        nonce: Makes every join another one.
    """

    SCHEMA: ClassVar[str] = "banyan.join/1"
    job: _Name
    study: _Digest
    round: _Count
    attempt: Annotated[int, Field(ge=1, le=64)]
    organisation: _Name
    key: _Digest
    nonce: _Digest

    def joined(self) -> Joined:
        """Return how a manifest names this party."""
        return Joined(organisation=self.organisation, key=self.key, nonce=self.nonce)


class Joined(BaseModel):
    """One party of the cohort of a masked sum."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    organisation: _Name
    key: _Digest
    nonce: _Digest


class RoundManifest(_Statement):
    """What one sum is about; its digest binds every ciphertext and statement of it.

    Attributes:
        job: The run.
        study: Digest of the study all parties agreed to.
        round: Number of the round; 0 is the sum of moments.
        attempt: Counts the tries of this round, from 1.
        purpose: Which layout.
        key: Fingerprint of the Paillier key.
        layout: Digest of the layout.
        contributors: Contributions the layout has guard bits for.
        quorum: Fewest contributions that may be opened.
        model: Digest of the incoming parameters and standardisation.
        cohort: Who joined a masked sum, sorted; empty if the sum is not masked.
    """

    SCHEMA: ClassVar[str] = "banyan.round/2"
    job: _Name
    study: _Digest
    round: _Count
    attempt: Annotated[int, Field(ge=1, le=64)]
    purpose: Purpose
    key: _Digest
    layout: _Digest
    contributors: Annotated[int, Field(ge=1, le=65536)]
    quorum: Annotated[int, Field(ge=2, le=65536)]
    model: _Digest
    cohort: Annotated[list[Joined], Field(max_length=MAX_COHORT)] = []

    @model_validator(mode="after")
    def _sorted_and_distinct(self) -> Self:
        names = [joined.organisation for joined in self.cohort]
        if names != sorted(set(names)):
            msg = "cohort must be sorted and name each organisation once"
            raise ValueError(msg)
        return self

    def joined(self) -> tuple[str, ...]:
        """Who joined."""
        return tuple(joined.organisation for joined in self.cohort)

    def digest(self) -> bytes:
        """32 bytes that name this sum."""
        return digest("banyan/manifest/v1", self.encoded())


class Commitment(_Statement):
    """A party's promise to contribute exactly one vector, before it sees anyone else's."""

    SCHEMA: ClassVar[str] = "banyan.commitment/1"
    manifest: _Digest
    organisation: _Name
    commitment: _Digest


class ListEntry(_Statement):
    """One line of a list."""

    organisation: _Name
    commitment: _Digest


class ContributionList(_Statement):
    """The contributions of one sum, all and no others, sorted by organisation."""

    SCHEMA: ClassVar[str] = "banyan.list/1"
    manifest: _Digest
    entries: Annotated[list[ListEntry], Field(min_length=1, max_length=65536)]

    @model_validator(mode="after")
    def _sorted_and_distinct(self) -> Self:
        names = [entry.organisation for entry in self.entries]
        if names != sorted(set(names)):
            msg = "entries must be sorted and name each organisation once"
            raise ValueError(msg)
        return self

    def organisations(self) -> tuple[str, ...]:
        """Whose contributions are listed."""
        return tuple(entry.organisation for entry in self.entries)

    def commitment_of(self, organisation: str) -> str | None:
        """Return the listed commitment of ``organisation``, if it is on the list."""
        found = [e.commitment for e in self.entries if e.organisation == organisation]
        return found[0] if found else None

    def digest(self) -> bytes:
        """32 bytes that name this list."""
        return digest("banyan/list/v1", self.encoded())


class Submission(_Statement):
    """A party's release of its vector for one list: opens the commitment, and proves itself."""

    SCHEMA: ClassVar[str] = "banyan.submission/2"
    manifest: _Digest
    listing: _Digest
    organisation: _Name
    vector: _Digest
    proof: _Digest
    nonce: _Digest


class Defence(_Statement):
    """A party's answer to a dispute: it has proved one of its ciphertexts in range.

    Attributes:
        manifest: The round.
        listing: The list that was opened.
        organisation: Who answers.
        plaintext: Which one is disputed.
        proof: Digest of the range proof.
    """

    SCHEMA: ClassVar[str] = "banyan.defence/1"
    manifest: _Digest
    listing: _Digest
    organisation: _Name
    plaintext: _Count
    proof: _Digest


def commit_to(manifest: RoundManifest, organisation: str, nonce: bytes, vector: bytes) -> str:
    """Return the hiding, binding commitment to a vector, in hexadecimal."""
    return digest(
        "banyan/commitment/v1",
        manifest.digest(), organisation.encode(), nonce, vector_digest(vector),
    ).hex()  # fmt: skip


def commitment_opened(manifest: RoundManifest, submission: Submission) -> str:
    """Return the commitment that a submission opens."""
    return digest(
        "banyan/commitment/v1",
        manifest.digest(), submission.organisation.encode(),
        bytes.fromhex(submission.nonce), bytes.fromhex(submission.vector),
    ).hex()  # fmt: skip


def vector_digest(vector: bytes) -> bytes:
    """32 bytes that name an encrypted vector."""
    return digest("banyan/vector/v1", vector)


def proof_digest(proof: bytes) -> bytes:
    """32 bytes that name a proof."""
    return digest("banyan/proof/v1", proof)


def proof_context(manifest: RoundManifest, listed: ContributionList, organisation: str) -> bytes:
    """Return what a proof of plaintext knowledge is bound to: one party, one list, one attempt.

    The list has everybody's commitments, each under a nonce that was drawn after the manifest was
    known: no proof made before can be for it.
    """
    return digest(
        "banyan/proof-context/v1", manifest.digest(), listed.digest(), organisation.encode()
    )


def mask_context(manifest: RoundManifest, one: str, other: str) -> bytes:
    """Return what a pair's key is for: these two, in this attempt, with this cohort."""
    lower, higher = sorted((one, other))
    return digest("banyan/mask/v1", manifest.digest(), lower.encode(), higher.encode())


def same(left: str | bytes, right: str | bytes) -> bool:
    """Compare two digests in constant time."""
    a, b = (v.encode() if isinstance(v, str) else v for v in (left, right))
    return hmac.compare_digest(a, b)


_S = TypeVar("_S", bound=_Statement)


def _payload_type(kind: type[_Statement]) -> str:
    return f"application/vnd.{kind.SCHEMA}+json"


def sign(statement: _Statement, key: SigningKey, keyid: str) -> bytes:
    """Return ``statement`` in an envelope signed by ``key``."""
    return envelope.sign(statement.document(), _payload_type(type(statement)), key, keyid)


def read(kind: type[_S], data: bytes, keys: Mapping[str, VerifyKey]) -> _S:
    """Verify an envelope and return the statement.

    Args:
        kind: The statement expected.
        data: The envelope.
        keys: Who may have signed.

    Raises:
        SignatureInvalid: Not signed by one of ``keys``, or by another than whom it speaks for.
        MessageInvalid: Too large, not decodable, or not a statement of this kind.
        UnknownOrganisation: Signed under a name that ``keys`` does not have.
    """
    keyid, payload = envelope.open_signed(
        data, _payload_type(kind), keys, limit=MAX_STATEMENT_BYTES
    )
    if payload.pop("schema", None) != kind.SCHEMA:
        msg = f"A {kind.__name__} is of another schema than {kind.SCHEMA}."
        raise MessageInvalid(msg)
    try:
        statement = kind.model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        msg = f"A {kind.__name__} is not well formed: {where}: {first['msg']}."
        raise MessageInvalid(msg) from None
    spokesman = getattr(statement, "organisation", HUB)
    if keyid != spokesman:
        msg = f"A {kind.__name__} of {spokesman!r} is signed by {keyid!r}."
        raise SignatureInvalid(msg)
    return statement
