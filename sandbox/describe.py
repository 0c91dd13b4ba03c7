"""What a caller with a grant may know of a policy: what it can ask about, and within which bounds.

A function of policy and grants alone. Columns that no grant of the caller names are left out, and
so is a list of values, unless the policy says that everybody has one of them: the owner of a list
that is not complete has not said that it is for everybody to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.grants.refusal import Clause, Code, Refusal
from fusion.services.query_description import ColumnDescribed, Described, TableDescribed
from sandbox.functions import NAMES
from sandbox.policy import Date, Dimension, Key, Number, Public

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fusion.errors import GrantRefused
    from fusion.services.grants import Kept
    from sandbox.policy import Column, Policy, Table


def granted_columns(grants: Iterable[Kept]) -> set[str]:
    """Return the columns of grants.

    Args:
        grants: Those of a caller for queries of a dataset that hold now.
    """
    found = set[str]()
    for kept in grants:
        found.update(kept.signed.grant.dataset.columns)
    return found


def no_grant_for(dataset: str, owner: str) -> GrantRefused:
    """Return what a caller is told who has no grant that holds; a query is told the same."""
    clause = Clause(Code.NO_GRANT, "", f"{dataset} of {owner}", None, ())
    return Refusal(party=owner, grant=None, job="describe", clauses=(clause,)).error()


def describe(policy: Policy, granted: Collection[str]) -> Described:
    """Return what may be told.

    Args:
        policy: The policy that holds.
        granted: The columns that the caller's grants name, as grants name them.
    """
    tables = []
    for name, table in policy.tables.items():
        columns = [
            _column(column, what, policy)
            for column, what in table.columns.items()
            if table.public or policy.named(f"{name}.{column}") in granted
        ]
        if columns:
            tables.append(
                TableDescribed(name=name, entity=_entity(table, columns), columns=columns)
            )
    allowed = NAMES if policy.functions is None else NAMES & set(policy.functions)
    return Described(
        policy=policy.digest,
        mode=policy.mode,
        k=policy.release.k,
        base=policy.release.base,
        functions=sorted(allowed),
        tables=tables,
    )


def _entity(table: Table, columns: list[ColumnDescribed]) -> str | None:
    return table.entity if any(each.name == table.entity for each in columns) else None


def _column(name: str, what: Column, policy: Policy) -> ColumnDescribed:
    """Return a column's description; bounds that a policy leaves open are not stated."""
    match what:
        case Number():
            return ColumnDescribed(
                name=name,
                class_="number",
                type="number",
                low=what.low,
                high=what.high,
                bin=policy.bin_of(what) or None,
            )
        case Date():
            return ColumnDescribed(
                name=name,
                class_="date",
                type="date",
                low=what.low,
                high=what.high,
                finest=what.finest,
            )
        case Dimension():
            return ColumnDescribed(
                name=name,
                class_="dimension",
                type=what.type,
                low=what.low,
                high=what.high,
                values=list(what.values) if what.complete else [],
            )
        case Key() | Public():
            return ColumnDescribed(name=name, class_=what.class_, type=what.type)
