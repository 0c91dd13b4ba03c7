"""What a label party's node asks a feature party's of its answers: closed, strict, bounded.

``length of the head, 4 bytes | head in canonical JSON | body``. The body is a message of the
published set (:mod:`fusion.alignment.messages`), or nothing.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from fusion.alignment.messages import MAX_MESSAGE_BYTES
from fusion.alignment.terms import MAX_ITEMS
from fusion.alignment.values import SetTerms  # noqa: TC001 - a field's type
from fusion.errors import MessageInvalid
from fusion.services.query_messages import Refusal  # noqa: TC001 - a field's type
from fusion.wire import canonical
from fusion.wire.documents import Part

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_FRAME_BYTES: Final = 4 + MAX_HEAD_BYTES + MAX_MESSAGE_BYTES
MAX_EPOCHS: Final = 2**31 - 1
MAX_ASKED: Final = 1_000_000
"""Records of one question."""

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Epoch = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
_Items = Annotated[int, Field(ge=0, le=MAX_ITEMS)]


class Asked(Part):
    """A question about a model.

    Attributes:
        kind: ``open``: the terms of an epoch. ``part``: a message of its published set. ``ask``:
            blinded identifiers, to be evaluated. ``standing``: whether the model stands at this
            holder, which any other holder may ask.
        model: Which.
        purpose: What for, as grants name it.
        epoch: Of ``open``: which; None asks for the one to take.
        terms: Digest of the epoch's terms (``part``, ``ask``).
        number: Of the set's message (``part``).
        question: Names a question, which is charged once (``ask``).
        records: Identifiers of the whole question (``ask``).
    """

    schema_: Literal["fusion.score/1"] = Field(default="fusion.score/1", alias="schema")
    kind: Literal["open", "part", "ask", "standing"]
    model: _Digest
    purpose: Annotated[str, Field(min_length=1, max_length=200)]
    epoch: _Epoch | None = None
    terms: _Digest | None = None
    number: _Items = 0
    question: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    records: Annotated[int, Field(ge=0, le=MAX_ASKED)] = 0


class Epoch(Part):
    """A published set that is ready.

    Attributes:
        number: The epoch.
        terms: Of the set.
        parts: Messages that carry it.
        pairing: Digest of the keys that answers are hidden with; of equal pairings sums come out.
    """

    number: _Epoch
    terms: SetTerms
    parts: _Items
    pairing: _Digest


class Preparing(Part):
    """A set that is being made: how far it is."""

    number: _Epoch
    done: _Items
    total: _Items


class Reply(Part):
    """One of them; with an empty head's ``body`` true a message of the set follows.

    Attributes:
        epoch: It is ready.
        preparing: It will be.
        take: Another epoch is to be taken: this one, or a later one.
        body: A message follows.
        stands: The model stands: its part here is kept, and was not revoked.
        refusal: No.
    """

    schema_: Literal["fusion.score-reply/1"] = Field(default="fusion.score-reply/1", alias="schema")
    epoch: Epoch | None = None
    preparing: Preparing | None = None
    take: _Epoch | None = None
    body: bool = False
    stands: bool = False
    refusal: Refusal | None = None


_Head = TypeVar("_Head", Asked, Reply)


def to_bytes(head: Asked | Reply, body: bytes = b"") -> bytes:
    """Return a frame."""
    content = head.model_dump(mode="json", by_alias=True)
    if not content.get("stands", True):
        del content["stands"]  # an older node knows no such field
    data = canonical.encode(content)
    return len(data).to_bytes(4, "big") + data + body


def asked_of(frame: bytes) -> tuple[Asked, bytes]:
    """Read a question.

    Raises:
        MessageInvalid: Too large, or not of the closed form.
    """
    head, body = _read(frame, Asked)
    fits = {
        "open": not body and head.terms is None and head.question is None,
        "standing": not body and (head.epoch, head.terms, head.question) == (None, None, None),
        "part": not body and head.terms is not None and head.question is None,
        "ask": bool(body) and None not in (head.terms, head.question) and head.records > 0,
    }
    if not fits[head.kind]:
        raise MessageInvalid("A question about a model is not well formed.")
    return head, body


def reply_of(frame: bytes) -> tuple[Reply, bytes]:
    """Read a reply.

    Raises:
        MessageInvalid: Too large, not of the closed form, or not exactly one thing.
    """
    head, body = _read(frame, Reply)
    held = (head.epoch, head.preparing, head.take, head.refusal)
    if (
        sum(each is not None for each in held) + head.body + head.stands != 1
        or bool(body) != head.body
    ):
        raise MessageInvalid("A reply about a model is not one thing.")
    return head, body


def _read(frame: bytes, kind: type[_Head]) -> tuple[_Head, bytes]:
    length = int.from_bytes(frame[:4], "big")
    if len(frame) > MAX_FRAME_BYTES or not 0 < length <= min(MAX_HEAD_BYTES, len(frame) - 4):
        raise MessageInvalid("A message about a model is too large, or cut short.")
    said = frame[4 : 4 + length]
    canonical.decode(said, MAX_HEAD_BYTES)
    try:
        head = kind.model_validate_json(said)
    except ValidationError:
        raise MessageInvalid("A message about a model is not well formed.") from None
    return head, frame[4 + length :]
