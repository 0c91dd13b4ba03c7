"""Statements that say themselves whose data they ask: ``from OWNER/ID`` or ``from OWNER/ID.TABLE``.

The owner's node knows tables by the policy's names only, so that is what it is sent. What for a
question is asked follows from the grants that are kept here, where they leave no choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.errors import InputInvalid
from fusion.grants.document import moment_of
from fusion.services import querying
from fusion.services.grant_choice import holds
from fusion.services.grants import GrantFolder
from fusion.services.statements import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fusion.grants.document import Grant
    from fusion.services.grants import Kept
    from fusion.services.homes import NodeHome
    from fusion.services.query_description import Described

_BEFORE: Final = frozenset({"from", "join"})
_ADDRESS: Final = re.compile(
    r"\s+(?P<dataset>[a-z0-9][a-z0-9.-]*/[A-Za-z0-9_\u4e00-\u9fff-]+)(?:\.(?P<table>[\w]+))?"
)
_WORD: Final = re.compile(r"[A-Za-z\u4e00-\u9fff][\w]*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a statement names a dataset.

    Attributes:
        start: First character of the name.
        end: The character after it.
        dataset: ``OWNER/ID``.
        table: Which of its tables, where that is said.
    """

    start: int
    end: int
    dataset: str
    table: str | None


def addresses(sql: str) -> list[Address]:
    """Return where a statement names datasets, outside of texts and remarks."""
    found = []
    for token in tokens(sql):
        if token.kind != "word" or token.text.lower() not in _BEFORE:
            continue
        if (match := _ADDRESS.match(sql, token.end)) is not None:
            start = match.start("dataset")
            found.append(Address(start, match.end(), match["dataset"], match["table"]))
    return found


def dataset_of(found: Sequence[Address], said: str | None = None) -> str:
    """Return the one dataset that a question is about.

    Args:
        found: What its statement names.
        said: What was said beside it.

    Raises:
        InputInvalid: There is none, or there are several.
    """
    named = sorted({each.dataset for each in found} | ({said} if said else set()))
    if len(named) > 1:
        one = len({each.partition("/")[0] for each in named}) == 1
        raise InputInvalid(
            f"A question is about one dataset; this one names {' and '.join(named)}.",
            hint="A table of a dataset is named OWNER/ID.TABLE; fusion query describe has them."
            if one
            else "Ask each owner on its own, or train a model together.",
        )
    if not named:
        raise InputInvalid(
            "Whose data is asked is not said.",
            hint="Name it in the statement, from OWNER/ID, or by --dataset OWNER/ID.",
        )
    return named[0]


def with_tables(sql: str, found: Sequence[Address], describe: Callable[[], Described]) -> str:
    """Return a statement with the policy's names of tables in place of datasets.

    Args:
        sql: The statement.
        found: Where it names datasets.
        describe: Asks the owner for the names; only called where a table is not said.

    Raises:
        InputInvalid: A dataset has several tables, and none of its own name.
    """
    described: Described | None = None
    for each in sorted(found, key=lambda each: -each.start):
        table = each.table
        if table is None:
            described = described or describe()
            table = _table_of(each.dataset, described)
        # Names of other forms are the owner's to refuse; as they are, they would be parts of SQL.
        written = table if _WORD.fullmatch(table) else '"' + table.replace('"', '""') + '"'
        sql = sql[: each.start] + written + sql[each.end :]
    return sql


def _table_of(dataset: str, described: Described) -> str:
    own = dataset.partition("/")[2]
    names = [table.name for table in described.tables]
    about = [table.name for table in described.tables if table.entity]
    if own in names:
        return own
    if len(about) == 1:
        return about[0]
    raise InputInvalid(
        f"{dataset} has the tables {', '.join(names) or 'none that you may ask about'}.",
        hint=f"Write which: from {dataset}.TABLE",
    )


def _grants(node: NodeHome, now: datetime) -> list[Grant]:
    """Return the grants for queries that are kept here for this organisation and hold now."""
    return [each.signed.grant for each in _kept(node) if holds(each, now)]


def _kept(node: NodeHome) -> list[Kept]:
    kept = GrantFolder(node.grants, node.roster).readable(lambda _: None)
    return [
        each
        for each in kept
        if each.signed.grant.assignee == node.config.id
        and each.signed.grant.permission("query") is not None
    ]


def _none_holds(kept: Sequence[Kept], about: str, now: datetime) -> InputInvalid:
    """Return what is said where no grant holds: of the one that would hold longest, why not."""
    again = "Propose a new one: fusion grant propose GRANT.yaml --home NODE"
    if not kept:
        return InputInvalid(
            f"No grant for queries{about} is kept at this node.",
            hint=f"fusion grant fetch --home NODE asks the hub. {again}",
        )
    last = max(kept, key=lambda each: (not each.revoked, each.signed.grant.not_after))
    grant, name = last.signed.grant, f"The grant {last.signed.id[:16]} for queries{about}"
    if last.revoked:
        return InputInvalid(f"{name} was revoked.", hint=again)
    if moment_of(grant.not_after) <= now:
        return InputInvalid(f"{name} is over since {grant.not_after}.", hint=again)
    if last.signed.missing:
        return InputInvalid(
            f"{name} is not signed by {', '.join(last.signed.missing)}.",
            hint="Once they have signed: fusion grant fetch --home NODE",
        )
    return InputInvalid(f"{name} begins at {grant.not_before}.", hint="Wait until then.")


def datasets_granted(node: NodeHome, now: datetime) -> list[str]:
    """Return every ``OWNER/ID`` that grants kept here, which hold now, are about.

    Raises:
        InputInvalid: There is none that holds; says why not.
    """
    found = {f"{owner}/{grant.dataset.id}" for grant in _grants(node, now)
             for owner in grant.assigners}  # fmt: skip
    if not found:
        raise _none_holds(_kept(node), "", now)
    return sorted(found)


def only_dataset(node: NodeHome, now: datetime) -> str:
    """Return the dataset that is asked, where the grants kept here leave no choice.

    Raises:
        InputInvalid: No grant for queries that holds is here, or they are about several datasets.
    """
    found = datasets_granted(node, now)
    if len(found) > 1:
        raise InputInvalid(
            f"Grants for queries are kept here for {', '.join(found)}.",
            hint="Say which is meant: --dataset OWNER/ID",
        )
    return found[0]


def purpose_of(node: NodeHome, dataset: str, now: datetime) -> str:
    """Return what for a dataset may be asked, where the grants kept here leave no choice.

    Raises:
        InputInvalid: No grant for queries that holds is here, or they are for several purposes.
    """
    owner, name = querying.named(dataset)
    purposes = sorted(
        {
            grant.purpose
            for grant in _grants(node, now)
            if owner in grant.assigners and grant.dataset.id == name
        }
    )
    if len(purposes) == 1:
        return purposes[0]
    if not purposes:
        own = [
            each
            for each in _kept(node)
            if owner in each.signed.grant.assigners and each.signed.grant.dataset.id == name
        ]
        raise _none_holds(own, f" of {dataset}", now)
    raise InputInvalid(
        f"The grants for {dataset} are for {', '.join(purposes)}.",
        hint="Say for which of them this is asked: --purpose dpv:NAME",
    )
