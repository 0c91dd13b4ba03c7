"""Trying a policy on one's own data: one verdict a statement, and with it the released table."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import FusionError, InputInvalid, QueryRefused
from sandbox.disclosure import Rules
from sandbox.engine import READERS, execute
from sandbox.noise import salt_of
from sandbox.partials import reply_of
from sandbox.private.statement import compile_private
from sandbox.query import compile_statement, finish

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sandbox.policy import Policy

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

    Raises:
        InputInvalid: There are too many.
    """
    kind, count = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        own = line.strip()
        if own.startswith("--"):
            found = _CLASS.match(own)
            kind = found[1] if found else kind
        elif own:
            count += 1
            if count > MAX_STATEMENTS:
                raise InputInvalid(f"A file of statements has at most {MAX_STATEMENTS}.")
            yield Statement(number, kind, own)


def tables_in(folder: Path, policy: Policy) -> dict[str, Path]:
    """Return the file of each table of a policy: ``NAME.parquet`` or ``NAME.csv``.

    Raises:
        InputInvalid: A table has no file, or two.
    """
    found = {}
    for name in policy.tables:
        files = [folder / f"{name}{suffix}" for suffix in READERS]
        there = [path for path in files if path.is_file()]
        if len(there) != 1:
            raise InputInvalid(
                f"The table {name} has {len(there)} files in {folder}; one is needed.",
                hint=f"Put {name}.parquet or {name}.csv there.",
            )
        found[name] = there[0]
    return found


def attempt(
    policy: Policy, text: str, inputs: Mapping[str, Path] | None, secret: bytes
) -> dict[str, Any]:
    """Return the document ``fusion.policy-try/1`` without its schema.

    Args:
        policy: What is tried.
        text: Of the file of statements.
        inputs: The tables, to run what is accepted on; None runs nothing.
        secret: Of noise.

    Raises:
        InputInvalid: There are too many statements.
    """
    verdicts = [_verdict(each, policy, inputs, secret) for each in statements(text)]
    counts = {
        name: sum(each["verdict"] == name for each in verdicts)
        for name in ("accepted", "refused", "error")
    }
    return {"policy": policy.digest, "statements": verdicts, "counts": counts}


def _verdict(
    statement: Statement, policy: Policy, inputs: Mapping[str, Path] | None, secret: bytes
) -> dict[str, Any]:
    found: dict[str, Any] = {"line": statement.line}
    if statement.kind:
        found["class"] = statement.kind
    try:
        if policy.mode == "dp":
            return found | _private(statement.sql, policy, inputs, secret)
        compiled = compile_statement(statement.sql, policy, secret=secret)
        found |= {"verdict": "accepted", "code": "", "message": ""}
        if inputs is not None:
            reply = execute(compiled.asked.request, inputs)
            answer = finish(compiled, reply, Rules(policy.release, secret))
            found |= {"columns": list(answer.columns), "rows": answer.rows}
    except QueryRefused as error:
        found |= {"verdict": "refused", "code": error.code, "message": str(error)}
    except FusionError as error:
        found |= {"verdict": "error", "code": error.code, "message": str(error)}
    return found


def _private(
    sql: str, policy: Policy, inputs: Mapping[str, Path] | None, secret: bytes
) -> dict[str, Any]:
    """Return the verdict under differential privacy; what an owner tries is charged to nobody."""
    statement = compile_private(sql, policy, salt=salt_of(secret, policy.digest))
    found: dict[str, Any] = {"verdict": "accepted", "code": "", "message": ""}
    found["rho_micro"] = statement.rho_micro
    if inputs is not None:
        asked = statement.compiled.asked
        answer = statement.finish(reply_of(execute(asked.request, inputs), asked))
        found |= {"columns": list(answer.columns), "rows": answer.rows}
        found["noise"] = [asdict(each) for each in statement.accuracy()]
    return found
