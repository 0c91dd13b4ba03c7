"""Logs in this process, under keys of their own, and a roster of those who keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.crypto.signing import SigningKey
from fusion.identity.roster import Roster
from fusion.services.clock import SystemClock
from fusion.services.logbook import LogBook
from fusion.stores.memory_ledger import MemoryLedger
from tests.members import light_member, with_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.crypto.signing import VerifyKey
    from fusion.ports import Ledger


def memory_book(
    organisation: str, statement_key: SigningKey, ledger: Ledger | None = None
) -> LogBook:
    """A log with new keys."""
    return LogBook(
        MemoryLedger() if ledger is None else ledger,
        organisation,
        statement_key=statement_key,
        log_key=SigningKey.generate(),
        witness_key=SigningKey.generate(),
        clock=SystemClock(),
    )


def roster_of(
    authority: VerifyKey,
    members: Mapping[str, VerifyKey],
    books: Mapping[str, LogBook],
    federation: str = "test",
) -> Roster:
    """A roster with these statement keys, and the keys of these logs."""
    listed = []
    for name, key in sorted(members.items()):
        log, witness = books[name].public
        listed.append(with_keys(light_member(name, key), log_key=log, witness_key=witness))
    return Roster(federation=federation, epoch=1, authority_key=authority, members=tuple(listed))
