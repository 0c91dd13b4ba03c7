"""``fusion query``: questions to data that stays with its owner, and what became of them."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.cli.options import Json, folder
from fusion.errors import FusionError, InputInvalid, PartyFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.services.node_link import Connection
    from fusion.services.query_messages import Left

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

Home = Annotated[Path, folder("the asking node")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="OWNER/ID",
        help="Of whom, and what it is called there; may be left out if grants are about one.",
    ),
]
Whose = Annotated[
    str | None,
    typer.Option(
        "--dataset", metavar="OWNER/ID", help="Whose; or the statement says: from OWNER/ID."
    ),
]
Purpose = Annotated[
    str | None,
    typer.Option(
        metavar="dpv:NAME", help="What for, as the grant has it; may be left out if they agree."
    ),
]
Rows = Annotated[
    int, typer.Option(min=1, max=100_000, help="Most rows; the grant is charged for them.")
]
Seconds = Annotated[int, typer.Option(min=1, max=300, help="For how long to wait.")]


@app.command(ASK)
def ask(  # noqa: PLR0913 - each is an option
    statement: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT, or nothing with --file.")
    ] = None,
    *,
    dataset: Whose = None,
    purpose: Purpose = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE.sql", help="Holds the statement.")
    ] = None,
    rows: Rows = 100,
    seconds: Seconds = 60,
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
    from fusion.cli import answers
    from fusion.services import addressing, querying
    from fusion.services.clock import SystemClock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    text = _statement(statement, file)
    node = NodeHome.open(home)
    found = addressing.addresses(text)
    dataset = addressing.dataset_of(found, dataset)
    purpose = purpose or addressing.purpose_of(node, dataset, SystemClock().now())
    with Connection(node) as connection:
        text = addressing.with_tables(text, found, partial(querying.describe, connection, dataset))
        try:
            with _interruptible(connection, dataset), output.waiting("asking"):
                table = querying.query(
                    connection, node, dataset, text,
                    purpose=purpose, rows=rows, seconds=seconds, rho_micro=rho_micro,
                )  # fmt: skip
        except FusionError as error:
            if isinstance(error, PartyFailed) and error.exit_code == 4:
                answers.show_refused(text, getattr(error, "start", None))
            raise
        left = querying.budget(connection, dataset) if budget else []
        described = querying.describe(connection, dataset) if explain else None
    answers.show_table(table, "json" if as_json else "csv" if as_csv else "table")
    if described is not None:
        answers.show_explained(table, described)
    for grant in left:
        answers.show_grant(grant)


@contextmanager
def _interruptible(connection: Connection, dataset: str) -> Iterator[None]:
    """Say what a query was charged that somebody at a terminal gives up, as the shell does."""
    from fusion.cli import answers

    before = _left(connection, dataset) if sys.stdin.isatty() else None
    try:
        yield
    except KeyboardInterrupt:
        after = None if before is None else _left(connection, dataset)
        answers.show_interrupted(before, after)
        raise


def _left(connection: Connection, dataset: str) -> list[Left] | None:
    from fusion.services import querying

    try:
        return querying.budget(connection, dataset)
    except FusionError:
        return None


def _statement(statement: str | None, file: Path | None) -> str:
    if (statement is None) == (file is None):
        raise InputInvalid(
            "A question is either written out or in a file.",
            hint='fusion query "select ..." or fusion query --file q.sql',
        )
    from fusion.services.statements import one

    if file is None:
        return one(statement or "")
    try:
        return one(read_bounded(file, MAX_FILE_BYTES).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{file} is not UTF-8 text.") from error


@app.command("history")
def history(*, home: Home = Path(), as_json: Json = False) -> None:
    """Show what was asked from this node, and whether it was answered, refused or failed."""
    from fusion.cli import answers
    from fusion.services import querying
    from fusion.services.homes import NodeHome

    said = querying.history(NodeHome.open(home))
    if as_json:
        output.document("fusion.query-history/1", {"queries": said})
        return
    answers.show_history(said)


@app.command("budget")
def budget(
    *,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="OWNER/ID", help="Of this one; else of all that grants are about."
        ),
    ] = None,
    home: Home = Path(),
    as_json: Json = False,
) -> None:
    """Show what each grant has left, as its owner's node counts it."""
    from fusion.cli import answers
    from fusion.services import addressing, querying
    from fusion.services.clock import SystemClock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    node = NodeHome.open(home)
    wanted = [dataset] if dataset else addressing.datasets_granted(node, SystemClock().now())
    left: list[Left] = []
    of: list[str] = []
    failed = 0
    with Connection(node) as connection:
        for each in wanted:
            try:
                found = querying.budget(connection, each)
            except FusionError as error:
                if len(wanted) == 1:
                    raise
                # The others' are shown all the same.
                output.note(f"{each}: {error.code}: {error.message}")
                failed = failed or error.exit_code
                continue
            left += found
            of += [each] * len(found)
    if as_json:
        grants = [{"dataset": each, **one.model_dump()} for each, one in zip(of, left, strict=True)]
        output.document("fusion.query-budget/1", {"grants": grants})
    else:
        answers.show_left(left, () if dataset else of)
    if failed:
        raise typer.Exit(failed)


@app.command("describe")
def describe(*, dataset: Dataset = None, home: Home = Path(), as_json: Json = False) -> None:
    """Show what may be asked about: tables, columns, bounds and functions, as the policy has them.

    Only columns that a grant of this organisation names. Nothing of it depends on the data.
    """
    from fusion.cli import answers
    from fusion.services import addressing, querying
    from fusion.services.clock import SystemClock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    node = NodeHome.open(home)
    dataset = dataset or addressing.only_dataset(node, SystemClock().now())
    with Connection(node) as connection:
        described = querying.describe(connection, dataset)
    if as_json:
        content = {"dataset": dataset, **described.model_dump(by_alias=True)}
        output.document("fusion.query-description/1", content)
        return
    answers.show_columns(described)
    output.result("")
    output.result(f"functions: {', '.join(described.functions)}")
    output.note(
        f"policy {described.policy[:16]}: cells of fewer than {described.k} are left out, counts "
        f"are multiples of {described.base}"
    )


@app.command("shell")
def shell(
    *,
    dataset: Dataset = None,
    purpose: Purpose = None,
    rows: Rows = 100,
    seconds: Seconds = 60,
    home: Home = Path(),
) -> None:
    """Ask one question after the other, with history and completion; a backslash begins a command.

    At a terminal Ctrl-C gives a running query up, Ctrl-D leaves. Without one, statements from
    stdin run one after the other; the exit code is 4 if any was refused.
    """
    from fusion.cli.shell import MAX_PENDING, Shell, run_piped
    from fusion.services import addressing
    from fusion.services.clock import SystemClock
    from fusion.services.homes import NodeHome
    from fusion.services.query_session import Session, typed_file

    node, now = NodeHome.open(home), SystemClock().now()
    dataset = dataset or addressing.only_dataset(node, now)
    purpose = purpose or addressing.purpose_of(node, dataset, now)
    attended = sys.stdin.isatty()
    with Session(node, dataset, purpose, seconds) as session:
        asking = Shell(session, rows=rows, attended=attended)
        if not attended:
            lines = iter(lambda: sys.stdin.readline(MAX_PENDING + 1), "")
            raise typer.Exit(run_piped(asking, lines))
        from fusion.cli import terminal

        described = asking.describe()
        output.note(
            f"policy {described.policy[:16]}; \\d shows what may be asked about, \\? the rest"
        )
        terminal.run(asking, dataset, typed_file(node))
