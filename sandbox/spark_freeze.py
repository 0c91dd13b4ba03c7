"""Freezes a policy's tables with Spark: a folder of copies for each revision.

``FROZEN/banyan_DATASET_rN`` holds the policy's columns as Parquet, written by Spark, and the list
of people with their numbers. Nothing is changed in it after that; rows and digests of its tables
are signed with the policy.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import parquet

from fusion.errors import DataInvalid, FusionError, InputInvalid
from sandbox import public_rows, spark, tables
from sandbox.dialects import quoted
from sandbox.freezing import MAX_PEOPLE, Frozen, declared
from sandbox.postgres_freeze import schema_name
from sandbox.sets import COHORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sandbox.policy import Policy

MARK: Final = "banyan.json"
"""Says whose folder it is; only such a folder is ever removed."""

MAX_MARK_BYTES: Final = 1000
_LIST: Final = "people-list.parquet"
_TABLES: Final = "tables"


def frozen_in(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return the path of each frozen table, and that of the list of people."""
    found = {name: folder / _TABLES / f"{name}.parquet" for name in names if name != COHORT}
    return {**found, COHORT: folder / _LIST}


def freeze(
    policy: Policy, source: str, *, owner: str, dataset: str, revision: int, known: Sequence[str]
) -> Frozen:
    """Copy tables into a folder of their own.

    Args:
        policy: Which tables and columns.
        source: See :func:`sandbox.spark.lake_of`.
        owner: Whose dataset.
        dataset: Which.
        revision: Which revision.
        known: The list of people of the revision before.

    Raises:
        InputInvalid: A table is not there, the policy is of mode ``dp``, the folder is somebody
            else's, or there are too many people.
        DataInvalid: A column is not there or can't be read, or Spark failed.
        EnvironmentUnfit: There is no Spark.
    """
    sources, lake = spark.tables_in(source, policy), spark.lake_of(source)
    place = schema_name(dataset, revision)
    folder = lake.frozen / place
    _emptied(folder, owner, dataset)
    try:
        with spark.session(master=lake.master) as session:
            return _made(session, policy, sources, folder, known)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, FusionError) or not isinstance(error, Exception):
            raise
        # Spark's message quotes cells.
        refused = DataInvalid(
            f"Spark could not copy the tables of the policy ({type(error).__name__}).",
            hint="Can every machine of the session read them, and write where they are frozen? "
            "See docs/sources.md.",
        )
        refused.add_note(str(error)[:2000])
        raise refused from None


def _emptied(folder: Path, owner: str, dataset: str) -> None:
    """Make the folder; what an attach that was cut short has left under its name goes."""
    mark = _mark(owner, dataset)
    if folder.exists():
        if not _is_of(folder, mark):
            raise InputInvalid(
                f"{folder} is not of this dataset.",
                hint="Let two nodes use two folders (frozen=FOLDER), or remove it.",
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir()
        (folder / MARK).write_bytes(mark)
        # The machines that read the tables read and write the copies.
        for made in (folder, folder / _TABLES):
            made.mkdir(exist_ok=True)
            made.chmod(folder.parent.stat().st_mode & 0o7777)
    except OSError as error:
        raise InputInvalid(
            f"{folder} can't be made: {error.strerror}.",
            hint="Name a folder that this account may write to: frozen=FOLDER.",
        ) from None


def _mark(owner: str, dataset: str) -> bytes:
    return json.dumps({"owner": owner, "dataset": dataset}).encode()


def _is_of(folder: Path, mark: bytes) -> bool:
    try:
        with (folder / MARK).open("rb") as file:
            return not folder.is_symlink() and file.read(MAX_MARK_BYTES) == mark
    except OSError:
        return False


def _made(
    session: Any,  # noqa: ANN401 - an optional dependency
    policy: Policy,
    sources: dict[str, Path],
    folder: Path,
    known: Sequence[str],
) -> Frozen:
    paths = frozen_in(folder, policy.tables)
    own = spark.opened(session, sources)
    for name, table in policy.tables.items():
        there = {each.lower() for each in own.table(quoted(name, "spark")).columns}
        for column in table.columns:
            if column.lower() not in there:
                raise DataInvalid(f"The column {name}.{column} is not there.")
        columns = ", ".join(quoted(each, "spark") for each in table.columns)
        copy = own.sql(f"SELECT {columns} FROM {quoted(name, 'spark')}")
        copy.write.parquet(str(paths[name]))
    own = spark.opened(session, {name: paths[name] for name in policy.tables})
    for name, table in policy.tables.items():
        for column, what in table.columns.items():
            _readable(own, name, column, tables.read(column, what, "spark"))
    listed = _listed(own, policy, known)
    numbers = pa.array(range(len(listed)), pa.int32())
    people = pa.table({"e": pa.array(listed, pa.string()), "n": numbers})
    parquet.write_table(people, paths[COHORT])
    own = spark.opened(session, paths)
    digests = spark.digests_of(own, sorted(paths))
    public = public_rows.count(policy, partial(spark.cells, own), "spark")
    return Frozen(digests, declared(policy), listed, folder.name, "spark", public=public)


def _readable(own: Any, table: str, column: str, sql: str) -> None:  # noqa: ANN401 - as above
    """Have Spark look at how a column is read, which no value can make fail."""
    try:
        _ = own.sql(f"SELECT {sql} AS c FROM {quoted(table, 'spark')}").schema
    except Exception:  # noqa: BLE001 - whatever Spark says
        raise DataInvalid(f"The column {table}.{column} can't be read as its kind.") from None


def _listed(own: Any, policy: Policy, known: Sequence[str]) -> list[str]:  # noqa: ANN401 - as above
    """Return everybody in the frozen tables, with the numbers of an earlier list."""
    parts = [
        f"SELECT CAST({tables.read(table.entity, table.columns[table.entity], 'spark')} AS STRING) "
        f"AS e FROM {quoted(name, 'spark')}"
        for name, table in policy.tables.items()
        if table.entity is not None
    ]
    if not parts:
        return list(known)
    found = own.sql(
        f"SELECT e FROM ({' UNION '.join(parts)}) AS everybody WHERE e IS NOT NULL "
        f"ORDER BY e LIMIT {MAX_PEOPLE + 1}"
    ).toArrow()
    before = set(known)
    listed = [*known, *(e for e in found.column("e").to_pylist() if e not in before)]
    if len(listed) > MAX_PEOPLE:
        raise InputInvalid(f"A dataset is about at most {MAX_PEOPLE} people.")
    return listed


def drop_others(source: str, owner: str, dataset: str, place: str) -> None:
    """Remove the folders of a dataset's earlier revisions; what can't be removed stays."""
    mark = _mark(owner, dataset)
    for folder in spark.lake_of(source).frozen.glob("banyan_*"):
        if folder.name != place and _is_of(folder, mark):
            shutil.rmtree(folder, ignore_errors=True)
