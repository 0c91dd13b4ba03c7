"""``fusion query``: questions to data that stays with its owner, and what became of them."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.errors import FusionError, InputInvalid

if TYPE_CHECKING:
    from fusion.services.query_messages import Table

MAX_FILE_BYTES = 64 * 1024
ASK = "ask"


class _AskByDefault(TyperGroup):
    """``fusion query "select ..."`` is ``fusion query ask "select ..."``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click's, which typer brings
        """Take what is no verb for a statement."""
        if args and self.get_command(ctx, args[0]) is None:
            args = [ASK, *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - as above
        """Take options without a verb for those of a question."""
        if args and args[0].startswith("-") and args[0] not in {"--help", "-h"}:
            args = [ASK, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_AskByDefault,
    help="Ask questions of data that stays with its owner; only released tables come back.",
    no_args_is_help=True,
)

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help="The folder of the asking node, else $FUSION_HOME or this one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Dataset = Annotated[
    str, typer.Option("--dataset", metavar="OWNER/ID", help="Of whom, and what it is called there.")
]


@app.command(ASK)
def ask(  # noqa: PLR0913 - each is an option
    statement: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT, or nothing with --file.")
    ] = None,
    *,
    dataset: Dataset,
    purpose: Annotated[
        str, typer.Option(metavar="dpv:NAME", help="What for, as the grant has it.")
    ],
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE.sql", help="Holds the statement.")
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, max=100_000, help="Most rows; the grant is charged for them.")
    ] = 100,
    seconds: Annotated[int, typer.Option(min=1, max=300, help="For how long to wait.")] = 60,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how the answer came about, on stderr.")
    ] = False,
    budget: Annotated[
        bool, typer.Option("--budget", help="Say what is left of the grants, on stderr.")
    ] = False,
    home: Home = Path(),
) -> None:
    """Ask one question; a refusal is shown below the statement, with what would pass.

    The verb may be left out: fusion query "select ..." asks.
    """
    from fusion.services import querying
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    text = _statement(statement, file)
    node = NodeHome.open(home)
    with Connection(node) as connection:
        try:
            table = querying.query(
                connection, node, dataset, text, purpose=purpose, rows=rows, seconds=seconds
            )
        except FusionError as error:
            if error.exit_code == 4:
                _show(text, getattr(error, "start", None))
            raise
        left = querying.budget(connection, dataset) if budget else []
    _print(table, as_json=as_json, as_csv=as_csv)
    for each in table.notes:
        output.note(f"{each.message} {each.hint}".strip())
    if explain:
        output.note(f"query {table.job}, answered by policy {table.policy[:16]}")
        output.note("cells of fewer people than the policy's k are left out, others are rounded")
    for grant in left:
        output.note(f"grant {grant.grant[:16]}: {grant.runs} queries and {grant.rows} rows left")


def _statement(statement: str | None, file: Path | None) -> str:
    if (statement is None) == (file is None):
        raise InputInvalid(
            "A question is either written out or in a file.",
            hint='fusion query "select ..." or fusion query --file q.sql',
        )
    if file is None:
        return statement or ""
    try:
        return read_bounded(file, MAX_FILE_BYTES).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{file} is not UTF-8 text.") from error


def _show(statement: str, start: int | None) -> None:
    """Show a statement with its lines numbered, and a mark under what a refusal is about."""
    passed = 0
    for number, line in enumerate(statement.splitlines(keepends=True), 1):
        output.note(f"{number:>4} | {line.rstrip()}")
        if start is not None and passed <= start < passed + len(line):
            output.note(f"     | {' ' * (start - passed)}^")
        passed += len(line)


def _print(table: Table, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        content = table.model_dump()
        output.document("fusion.query-result/1", content)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([[cell(each) for each in row] for row in table.rows])
    else:
        rows = [["" if each is None else each for each in row] for row in table.rows]
        output.table(table.columns, rows)


def cell(value: Any) -> Any:  # noqa: ANN401 - a cell
    """Return a cell of a CSV file that no spreadsheet computes."""
    # A spreadsheet takes such a text for a formula.
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value


@app.command("history")
def history(*, home: Home = Path(), as_json: Json = False) -> None:
    """Show what was asked from this node, and whether it was answered, refused or failed."""
    from fusion.services import querying
    from fusion.services.homes import NodeHome

    said = querying.history(NodeHome.open(home))
    if as_json:
        output.document("fusion.query-history/1", {"queries": said})
        return
    rows = [
        [each["at"], each["dataset"], each["outcome"], each["code"], each["statement"]]
        for each in said
    ]
    output.table(["at", "dataset", "outcome", "code", "statement"], rows)


@app.command("budget")
def budget(*, dataset: Dataset, home: Home = Path(), as_json: Json = False) -> None:
    """Show what each grant has left, as its owner's node counts it."""
    from fusion.services import querying
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    with Connection(NodeHome.open(home)) as connection:
        left = querying.budget(connection, dataset)
    if as_json:
        output.document("fusion.query-budget/1", {"grants": [each.model_dump() for each in left]})
        return
    rows = [[each.grant[:16], each.runs, each.rows, each.not_after] for each in left]
    output.table(["grant", "queries", "rows", "until"], rows)
