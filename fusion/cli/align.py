"""``fusion align``: common records between nodes, and identifiers before that."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fusion.cli import output
from fusion.cli.files import read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.services.align_jobs import State
    from fusion.services.aligning import Result

RUN = "run"
MAX_STUDY_BYTES = 1 << 20


class _RunByDefault(TyperGroup):
    """``fusion align --study S`` is ``fusion align run --study S``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's, which typer brings
        """Take options without a verb for those of a run."""
        return super().parse_args(ctx, self.with_verb(args))

    @staticmethod
    def with_verb(args: list[str]) -> list[str]:
        """Return arguments that begin with a verb."""
        bare = bool(args) and args[0].startswith("-") and args[0] not in {"--help", "-h"}
        return [RUN, *args] if bare else args


app = typer.Typer(
    cls=_RunByDefault, help="Find common records without showing the others.", no_args_is_help=True
)


class Kind(StrEnum):
    """Kinds of identifiers."""

    RESIDENT_ID = "resident_id"
    USCC = "uscc"
    PHONE = "phone"
    TEXT = "text"


class Duplicates(StrEnum):
    """What is done about a key on several rows."""

    REFUSE = "refuse"
    FIRST = "first"
    UNIQUE_ONLY = "unique-only"


KindOption = Annotated[Kind, typer.Option("--kind", help="How the identifiers are written.")]
DuplicatesOption = Annotated[
    Duplicates, typer.Option("--duplicates", help="What to do about a key on several rows.")
]
FoldOption = Annotated[
    bool, typer.Option("--fold", help="Of text: upper and lower case are the same.")
]


@app.callback()
def _group() -> None:
    """Find common records without showing the others."""


@app.command(RUN)
def run(
    *,
    study: Annotated[
        Path, typer.Option(metavar="STUDY.toml", help="The study; see docs/alignment.md.")
    ],
    home: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="The folder of the operator's node, else $FUSION_HOME or this one.",
        ),
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Order an alignment at the operator's node, follow it, and print sizes.

    The verb may be left out: fusion align --study STUDY.toml.
    Every party decides by its own grants. Ctrl-C ends it at every party.
    """
    from fusion.services.aligning import Operator
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

    node = NodeHome.open(home)
    text = read_bounded(study, MAX_STUDY_BYTES).decode("utf-8", "replace")
    with Connection(node) as connection:
        operator = Operator(node, connection, text, str(study))
        with output.progress("align") as show:
            # An interrupt ends it here, and at every party.
            result = operator.run(threading.Event(), lambda states: show(_progress(states)))
    _show(result, as_json=as_json)


def _progress(states: Mapping[str, State]) -> str:
    """Return how far each party is, in one line."""
    return ", ".join(
        f"{name} {state.status}"
        + (f" ({state.took} in, {state.gave} out)" if state.status == "running" else "")
        for name, state in states.items()
    )


def _show(result: Result, *, as_json: bool) -> None:
    document = result.document()
    if as_json:
        output.document("fusion.align/1", document)
        return
    found: list[tuple[str, object]] = [("job", result.job), ("outcome", result.outcome)]
    found += [(f"records of {name}", state.records) for name, state in result.states.items()]
    if document["common"] is not None:
        found.append(("common", document["common"]))
    output.facts(found)
    if result.report is not None:
        output.facts(facts(result.report))


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file.")],
    *,
    column: Annotated[str, typer.Option(metavar="NAME", help="The column of identifiers.")],
    kind: KindOption,
    duplicates: DuplicatesOption = Duplicates.REFUSE,
    fold: FoldOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Count valid, invalid, missing and repeated identifiers of a column. Nothing leaves."""
    from fusion.services import alignment

    wanted = alignment.Column(column, kind.value, duplicates.value, fold)
    report = alignment.check(file, wanted).report.document()
    if as_json:
        output.document("fusion.align-check/1", {"file": file.name, "column": column, **report})
        return
    output.facts(facts(report))
    if duplicates is Duplicates.REFUSE and report["repeated_keys"]:
        output.note("keys on several rows: an alignment is refused (A-10) unless --duplicates says")


def facts(report: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return a report as names and values."""
    names = ("rows", "missing", "valid", "rewritten", "repeated_keys", "repeated_rows", "keys")
    found: list[tuple[str, object]] = [(name, report[name]) for name in names]
    invalid: Mapping[str, int] = report["invalid"]
    found[2:2] = [("invalid", sum(invalid.values())), *((f"  {k}", n) for k, n in invalid.items())]
    return found
