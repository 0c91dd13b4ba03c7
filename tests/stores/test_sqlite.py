"""Who may read a file of SQLite."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusion.stores.sql import Schema
from fusion.stores.sqlite import Database, KeptDatabase

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = Schema(tables="CREATE TABLE IF NOT EXISTS one(n INTEGER);")


def test_a_file_and_what_sqlite_makes_beside_it_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "kept.sqlite"
        database = KeptDatabase(path, _SCHEMA)
        with database.transaction() as connection:
            connection.execute("INSERT INTO one VALUES (1)")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
        assert modes == dict.fromkeys(("kept.sqlite", "kept.sqlite-wal", "kept.sqlite-shm"), 0o600)
        database.close()
        # One that was made when this was not so.
        path.chmod(0o644)
        with Database(path, _SCHEMA).reading() as connection:
            assert connection.execute("SELECT n FROM one").fetchall() == [(1,)]
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
