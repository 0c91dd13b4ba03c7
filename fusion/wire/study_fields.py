"""Fields that every kind of study file has, and how far they may go."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, PlainValidator

from fusion.errors import InputInvalid
from fusion.types import OrgId, org_id

MAX_COLUMNS: Final = 10_000
MAX_WORD: Final = 200
MAX_NUMBER: Final = 1e12
MAX_SEED: Final = 2**53 - 1
"""The largest integer that JSON carries exactly everywhere."""


def organisation(text: str) -> str:
    """Return an organisation's id as it is.

    Raises:
        ValueError: It is none; says what one looks like.
    """
    try:
        return org_id(text)
    except InputInvalid as error:
        raise ValueError(error.message) from None


def _positive(value: object) -> str | int | float:
    """Return a label's value; only what canonical JSON brings back as it was."""
    if isinstance(value, str) and len(value) <= MAX_WORD:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
        return value
    message = f"Input should be a word or a number of at most {MAX_NUMBER:g}"
    raise ValueError(message)


Organisation = Annotated[OrgId, AfterValidator(organisation)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_WORD)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62})$")]
GrantId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[str | int | float, PlainValidator(_positive)]
