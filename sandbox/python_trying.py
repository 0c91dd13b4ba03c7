"""A script over made-up samples, at its author's: the worker and the checks of a real run.

Only what needs an owner is missing: its verdict, a grant, the history. Rules of release are ACRO's
defaults, as in a policy that says nothing else. People are numbers here too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from fusion.crypto import rng
from fusion.errors import InputInvalid, WorkFailed
from fusion.grants.python_job import keyed_by, names_of
from sandbox import engine, python_people
from sandbox.isolate import Isolation, Settings
from sandbox.noise import SECRET_BYTES
from sandbox.policy import Release
from sandbox.python_run import Errand, released, run_script, table_of
from sandbox.python_tables import read_base

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.grants.python_job import Returns


_TODO: Final = (
    "Correct the script, or what its block declares (columns, measures, max_rows), and try again."
)


def try_script(
    script: str, returns: Returns, data: Path, *, person: str, seconds: int, account: str
) -> dict[str, Any]:
    """Run a script over a folder of samples; return the table, or why there is none.

    Args:
        script: Python source.
        returns: What it reads and returns.
        data: Folder with a Parquet or CSV file for each table; of one table alone the only one.
        person: The column that says whom a row is about, in tables that have it.
        seconds: After which the worker is killed.
        account: Whom the worker runs as where this process is root.

    Raises:
        InputInvalid: A table has no file, or no such column.
        IsolationUnavailable: Nothing here confines untrusted work.
    """
    how: dict[str, Any] = {}

    def ended(ending: str, code: int | None, seconds: float, printed: bytes) -> None:
        how.update(ending=ending, exit_code=code, milliseconds=round(1000 * seconds))
        how["log"] = printed.decode("utf-8", "replace")

    with (
        tempfile.TemporaryDirectory(prefix="banyan-try-") as folder,
        Isolation.open(Settings(service_user=account, spares=0)) as isolation,
    ):
        inputs, people = _copies(returns, data, person, Path(folder))
        errand = Errand(seconds=seconds, ended=ended)
        try:
            answer = run_script(isolation, script, returns, inputs, errand, people=people)
            if returns.form == "table":
                rows = table_of(returns, answer, "0" * 64).rows
            else:
                rows = _released(returns, answer, inputs, people, person)
        except WorkFailed as error:
            said = error.details.partition("\n")[0] or error.message
            if how.get("ending", "done") != "done":
                said = f"the script {how['ending']} after {how['milliseconds']} ms"
            why = {"error": said, "code": error.code, "hint": _TODO}
            return {"columns": [], "rows": [], "log": "", **how, **why}
    well = {"error": "", "code": "", "hint": ""}
    return {"columns": names_of(returns), "rows": rows, "log": "", **how, **well}


def _released(
    returns: Returns, answer: bytes, inputs: Mapping[str, Path], people: int, person: str
) -> list[list[Any]]:
    name = keyed_by(returns)
    base = None if name is None else read_base(name, inputs[name], person, returns)
    found = python_people.read_people(returns, answer, people, base)
    rows = released(returns, found, Release(), rng.token(SECRET_BYTES), set())
    return [list(row) for row in rows]


def _copies(returns: Returns, data: Path, person: str, folder: Path) -> tuple[dict[str, Path], int]:
    """Write what the script reads, with people as numbers; return the files, and how many."""
    alone = len(returns.reads) == 1
    tables = {name: _read(_file(data, name, alone=alone)) for name in returns.reads}
    about = [table.column(person) for table in tables.values() if person in table.column_names]
    if returns.form == "people" and not about:
        raise InputInvalid(
            f"No table has a column {person!r} that says whom a row is about.",
            hint="Name it: --person COLUMN",
        )
    texts = [column.cast(pa.string()).combine_chunks() for column in about]
    listed = pa.concat_arrays(texts).drop_null().unique() if texts else pa.array([], pa.string())
    found = {}
    for name, table in tables.items():
        wanted = [column for column in returns.reads[name] if column != person]
        missing = [column for column in wanted if column not in table.column_names]
        if missing:
            raise InputInvalid(f"The sample of {name} has no column {missing[0]}.")
        columns = {column: table.column(column) for column in wanted}
        if person in table.column_names:
            own = table.column(person).cast(pa.string())
            columns = {person: pc.index_in(own, value_set=listed), **columns}
        copy = pa.table(columns)
        if person in table.column_names:
            copy = copy.filter(pc.is_valid(copy.column(person)))
        found[name] = folder / f"{name}.parquet"
        parquet.write_table(copy, found[name])
        found[name].chmod(0o644)  # the worker may run under another account
    return found, len(listed)


def _read(path: Path) -> pa.Table:
    try:
        return csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputInvalid(f"{path} can't be read as a table.") from error


def _file(data: Path, name: str, *, alone: bool) -> Path:
    own = [path for suffix in engine.READERS if (path := data / f"{name}{suffix}").is_file()]
    if len(own) == 1:
        return own[0]
    # A sample's file is called after what it cost.
    others = [path for path in sorted(data.glob("*")) if path.suffix in engine.READERS]
    if alone and len(others) == 1:
        return others[0]
    raise InputInvalid(
        f"There is no one {name}.parquet or {name}.csv in {data}.",
        hint="fusion data mock makes up a sample; name its file after the table.",
    )
