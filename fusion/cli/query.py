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
    from fusion.services.query_messages import Accuracy, Left, Table

MAX_FILE_BYTES = 64 * 1024
_SUMS = {"count": "count", "entities": "count", "sum": "sum", "squares": "sum of squares"}
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
    rho_micro: Annotated[
        int | None, typer.Option(min=1, help="What to spend of a privacy budget, in millionths.")
    ] = None,
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
                connection, node, dataset, text,
                purpose=purpose, rows=rows, seconds=seconds, rho_micro=rho_micro,
            )  # fmt: skip
        except FusionError as error:
            if error.exit_code == 4:
                _show(text, getattr(error, "start", None))
            raise
        left = querying.budget(connection, dataset) if budget else []
    _print(table, as_json=as_json, as_csv=as_csv)
    _tell(table, explain=explain)
    for grant in left:
        output.note(_left(grant))


def _tell(table: Table, *, explain: bool) -> None:
    """Say what belongs to a table, on stderr."""
    for each in table.notes:
        output.note(f"{each.message} {each.hint}".strip())
    for accuracy in table.noise:
        output.note(_accurate(accuracy))
    if explain:
        output.note(f"query {table.job}, answered by policy {table.policy[:16]}")
        output.note(_explained(table))


def _left(grant: Left) -> str:
    text = f"grant {grant.grant[:16]}: {grant.runs} queries and {grant.rows} rows left"
    if grant.privacy is None:
        return text
    own, whole = grant.privacy.rho_micro, grant.privacy.dataset_rho_micro
    return f"{text}, {own} millionths of rho, of the dataset {whole}"


def _accurate(of: Accuracy) -> str:
    what = f"{of.column}: " if of.itself else f"{of.column}: made of a {_SUMS[of.of]} with "
    return f"{what}noise with a standard deviation of {of.sd:.6g}"


def _explained(table: Table) -> str:
    if not table.rho_micro:
        return "cells of fewer people than the policy's k are left out, others are rounded"
    if table.again:
        return f"released before, for {table.rho_micro} millionths of rho; cost none this time"
    return f"noise was added to every sum; spent {table.rho_micro} millionths of rho"


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
        writer.writerows([[_cell(each) for each in row] for row in table.rows])
    else:
        rows = [["" if each is None else each for each in row] for row in table.rows]
        output.table(table.columns, rows)


def _cell(value: Any) -> Any:  # noqa: ANN401 - a cell
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
    for each in left:
        if (own := each.privacy) is not None:
            at = f"at a delta of 1e-{own.delta_exponent}"
            output.note(
                f"grant {each.grant[:16]}: {own.rho_micro} millionths of rho left, an epsilon of "
                f"{own.epsilon_micro / 1e6:g} {at}; a query spends {own.usual_rho_micro} unless "
                f"it says. The dataset has {own.dataset_rho_micro} left, an epsilon of "
                f"{own.dataset_epsilon_micro / 1e6:g}"
            )
