"""Entries about alignments; part of the closed set of :mod:`fusion.ledger.entry`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fusion.ledger.fields import MAX_PARTIES, Count, EntryBase, Hex, Job, Organisations


class SetCommitted(EntryBase):
    """A node has committed to its set and knows its peers', before it answers any of their records.

    ``reservation`` is that of its charge. ``commitment`` is that to its own set, masked for this
    job; each of ``peer_commitments`` is that of the peer in its place, with the size of its set.
    With three and more parties lists are not committed to one by one, and these two are empty.
    By RR22 a commitment is to the set's digests, under a nonce, and nobody else can check it.
    """

    kind: Literal["set-committed"] = "set-committed"
    job: Job
    reservation: Hex
    commitment: Hex
    records: Count
    peers: Organisations
    peer_commitments: Annotated[tuple[Hex, ...], Field(max_length=MAX_PARTIES)]
    peer_records: Annotated[tuple[Count, ...], Field(max_length=MAX_PARTIES)]


class SetAligned(EntryBase):
    """An alignment has come to its end, and what this node learned, before anybody is shown it."""

    kind: Literal["set-aligned"] = "set-aligned"
    job: Job
    reservation: Hex
    learned: Literal["nothing", "size", "records"]
    common: Count
