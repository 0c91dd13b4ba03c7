"""The hub's memory of a run: attempts, the opening under way, who is out, each round's state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import EnvironmentUnfit
from fusion.stores.sql import Schema
from fusion.stores.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS attempt(round INTEGER PRIMARY KEY, attempt INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS opening(round INTEGER PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS absence(organisation TEXT PRIMARY KEY, since TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state(round INTEGER PRIMARY KEY, document BLOB NOT NULL);
"""


def _encode(document: Mapping[str, Any]) -> str:
    """JSON in which bytes stand as ``{"$hex": ...}``."""
    return json.dumps(document, default=lambda value: {"$hex": bytes(value).hex()})


def _decode(text: str) -> dict[str, Any]:
    """Read what :func:`_encode` wrote.

    Raises:
        EnvironmentUnfit: It was changed since.
    """
    try:
        document: dict[str, Any] = json.loads(
            text, object_hook=lambda o: bytes.fromhex(o["$hex"]) if o.keys() == {"$hex"} else o
        )
    except (ValueError, TypeError) as error:
        msg = "The journal of a run is damaged."
        raise EnvironmentUnfit(msg, hint="Check the disk; start the study again.") from error
    return document


class SqliteJournal:
    """:class:`fusion.ports.RunJournal` on disk."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
        """
        self._database = Database(path, Schema(tables=_SCHEMA))

    def next_attempt(self, round_number: int) -> int:
        """Return the next unused attempt of a round, durably."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO attempt VALUES (?, 1) "
                "ON CONFLICT(round) DO UPDATE SET attempt = attempt + 1 RETURNING attempt",
                (round_number,),
            ).fetchone()
        return int(row[0])

    def keep_opening(self, round_number: int, opening: Mapping[str, Any]) -> None:
        """Store what is about to be opened; openings of earlier rounds are dropped."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM opening")
            connection.execute(
                "INSERT INTO opening VALUES (?, ?)", (round_number, _encode(opening))
            )

    def opening(self, round_number: int) -> Mapping[str, Any] | None:
        """Return what was about to be opened in a round, if anything."""
        return self._document("SELECT document FROM opening WHERE round = ?", (round_number,))

    def keep_round(self, round_number: int, state: Mapping[str, Any]) -> None:
        """Store the state after a round."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO state VALUES (?, ?)", (round_number, _encode(state))
            )

    def keep_absences(self, since: Mapping[str, str]) -> None:
        """Store who is out, and since when."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM absence")
            connection.executemany("INSERT INTO absence VALUES (?, ?)", since.items())

    def absences(self) -> Mapping[str, str]:
        """Return who was out, and since when."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT organisation, since FROM absence").fetchall()
        return {str(organisation): str(since) for organisation, since in rows}

    def last_round(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the newest state, if any."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT round, document FROM state ORDER BY round DESC LIMIT 1"
            ).fetchone()
        return None if row is None else (int(row[0]), _decode(row[1]))

    def rounds(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the state after each round, in order."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT round, document FROM state ORDER BY round").fetchall()
        for number, text in rows:
            yield int(number), _decode(text)

    def _document(self, query: str, parameters: tuple[int]) -> dict[str, Any] | None:
        with self._database.transaction() as connection:
            row = connection.execute(query, parameters).fetchone()
        return None if row is None else _decode(row[0])
