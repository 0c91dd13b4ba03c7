"""``fusion align``: common records between nodes, and identifiers before that."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fusion.cli import output
from fusion.cli.files import check_writable
from fusion.errors import InputInvalid, PartyFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.services.homes import NodeHome

RUN = "run"


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
        Path | None,
        typer.Option(metavar="STUDY.toml", help="The study; see docs/alignment.md."),
    ] = None,
    home: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="The folder of the operator's node, else $FUSION_HOME or this one.",
        ),
    ] = Path(),
    job: Annotated[
        str, typer.Option("--follow", metavar="JOB", help="Follow one that was ordered before.")
    ] = "",
    stop: Annotated[
        str, typer.Option("--stop", metavar="JOB", help="End one at every party, and follow it.")
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Order it and return.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report of the run as HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Order an alignment at the operator's node, follow it, and print sizes.

    The verb may be left out: fusion align --study STUDY.toml.
    Every party decides by its own grants. Ctrl-C stops the watching, not the run.
    """
    from fusion.cli.runs import at_node, follow, take_up
    from fusion.services.homes import NodeHome

    check_writable(report)
    if (study is not None, job != "", stop != "").count(True) != 1:
        raise InputInvalid(
            "Name a study, or an alignment to follow or to stop.",
            hint="fusion align --study STUDY.toml",
        )
    node = NodeHome.open(home)
    with at_node(node, "align") as runs:
        job = take_up(runs, study=study, job=job, stop=stop, detach=detach, as_json=as_json)
        if not job:
            return
        follow(runs, job, "align")
        record = runs.record(job)
    _end(node, record, report, as_json=as_json)


def _end(node: NodeHome, record: Mapping[str, Any], report: Path | None, *, as_json: bool) -> None:
    """Print what an alignment came to; raise as the party did that ended it.

    Raises:
        InputInvalid: What was followed is no alignment.
        PartyFailed: A party ended it.
    """
    from fusion.cli.runs import write_report
    from fusion.reports.alignment import render
    from fusion.services.align_results import sizes_of

    done = record["status"] == "done"
    if done and record.get("kind") != "alignment":
        raise InputInvalid(
            f"{record.get('job')} is no alignment.",
            hint=f"fusion train --follow {record.get('job')}",
        )
    sizes = sizes_of(node, record) if done else {}
    if report is not None:
        write_report(report, render(record, sizes))
    if not done:
        raise PartyFailed(
            record["message"], code=record.get("code") or "F-002", exit_code=record["exit_code"]
        )
    if as_json:
        output.document("fusion.align/1", sizes)
        return
    found: list[tuple[str, object]] = [("job", sizes["job"]), ("outcome", sizes["outcome"])]
    found += [(f"records of {p['organisation']}", p["records"]) for p in sizes["parties"]]
    if sizes["common"] is not None:
        found.append(("common", sizes["common"]))
    output.facts(found)
    if sizes["report"] is not None:
        output.facts(facts(sizes["report"]))


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
    if "digits-lost" in report["invalid"]:
        output.note("digits-lost: a spreadsheet cut them; fill the column anew, formatted as text")


def facts(report: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return a report as names and values."""
    names = ("rows", "missing", "valid", "rewritten", "repeated_keys", "repeated_rows", "keys")
    found: list[tuple[str, object]] = [(name, report[name]) for name in names]
    invalid: Mapping[str, int] = report["invalid"]
    found[2:2] = [("invalid", sum(invalid.values())), *((f"  {k}", n) for k, n in invalid.items())]
    return found


def left_out(report: Mapping[str, Any]) -> str:
    """Return in a line what of a party's identifiers is not aligned; nothing if all are."""
    rows, invalid = report["rows"], report["invalid"]
    rejected = sum(invalid.values())
    if not (rejected or report["missing"] or report["repeated_rows"]):
        return ""
    said = []
    if rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in invalid.items())
        said.append(f"{rejected:,} rejected ({rejected / rows:.1%}: {reasons})")
    if report["missing"]:
        said.append(f"{report['missing']:,} missing ({report['missing'] / rows:.1%})")
    if report["repeated_rows"]:
        taken = "the first is taken" if report["duplicates"] == "first" else "none is taken"
        extra = f"{report['repeated_rows']:,} rows beyond their first"
        said.append(f"{report['repeated_keys']:,} keys on several rows ({extra}; {taken})")
    return f"of {rows:,} identifiers {'; '.join(said)}; {report['keys']:,} keys are aligned"
