"""What the hub says to an attached node, one small JSON document a frame."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fusion.errors import MessageInvalid
from fusion.wire import canonical

MAX_FRAME_BYTES: Final = 4096


class Hello(BaseModel):
    """The first frame: the node counts as attached."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    frame: Literal["hello"] = "hello"


class Ring(BaseModel):
    """There is something new; what it is says the bell's name.

    Attributes:
        bell: ``fleet``, ``roster`` or another one; a node does not care for those it doesn't know.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    frame: Literal["ring"] = "ring"
    bell: Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]


class PickUp(BaseModel):
    """Another member calls.

    Attributes:
        token: Names the tunnel; good once, within seconds, for this node only.
        caller: Who calls, as the hub says; the TLS inside says it for certain.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    frame: Literal["pick-up"] = "pick-up"
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    caller: Annotated[str, Field(max_length=63)]


Frame = Hello | Ring | PickUp


_ADAPTER: Final[TypeAdapter[Frame]] = TypeAdapter(Annotated[Frame, Field(discriminator="frame")])


def to_bytes(frame: Frame) -> bytes:
    """Return a frame's bytes."""
    return canonical.encode(frame.model_dump())


def from_bytes(data: bytes) -> Frame:
    """Return a frame.

    Raises:
        MessageInvalid: It is none.
    """
    try:
        return _ADAPTER.validate_python(canonical.decode(data, MAX_FRAME_BYTES))
    except ValidationError:
        raise MessageInvalid("The hub sends a frame that is none.") from None
