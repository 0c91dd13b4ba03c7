"""Two roles of PostgreSQL: the keeper, who freezes tables at attach, and the reader, who is asked.

The keeper's URI is used once and kept nowhere. The reader's stays with the node, so it is held to
what it needs: it reads, owns nothing and writes nowhere. URIs come from a file or the environment
where they have a password, so that none stands on a command line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from fusion.errors import DataInvalid, InputInvalid, Refused
from sandbox.dialects import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.policy import Policy

KEEPER: Final = "banyan_keeper"
READER: Final = "banyan_reader"
MAX_URI_BYTES: Final = 10_000
_SECRETS: Final = ("password", "sslpassword")
_HINT: Final = "See docs/sources.md; `fusion policy source-sql POLICY.yaml` prints the SQL."

_FAULTS: Final[Mapping[str, str]] = {
    "is a superuser, or may make roles or databases, replicate, or pass row security by":
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls "
        "FROM pg_roles WHERE rolname = current_user",
    "is a member of another role":
        "SELECT EXISTS (SELECT FROM pg_auth_members WHERE member = current_user::regrole)",
    "owns something":
        "SELECT EXISTS (SELECT FROM pg_shdepend "
        "WHERE refobjid = current_user::regrole AND deptype = 'o')",
    "may create schemas in the database":
        "SELECT has_database_privilege(current_database(), 'CREATE')",
    "may create tables in a schema (REVOKE CREATE ON SCHEMA ... FROM PUBLIC)":
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)' "
        "AND has_schema_privilege(oid, 'CREATE'))",
    "may write to a table":
        "SELECT EXISTS (SELECT FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f') "
        "AND relnamespace <> 'pg_catalog'::regnamespace "
        "AND (has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE') "
        "OR has_any_column_privilege(oid, 'INSERT, UPDATE')))",
}  # fmt: skip


def uri_of(given: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the URI that an option names.

    Args:
        given: ``postgresql://...`` without a password, ``@FILE`` or ``env:NAME``.
        environment: Where names are looked up; this process's without it.

    Raises:
        InputInvalid: It is none, or has a password where others can read it.
    """
    written, kept = given, True
    if given.startswith("@"):
        try:
            written = Path(given[1:]).read_bytes()[:MAX_URI_BYTES].decode("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise InputInvalid(f"{given[1:]} can't be read.") from None
    elif given.startswith("env:"):
        written = (os.environ if environment is None else environment).get(given[4:], "").strip()
    else:
        kept = False
    try:
        parts = urlsplit(written)
        secret = parts.password is not None or any(
            name in _SECRETS for name in parse_qs(parts.query)
        )
    except ValueError:
        parts, secret = urlsplit(""), False
    if parts.scheme not in {"postgresql", "postgres"}:
        # Nothing of it is quoted: it may be a password.
        raise InputInvalid(
            "A source is named postgresql://USER@HOST/DATABASE.",
            hint="Or @FILE, with such a line in it; or env:NAME, for a variable that has it.",
        )
    if secret and not kept:
        raise InputInvalid(
            "A password does not belong on a command line.",
            hint="Write the URI into a file that you alone can read, and name it as @FILE.",
        )
    return written


def check_reader(cursor: Any) -> str:  # noqa: ANN401 - a driver without types
    """Return the name of the role, if it can do nothing but read.

    Raises:
        Refused: It can do more; says what.
    """
    cursor.execute("SELECT current_user::text")
    ((name,),) = cursor.fetchall()
    for what, sql in _FAULTS.items():
        cursor.execute(sql)
        if cursor.fetchall() != [(False,)]:
            raise Refused(f"The role {name} {what}: it is to read and nothing else.", hint=_HINT)
    return str(name)


def source_sql(policy: Policy, database: str, schema: str) -> str:
    """Return SQL that makes both roles for a policy; an owner reads and runs it.

    Args:
        policy: Which columns may be read.
        database: Name of the database.
        schema: Where the tables are.

    Raises:
        DataInvalid: A name has a character that no name has.
    """
    if not database or not schema or any(ord(letter) < 32 for letter in database + schema):
        raise DataInvalid("A database and a schema have names without control characters.")
    place = quoted(schema)
    lines = [
        "-- Run as a superuser of the database; then give both a password (\\password NAME).",
        f"CREATE ROLE {KEEPER} LOGIN;",
        f"CREATE ROLE {READER} LOGIN CONNECTION LIMIT 8;",
        "-- What a query may use of the server:",
        f"ALTER ROLE {READER} SET default_transaction_read_only = on;",
        f"ALTER ROLE {READER} SET work_mem = '64MB';",
        f"ALTER ROLE {READER} SET temp_file_limit = '20GB';",
        f"ALTER ROLE {READER} SET max_parallel_workers_per_gather = 2;",
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {KEEPER}, {READER};",
        "-- The keeper makes a schema of frozen tables for each revision:",
        f"GRANT CREATE ON DATABASE {quoted(database)} TO {KEEPER};",
        f"GRANT USAGE ON SCHEMA {place} TO {KEEPER};",
        f"ALTER ROLE {KEEPER} SET search_path = {place};",
        *(
            f"GRANT SELECT ({', '.join(map(quoted, table.columns))}) "
            f"ON {place}.{quoted(name)} TO {KEEPER};"
            for name, table in policy.tables.items()
        ),
        "-- Up to PostgreSQL 14 everybody may create tables there, the reader too:",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
    ]
    return "\n".join(lines) + "\n"
