"""Refusals of a month that go with a ledger to the group that takes it over.

They are counted by group. A pool that is made, or grows, is another group: without this, its month
would begin anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sandbox.history import records
from sandbox.history.state import Addition
from sandbox.history.store import Event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from sandbox.history.store import Store


def bring(
    store: Store,
    connection: sqlite3.Connection,
    scope: str,
    party: str,
    before: Iterable[str],
    link: bytes,
) -> None:
    """Charge a group what groups before it were charged in the last month in which they were.

    Each of their charges becomes an event of the ledger that releases nothing and names the group
    that it was of. A group asks in several ledgers and is counted over all of them: what another
    ledger brought before is not brought again.

    Args:
        store: The file.
        connection: With the write lock.
        scope: The ledger that was begun.
        party: Owner and group, of that ledger.
        before: Owner and group, of those that it goes on from.
        link: Of the last event of the ledger.
    """
    number = store.length(connection, scope)
    for former in sorted(set(before) - {party}):
        month, charges = store.last_charges(connection, former)
        body, *parts = records.encode(former, _NOTHING)
        for _ in range(charges - store.brought(connection, party, month, body)):
            event = Event(number, party, month, "carried", 0, True, body, *parts)
            link = store.append(connection, scope, event, link)
            number += 1


_NOTHING = Addition(
    codes=np.full(0, -1, dtype=np.int32), noise=0.0, rows=np.zeros((0, 0)), cells=()
)
