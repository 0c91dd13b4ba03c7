"""A PostgreSQL server for tests: in a folder of its own, on a socket of its own, gone at the end.

Where Debian's ``postgresql`` is not installed, the tests that need it are skipped and say so.
PostgreSQL does not run as root: there it runs as ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg
import pytest

from fusion.crypto import rng
from fusion.stores.sql import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL: Final = "apt-get install postgresql; tests of the stores over PostgreSQL are skipped"
STORES: Final = ("memory", "sqlite", "postgres")


def _programs() -> Path | None:
    """Return the folder with initdb and postgres, the newest."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    for folder in (*folders, *([Path(found).resolve().parent] if found else [])):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _user() -> list[str]:
    """Return what runs a command as somebody who is not root."""
    if os.getuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return ["runuser", "-u", name, "--"]
    pytest.skip(f"PostgreSQL does not run as root, and there is nobody else: {INSTALL}")


@contextmanager
def running() -> Iterator[str]:
    """Run a server; give the URL of its database."""
    programs = _programs()
    if programs is None:
        pytest.skip(f"PostgreSQL is not installed: {INSTALL}")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="banyan-pg-", dir="/tmp"))
    try:
        if user:
            shutil.chown(folder, user[2])
        data = folder / "data"
        words: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            "banyan",
            "--no-sync",
        ]
        subprocess.run([*user, *words], check=True, capture_output=True, cwd=folder)
        options: list[str | Path] = [
            "-c",
            "listen_addresses=",
            "-k",
            folder,
            "-c",
            "max_connections=60",
        ]
        # The tests kill writers, never the server.
        options += ["-c", "fsync=off", "-c", "shared_buffers=16MB"]
        server = subprocess.Popen(
            [*user, programs / "postgres", "-D", data, *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"postgresql:///postgres?host={folder}&user=banyan"
            _wait(url)
            yield url
        finally:
            # Fast shutdown; `runuser` passes it on.
            stop: list[str | Path] = [programs / "pg_ctl", "stop", "-D", data, "-m", "immediate"]
            subprocess.run([*user, *stop], check=False, capture_output=True, cwd=folder)
            server.wait(timeout=100)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    import time  # noqa: PLC0415 - only here

    until = time.monotonic() + 90
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def new_schema(url: str) -> Postgres:
    """Return an empty place of its own in the server."""
    name = f"t_{rng.token(8).hex()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return Postgres(url=f"{url}&options={quote(f'-csearch_path={name}')}")
