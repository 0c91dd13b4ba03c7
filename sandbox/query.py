"""A statement's way: analysed, compiled, run by an engine, released, finished on what is released.

The engine is a parameter: in this process for an owner who tries a policy, in a process of its own
for everybody else. What a ledger of earlier releases needs is in :class:`Compiled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sandbox import bins, disclosure, post
from sandbox.analyse import analyse
from sandbox.compile import CoreQuery, codes_sql, core_sql, public_sql
from sandbox.noise import salt_of
from sandbox.partials import Asked, ask, reply_of
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.compile import Coded
    from sandbox.dialects import Name
    from sandbox.disclosure import Rules
    from sandbox.fanout import PublicRows
    from sandbox.partials import Limits, Rows
    from sandbox.policy import Policy
    from sandbox.relations import Core, Plan, Result

    Execute = Callable[[bytes], bytes]
    Withheld = Callable[[int, Sequence[disclosure.Cell]], set[int]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement that a policy answers.

    Attributes:
        plan: What it asks for.
        policy: By which.
        dialect: Of the engine.
        asked: What the engine is sent; its queries are those of :attr:`leaves`.
        leaves: Cores and public relations, in the order of the engine's queries.
        salt: Keys the hashes of entities; empty without noise.
        stored: Whether it is for a store (:mod:`sandbox.store`), not for plain tables.
    """

    plan: Plan
    policy: Policy
    dialect: Name
    asked: Asked
    leaves: tuple[Result, ...]
    salt: str = ""
    stored: bool = False

    @property
    def cores(self) -> tuple[Core, ...]:
        """The cores, each of which has ``family``, ``predicate`` and ``key_texts``."""
        return self.plan.cores

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What is to be said beside an answer, message and hint: what was read at its bin."""
        return bins.notes(self.plan)

    def codes(self, core: Core) -> str:
        """Return SQL that yields (entity, number of the cell) for a core.

        Cells are numbered in the order in which :func:`cells` returns them.
        """
        return codes_sql(core, self.policy, self.dialect)


@dataclass(frozen=True, slots=True)
class Answer:
    """A released table.

    Attributes:
        columns: Names.
        rows: Cells.
        notes: What is to be said beside it, message and hint, of what was released.
    """

    columns: tuple[str, ...]
    rows: list[list[Any]]
    notes: tuple[tuple[str, str], ...] = ()


def compile_statement(statement: str, policy: Policy, *, dialect: Name = "duckdb",
                      secret: bytes = b"", limits: Limits | None = None,
                      coded: Coded = None,
                      public: PublicRows | None = None) -> Compiled:  # fmt: skip
    """Return a statement, ready to run.

    Args:
        statement: SQL.
        policy: What may be asked.
        dialect: Of the engine that will run it.
        secret: Of the node, for noise; without one there is none.
        limits: Of the engine.
        coded: Where it runs over a store (:mod:`sandbox.store`), its columns with codes.
        public: How many rows of its public tables have one value; without it none is joined.

    Raises:
        QueryRefused: The policy does not answer it.
    """
    if policy.mode == "dp":
        # Answered by sandbox.private alone: nothing under such a policy leaves without noise.
        raise refusal("Q-18")
    plan = analyse(statement, policy, public)
    leaves = tuple(post.leaves(plan.result))
    salt = salt_of(secret, policy.digest) if policy.release.noise.sd_milli and secret else ""
    queries = [_query(leaf, plan, policy, dialect, salt, coded) for leaf in leaves]
    return Compiled(plan, policy, dialect, ask(queries, limits), leaves, salt, coded is not None)


def _query(leaf: Result, plan: Plan, policy: Policy, dialect: Name, salt: str,
           coded: Coded) -> CoreQuery:  # fmt: skip
    if leaf.core is not None:
        return core_sql(plan.cores[leaf.core], policy, dialect, salt=salt, coded=coded)
    assert leaf.public is not None  # noqa: S101 - a leaf is one or the other
    return public_sql(leaf.public, policy, dialect, coded)


def cells(compiled: Compiled, reply: bytes) -> dict[int, list[disclosure.Cell]]:
    """Return the cells of each core out of an engine's reply, nothing of which may leave.

    Raises:
        MessageInvalid: The reply is not of the shape that the cores name.
    """
    return _cells(compiled, reply_of(reply, compiled.asked))


def _cells(compiled: Compiled, rows: Sequence[Rows]) -> dict[int, list[disclosure.Cell]]:
    found = {}
    for leaf, query, own in zip(compiled.leaves, compiled.asked.queries, rows, strict=True):
        if leaf.core is not None:
            found[leaf.core] = disclosure.cells_of(compiled.cores[leaf.core], query, own)
    return found


def finish(
    compiled: Compiled, reply: bytes, rules: Rules, withheld: Withheld | None = None
) -> Answer:
    """Release an engine's reply and do the rest of the statement on what is released.

    Args:
        compiled: The statement.
        reply: Of the engine.
        rules: Of the policy, with the node's secret.
        withheld: Says which cells of a core, by number, may not be released in view of what was
            released before; none without it.

    Raises:
        MessageInvalid: The reply is not of the shape that the cores name.
        QueryRefused: The result is too large.
        QueryFailed: It could not be computed.
    """
    return finish_rows(compiled, reply_of(reply, compiled.asked), rules, withheld)


def finish_rows(
    compiled: Compiled,
    rows: Sequence[Rows],
    rules: Rules,
    withheld: Withheld | None = None,
    most: int | None = None,
) -> Answer:
    """Do what :func:`finish` does on a reply that was read.

    Args:
        compiled: The statement.
        rows: Of each of its queries.
        rules: As there.
        withheld: As there.
        most: Fewer rows than the policy allows.

    Raises:
        QueryRefused: The result is too large.
        QueryFailed: It could not be computed.
    """
    tables: list[post.Table] = []
    coarse: set[str] = set()
    found = _cells(compiled, rows)
    for leaf, own in zip(compiled.leaves, rows, strict=True):
        if leaf.core is None:
            tables.append((leaf, own))
            continue
        core, these = compiled.cores[leaf.core], found[leaf.core]
        out = withheld(leaf.core, these) if withheld is not None else set()
        left = [cell for place, cell in enumerate(these) if place not in out]
        tables.append((leaf, disclosure.release(core, left, rules, coarse)))
    names = tuple(each.name for each in compiled.plan.result.outputs)
    limit = compiled.policy.release.rows
    limit = limit if most is None else min(limit, most)
    return Answer(names, post.run(compiled.plan.result, tables, limit), _too_coarse(coarse))


_FINER: Final = (
    "More people, values cut off nearer to the usual ones, as least(x, 1000), or one row for each "
    "person make it finer."
)
_WRITTEN: Final = {"stddev_samp": "stddev", "var_samp": "variance"}


def _too_coarse(kinds: set[str]) -> tuple[tuple[str, str], ...]:
    names = [_WRITTEN.get(kind, kind) for kind in sorted(kinds)]
    told = "Where {} is missing, it may be nearer to 0 than what it is rounded to."
    return tuple((told.format(name), _FINER) for name in names)


def answer(statement: str, policy: Policy, execute: Execute, *, secret: bytes = b"",
           dialect: Name = "duckdb",
           public: PublicRows | None = None) -> Answer:  # fmt: skip
    """Answer a statement from beginning to end, without a history.

    Args:
        statement: SQL.
        policy: What may be asked.
        execute: Runs a request, as :func:`sandbox.engine.execute` does over its inputs.
        secret: Of the node, for noise.
        dialect: Of the engine.
        public: How many rows of public tables have one value; without it none is joined.

    Raises:
        QueryRefused: The policy does not answer it.
        QueryFailed: It could not be computed.
        MessageInvalid: The engine replied something else.
    """
    compiled = compile_statement(statement, policy, dialect=dialect, secret=secret, public=public)
    reply = execute(compiled.asked.request)
    return finish(compiled, reply, disclosure.Rules(policy.release, secret))
