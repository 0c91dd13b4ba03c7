"""What the parties of an alignment have agreed on before a byte of it is sent.

The digest of the terms is in every message and in every hash: a message of one job, field or
federation means nothing in another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, model_validator

from fusion.wire.documents import Document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.alignment.identifiers import Kind

MAX_ITEMS: Final = 100_000_000
"""Items of one set."""
MAX_PARTIES: Final = 16
MAX_CHUNK: Final = 16_384
SUITE: Final = b"banyan alignment 1, ristretto255, SHA-512"
RR22_SUITE: Final = b"banyan alignment 1, rr22, SHA-512"

Name = Annotated[str, Field(min_length=1, max_length=200)]
Organisation = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$")]
Outcome = Literal["one", "both", "size"]


class Compared(Document):
    """What is compared with what: the part of the terms that goes into every item's hash.

    Attributes:
        federation: Its name, or the digest of its trust document.
        job: The job; of a published set, its epoch.
        field: Which identifier, as the study calls it.
        kind: How it is written.
        fold: Of ``text``: whether upper and lower case are the same.
    """

    federation: Name
    job: Name
    field: Name
    kind: Literal["resident_id", "uscc", "phone", "text"]
    fold: bool = False

    def digests(self, keys: Iterable[str], suite: bytes = SUITE) -> bytes:
        """Return 64 bytes a key: SHA-512 over a tag, its length before it, and the key.

        The tag is the suite and this field, so that one person's identifier gives unrelated
        points in two jobs (domain separation as in RFC 9380, 3.1).
        """
        state = hashlib.sha512()
        for part in (suite, self.canonical()):
            state.update(len(part).to_bytes(8, "big"))
            state.update(part)
        out = bytearray()
        for key in keys:
            each = state.copy()
            each.update(key.encode())
            out += each.digest()
        return bytes(out)


class Terms(Document):
    """Of an alignment in which the parties mask each other's lists.

    Attributes:
        field: What is compared.
        parties: Who takes part. With outcome ``one`` and ``size`` the first one learns.
        outcome: ``one``: the first party learns the common records. ``both``: both do. ``size``:
            the first party learns how many there are.
        set_size: Most items of a set.
        minimum_intersection: Fewer common records than this are not released.
        minimum_overlap_permille: Declared share of the larger set that is common, in thousandths;
            less is not released.
        chunk: Items of a message.
    """

    schema_: Literal["fusion.alignment/1"] = Field(default="fusion.alignment/1", alias="schema")
    field: Compared
    parties: Annotated[tuple[Organisation, ...], Field(min_length=2, max_length=MAX_PARTIES)]
    outcome: Outcome
    set_size: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    minimum_intersection: Annotated[int, Field(ge=0, le=MAX_ITEMS)] = 0
    minimum_overlap_permille: Annotated[int, Field(ge=0, le=1000)] = 0
    chunk: Annotated[int, Field(ge=1, le=MAX_CHUNK)] = 4096

    @model_validator(mode="after")
    def _two_different(self) -> Terms:
        if len(set(self.parties)) != len(self.parties):
            raise ValueError("a party is named twice")
        if self.outcome == "both" and len(self.parties) > 2:
            raise ValueError("with more than two parties the first one learns, alone")
        return self

    @property
    def receiver(self) -> str:
        """Who learns, with outcome ``one`` and ``size``."""
        return self.parties[0]

    def chunks(self, total: int) -> int:
        """Return how many messages carry a list of so many items."""
        return -(-total // self.chunk)


def field_of(federation: str, job: str, field: str, kind: Kind, *, fold: bool = False) -> Compared:
    """Return what is compared, from its parts."""
    return Compared(federation=federation, job=job, field=field, kind=kind, fold=fold)
