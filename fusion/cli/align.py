"""``fusion align``: identifiers before anything is compared with anybody."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

app = typer.Typer(help="Find common records without showing the others.", no_args_is_help=True)


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
