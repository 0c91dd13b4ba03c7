"""Copies of what Python jobs read: what is in them, and that nobody waits for one in vain."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pytest
from pyarrow import parquet

from fusion.errors import WorkCancelled
from fusion.grants.python_job import Column, Returns
from sandbox.attached import Attached
from sandbox.python_copies import Copies, _Copy
from sandbox.reading import parse_policy
from sandbox.sets import COHORT
from tests.queries.world import POLICY
from tests.sandbox.asking import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS, PEOPLE = 300_000, 1000
PATIENCE = 100.0


def reads(*columns: str) -> Returns:
    return Returns(
        form="table", reads={"persons": columns}, columns=(Column(name="n", kind="integer"),)
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Attached:
    """A dataset of so many rows that they are copied in several batches."""
    folder = tmp_path_factory.mktemp("large")
    numbers = range(PEOPLE)
    inputs = write(folder, {COHORT: {"e": [str(n) for n in numbers], "n": list(numbers)}})
    inputs["persons"] = folder / "persons.parquet"
    values = f"i % {PEOPLE} AS person_id, 'north' AS region, i % 9 AS income"
    made = f"SELECT {values} FROM range({ROWS}) t(i)"
    duckdb.execute(f"COPY ({made}) TO '{inputs['persons']}' (FORMAT parquet)")
    policy = parse_policy(POLICY, "policy.yaml")
    columns = tuple(f"persons.{name}" for name in policy.tables["persons"].columns)
    return Attached("tax", "large", 1, policy, inputs, PEOPLE, "p" * 64, "s" * 64, columns, {})


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    found = Copies(tmp_path)
    yield found
    found.close()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once rows are being written to a file; the copy stays there until it is ended."""
    found, check = threading.Event(), _Copy._check_wanted

    def held(copy: _Copy) -> None:
        if any(copy._folder.iterdir()):
            found.set()
            assert copy._ended.wait(PATIENCE)
        check(copy)

    monkeypatch.setattr(_Copy, "_check_wanted", held)
    return found


def _none_left(folder: Path) -> bool:
    end = time.monotonic() + PATIENCE
    while list(folder.glob(".reading-*/*")) and time.monotonic() < end:
        time.sleep(0.02)
    return not list(folder.glob(".reading-*/*"))


def test_a_copy_ends_when_nobody_waits_for_it(
    large: Attached,
    copies: Copies,
    tmp_path: Path,
    begun: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(WorkCancelled):
        copies.of(large, reads("income"), begun)
    monkeypatch.undo()
    assert _none_left(tmp_path)
    # What was ended is not taken for a copy: the next run has all of it.
    found = copies.of(large, reads("income"), threading.Event())
    table = parquet.read_table(found["persons"])
    assert (table.num_rows, table.column_names) == (ROWS, ["person_id", "income"])
    assert found["persons"].stat().st_mode & 0o777 == 0o644
    # Made once.
    again = copies.of(large, reads("income"), begun)
    assert again == found


def test_who_waits_for_somebody_elses_copy_is_let_go_too(
    large: Attached, copies: Copies, tmp_path: Path
) -> None:
    over, stop = threading.Event(), threading.Event()
    stop.set()
    # Something is being copied, one thing at a time, and will be for longer than anybody waits.
    copies._pool.submit(over.wait, 2 * PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        try:
            other = pool.submit(copies.of, large, reads("income", "region"), threading.Event())
            for columns in (["region"], ["income", "region"]):
                with pytest.raises(WorkCancelled):
                    copies.of(large, reads(*columns), stop)
            assert not other.done()
        finally:
            over.set()
        # And takes nothing away from who still waits.
        assert parquet.read_metadata(other.result(PATIENCE)["persons"]).num_rows == ROWS
    # What was let go before it began is not made.
    assert len(list(tmp_path.glob(".reading-*/*"))) == 1


@pytest.mark.parametrize("end", [0.75, 1.0], ids=["rows", "footer"])
def test_a_copy_that_fails_leaves_nothing(
    large: Attached, copies: Copies, tmp_path: Path, end: float
) -> None:
    broken = tmp_path / "broken.parquet"
    whole = bytearray(large.inputs["persons"].read_bytes())
    place = slice(len(whole) // 2, int(end * len(whole)))
    whole[place] = bytes(place.stop - place.start)
    broken.write_bytes(whole)
    inputs = {**large.inputs, "persons": broken}
    with pytest.raises((duckdb.Error, OSError)):
        copies.of(replace(large, inputs=inputs), reads("income"), threading.Event())
    assert _none_left(tmp_path)
