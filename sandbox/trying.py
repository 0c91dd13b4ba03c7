"""Trying a policy on one's own data: one verdict a statement, and with it the released table."""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import FusionError, InputInvalid, QueryFailed, QueryRefused
from fusion.services.statements import BYTE_ORDER_MARK, one
from sandbox import disk, engine, postgres, postgres_roles, public_rows, spark
from sandbox.disclosure import Rules
from sandbox.freezing import DATABASE, copy_out, tables_in
from sandbox.inspecting import Looked, inspect
from sandbox.noise import salt_of
from sandbox.partials import reply_of
from sandbox.private.statement import compile_private
from sandbox.query import compile_statement, finish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.dialects import Name
    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy
    from sandbox.query import Execute

MAX_STATEMENTS: Final = 100_000
_CLASS: Final = re.compile(r"--\s*\[([^\]]{1,40})\]")


@dataclass(frozen=True, slots=True)
class Statement:
    """A line of a file of statements.

    Attributes:
        line: Its number, from 1.
        kind: What the last comment ``-- [class]`` said; empty without one.
        sql: The statement.
    """

    line: int
    kind: str
    sql: str


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a file: one a line; a line that begins with ``--`` is a comment.

    A statement may end with one semicolon.

    Raises:
        InputInvalid: There are too many.
    """
    kind, count = "", 0
    for number, line in enumerate(text.removeprefix(BYTE_ORDER_MARK).split("\n"), 1):
        own = line.strip()
        if own.startswith("--"):
            found = _CLASS.match(own)
            kind = found[1] if found else kind
        elif own:
            count += 1
            if count > MAX_STATEMENTS:
                raise InputInvalid(f"A file of statements has at most {MAX_STATEMENTS}.")
            yield Statement(number, kind, one(own))


@dataclass(frozen=True, slots=True)
class Tried:
    """An owner's tables, as a policy is tried on them.

    Attributes:
        execute: Runs a request on them.
        dialect: In which SQL.
        looked: Of each table of files that were read, what its owner has to know.
        public: How many rows of public tables have one value (:mod:`sandbox.fanout`).
    """

    execute: Execute
    dialect: Name
    looked: Mapping[str, Looked] = field(default_factory=dict)
    public: PublicRows = field(default_factory=dict)


@contextmanager
def engine_of(policy: Policy, data: Path | None, source: str, *, read: bool) -> Iterator[Tried]:
    """Give what runs a request on an owner's tables.

    Args:
        policy: Which tables and columns.
        data: Folder with a file for each table, or a DuckDB file.
        source: ``postgresql://...`` or ``spark+parquet:///FOLDER``, in place of data.
        read: Whether anything is going to be run, so that files are looked at first.

    Raises:
        InputInvalid: Neither or both were said, a table has no file, or the kind is not known.
        DataInvalid: A file can't be read, or a column has no fitting type.
        EnvironmentUnfit: The engine is not installed.
    """
    if (data is None) == (not source):
        raise InputInvalid("The tables are named once: --data DIR, or --source URI.")
    if source.startswith(spark.PREFIX):
        inputs = spark.tables_in(source, policy)
        with spark.session(master=spark.lake_of(source).master) as session:
            yield _tried(policy, partial(spark.execute, session=session, inputs=inputs), "spark")
    elif source:
        uri = postgres_roles.uri_of(source)
        postgres.check_types(policy, uri)
        yield _tried(policy, partial(postgres.execute, uri=uri), "postgres")
    elif data is not None and data.suffix.lower() == DATABASE:
        with tempfile.TemporaryDirectory(prefix="fusion-try-") as copies:
            with disk.writing(Path(copies)):
                inputs = copy_out(policy, data, Path(copies))
            looked = inspect(policy, inputs, dict.fromkeys(inputs, data)) if read else {}
            yield _tried(policy, partial(engine.execute, inputs=inputs), "duckdb", looked)
    elif data is not None:
        inputs = tables_in(data, policy)
        looked = inspect(policy, inputs) if read else {}
        yield _tried(policy, partial(engine.execute, inputs=inputs), "duckdb", looked)


def _tried(
    policy: Policy, execute: Execute, dialect: Name, looked: Mapping[str, Looked] | None = None
) -> Tried:
    return Tried(execute, dialect, looked or {}, public_rows.count(policy, execute, dialect))


def attempt(
    policy: Policy,
    text: str,
    execute: Execute | None,
    secret: bytes,
    dialect: Name = "duckdb",
    public: PublicRows | None = None,
) -> dict[str, Any]:
    """Return the document ``fusion.policy-try/1`` without its schema.

    Args:
        policy: What is tried.
        text: Of the file of statements.
        execute: Runs a request on the tables, as :func:`sandbox.engine.execute` does; None runs
            nothing.
        secret: Of noise.
        dialect: Of the engine.
        public: How many rows of public tables have one value; without it none is joined.

    Raises:
        InputInvalid: There are too many statements.
    """
    verdicts = [
        _verdict(each, policy, execute, secret, dialect, public) for each in statements(text)
    ]
    counts = {
        name: sum(each["verdict"] == name for each in verdicts)
        for name in ("accepted", "refused", "error")
    }
    return {"policy": policy.digest, "statements": verdicts, "counts": counts}


def _verdict(
    statement: Statement,
    policy: Policy,
    execute: Execute | None,
    secret: bytes,
    dialect: Name,
    public: PublicRows | None,
) -> dict[str, Any]:
    found: dict[str, Any] = {"line": statement.line}
    if statement.kind:
        found["class"] = statement.kind
    try:
        if policy.mode == "dp":
            return found | _private(statement.sql, policy, execute, secret, dialect, public)
        compiled = compile_statement(
            statement.sql, policy, dialect=dialect, secret=secret, public=public
        )
        found |= {"verdict": "accepted", "code": "", "message": ""}
        if notes := compiled.notes:
            found["notes"] = [message for message, _hint in notes]
        if execute is not None:
            reply = execute(compiled.asked.request)
            answer = finish(compiled, reply, Rules(policy.release, secret))
            found |= {"columns": list(answer.columns), "rows": answer.rows}
            if more := [message for message, _hint in answer.notes]:
                found["notes"] = [*found.get("notes", []), *more]
    except QueryRefused as error:
        found |= {"verdict": "refused", "code": error.code, "message": str(error)}
    except FusionError as error:
        found |= {"verdict": "error", "code": error.code, "message": str(error)}
    except Exception:  # noqa: BLE001 - one verdict a statement, whatever one of them makes happen
        # As at the service: what an exception says can hold cells. The rest of the file goes on.
        unforeseen = QueryFailed()
        found |= {"verdict": "error", "code": unforeseen.code, "message": str(unforeseen)}
    return found


def _private(
    sql: str,
    policy: Policy,
    execute: Execute | None,
    secret: bytes,
    dialect: Name,
    public: PublicRows | None,
) -> dict[str, Any]:
    """Return the verdict under differential privacy; what an owner tries is charged to nobody."""
    statement = compile_private(
        sql, policy, dialect=dialect, salt=salt_of(secret, policy.digest), public=public
    )
    found: dict[str, Any] = {"verdict": "accepted", "code": "", "message": ""}
    found["rho_micro"] = statement.rho_micro
    if execute is not None:
        asked = statement.compiled.asked
        answer = statement.finish(reply_of(execute(asked.request), asked))
        found |= {"columns": list(answer.columns), "rows": answer.rows}
        found["noise"] = [asdict(each) for each in statement.accuracy()]
    return found
