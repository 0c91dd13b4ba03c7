"""Runs compiled cores in PostgreSQL: only a core is pushed down, release and the rest stay here.

The connection is read-only and bound in time. A role that may read the policy's tables and nothing
else is the owner's part. PostgreSQL has no cast that can't fail, so the types of the columns are
looked at first (:func:`check_types`). Any failure has one text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fusion.errors import DataInvalid, EnvironmentUnfit, FusionError, QueryFailed
from sandbox.partials import reply_bytes, request_of
from sandbox.tables import POSTGRES_TYPES, kind_of

if TYPE_CHECKING:
    from sandbox.policy import Policy

DEFAULT_SECONDS: Final = 60


def _connected(uri: str) -> Any:  # noqa: ANN401 - a driver without types
    try:
        import adbc_driver_postgresql.dbapi as postgres  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise EnvironmentUnfit(
            "PostgreSQL can't be reached: its driver is not installed.",
            hint="Install banyan-fusion[postgresql].",
        ) from None
    return postgres.connect(uri)


def execute(request: bytes, uri: str, *, seconds: int = DEFAULT_SECONDS) -> bytes:
    """Run cores in a database; return their cells as :func:`sandbox.engine.execute` does.

    Args:
        request: See :class:`sandbox.partials.Request`; compiled for ``postgres``.
        uri: Of the database, with a role that only reads.
        seconds: After which the database gives up.

    Raises:
        QueryFailed: Whatever went wrong, in one text.
        EnvironmentUnfit: The driver is not installed.
        MessageInvalid: The request is none.
    """
    asked = request_of(request)
    try:
        with _connected(uri) as connection, connection.cursor() as cursor:
            # All cores of a statement see one state of the data.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET statement_timeout = {int(seconds) * 1000}")
            cursor.execute("SET extra_float_digits = 3")
            results = []
            for query in asked.queries:
                cursor.execute(query.sql)
                results.append((query.columns, cursor.fetchall()))
            return reply_bytes(results)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        failed = QueryFailed()
        failed.add_note(type(error).__name__)
        raise failed from None


def check_types(policy: Policy, uri: str, *, schema: str = "public") -> None:
    """Check that each column of a policy has a type that is read without failing.

    Raises:
        DataInvalid: A column is missing, or of another type; names the first.
        EnvironmentUnfit: The driver is not installed.
    """
    with _connected(uri) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = $1",
            (schema,),
        )
        found = {(table, column): kind for table, column, kind in cursor.fetchall()}
    for table, what in policy.tables.items():
        for name, column in what.columns.items():
            there = found.get((table, name))
            if there is None or there not in POSTGRES_TYPES[kind_of(column)]:
                raise DataInvalid(
                    f"The column {table}.{name} is not there, or not of a type that the policy's "
                    f"{kind_of(column)} reads.",
                    hint=f"It can be {', '.join(sorted(POSTGRES_TYPES[kind_of(column)]))}.",
                )
