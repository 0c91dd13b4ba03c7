"""Decisions about a run: before it begins, when sizes are known, before anything is released.

Pure functions over what a grant allows and what is remembered of earlier runs. Each party decides
for itself, on what it sees: what a peer can do all the same is in ``docs/claims/alignment.md``.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.alignment.rules import Decided, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusion.alignment.terms import Terms
    from fusion.grants.document import Align

SKETCH_BYTES: Final = 8
"""Of one key in a sketch: two keys of 10**6 collide with probability 3 * 10**-8."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a party holds its runs with one peer to.

    Attributes:
        runs: Most runs.
        minimum_difference: A set that differs from that of an earlier run in some records, but in
            fewer than this, is not aligned.
    """

    runs: int
    minimum_difference: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a party remembers of an earlier run with the same peer, for itself alone.

    Attributes:
        job: The job.
        field: Which identifier.
        own: Items of its own set.
        peer: Items of the other set.
        commitment: To its own masked list, as it stands in the ledger.
        sketch: See :func:`sketch`; of its own set.
    """

    job: str
    field: str
    own: int
    peer: int
    commitment: str
    sketch: bytes


def sketch(secret: bytes, keys: Iterable[str]) -> bytes:
    """Return what lets two sets be compared by who has the secret: 8 bytes a key, sorted.

    Neither what the identifiers are called is in it, nor the case of letters: who orders a run
    chooses both.

    Args:
        secret: 32 bytes that the party keeps, the same for all runs.
        keys: The set.
    """
    start = hmac.new(secret, b"banyan alignment 1, sketch", hashlib.sha256)
    marks = bytearray()
    for key in keys:
        each = start.copy()
        each.update(key.casefold().encode())
        marks += each.digest()[:SKETCH_BYTES]
    return np.sort(np.frombuffer(marks, ">u8")).tobytes()


def difference(one: bytes, other: bytes) -> int:
    """Return how many keys are in exactly one of two sketched sets."""
    return int(np.setxor1d(np.frombuffer(one, ">u8"), np.frombuffer(other, ">u8")).size)


def before(limits: Limits, earlier: Sequence[Run], own: bytes) -> None:
    """Return if a set may be aligned once more with a peer.

    Args:
        limits: What the runs are held to.
        earlier: Every earlier run with the peer, of any field.
        own: The sketch of the set.

    Raises:
        AlignmentRefused: A-15: no run is left. A-16: the set is too near an earlier one, so that
            the two results together would tell about few records.
    """
    if len(earlier) >= limits.runs:
        raise refused(Decided.RUNS)
    for run in earlier:
        if 0 < difference(run.sketch, own) < limits.minimum_difference:
            raise refused(Decided.DIFFERENCE)


def granted(permission: Align, terms: Terms) -> None:
    """Return if terms stay within what a grant permits; its runs go into :class:`Limits`.

    Raises:
        AlignmentRefused: A-19: they allow larger sets.
    """
    if terms.set_size > permission.set_size:
        raise refused(Decided.GRANTED_SIZE)


def sizes(terms: Terms, own: int, peer: int) -> None:
    """Return if sets of these sizes may be aligned under the terms.

    Raises:
        AlignmentRefused: A-11, A-12: one is too large. A-13: the declared overlap, or A-14: the
            smallest intersection that is released, is more than the smaller set. A-17: one is
            empty.
    """
    if not own or not peer:
        raise refused(Decided.EMPTY)
    if own > terms.set_size:
        raise refused(Decided.OWN_SIZE)
    if peer > terms.set_size:
        raise refused(Decided.PEER_SIZE)
    release(terms, min(own, peer), own, peer)


def release(terms: Terms, common: int, own: int, peer: int) -> None:
    """Return if an intersection of this size may be released to anybody.

    Raises:
        AlignmentRefused: A-13: it is less than the declared share of the larger set. A-14: it is
            smaller than the terms allow.
    """
    if 1000 * common < terms.minimum_overlap_permille * max(own, peer):
        raise refused(Decided.OVERLAP)
    enough(terms.minimum_intersection, common)


def enough(minimum: int, common: int) -> None:
    """Return if so many common records may be released.

    Raises:
        AlignmentRefused: A-14: there are fewer than the minimum.
    """
    if common < minimum:
        raise refused(Decided.INTERSECTION)
