"""What a witness cosigns, and the two messages by which checkpoints and cosignatures travel.

A witness cosigns a checkpoint that its log signed and that extends the last one it cosigned of
that log: so that two histories can't both gather a majority of honest witnesses. Whoever carries
the messages is not believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import LedgerBroken, MessageInvalid, SignatureInvalid, VerificationFailed
from fusion.ledger import merkle
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.log_keys import open_stated_keys
from fusion.wire import canonical
from fusion.wire.limits import MAX_WITNESS_PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.identity.roster import Roster
    from fusion.ledger.log_keys import LogKeys

MAX_ITEM_BYTES: Final = 2 * MAX_WITNESS_PACKET_BYTES
"""What is published of one log: the checkpoint, and each witness's last cosignature."""

_MAX_PARTIES: Final = 1000
_Size = Annotated[int, Field(ge=0, lt=merkle.MAX_SIZE)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Note = Annotated[str, Field(min_length=1, max_length=4096)]


class _Message(BaseModel):
    """Strict, frozen, nothing unknown; nothing in it is believed before it is verified."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    SCHEMA: ClassVar[str]
    LIMIT: ClassVar[int]

    def to_bytes(self) -> bytes:
        """Return canonical bytes."""
        return canonical.encode({"schema": self.SCHEMA, **self.model_dump()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a message.

        Raises:
            MessageInvalid: Too large, not decodable, or not of this kind.
        """
        return _read(cls, data)


_M = TypeVar("_M", bound=_Message)


def _read(kind: type[_M], data: bytes) -> _M:
    document: Any = canonical.decode(data, kind.LIMIT)
    if not isinstance(document, dict) or document.pop("schema", None) != kind.SCHEMA:
        raise MessageInvalid(f"This is no {kind.SCHEMA}.")
    try:
        return kind.model_validate(document)
    except ValidationError:
        raise MessageInvalid(f"A {kind.SCHEMA} is not well formed.") from None


class Proof(BaseModel):
    """Shows that the checkpoint extends the log of this size."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    size: _Size
    hashes: Annotated[list[_Hash], Field(max_length=2 * merkle.MAX_SIZE.bit_length())]


class Published(BaseModel):
    """A log's newest checkpoint, with what a witness needs for it.

    Attributes:
        keys: The signed statement of the log's keys.
        checkpoint: The note, signed by the log.
        proofs: That it extends what witnesses have cosigned before.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    keys: Annotated[str, Field(max_length=16384)]
    checkpoint: _Note
    proofs: Annotated[list[Proof], Field(max_length=64)]

    def opened(self, *epochs: Roster) -> tuple[LogKeys, Checkpoint]:
        """Return whose log it is and its checkpoint, both verified.

        Args:
            epochs: The roster; for what was published before, those that were in force, too.

        Raises:
            VerificationFailed: A signature is missing or wrong, or the log is somebody else's.
        """
        keys = open_stated_keys(self.keys.encode(), epochs)
        checkpoint = parse(self.checkpoint.encode())
        if checkpoint.origin != keys.origin:
            raise SignatureInvalid(f"{keys.origin} publishes a checkpoint of {checkpoint.origin}.")
        checkpoint.verify_log(keys.log)
        return keys, checkpoint


class Packet(_Message):
    """What a member hands in: its own checkpoint, and what it has cosigned last of every log."""

    SCHEMA: ClassVar[str] = "banyan.witness-packet/1"
    LIMIT: ClassVar[int] = MAX_WITNESS_PACKET_BYTES

    published: Published
    cosigned: Annotated[list[_Note], Field(max_length=_MAX_PARTIES)]


class Item(_Message):
    """What everybody may read of one log: its checkpoint, and each witness's last cosignature."""

    SCHEMA: ClassVar[str] = "banyan.witness-item/1"
    LIMIT: ClassVar[int] = MAX_ITEM_BYTES

    published: Published
    cosigned: Annotated[dict[str, _Note], Field(max_length=_MAX_PARTIES)]


class Index(_Message):
    """Which logs there are, with the SHA-256 of each one's item: who has it need not ask."""

    SCHEMA: ClassVar[str] = "banyan.witness-index/1"
    LIMIT: ClassVar[int] = MAX_WITNESS_PACKET_BYTES

    items: Annotated[dict[str, _Hash], Field(max_length=_MAX_PARTIES + 1)]


def check_extends(
    checkpoint: Checkpoint, proofs: Sequence[Proof], seen: tuple[int, bytes] | None
) -> None:
    """Refuse a checkpoint that does not extend the last one cosigned of its log.

    Args:
        checkpoint: Signed by its log.
        proofs: As published with it.
        seen: Size and root last cosigned, None before the first time.

    Raises:
        LedgerBroken: The log is shorter than it was, or has another root at the same size.
        VerificationFailed: No proof shows that it only grew.
    """
    if seen is None:
        return
    size, root = seen
    if checkpoint.size < size:
        msg = f"The log of {checkpoint.origin} has gone back from {size} to {checkpoint.size}."
        raise LedgerBroken(msg, index=checkpoint.size)
    if checkpoint.size == size and checkpoint.root != root:
        msg = f"The log of {checkpoint.origin} has two histories of {size} entries."
        raise LedgerBroken(msg, index=0)
    proof = [[]] if checkpoint.size == size else [p.hashes for p in proofs if p.size == size]
    if not proof:
        msg = f"Nothing shows that the log of {checkpoint.origin} extends its first {size} entries."
        raise VerificationFailed(msg, hint="It is asked for at the next exchange.")
    hashes = [bytes.fromhex(value) for value in proof[0]]
    merkle.verify_consistency(size, checkpoint.size, hashes, root, checkpoint.root)


def quorum_of(others: int) -> int:
    """Return how many of the other organisations have to cosign: more than half of them."""
    return others // 2 + 1
