"""Entries about vertical runs; part of the closed set of :mod:`fusion.ledger.entry`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fusion.ledger.fields import (
    MAX_PARTIES,
    Attempt,
    Count,
    Digests,
    EntryBase,
    Hex,
    Job,
    Organisations,
)


class VerticalAgreed(EntryBase):
    """A node will take part in a run of a vertical study, or in its alignment alone.

    The label party is named first; of an alignment the party that learns.

    ``order`` is that of the order-taken before it.
    """

    kind: Literal["vertical-agreed"] = "vertical-agreed"
    job: Job
    study: Hex
    organisations: Organisations
    order: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class RecordsAligned(EntryBase):
    """A node has found which of its records others have as well, in one attempt of a job.

    ``commitment`` is that to its own set, masked for this job; ``peers`` are those with whom it
    held a session, each with its commitment and size; ``common`` is how many records were found.
    """

    kind: Literal["records-aligned"] = "records-aligned"
    job: Job
    attempt: Attempt
    commitment: Hex
    records: Count
    peers: Organisations
    peer_commitments: Digests
    peer_records: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MAX_PARTIES)]
    common: Count


class PartTrained(EntryBase):
    """A node's part of a vertical model is finished after so many trees or epochs."""

    kind: Literal["part-trained"] = "part-trained"
    job: Job
    attempt: Attempt
    steps: Count
    part: Hex


class VerticalStarted(EntryBase):
    """The hub began a run of a vertical study, or of its alignment alone."""

    kind: Literal["vertical-started"] = "vertical-started"
    job: Job
    study: Hex
    organisations: Organisations


class AttemptBegun(EntryBase):
    """The hub had an attempt of a vertical run begun, after so many finished trees or epochs."""

    kind: Literal["attempt-begun"] = "attempt-begun"
    job: Job
    attempt: Attempt
    step: Count
