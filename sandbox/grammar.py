"""A second look at a statement's grammar: whether DuckDB's own parser reads it as one SELECT.

sqlglot mends what is malformed (a parenthesis that is missing, a comma too many), and what it makes
of that is a guess. What DuckDB's parser does not read is not answered. It parses and does nothing
else: nothing is bound, looked up, opened or run, and its connection could open nothing. It is given
only text whose tree was looked at before (:mod:`sandbox.syntax`), short and not deep.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Final

import duckdb

from sandbox.refusals import refusal

_FORBIDDEN: Final = "SQL has no such frame, window in a window, or ordered aggregate."
_INSTEAD: Final = "A frame ends after it begins: ROWS BETWEEN 1 PRECEDING AND CURRENT ROW."
"""Of what the parser reads and then forbids it says no place; its words can quote a statement."""


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """Return a connection without tables, whose errors say where they are."""
    connection = duckdb.connect(":memory:")
    for setting in (
        "errors_as_json = true", "memory_limit = '64MB'", "threads = 1",
        "python_enable_replacements = false", "autoinstall_known_extensions = false",
        "autoload_known_extensions = false", "temp_directory = ''",
        "enable_external_access = false", "lock_configuration = true",
    ):  # fmt: skip
        connection.execute(f"SET {setting}")
    return connection


def check(statement: str) -> None:
    """Check that a statement is one SELECT in DuckDB's grammar.

    Raises:
        QueryRefused: It is not; with its place, where that is known.
    """
    try:
        found = _parser().extract_statements(statement)
    except duckdb.Error as error:
        start = _start(statement, str(error))
        if start is None:
            raise refusal("Q-03", _FORBIDDEN, _INSTEAD) from None
        refused = refusal("Q-01", "Its grammar is broken here.")
        refused.start = start
        raise refused from None
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        raise refusal("Q-01")


def _start(statement: str, said: str) -> int | None:
    """Return the character that an error is about, out of its position in bytes."""
    try:
        position = int(json.loads(said[said.index("{") :])["position"])
    except (ValueError, KeyError, TypeError):
        return None
    before = statement.encode()[:position].decode(errors="ignore")
    return len(before) if len(before) < len(statement) else None
