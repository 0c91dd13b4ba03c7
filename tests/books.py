"""Logs in this process, under keys of their own, and a roster of those who keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.identity.roster import Member, Roster
from fusion.services.clock import SystemClock
from fusion.services.logbook import LogBook
from fusion.stores.memory_ledger import MemoryLedger
from fusion.types import OrgId

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
    authority: VerifyKey, members: Mapping[str, VerifyKey], federation: str = "test"
) -> Roster:
    """A roster with these statement keys."""
    return Roster(
        federation=federation,
        epoch=1,
        authority_key=authority,
        members=tuple(
            Member(
                id=OrgId(name),
                name="",
                statement_key=key,
                sealing_key=SealingKey.generate().public,
                fleet_key=f"test:{name}",
                tls_fingerprint=f"test:{name}",
                admitted_at="2026-01-01T00:00:00Z",
            )
            for name, key in sorted(members.items())
        ),
    )
