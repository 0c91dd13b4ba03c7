"""What leaves of an answered query: its table as a message, of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import QueryRefused
from fusion.services import query_messages as messages
from fusion.services.query_messages import Note, Reply, Table
from sandbox.refusals import refusal
from sandbox.runner import too_large

if TYPE_CHECKING:
    from fusion.grants.permit import Permit
    from sandbox.runner import Prepared, Released

MAX_NOTES = 100


def table_of(permit: Permit, prepared: Prepared, found: Released) -> Table:
    """Return the table of a query, with what is said beside it."""
    return Table(
        job=permit.request.job,
        policy=prepared.attached.policy.digest,
        columns=list(found.answer.columns),
        rows=found.answer.rows,
        notes=[Note(message=message, hint=hint) for message, hint in found.notes[:MAX_NOTES]],
        numbers=found.numbers,
    )


def reply_bytes(table: Table) -> bytes:
    """Return what leaves.

    Raises:
        QueryRefused: It is larger than it may be.
    """
    data = messages.to_bytes(Reply(table=table))
    if len(data) > messages.MAX_REPLY_BYTES:
        raise refusal("Q-16")
    return data


def check_size(table: Table) -> None:
    """Check that a table can leave, before any of it is counted as released.

    Raises:
        RefusedOnData: It is larger than it may be.
    """
    try:
        reply_bytes(table)
    except QueryRefused as error:
        raise too_large(error.message) from None
