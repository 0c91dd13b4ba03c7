"""Freezes a policy's tables inside PostgreSQL: a schema of copies for each revision.

The keeper's role makes ``banyan_DATASET_rN`` in one transaction, so that all tables are of one
moment: the policy's columns alone, in types that are read exactly, texts in a collation that
compares code points, and the list of people with their numbers. The reader may read it. Nothing is
changed in it after that; its digests are signed with the policy.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fusion.errors import DataInvalid, FusionError, InputInvalid, Refused
from sandbox import public_rows, tables
from sandbox.dialects import literal, quoted
from sandbox.freezing import MAX_PEOPLE, Frozen, declared
from sandbox.postgres import cells, digests_of, session, types_of
from sandbox.postgres_roles import check_reader
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.policy import Policy

SECONDS: Final = 3600.0
_MAX_NAME: Final = 63
_TYPES: Final = {
    "smallint": "bigint", "integer": "bigint", "bigint": "bigint", "numeric": "numeric",
    # A cast of a real number of 32 bits to numeric would keep six digits.
    "real": "double precision", "double precision": "double precision",
    "boolean": "boolean", "date": "date",
}  # fmt: skip
_COLLATIONS: Final = ("pg_c_utf8", "C.utf8", "C.UTF-8")
"""Collations that compare code points and know the case of letters beyond ASCII."""


def schema_name(dataset: str, revision: int) -> str:
    """Return the name of a revision's schema."""
    name = f"banyan_{dataset}_r{revision}"
    if len(name.encode()) > _MAX_NAME:
        short = hashlib.sha256(dataset.encode()).hexdigest()[:16]
        name = f"banyan_{short}_r{revision}"
    return name


def freeze(
    policy: Policy,
    keeper: str,
    reader: str,
    *,
    owner: str,
    dataset: str,
    revision: int,
    known: Sequence[str],
) -> Frozen:
    """Make the schema of a revision, and see that the reader reads it as it was made.

    Args:
        policy: Which tables and columns.
        keeper: URI of the role that may make it.
        reader: URI of the role that will read it.
        owner: Whose dataset.
        dataset: Which.
        revision: Which revision.
        known: The list of people of the revision before.

    Raises:
        DataInvalid: A column is not there, of another type, or the database failed.
        InputInvalid: There are too many people.
        Refused: The reader may do more than read, is the keeper, or asks another database.
        EnvironmentUnfit: There is no driver, or the server does not fit.
    """
    place = schema_name(dataset, revision)
    comment = f"banyan: frozen tables of {owner}/{dataset}"
    try:
        with session(reader, SECONDS) as cursor:
            role = check_reader(cursor)
        with session(keeper, SECONDS, writes=True) as cursor:
            made = _made(cursor, policy, place, comment, role, known)
            cursor.connection.commit()
        with session(reader, SECONDS, schema=place) as cursor:
            seen = digests_of(cursor, sorted(made.digests))
    except FusionError:
        raise
    except Exception as error:  # noqa: BLE001 - a database's message quotes cells
        raise _refused(error) from None
    if seen != made.digests:
        raise Refused("The role that reads sees other tables than were frozen.", hint=_SAME)
    return made


_SAME: Final = "Both URIs have to lead to one database."


def _refused(error: Exception) -> DataInvalid:
    state = getattr(error, "sqlstate", None) or "no SQLSTATE"
    refused = DataInvalid(
        f"PostgreSQL did not do what was asked ({type(error).__name__}, {state}).",
        hint="Look at its log; docs/sources.md says what the two roles need.",
    )
    refused.add_note(str(error)[:2000])
    return refused


def _made(
    cursor: Any,  # noqa: ANN401 - a driver without types
    policy: Policy,
    place: str,
    comment: str,
    role: str,
    known: Sequence[str],
) -> Frozen:
    types = types_of(policy, cursor)
    cursor.execute("SELECT current_user::text, current_schema()::text")
    ((own, source),) = cursor.fetchall()
    if own == role:
        raise Refused(
            "The role that freezes tables can't be the one that reads.",
            hint="The reader would own what it reads; see docs/sources.md.",
        )
    _empty(cursor, place, comment)
    collation = _collation(cursor)
    for name, table in policy.tables.items():
        columns = [
            f"{_cast(column, types[name, column], collation)} AS {quoted(column)}"
            for column in table.columns
        ]
        cursor.execute(
            f"CREATE TABLE {quoted(place)}.{quoted(name)} AS "
            f"SELECT {', '.join(columns)} FROM {quoted(source)}.{quoted(name)}"
        )
    cursor.execute(f"SET search_path = {quoted(place)}, pg_catalog, pg_temp")
    listed = _listed(cursor, policy, known)
    cursor.execute(
        f"CREATE TABLE {quoted(COHORT)} (e text COLLATE {quoted(collation)}, n integer NOT NULL)"
    )
    numbers = pa.array(range(len(listed)), pa.int32())
    people = pa.table({"e": pa.array(listed, pa.string()), "n": numbers})
    cursor.adbc_ingest(COHORT, people, mode="append", db_schema_name=place)
    for name in (*policy.tables, COHORT):
        cursor.execute(f"ANALYZE {quoted(name)}")
    cursor.execute(f"GRANT USAGE ON SCHEMA {quoted(place)} TO {quoted(role)}")
    cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {quoted(place)} TO {quoted(role)}")
    digests = digests_of(cursor, [*policy.tables, COHORT])
    public = public_rows.count(policy, partial(cells, cursor), "postgres")
    return Frozen(digests, declared(policy), listed, place, "postgres", public=public)


def _cast(column: str, kind: str, collation: str) -> str:
    name = quoted(column)
    if kind in _TYPES:
        return f"CAST({name} AS {_TYPES[kind]})"
    return f"CAST({name} AS text) COLLATE {quoted(collation)}"


def _collation(cursor: Any) -> str:  # noqa: ANN401 - as above
    cursor.execute(
        "SELECT collname::text FROM pg_collation WHERE collnamespace = 'pg_catalog'::regnamespace "
        "AND collencoding IN (-1, 6)"
    )
    there = {name for (name,) in cursor.fetchall()}
    return next((name for name in _COLLATIONS if name in there), "C")


def _empty(cursor: Any, place: str, comment: str) -> None:  # noqa: ANN401 - as above
    """Make the schema; what an attach that was cut short has left under its name goes."""
    cursor.execute(
        "SELECT COALESCE(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace "
        f"WHERE nspname = {literal(place)}"
    )
    there = cursor.fetchall()
    if there and there != [(comment,)]:
        raise InputInvalid(
            f"The database has a schema {place} that is not of this dataset.",
            hint="Let two nodes use two databases, or drop it if nobody needs it.",
        )
    if there:
        cursor.execute(f"DROP SCHEMA {quoted(place)} CASCADE")
    cursor.execute(f"CREATE SCHEMA {quoted(place)}")
    cursor.execute(f"COMMENT ON SCHEMA {quoted(place)} IS {literal(comment)}")


def _listed(cursor: Any, policy: Policy, known: Sequence[str]) -> list[str]:  # noqa: ANN401 - as above
    """Return everybody in the frozen tables, with the numbers of an earlier list."""
    parts = [
        f"SELECT CAST({tables.read(table.entity, table.columns[table.entity], 'postgres')} AS text)"
        f' COLLATE "C" AS e FROM {quoted(name)}'
        for name, table in policy.tables.items()
        if table.entity is not None
    ]
    if not parts:
        return list(known)
    cursor.execute(
        f"SELECT e FROM ({' UNION '.join(parts)}) AS everybody WHERE e IS NOT NULL "
        f"ORDER BY e LIMIT {MAX_PEOPLE + 1}"
    )
    before = set(known)
    listed = [*known, *(e for (e,) in cursor.fetchall() if e not in before)]
    if len(listed) > MAX_PEOPLE:
        raise InputInvalid(f"A dataset is about at most {MAX_PEOPLE} people.")
    return listed


def drop_others(keeper: str, owner: str, dataset: str, place: str) -> bool:
    """Drop the schemas of a dataset's earlier revisions; return whether that could be done."""
    comment = f"banyan: frozen tables of {owner}/{dataset}"
    try:
        with session(keeper, SECONDS, writes=True) as cursor:
            # A query that still reads one keeps it; the next attach tries again.
            cursor.execute("SET lock_timeout = '5s'")
            cursor.execute(
                "SELECT nspname::text FROM pg_namespace "
                f"WHERE obj_description(oid, 'pg_namespace') = {literal(comment)} "
                f"AND nspname <> {literal(place)}"
            )
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP SCHEMA {quoted(name)} CASCADE")
            cursor.connection.commit()
    except Exception:  # noqa: BLE001 - what is left is in nobody's way
        return False
    return True
