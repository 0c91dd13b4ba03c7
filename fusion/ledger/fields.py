"""What entries of a log are made of: short identifiers, digests, counts, times; never a text."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_PARTIES: Final = 1000
_DAY: Final = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME: Final = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}"

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Organisation = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Job = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Code = Annotated[str, Field(pattern=r"^[A-Z]-\d{2,3}$")]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Attempt = Annotated[int, Field(ge=1, le=64)]
Amount = Annotated[int, Field(ge=0, le=2**53 - 1)]
Timestamp = Annotated[str, Field(pattern=rf"^{_DAY}T{_TIME}Z$")]
Organisations = Annotated[tuple[Organisation, ...], Field(min_length=1, max_length=MAX_PARTIES)]
Digests = Annotated[tuple[Hex, ...], Field(min_length=1, max_length=MAX_PARTIES)]


class EntryBase(BaseModel):
    """Strict, frozen, nothing unknown."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    version: Literal[1] = 1
    at: Timestamp
