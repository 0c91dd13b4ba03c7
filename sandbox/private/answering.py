"""A node's way of one query under differential privacy: charge, run confined, add noise, keep.

The charge is on disk before data is at hand, and is never given back: a crash, a kill or an error
after it costs the asker, never the people in the data. What was released may be given again to the
organisation that got it, for the same statement, policy, tables and rho: looking at it once more
tells nothing more, so it costs nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.crypto.hashing import digest, hexdigest
from fusion.errors import EnvironmentUnfit, GrantRefused
from fusion.grants.budget import cap_of
from fusion.grants.document import MAX_PARTIES
from fusion.grants.request import charge_name
from fusion.services import query_messages as messages
from fusion.services.query_messages import Accuracy, Reply, Table
from sandbox.noise import salt_of
from sandbox.private import spending
from sandbox.private.mechanism import check_available
from sandbox.private.statement import compile_private
from sandbox.refusals import refusal
from sandbox.runner import Prepared, executed, statement_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.grants.permit import Permit
    from fusion.ports import Stop
    from fusion.services.grants import Kept
    from fusion.services.query_messages import Asked
    from fusion.stores.rho import Rho, SqlRho
    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from sandbox.policy import Budget
    from sandbox.private.statement import Statement
    from sandbox.sources import Source

_NO_JOB: Final = f"q-{'0' * 32}"


@dataclass(frozen=True, slots=True)
class PrivatePrepared(Prepared):
    """A statement under a policy of mode ``dp``, before anything is charged or run.

    Attributes:
        statement: What it releases, with its noise and what it spends.
    """

    statement: Statement


def prepare_private(
    asked: Asked, attached: Attached, secret: bytes, dialect: Name
) -> PrivatePrepared:
    """Analyse and compile a statement, without any data.

    Args:
        asked: What is asked.
        attached: The policy that holds, with its tables.
        secret: Of the node.
        dialect: Of the source.

    Raises:
        QueryRefused: The policy does not answer it, or it would have more rows than are asked for.
    """
    try:
        check_available()
    except EnvironmentUnfit:
        raise refusal("Q-18") from None
    salt = salt_of(digest("banyan/queries/contributions/v1", secret), attached.policy.digest)
    statement = compile_private(
        asked.statement,
        attached.policy,
        rho_micro=asked.rho_micro,
        dialect=dialect,
        salt=salt,
        public=attached.public,
    )
    rows = statement.rows()
    if rows is not None and rows > asked.rows:
        raise refusal("Q-16", f"It has {rows} rows, empty groups among them: --rows {rows}.")
    named = statement_digest(asked.statement)
    study = hexdigest(
        "banyan/queries/private-study/v1",
        named.encode(),
        attached.policy.digest.encode(),
        str(attached.revision).encode(),
        str(statement.rho_micro).encode(),
    )
    selections = ((),) * len(statement.compiled.cores)
    return PrivatePrepared(attached, statement.compiled, selections, named, study, statement)


def answer_name(prepared: PrivatePrepared, caller: str) -> str:
    """Return under which name an answer is kept: for one organisation, statement and revision."""
    own = prepared.attached
    parts = (own.dataset.encode(), caller.encode(), (prepared.study or "").encode())
    return hexdigest("banyan/queries/private-answer/v1", *parts)


def run_private(
    permit: Permit,
    prepared: PrivatePrepared,
    source: Source,
    rho: SqlRho,
    *,
    stop: Stop,
    seconds: float,
) -> Table:
    """Carry out what was permitted, once; return what may leave.

    Args:
        permit: For this very query.
        prepared: The query.
        source: Where it runs.
        rho: What was spent before.
        stop: Ends it.
        seconds: After which the worker is killed.

    Raises:
        GrantRefused: The permit is for something else, or was used.
        QueryRefused: The budget does not reach, or there are more rows than were asked for.
        WorkFailed: The worker ended without an answer; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        MessageInvalid: The worker answered something else.
        QueryFailed: The rest of the statement failed.
        EnvironmentUnfit: The store or the noise can't be used.
    """
    attached, request, statement = prepared.attached, permit.request, prepared.statement
    wanted = ("query", attached.owner, attached.dataset, prepared.study, "table")
    if wanted != (request.action, request.party, request.dataset, request.study, request.output):
        raise GrantRefused("A permit is for another query than this.")
    permit.spend()
    name = answer_name(prepared, request.assignee)
    kept = rho.answer(name)
    if kept is not None:
        return _again(kept, request.job, request.rows)
    if statement.rho_micro:
        _charge(permit, attached, statement.rho_micro, rho)
    found = executed(prepared, source, request.assignee, stop, seconds)
    answer = statement.finish(found.rows, request.rows)
    table = Table(
        job=request.job,
        policy=attached.policy.digest,
        columns=list(answer.columns),
        rows=answer.rows,
        notes=[],
        rho_micro=statement.rho_micro,
        noise=[
            Accuracy(column=each.column, of=each.of, sd=each.sd, itself=each.itself)
            for each in statement.accuracy()
        ],
    )
    data = messages.to_bytes(Reply(table=table.model_copy(update={"job": _NO_JOB})))
    if len(data) > messages.MAX_REPLY_BYTES:
        raise refusal("Q-16")
    # On disk before it leaves: whoever asks again gets this, and no second sample.
    rho.keep(name, attached.dataset, data)
    return table


def _charge(permit: Permit, attached: Attached, rho_micro: int, rho: SqlRho) -> None:
    budget = budget_of(attached)
    cap = spending.cap_of(budget, permit.cap.epsilon_micro)
    key = charge_name(permit.request)
    if not rho.charge(key, attached.dataset, permit.grant, rho_micro, cap):
        raise spending.beyond(rho_micro, cap.without(rho.used(attached.dataset, permit.grant)))


def _again(kept: bytes, job: str, rows: int | None) -> Table:
    table = messages.reply_of(kept).table
    if table is None or len(table.rows) > (rows or 0):
        raise refusal("Q-16")
    return table.model_copy(update={"job": job, "again": True})


def budget_of(attached: Attached) -> Budget:
    """Return the budget of a policy of mode ``dp``.

    Raises:
        QueryRefused: It has none (Q-24).
    """
    if attached.policy.mode != "dp" or attached.policy.budget is None:
        raise refusal("Q-24")
    return attached.policy.budget


def paying(
    rho: SqlRho, prepared: PrivatePrepared, attached: Attached, caller: str, grants: Iterable[Kept]
) -> tuple[str, ...]:
    """Return which grants have the rho that a query spends; none, if it spends none anew.

    A budget that does not reach is said before a grant is charged; the charge of rho itself has the
    last word (:func:`run_private`).

    Args:
        rho: What was spent.
        prepared: The query.
        attached: The policy that holds.
        caller: Who asks.
        grants: Those that the caller has for the dataset.

    Raises:
        QueryRefused: None of them has enough (Q-23).
    """
    if rho.answer(answer_name(prepared, caller)) is not None:
        return ()
    found = {
        kept.signed.id: left(rho, attached, kept.signed.id, cap_of(permission).epsilon_micro)
        for kept in grants
        if (permission := kept.signed.grant.permission("query")) and not kept.revoked
    }
    asked = prepared.statement.rho_micro
    enough = tuple(grant for grant, each in found.items() if each.least >= asked)
    if found and not enough:
        raise spending.beyond(asked, max(found.values(), key=lambda each: each.least))
    return enough[:MAX_PARTIES]


def left(rho: SqlRho, attached: Attached, grant: str, epsilon_micro: int | None) -> Rho:
    """Return how much rho a grant and its dataset have left."""
    cap = spending.cap_of(budget_of(attached), epsilon_micro)
    return cap.without(rho.used(attached.dataset, grant))
