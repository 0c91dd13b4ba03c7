"""The files of a key ceremony: the public document, and one sealed share for each holder.

The second schema: the document carries the dealer's proof of its modulus. What a reader checks of
it is in :mod:`fusion.crypto.paillier.received`; files of the first are refused, for they have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fusion.crypto.hashing import hexdigest
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.threshold import ThresholdKey
from fusion.errors import MessageInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_FILE_BYTES: Final = 1 << 20

_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{1,8192}$")]
_Sealed = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2}){1,4096}$")]
_Proof = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2}){1,4096}$")]
_Name = Annotated[str, Field(min_length=1, max_length=63)]


class _File(BaseModel):
    """Strict, frozen, nothing unknown."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    SCHEMA: ClassVar[str]

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return canonical.encode({"schema": self.SCHEMA, **self.model_dump()})


class KeyDocument(_File):
    """The public side of a ceremony; everyone has the same bytes.

    Attributes:
        modulus: N, in hexadecimal.
        threshold: Holders that must act together.
        holders: Organisations, in the order of their share numbers from 1.
        base: v of the verifiers.
        verifiers: One for each holder.
        sealed_to: Each holder's sealing key as the dealer had it: who opens a share on the way
            and seals it again would have to show other keys, and so another transcript.
        proof: That the modulus fits Paillier, :mod:`fusion.crypto.paillier.modulus_proof`.
    """

    SCHEMA: ClassVar[str] = "banyan.key/2"
    modulus: _Hex
    threshold: Annotated[int, Field(ge=1, le=1024)]
    holders: Annotated[list[_Name], Field(min_length=1, max_length=1024)]
    base: _Hex
    verifiers: Annotated[list[_Hex], Field(min_length=1, max_length=1024)]
    sealed_to: Annotated[list[_Hex], Field(min_length=1, max_length=1024)]
    proof: _Proof

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.holders)) != len(self.holders):
            msg = "a holder is named twice"
            raise ValueError(msg)
        if not len(self.verifiers) == len(self.sealed_to) == len(self.holders):
            msg = "each holder needs one verifier and one sealing key"
            raise ValueError(msg)
        return self

    @classmethod
    def of(
        cls, key: ThresholdKey, holders: Sequence[str], sealed_to: Sequence[str], proof: bytes
    ) -> KeyDocument:
        """Write a dealt key down.

        Args:
            key: The key.
            holders: In the order of their numbers.
            sealed_to: Each holder's sealing key, in hexadecimal.
            proof: Of the modulus.
        """
        return cls(
            modulus=f"{key.public.modulus:x}",
            threshold=key.threshold,
            holders=list(holders),
            base=f"{key.base:x}",
            verifiers=[f"{value:x}" for value in key.verifiers],
            sealed_to=list(sealed_to),
            proof=proof.hex(),
        )

    def key(self) -> ThresholdKey:
        """Return the key; :func:`fusion.crypto.paillier.received.check_received` checks the rest.

        Raises:
            fusion.errors.KeyRefused: Modulus or threshold are not acceptable.
        """
        return ThresholdKey(
            public=PublicKey(int(self.modulus, 16)),
            threshold=self.threshold,
            base=int(self.base, 16),
            verifiers=tuple(int(value, 16) for value in self.verifiers),
        )

    def transcript(self) -> str:
        """Digest that the operators compare, over another channel, before they import a share."""
        return hexdigest("banyan/transcript/v1", self.to_bytes())


class ShareFile(_File):
    """One holder's share, sealed to its organisation, with the public document."""

    SCHEMA: ClassVar[str] = "banyan.share/2"
    document: KeyDocument
    organisation: _Name
    sealed: _Sealed

    def context(self) -> bytes:
        """What the seal is bound to: ceremony and holder."""
        return share_context(self.document, self.organisation)


def share_context(document: KeyDocument, organisation: str) -> bytes:
    """Return what the seal of a share is bound to."""
    return f"banyan/share/v1:{document.transcript()}:{organisation}".encode()


_F = TypeVar("_F", bound=_File)


def read_file(kind: type[_F], data: bytes) -> _F:
    """Read a ceremony's file.

    Raises:
        MessageInvalid: Too large, not decodable, or not of this kind.
    """
    document = canonical.decode(data, limit=MAX_FILE_BYTES)
    schema = document.pop("schema", None) if isinstance(document, dict) else None
    if schema == kind.SCHEMA.replace("/2", "/1"):
        msg = f"This {kind.__name__} is of an earlier release: it carries no proof of its modulus."
        raise MessageInvalid(msg, hint="Hold a new key ceremony, and import its files.")
    if schema != kind.SCHEMA:
        msg = f"This is no {kind.__name__}."
        raise MessageInvalid(msg, hint=f"A file of the schema {kind.SCHEMA} is wanted.")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        msg = f"This is no {kind.__name__}: {where}: {first['msg']}."
        raise MessageInvalid(msg) from None
