"""A script over made-up samples, at its author's: the worker and the checks of a real run.

Only what needs an owner is missing: its verdict, a grant, the history. Rules of release are ACRO's
defaults, as in a policy that says nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.crypto import rng
from fusion.errors import InputInvalid, WorkFailed
from fusion.grants.python_job import names_of
from sandbox import engine, python_people
from sandbox.isolate import Isolation, Settings
from sandbox.noise import SECRET_BYTES
from sandbox.policy import Release
from sandbox.python_run import SAMPLE_PEOPLE, Errand, released, run_script, table_of

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.grants.python_job import Returns


def try_script(
    script: str, returns: Returns, data: Path, *, seconds: int, account: str
) -> dict[str, Any]:
    """Run a script over a folder of samples; return the table, or why there is none.

    Args:
        script: Python source.
        returns: What it reads and returns.
        data: Folder with a Parquet or CSV file for each table; of one table alone the only one.
        seconds: After which the worker is killed.
        account: Whom the worker runs as where this process is root.

    Raises:
        InputInvalid: A table has no file.
        IsolationUnavailable: Nothing here confines untrusted work.
    """
    inputs = {name: _file(data, name, alone=len(returns.reads) == 1) for name in returns.reads}
    how: dict[str, Any] = {}

    def ended(ending: str, code: int | None, seconds: float, printed: bytes) -> None:
        how.update(ending=ending, exit_code=code, milliseconds=round(1000 * seconds))
        how["log"] = printed.decode("utf-8", "replace")

    with Isolation.open(Settings(service_user=account, spares=0)) as isolation:
        try:
            errand = Errand(seconds=seconds, ended=ended)
            answer = run_script(
                isolation, script, returns, inputs, errand, people=SAMPLE_PEOPLE, samples=True
            )
            if returns.form == "table":
                table = table_of(returns, answer, "0" * 64)
                rows = table.rows
            else:
                people = python_people.read_people(returns, answer, SAMPLE_PEOPLE)
                secret = rng.token(SECRET_BYTES)
                rows = [list(row) for row in released(returns, people, Release(), secret, set())]
        except WorkFailed as error:
            reason = error.details.partition("\n")[0]
            return {"columns": [], "rows": [], "log": "", **how, "error": reason or error.message}
    names = names_of(returns)
    return {"columns": names, "rows": rows, "log": "", **how, "error": ""}


def _file(data: Path, name: str, *, alone: bool) -> Path:
    own = [path for suffix in engine.READERS if (path := data / f"{name}{suffix}").is_file()]
    if len(own) == 1:
        return own[0]
    # A sample's file is called after what it cost: docs/catalogue.md.
    all_files = [path for path in sorted(data.glob("*")) if path.suffix in engine.READERS]
    if alone and len(all_files) == 1:
        return all_files[0]
    raise InputInvalid(
        f"There is no one {name}.parquet or {name}.csv in {data}.",
        hint="fusion data mock makes up a sample; name its file after the table.",
    )
