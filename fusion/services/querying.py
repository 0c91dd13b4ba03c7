"""An analyst's side of queries: ask an owner's node, and keep what was asked.

::

    HOME/queries/asked.jsonl    what was asked, when, and what became of it; no result
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from fusion.errors import (
    FusionError,
    InputInvalid,
    MessageInvalid,
    NoQueries,
    PartyFailed,
)
from fusion.services import asked_before
from fusion.services.clock import SystemClock, timestamp
from fusion.services.query_messages import MAX_STATEMENT, Asked, Left, Reply, reply_of, to_bytes
from fusion.services.query_port import ASK
from fusion.types import org_id

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection
    from fusion.services.query_description import Described
    from fusion.services.query_messages import Table

_MARGIN_SECONDS: Final = 15


def named(dataset: str) -> tuple[str, str]:
    """Return owner and name of ``OWNER/ID``.

    Raises:
        InputInvalid: It is not of that form.
    """
    owner, mark, name = dataset.partition("/")
    if not mark or not name:
        raise InputInvalid(
            f"{dataset[:127]!r} is no dataset of somebody.",
            hint="Write OWNER/ID; see: fusion data list",
        )
    return org_id(owner), name


def query(  # noqa: PLR0913 - each is part of the question
    connection: Connection,
    node: NodeHome,
    dataset: str,
    statement: str,
    *,
    purpose: str,
    rows: int,
    seconds: int,
    rho_micro: int | None = None,
    clock: Clock | None = None,
) -> Table:
    """Ask a question of a dataset of another organisation.

    Args:
        connection: Of this node.
        node: This node.
        dataset: ``OWNER/ID``.
        statement: SQL.
        purpose: What for, as the grant says.
        rows: The most rows that may come back; the grant is charged for them.
        seconds: For how long to wait.
        rho_micro: What it may spend of a privacy budget; None is what the policy says.
        clock: Time.

    Raises:
        InputInvalid: The dataset is not named, or the statement is too long.
        PartyFailed: The owner's node refuses, or the query failed there; code and hint are its.
        PartyUnreachable: It does not answer, or answers no queries.
        UnknownOrganisation: The roster has no such member.
        MessageInvalid: What it answers is not of the closed form.
    """
    owner, name = named(dataset)
    if not 0 < len(statement) <= MAX_STATEMENT:
        raise InputInvalid(f"A statement has 1 to {MAX_STATEMENT} characters.")
    asked = Asked(
        kind="query",
        dataset=name,
        statement=statement,
        purpose=purpose,
        rows=rows,
        seconds=seconds,
        rho_micro=rho_micro,
    )
    asked_before.check_can_keep(node, "queries")
    now = timestamp((clock or SystemClock()).now())
    said: dict[str, Any] = {"at": now, "dataset": dataset, "statement": statement}
    try:
        table = _table(_exchange(connection, owner, asked))
    except FusionError as error:
        refused = isinstance(error, PartyFailed) and error.exit_code == 4
        said |= {"outcome": "refused" if refused else "failed", "code": error.code, "rows": 0}
        asked_before.keep(node, "queries", said)
        raise
    except BaseException:
        # An interrupt as well: it may have been permitted, and then it is charged.
        asked_before.keep(node, "queries", said | {"outcome": "interrupted", "code": "", "rows": 0})
        raise
    asked_before.keep(node, "queries", said | _answered(table))
    return table


def _table(reply: Reply) -> Table:
    if reply.refusal is not None:
        raise reply.refusal.error()
    if reply.table is None:
        raise MessageInvalid("A query was answered with something else than a table.")
    return reply.table


def _answered(table: Table) -> dict[str, Any]:
    """Return what is kept of an answer: no cell of it."""
    answered = {"outcome": "answered", "code": "", "rows": len(table.rows)}
    return answered | {"job": table.job, "numbers": table.numbers}


def budget(connection: Connection, dataset: str) -> list[Left]:
    """Return what each grant of this organisation has left for queries of a dataset.

    Raises:
        InputInvalid: The dataset is not named.
        PartyFailed: The owner's node refuses.
        PartyUnreachable: It does not answer, or answers no queries.
        UnknownOrganisation: The roster has no such member.
        MessageInvalid: What it answers is not of the closed form.
    """
    owner, name = named(dataset)
    reply = _exchange(connection, owner, Asked(kind="budget", dataset=name))
    if reply.refusal is not None:
        raise reply.refusal.error()
    if reply.budget is None:
        raise MessageInvalid("A budget was asked for, and something else answered.")
    return reply.budget


def describe(connection: Connection, dataset: str) -> Described:
    """Return what may be asked of a dataset, as its owner's policy says.

    Raises:
        InputInvalid: The dataset is not named.
        PartyFailed: The owner's node refuses: there is no grant that holds, or no policy.
        PartyUnreachable: It does not answer, or answers no queries.
        UnknownOrganisation: The roster has no such member.
        MessageInvalid: What it answers is not of the closed form.
    """
    owner, name = named(dataset)
    reply = _exchange(connection, owner, Asked(kind="describe", dataset=name))
    if reply.refusal is not None:
        raise reply.refusal.error()
    if reply.described is None:
        raise MessageInvalid("A description was asked for, and something else answered.")
    return reply.described


def _exchange(connection: Connection, owner: str, asked: Asked) -> Reply:
    call = connection.channel(owner).unary_unary(ASK)
    wait = asked.seconds + _MARGIN_SECONDS

    async def ask() -> bytes:
        answer: bytes = await call(to_bytes(asked), timeout=wait)
        return answer

    try:
        return reply_of(connection.link.run(ask(), wait + 1))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise NoQueries(
                f"The node of {owner} answers no queries.",
                hint="Its owner attaches a policy: fusion policy add.",
            ) from None
        raise connection.unanswered(owner, error) from None


# ------------------------------------------------------------------------- what was asked


def history(node: NodeHome) -> list[dict[str, Any]]:
    """Return what was asked from this node, oldest first.

    Raises:
        InputInvalid: The file was changed into something else.
    """
    return asked_before.history(node, "queries")
