"""``fusion python`` at an analyst's: try a script, submit it, run what was approved, collect."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output, python_review
from fusion.cli.files import read_bounded
from fusion.cli.options import Json, folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.grants.python_job import Returns
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection
    from fusion.services.python_messages import Held, Table

app = typer.Typer(
    help="Python jobs on data that stays with its owner, who reads the code before it runs.",
    no_args_is_help=True,
)

Script = Annotated[Path, typer.Argument(metavar="JOB.py", help="The script.")]
Returns_ = Annotated[
    Path | None,
    typer.Option(
        "--returns",
        metavar="FILE.yaml",
        help="What it reads and returns, else the block at its head says so.",
    ),
]
Home = Annotated[Path, folder("the asking node")]
Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]
Seconds = Annotated[int, typer.Option(min=1, max=300, help="For how long it may take.")]


@app.command("try")
def try_(
    script: Script,
    *,
    mock: Annotated[
        Path,
        typer.Option("--mock", metavar="DIR", help="A Parquet or CSV sample for each table."),
    ],
    person: Annotated[
        str, typer.Option(metavar="COLUMN", help="Says whom a row is about, where a table has it.")
    ] = "person_id",
    returns: Returns_ = None,
    seconds: Seconds = 60,
    account: Annotated[
        str, typer.Option(metavar="NAME", help="Whom the worker runs as where you are root.")
    ] = "nobody",
    as_json: Json = False,
) -> None:
    """Run a script over made-up samples here, confined and checked as at the owner's.

    Rules of release are the defaults of a policy. What the script prints is shown on stderr.
    """
    from fusion.services import engines

    text, declared = _read(script, returns)
    found = engines.queries().try_python(
        text, declared, mock, person=person, seconds=seconds, account=account
    )
    if as_json:
        output.document("fusion.python-try/1", found)
    else:
        output.lines(found["log"])
        if not found["error"]:
            _rows(found["columns"], found["rows"], as_csv=False)
    if found["error"]:
        output.note(f"{found['code']}: no table: {found['error']}")
        output.note(f"-> {found['hint']}")
        raise typer.Exit(1)


@app.command("submit")
def submit(
    script: Script,
    *,
    dataset: Annotated[
        str,
        typer.Option("--dataset", metavar="OWNER/ID", help="Of whom, and what it is called there."),
    ],
    purpose: Annotated[
        str | None,
        typer.Option(
            metavar="dpv:NAME", help="What for, as the grant has it; may be left out if they agree."
        ),
    ] = None,
    returns: Returns_ = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="For the reviewer.")] = "",
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Hand a script in for its owner's review; nothing runs. Prints the digest of the job."""
    from fusion.services import addressing, python_jobs
    from fusion.services.clock import SystemClock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    text, declared = _read(script, returns)
    node = NodeHome.open(home)
    purpose = purpose or addressing.purpose_of(node, dataset, SystemClock().now())
    with Connection(node) as connection:
        found = python_jobs.submit(
            connection, node, dataset, text.encode(), declared, purpose=purpose, note=note
        )
    if as_json:
        output.document("fusion.python-submitted/1", found.model_dump())
        return
    output.result(found.job)
    output.note(f"{found.state}: {dataset} at revision {found.revision}")


@app.command("run")
def run(
    job: Annotated[str, typer.Argument(metavar="DIGEST", help="As submit prints it, or 8 of it.")],
    *,
    seconds: Seconds = 60,
    home: Home = Path(),
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Run a job that was approved, under a grant; or take the table of one that was held."""
    from fusion.services import python_jobs

    _show(
        home,
        lambda connection, node: python_jobs.run(connection, node, job, seconds=seconds),
        as_json=as_json,
        as_csv=as_csv,
    )


@app.command("collect")
def collect(
    run_name: Annotated[str, typer.Argument(metavar="RUN", help="As run prints it.")],
    *,
    home: Home = Path(),
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Take the table of a run, once its owner has released it, or once more."""
    from fusion.services import python_jobs

    _show(
        home,
        lambda connection, node: python_jobs.collect(connection, node, run_name),
        as_json=as_json,
        as_csv=as_csv,
    )


@app.command("history")
def history(*, home: Home = Path(), as_json: Json = False) -> None:
    """Show what was submitted, run and collected from this node, and what became of it."""
    from fusion.cli.answers import numbered
    from fusion.services import python_jobs
    from fusion.services.homes import NodeHome

    said = python_jobs.history(NodeHome.open(home))
    if as_json:
        output.document("fusion.python-history/1", {"lines": said})
        return
    rows = [
        [each["at"], each["verb"], each["dataset"], each["job"][:16], each["outcome"],
         each["code"], numbered(each), each["run"]]
        for each in said
    ]  # fmt: skip
    output.table(["at", "what", "dataset", "job", "outcome", "code", "no.", "run"], rows)


def _read(script: Path, returns: Path | None) -> tuple[str, Returns]:
    from fusion.errors import InputInvalid
    from fusion.grants.python_job import (
        MAX_SCRIPT_BYTES,
        check_script,
        header_of,
        parse_returns,
    )
    from fusion.wire.plain_yaml import MAX_WRITTEN_BYTES

    text = check_script(read_bounded(script, MAX_SCRIPT_BYTES))
    if returns is None:
        return text, header_of(text, str(script))
    try:
        written = read_bounded(returns, MAX_WRITTEN_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{returns} is not UTF-8 text.") from error
    return text, parse_returns(written, str(returns))


def _show(
    home: Path,
    ask: Callable[[Connection, NodeHome], Table | Held],
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection
    from fusion.services.python_messages import Held

    node = NodeHome.open(home)
    with Connection(node) as connection:
        found = ask(connection, node)
    if isinstance(found, Held):
        if as_json:
            output.document("fusion.python-result/1", {"state": "held", "run": found.run})
        else:
            output.result(found.run)
        output.note("the run is done; its owner looks at the table before it leaves")
        output.note(f"-> fusion python collect {found.run}")
        return
    if as_json:
        output.document("fusion.python-result/1", {"state": "released", **found.model_dump()})
    else:
        _rows(found.columns, found.rows, as_csv=as_csv)
    for each in found.notes:
        output.note(f"{each.message} {each.hint}".strip())


def _rows(columns: list[str], rows: list[list[Any]], *, as_csv: bool) -> None:
    if as_csv:
        from fusion.cli.answers import cell

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([cell(each) for each in columns])
        writer.writerows([[cell(each) for each in row] for row in rows])
        return
    output.table(columns, [["" if each is None else each for each in row] for row in rows])


python_review.register(app)
