"""A PostgreSQL with the tables of a policy and the two roles, made by the SQL that is printed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pyarrow import parquet

from sandbox.postgres_roles import KEEPER, READER, source_sql
from tests.postgres import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sandbox.policy import Policy


@dataclass(frozen=True)
class Database:
    """A server, and URIs of its database: of who may do all, of the keeper, of the reader."""

    admin: str
    keeper: str
    reader: str

    def run(self, sql: str) -> list[Any]:
        """Run SQL as who may do all."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def permit(self, policy: Policy) -> None:
        """Make the roles, or let them read what another policy needs."""
        lines = source_sql(policy, "postgres", "public")
        if self.run(f"SELECT 1 FROM pg_roles WHERE rolname = '{KEEPER}'"):
            lines = "\n".join(each for each in lines.splitlines() if "GRANT SELECT" in each)
        self.run(lines)


@contextlib.contextmanager
def serving(tables: Mapping[str, Path], policy: Policy) -> Iterator[Database]:
    """Run a server with tables and roles."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")
    with running() as url:
        database = Database(url, *(url.replace("user=banyan", f"user={who}")
                                   for who in (KEEPER, READER)))  # fmt: skip
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            for name, path in tables.items():
                cursor.adbc_ingest(name, parquet.read_table(path), mode="create")
            connection.commit()
        database.permit(policy)
        yield database
