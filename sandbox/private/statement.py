"""A statement of mode ``dp``: compiled to bounded sums, finished on those sums with noise."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from sandbox import post
from sandbox.analyse import analyse
from sandbox.compile import KINDS, CoreQuery, Writer, public_sql
from sandbox.partials import ask
from sandbox.private.bounding import bounded_sql
from sandbox.private.domains import InTable
from sandbox.private.plan import plan
from sandbox.private.release import accuracy, groups, noises, released
from sandbox.query import Answer, Compiled
from sandbox.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.dialects import Name
    from sandbox.fanout import PublicRows
    from sandbox.partials import Limits, Rows
    from sandbox.policy import Policy
    from sandbox.private.plan import Noise, Private, Sum
    from sandbox.private.release import Accuracy
    from sandbox.relations import Result

MAX_LISTED: Final = 10_000
"""Most values of a column of a public table that are listed as groups."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that a policy answers with noise.

    Attributes:
        compiled: Its plan, and what the engine is sent: the queries of the leaves, then those of
            ``tables``.
        private: What is released.
        noise: Of each sum.
        tables: Columns of public tables whose values are groups.
        rho_micro: What it spends, in millionths: 0 if it is about public tables alone.
    """

    compiled: Compiled
    private: Private
    noise: Mapping[Sum, Noise]
    tables: tuple[InTable, ...]
    rho_micro: int

    def accuracy(self) -> list[Accuracy]:
        """Return the noise in each column."""
        return accuracy(self.compiled.plan.result, self.compiled.cores, self.noise)

    def finish(self, rows: Sequence[Rows], most: int | None = None) -> Answer:
        """Add the noise, and do the rest of the statement on that.

        Args:
            rows: Of each of the engine's queries.
            most: Fewer rows than the policy allows.

        Raises:
            QueryRefused: The result is too large.
            QueryFailed: It could not be computed.
            EnvironmentUnfit: There is no source of noise.
        """
        compiled, policy = self.compiled, self.compiled.policy
        leaves = compiled.leaves
        values = dict(zip(self.tables, rows[len(leaves) :], strict=True))
        tables: list[post.Table] = []
        for leaf, own in zip(leaves, rows[: len(leaves)], strict=True):
            if leaf.core is None:
                tables.append((leaf, own))
                continue
            keys = groups(self.private, leaf.core, values, policy)
            noise = {each: self.noise[each] for each in self.private.of(leaf.core)}
            shown = released(leaf.core, compiled.cores[leaf.core], own, keys, noise)
            tables.append((leaf, shown))
        names = tuple(each.name for each in compiled.plan.result.outputs)
        limit = policy.release.rows if most is None else min(policy.release.rows, most)
        return Answer(names, post.run(compiled.plan.result, tables, limit))

    def rows(self) -> int | None:
        """Return how many rows the result has, where that follows from the statement alone."""
        result = self.compiled.plan.result
        while result.core is None:
            narrowed = (result.where, result.having, result.distinct, result.limit, result.offset)
            if len(result.sources) != 1 or any(each not in {None, (), False} for each in narrowed):
                return None
            if result.group is not None:
                return None
            result = result.sources[0][0]
        lists = self.private.domains[self.private.cores.index(result.core)]
        if any(isinstance(each, InTable) for each in lists):
            return None
        return prod(len(each) for each in lists if not isinstance(each, InTable))


def compile_private(
    sql: str,
    policy: Policy,
    *,
    rho_micro: int | None = None,
    dialect: Name = "duckdb",
    salt: str = "",
    limits: Limits | None = None,
    public: PublicRows | None = None,
) -> Statement:
    """Return a statement under a policy of mode ``dp``, ready to run.

    Args:
        sql: The statement.
        policy: What may be asked.
        rho_micro: What it may spend, in millionths; None is what the policy says.
        dialect: Of the engine that will run it.
        salt: Keys which cells of an entity are kept; letters and digits.
        limits: Of the engine.
        public: How many rows of public tables have one value; without it none is joined.

    Raises:
        QueryRefused: The policy does not answer it.
    """
    if policy.mode != "dp" or policy.budget is None:
        raise refusal("Q-24")
    found = analyse(sql, policy, public)
    leaves = tuple(post.leaves(found.result))
    private = plan(found.cores, [leaf.core for leaf in leaves if leaf.core is not None], policy)
    rho = (policy.budget.usual_rho_micro if rho_micro is None else rho_micro) * bool(private.sums)
    noise = noises(private, found.cores, rho)
    tables = tuple(
        dict.fromkeys(each for own in private.domains for each in own if isinstance(each, InTable))
    )

    def query(leaf: Result) -> CoreQuery:
        if leaf.core is None:
            assert leaf.public is not None  # noqa: S101 - a leaf is one or the other
            return public_sql(leaf.public, policy, dialect)
        own = {each: noise[each] for each in private.of(leaf.core)}
        cells = private.cells[private.cores.index(leaf.core)]
        core, lists = found.cores[leaf.core], private.domains[private.cores.index(leaf.core)]
        known = [
            place
            for place, each in enumerate(lists)
            if not isinstance(each, InTable) and None not in each
        ]
        return bounded_sql(core, policy, dialect, sums=own, cells=cells, salt=salt, known=known)

    queries = [*map(query, leaves), *(_values(each, policy, dialect) for each in tables)]
    compiled = Compiled(found, policy, dialect, ask(queries, limits), leaves)
    return Statement(compiled, private, noise, tables, rho)


def _values(of: InTable, policy: Policy, dialect: Name) -> CoreQuery:
    """Return the SQL of the distinct values of a column of a public table."""
    writer = Writer(policy, dialect)
    writer.need(of.relation, [of.position])
    name = writer.relation(of.relation)
    kind: Any = of.relation.outputs[of.position].value.type.kind
    text = (
        f"WITH {writer.clauses()} SELECT DISTINCT c{of.position} AS k0 FROM {name} "
        # One more than there may be: that there are too many has to be seen.
        f"LIMIT {MAX_LISTED + 1}"
    )
    return CoreQuery(text, (("k0", KINDS[kind]),), tuple(sorted(of.relation.tables())))
