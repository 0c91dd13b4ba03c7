"""Runs compiled cores in PostgreSQL: only a core is pushed down, release and the rest stay here.

Every session is set up alike, whatever the database's or the role's own settings are: texts are
quoted as the compiler quotes them, nothing is written, time is bound. PostgreSQL has no cast that
can't fail, so the types of the columns are looked at first (:func:`check_types`). Any failure has
one text; the reason is a note of the error, for the owner's log.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import DataInvalid, EnvironmentUnfit, FusionError, MessageInvalid, QueryFailed
from sandbox.dialects import literal, quoted
from sandbox.partials import reply_bytes, request_of
from sandbox.sets import COHORT
from sandbox.tables import POSTGRES_TYPES, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandbox.policy import Policy

DEFAULT_SECONDS: Final = 60
LEAST_VERSION: Final = 140000
"""From PostgreSQL 14 on a numeric can be infinite, and a server sees that its client is gone."""

_SETTINGS: Final = {
    # A backslash is a character like any other: how the compiler quotes rests on it.
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    # Within a second of the end of its client a server ends the statement.
    "client_connection_check_interval": "1s",
}


@contextmanager
def session(uri: str, seconds: float, *, schema: str = "", writes: bool = False) -> Iterator[Any]:
    """Give a cursor in one transaction, which sees one state of the data; nothing is committed.

    Args:
        uri: Of the database.
        seconds: After which the database ends a statement.
        schema: In which names of tables are looked for, before anywhere else; as the role has it
            where empty.
        writes: Whether it may write.

    Raises:
        EnvironmentUnfit: The driver is not installed.
    """
    try:
        import adbc_driver_postgresql.dbapi as postgres  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise EnvironmentUnfit(
            "PostgreSQL can't be reached: its driver is not installed.",
            hint="Install banyan-fusion[postgresql].",
        ) from None
    with postgres.connect(uri) as connection, connection.cursor() as cursor:
        mode = "READ WRITE" if writes else "READ ONLY"
        cursor.execute(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ {mode}")
        cursor.execute(f"SET statement_timeout = {max(1, int(seconds * 1000))}")
        for name, value in _SETTINGS.items():
            cursor.execute(f"SET {name} = {literal(value)}")
        if schema:
            # Named last, or PostgreSQL would look there first: a table may be called pg_class.
            cursor.execute(f"SET search_path = {quoted(schema)}, pg_catalog, pg_temp")
        yield cursor


def execute(
    request: bytes, uri: str, *, seconds: float = DEFAULT_SECONDS, schema: str = ""
) -> bytes:
    """Run cores in a database; return their cells as :func:`sandbox.engine.execute` does.

    Args:
        request: See :class:`sandbox.partials.Request`; compiled for ``postgres``.
        uri: Of the database, with a role that only reads.
        seconds: After which the database gives up.
        schema: Where the tables are.

    Raises:
        QueryFailed: Whatever went wrong, in one text.
        EnvironmentUnfit: The driver is not installed.
        MessageInvalid: The request is none.
    """
    try:
        with session(uri, seconds, schema=schema) as cursor:
            return cells(cursor, request)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        raise _failed(error) from None


def execute_sets(
    request: bytes, codes: Sequence[str], uri: str, *, seconds: float, schema: str
) -> bytes:
    """Run cores and sets over one state of the tables; :func:`sandbox.sets.read` reads the reply.

    Args:
        request: As :func:`execute` takes it.
        codes: SQL that yields (entity, number of the cell), of each set.
        uri: Of the database.
        seconds: After which the database ends a statement.
        schema: Where the tables and the list of people are.

    Raises:
        QueryFailed: Whatever went wrong, in one text.
        EnvironmentUnfit: The driver is not installed.
        MessageInvalid: The request is none.
    """
    try:
        with session(uri, seconds, schema=schema) as cursor:
            reply = cells(cursor, request)
            parts = [len(reply).to_bytes(8, "big"), reply]
            for sql in codes:
                cursor.execute(
                    f"SELECT c.n, CAST(s.cell AS INTEGER) AS cell FROM ({sql}) AS s "
                    f"JOIN {quoted(COHORT)} AS c ON c.e = CAST(s.e AS VARCHAR)"
                )
                parts += _pairs(cursor.fetch_record_batch())
            return b"".join(parts)
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        raise _failed(error) from None


def _pairs(batches: Iterable[Any]) -> list[bytes]:
    """Return how many pairs there are, then the pairs, as they are read from the database."""
    found = []
    for batch in batches:
        columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in ("n", "cell")]
        found.append(np.column_stack(columns).astype("<i4").tobytes())
    return [(sum(map(len, found)) // 8).to_bytes(8, "big"), *found]


def cells(cursor: Any, request: bytes) -> bytes:  # noqa: ANN401 - a driver without types
    """Run cores in a transaction at hand; return their cells, as :func:`execute` does."""
    results = []
    for query in request_of(request).queries:
        cursor.execute(query.sql)
        results.append((query.columns, cursor.fetchall()))
    return reply_bytes(results)


def _failed(error: Exception) -> QueryFailed:
    failed = QueryFailed()
    failed.add_note(f"{type(error).__name__} {getattr(error, 'sqlstate', '') or ''}: {error}")
    return failed


def digests_of(cursor: Any, tables: Sequence[str]) -> dict[str, str]:  # noqa: ANN401 - as above
    """Return rows and digest of tables, whatever the order of their rows.

    The digest adds 60 bits of the MD5 of each row: it finds what was changed by mistake, and is no
    seal against who may write there.
    """
    found = {}
    for name in tables:
        cursor.execute(
            "SELECT count(*)::text || ':' || "
            "COALESCE(sum(('x' || left(md5(t::text), 15))::bit(60)::bigint), 0)::text "
            f"FROM {quoted(name)} AS t"
        )
        ((found[name],),) = cursor.fetchall()
    return found


def digests(uri: str, schema: str, tables: Sequence[str], *, seconds: float) -> bytes:
    """Return the digests of tables as JSON; :func:`digests_from` reads it."""
    with session(uri, seconds, schema=schema) as cursor:
        return json.dumps(digests_of(cursor, tables)).encode()


def digests_from(data: bytes) -> dict[str, str]:
    """Read digests.

    Raises:
        MessageInvalid: It is something else.
    """
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise MessageInvalid("Digests of tables are not well formed.")
    return found


def check_types(policy: Policy, uri: str, *, schema: str = "") -> dict[tuple[str, str], str]:
    """Check that each column of a policy has a type that is read without failing.

    Args:
        policy: The policy.
        uri: Of the database.
        schema: Where the tables are; where the role looks first if empty.

    Returns:
        The type of each (table, column) of the policy.

    Raises:
        DataInvalid: A column is missing, or of another type; names the first.
        EnvironmentUnfit: The driver is not installed, or the server is too old.
    """
    with session(uri, DEFAULT_SECONDS, schema=schema) as cursor:
        return types_of(policy, cursor)


def types_of(policy: Policy, cursor: Any) -> dict[tuple[str, str], str]:  # noqa: ANN401 - as above
    """Do what :func:`check_types` does, within a session."""
    cursor.execute("SELECT current_setting('server_version_num'), getdatabaseencoding()::text")
    ((version, encoding),) = cursor.fetchall()
    if int(version) < LEAST_VERSION or encoding != "UTF8":
        raise EnvironmentUnfit(
            "This database can't be asked.",
            hint="It has to be PostgreSQL 14 or newer, with the encoding UTF8.",
        )
    cursor.execute(
        "SELECT table_name::text, column_name::text, data_type::text "
        "FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    found = {(table, column): kind for table, column, kind in cursor.fetchall()}
    wanted = {}
    for table, what in policy.tables.items():
        for name, column in what.columns.items():
            there = found.get((table, name))
            if there is None or there not in POSTGRES_TYPES[kind_of(column)]:
                raise DataInvalid(
                    f"The column {table}.{name} is not there, can't be read by this role, or is "
                    f"not of a type that the policy's {kind_of(column)} reads.",
                    hint=f"It can be {', '.join(sorted(POSTGRES_TYPES[kind_of(column)]))}, in the "
                    "schema where the role looks first.",
                )
            wanted[table, name] = there
    return wanted
