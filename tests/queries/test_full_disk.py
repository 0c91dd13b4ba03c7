"""A disk that is full while tables are frozen: told as that, nothing is left, what held holds."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest

from fusion.errors import EnvironmentUnfit
from sandbox.attached import Origin, attach, attached, check_frozen, folder
from sandbox.disk import refused, writing
from tests.queries.world import POLICY, make_world, write_people

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = (0, 4096, 50_000, 100_000, 200_000, 260_000)
"""Within the copy, the list of people, the store, its log and its end."""


def test_a_full_disk_is_told_and_the_earlier_revision_goes_on(tmp_path: Path) -> None:
    words = ("tests.queries.full_disk", str(tmp_path), *map(str, LIMITS), "10000000")
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, check=True, timeout=100
    )
    for dataset, found in json.loads(done.stdout).items():
        where = tmp_path / "world/tax/queries" / dataset
        *failed, last = found
        for each in failed:
            assert each == {
                "code": "F-300",
                "message": f"Tables can't be written to {where}: File too large.",
                "left": ["policy.json", "r1"],
                "revision": 1,
                "rows": [[1200]],
            }
        wanted = {"code": "", "left": ["policy.json", "r2"], "revision": 2, "rows": [[5000]]}
        assert wanted.items() <= last.items()


def test_of_a_revision_that_does_not_come_to_hold_only_its_number_is_left(tmp_path: Path) -> None:
    """The history could not be written: the tables are, and would fill the disk further."""
    owner = make_world(tmp_path / "world", ("persons",)).owner
    data = tmp_path / "data"
    data.mkdir()
    write_people(data / "persons.csv", 900)
    history = owner.path / "queries/history.sqlite"
    history.mkdir()
    with pytest.raises(EnvironmentUnfit):
        attach(owner, POLICY, "policy.yaml", "persons", Origin(data))
    found = attached(owner, "persons")
    assert found is not None
    check_frozen(found)
    assert (found.revision, found.people) == (1, 1200)
    assert list((folder(owner, "persons") / "r2").iterdir()) == []
    history.rmdir()
    found = attach(owner, POLICY, "policy.yaml", "persons", Origin(data))
    assert (found.revision, found.people) == (3, 1200)
    assert sorted(each.name for each in folder(owner, "persons").iterdir()) == ["policy.json", "r3"]


def test_a_revision_that_came_to_hold_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy has its new name when the folder can't be synchronised."""
    owner = make_world(tmp_path / "world", ("persons",)).owner
    data = tmp_path / "data"
    data.mkdir()
    write_people(data / "persons.csv", 900)
    where, synchronise = folder(owner, "persons"), os.fsync
    held = (where / "policy.json").read_bytes()

    def failing(descriptor: int) -> None:
        is_it = os.path.samestat(os.fstat(descriptor), where.stat())
        if is_it and (where / "policy.json").read_bytes() != held:
            raise OSError(errno.EIO, "Input/output error")
        synchronise(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(EnvironmentUnfit):
            attach(owner, POLICY, "policy.yaml", "persons", Origin(data))
    found = attached(owner, "persons")
    assert found is not None
    check_frozen(found)
    assert found.revision == 2
    assert attach(owner, POLICY, "policy.yaml", "persons", Origin(data)).revision == 2


def test_what_an_engine_says_of_a_full_disk_is_told_from_what_it_says_of_cells(
    tmp_path: Path,
) -> None:
    told = {
        duckdb.IOException('Could not write file "x": No space left on device'): errno.ENOSPC,
        duckdb.TransactionException('Failed to commit: Could not write file "x": File too large'):
        errno.EFBIG,
        duckdb.OutOfMemoryException("failed to offload data block of size 96.0 KiB (6.2 MiB used)."
        " This limit was set by the 'max_temp_directory_size' setting."): errno.ENOSPC,
        OSError(errno.EROFS, "whatever"): errno.EROFS,
    }  # fmt: skip
    for error, number in told.items():
        why = refused(error)
        assert why is not None
        assert why.errno == number
    for other in (
        duckdb.ConversionException("Could not convert string 'Could not write' to INT32"),
        duckdb.IOException("IO Error: No files found"),
        FileNotFoundError(errno.ENOENT, "x"),
    ):
        assert refused(other) is None
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "x").read_bytes()
