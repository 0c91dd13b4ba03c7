"""Where a hub or a node keeps its log, rounds and budgets: SQLite, or a PostgreSQL of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.stores.budgets import SqlBudgets, SqliteBudgets
from fusion.stores.lateness import SqlLateness
from fusion.stores.ledger import SqliteLedger, SqlLedger
from fusion.stores.rho import SqlRho
from fusion.stores.rounds import SqliteRoundLog, SqlRoundLog

if TYPE_CHECKING:
    from fusion.services.homes import HubHome, NodeHome


def open_ledger(home: HubHome | NodeHome) -> SqlLedger:
    """Open the log of a hub or a node.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    database = home.database
    return SqliteLedger(home.ledger) if database is None else SqlLedger.in_postgres(database)


def open_rounds(node: NodeHome) -> SqlRoundLog:
    """Open what a node remembers of its rounds.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    database = node.database
    return SqliteRoundLog(node.state) if database is None else SqlRoundLog.in_postgres(database)


def open_budgets(node: NodeHome) -> SqlBudgets:
    """Open what a node has spent under its grants.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    database = node.database
    return SqliteBudgets(node.budgets) if database is None else SqlBudgets.in_postgres(database)


def open_rho(node: NodeHome) -> SqlRho:
    """Open what a node has spent of its datasets' privacy budgets.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    database = node.database
    return SqlRho.in_file(node.budgets) if database is None else SqlRho.in_postgres(database)


def open_lateness(node: NodeHome) -> SqlLateness:
    """Open which answers of a node were late.

    Raises:
        EnvironmentUnfit: It can't be opened.
    """
    database = node.database
    if database is None:
        return SqlLateness.in_file(node.budgets)
    return SqlLateness.in_postgres(database)
