"""Both ends of an alignment in one process, joined by lists of messages."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fusion.alignment.session import Session
from fusion.alignment.terms import Terms, field_of
from fusion.crypto.ristretto.group import LocalMasker, Scalar
from fusion.crypto.ristretto.sodium import SodiumGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GOV, BANK = "gov.example", "bank.example"
KEY = bytes(range(32))


@lru_cache(maxsize=1)
def group() -> SodiumGroup:
    return SodiumGroup()


def masker(scalar: Scalar) -> LocalMasker:
    return LocalMasker(scalar, group())


def terms(outcome: str = "one", **more: Any) -> Terms:  # noqa: ANN401 - fields of the terms
    content = {
        "field": field_of("federation", "job-1", "ID", "text"),
        "parties": (GOV, BANK),
        "outcome": outcome,
        "set_size": 1000,
        "chunk": 4,
        **more,
    }
    return Terms(**content)


def pair(agreed: Terms, gov: Sequence[str], bank: Sequence[str]) -> tuple[Session, Session]:
    return Session.begin(agreed, GOV, gov, masker), Session.begin(agreed, BANK, bank, masker)


def carry(
    one: Session, other: Session, seen: Callable[[Session, bytes], None] = lambda _s, _m: None
) -> None:
    """Carry messages back and forth until neither has more."""
    sent = {one.me: other.taken, other.me: one.taken}
    moved = True
    while moved:
        moved = False
        for speaker, listener in ((one, other), (other, one)):
            while sent[speaker.me] < speaker.ready:
                message = speaker.message(sent[speaker.me])
                seen(speaker, message)
                listener.take(message)
                sent[speaker.me] += 1
                moved = True
