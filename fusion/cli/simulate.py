"""``fusion simulate``: try a study with all parties in one process before deploying it."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusion.cli import output
from fusion.cli.align import (
    Duplicates,
    DuplicatesOption,
    FoldOption,
    Kind,
    KindOption,
    facts,
    left_out,
)
from fusion.cli.files import check_writable
from fusion.cli.runs import read_study
from fusion.cli.train import finish
from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from fusion.grants.leakage import Limits

app = typer.Typer(help="Try a study with all parties in one process.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Try a study with all parties in one process; nothing leaves this machine."""


@app.command("horizontal")
def horizontal(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study.")],
    *,
    party: Annotated[
        list[str],
        typer.Option(metavar="[ID=]FILE", help="One party's table; its name is the party's id."),
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The label, if not the study's.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report of the run as HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run the whole protocol, with a key of its own, over tables with the same columns."""
    from fusion.cli.live import TrainingView
    from fusion.services import engines

    check_writable(report)
    text = read_study(study)
    parties = [_party(item) for item in party]
    names = [name for name, _ in parties]
    if len(set(names)) != len(names):
        raise InputInvalid("Two parties have the same id.", hint="Write --party ID=FILE.")
    with TrainingView() as view:
        record = engines.training().simulate(
            text, str(study), parties, label=label, on_event=view.feed
        )
    finish(record, report=report, as_json=as_json)
    raise typer.Exit(view.progress.exit_code)


class Outcome(StrEnum):
    """Who learns, and what."""

    ONE = "one"
    BOTH = "both"
    SIZE = "size"


@app.command("align")
def align(  # noqa: PLR0913 - options
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="The first party's file.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="The second party's file.")],
    *,
    column: Annotated[str, typer.Option("--id", metavar="NAME", help="The identifiers.")],
    kind: KindOption,
    outcome: Annotated[
        Outcome,
        typer.Option(help="The first learns which are common, both do, or how many there are."),
    ] = Outcome.ONE,
    duplicates: DuplicatesOption = Duplicates.REFUSE,
    fold: FoldOption = False,
    minimum_intersection: Annotated[
        int, typer.Option(metavar="COUNT", min=0, help="Fewer common records are not released.")
    ] = 0,
    minimum_overlap: Annotated[
        int,
        typer.Option(metavar="PERMILLE", min=0, max=1000, help="Common share of the larger set."),
    ] = 0,
    workers: Annotated[
        int | None,
        typer.Option(metavar="COUNT", min=1, max=256, help="Threads or processes."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the common records of two files as two organisations would, and what it costs."""
    from fusion.services import alignment

    wanted = alignment.Wanted(
        outcome=outcome.value,
        minimum_intersection=minimum_intersection,
        minimum_overlap_permille=minimum_overlap,
        workers=workers,
    )
    read = alignment.Column(column, kind.value, duplicates.value, fold)
    with output.progress("align") as show:
        found = alignment.simulate((first, second), read, wanted, show)
    if as_json:
        output.document("fusion.simulate-align/1", found)
        return
    for party in found["parties"]:
        output.result(f"{party['file']}")
        output.facts([(f"  {name}", value) for name, value in facts(party["report"])])
    seconds, size = found["seconds"], sum(found["bytes"].values())
    output.facts(
        [
            ("common", found["common"]),
            ("seconds", f"{seconds['total']} ({seconds['cpu']} of processors)"),
            ("bytes", f"{size:,}"),
        ]
    )


Model = Literal["boosting", "logistic", "linear", "poisson", "scorecard"]
Backend = Literal["paillier", "dealer", "plain"]
BackendOption = Annotated[
    Backend | None,
    typer.Option(
        help="How columns stay hidden: paillier for boosting, dealer for the others, if left "
        "out; plain hides nothing.",
    ),
]
IdKindOption = Annotated[Kind, typer.Option("--id-kind", help="How identifiers are written.")]
ShareOption = Annotated[float, typer.Option(metavar="SHARE", help="Rows that judge the model.")]
SeedOption = Annotated[
    int, typer.Option(metavar="N", help="Names the split and samples; 0 to 2^53 - 1.")
]
PositiveOption = Annotated[
    str | None,
    typer.Option(metavar="VALUE", help="The label's value that counts as 1; all others are 0."),
]
WordsOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="A column of words, also where cells look like numbers."),
]
TreesOption = Annotated[int | None, typer.Option(metavar="N", help="Trees of boosting.")]
DepthOption = Annotated[int | None, typer.Option(metavar="N", help="Levels of a tree.")]
BinsOption = Annotated[int | None, typer.Option(metavar="N", help="Quantile bins a column.")]
RateOption = Annotated[
    float | None, typer.Option(metavar="RATE", help="Of trees, or of a linear model's steps.")
]
EpochsOption = Annotated[int | None, typer.Option(metavar="N", help="Steps of a linear model.")]
L2Option = Annotated[
    float | None, typer.Option(metavar="PENALTY", help="On leaves, or on a linear model's weights.")
]
LeafOption = Annotated[
    int | None, typer.Option(metavar="ROWS", help="Fewest rows on each side of a split.")
]
GossOption = Annotated[
    str | None,
    typer.Option(
        metavar="TOP:OTHER",
        help="Train each tree on the share TOP with the largest gradients and OTHER of the rest.",
    ),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Stop after so many trees that judge no better."),
]
MonotoneOption = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN:+|-", help="Larger values may only raise, or lower, the score."),
]
LeakOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the leak report: JSON, or a page if the name ends in .html."
    ),
]
MembersOption = Annotated[
    int | None,
    typer.Option(
        metavar="PERMILLE", min=1, max=1000, help="Most that the model may tell of who trained it."
    ),
]
LabelsOption = Annotated[
    int | None,
    typer.Option(
        metavar="PERMILLE", min=1, max=1000, help="Most that training may tell a party of labels."
    ),
]
SmallestOption = Annotated[
    int | None, typer.Option(metavar="ROWS", min=1, help="Fewest rows that a weight may rest on.")
]


@app.command("vertical")
def vertical(  # noqa: PLR0913 - each is an option
    *,
    label_party: Annotated[
        str, typer.Option(metavar="[ID=]FILE", help="The table of the party with the label.")
    ],
    party: Annotated[list[str], typer.Option(metavar="[ID=]FILE", help="Another party's table.")],
    identifier: Annotated[
        str, typer.Option("--id", metavar="COLUMN", help="The identifier that all have.")
    ],
    kind: IdKindOption = Kind.TEXT,
    duplicates: DuplicatesOption = Duplicates.REFUSE,
    fold: FoldOption = False,
    label: Annotated[str, typer.Option(metavar="COLUMN", help="The label.")],
    positive: PositiveOption = None,
    words: WordsOption = None,
    model: Annotated[Model, typer.Option(help="What to train.")] = "boosting",
    backend: BackendOption = None,
    test_fraction: ShareOption = 0.2,
    seed: SeedOption = 0,
    trees: TreesOption = None,
    depth: DepthOption = None,
    bins: BinsOption = None,
    learning_rate: RateOption = None,
    epochs: EpochsOption = None,
    l2: L2Option = None,
    min_leaf: LeafOption = None,
    goss: GossOption = None,
    patience: PatienceOption = None,
    monotone: MonotoneOption = None,
    leak_report: LeakOption = None,
    membership_permille: MembersOption = None,
    label_leak_permille: LabelsOption = None,
    smallest_leaf: SmallestOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train over columns that stay apart, beside the label party alone and the pooled table."""
    from fusion.services import alignment, engines

    check_writable(leak_report)
    options = {
        "backend": backend, "test_fraction": test_fraction, "seed": seed, "trees": trees,
        "depth": depth, "bins": bins, "learning_rate": learning_rate, "epochs": epochs,
        "l2": l2, "min_leaf": min_leaf, "patience": patience, "goss": _shares(goss),
        "monotone": dict(map(_direction, monotone or ())),
        "positive": positive, "words": words or (),
    }  # fmt: skip
    column = alignment.Column(identifier, kind.value, duplicates.value, fold)
    asked = {
        "label_party": _party(label_party), "parties": [_party(item) for item in party],
        "identifier": column, "label": label, "model": model, "options": options,
        "limits": _limits(membership_permille, label_leak_permille, smallest_leaf),
    }  # fmt: skip
    with output.progress("training") as tell:
        found = engines.training().try_vertical(asked, tell)
    _tell(found, leak_report, as_json=as_json)


def _tell(found: dict[str, Any], leak_report: Path | None, *, as_json: bool) -> None:
    """Print what a vertical study gave, and write its leak report: a file can fail."""
    for option in found["unused"]:
        output.note(f"--{option} is left aside: {found['model']} has none")
    if as_json:
        output.document("fusion.simulate-vertical/1", found)
    else:
        _show(found)
    if leak_report is not None:
        _write_leak(leak_report, found)


def _show(found: dict[str, Any]) -> None:
    """Print what a vertical study gave, for people."""
    from fusion.reports.leakage import lines as leakage_lines

    rows = [
        (name, *(_number(found[key][part]) for part in ("train", "test")))
        for name, key in (
            ("joint", "auc"),
            (f"{found['parties'][0]} alone", "auc_label_party_alone"),
            ("pooled", "auc_pooled"),
        )
    ]
    output.table((found["metric"], "train", "test"), rows)
    seconds, sent = found["seconds"], found["bytes"]["total"]
    output.note(
        f"{found['rows_aligned']} rows aligned, {found['model']} with {found['backend']}: "
        f"{seconds['train']:.1f} s, {sent / 1e6:.1f} MB between the parties"
    )
    for party, report in found["identifiers"].items():
        if words := left_out(report):
            output.note(f"{party}: {words}")
    for party, columns in found["columns"].items():
        output.note(f"{party}: {_read_as(columns)}")
    for line in leakage_lines(found["leak"]):
        output.note(line)
    for each in found["notes"]:
        output.note(f"{each['party']}: {each['says']}" if each["party"] else each["says"])


def _read_as(columns: dict[str, dict[str, Any]]) -> str:
    """Return in words how a party's columns were read."""
    said = []
    for kind in ("numbers", "words"):
        names = [name for name, each in columns.items() if each["read_as"] == kind]
        if names:
            said.append(f"{kind} are {', '.join(names)}")
    for fact, words in (
        ("missing_marks", "cells read as missing"),
        ("full_width_numbers", "full-width numbers"),
    ):
        counts = [f"{name} {each[fact]}" for name, each in columns.items() if each[fact]]
        if counts:
            said.append(f"{words}: {', '.join(counts)}")
    return "; ".join(said) or "no column to train on"


def _limits(members: int | None, labels: int | None, leaf: int | None) -> Limits:
    """Return what a leak report is held to."""
    from fusion.grants.leakage import Limits

    return Limits(membership_permille=members, label_leak_permille=labels, smallest_leaf=leaf)


def _write_leak(file: Path, found: dict[str, Any]) -> None:
    """Write a leak report as JSON, or as a page.

    Raises:
        EnvironmentUnfit: It can't be written.
    """
    import json

    from fusion.reports import leakage
    from fusion.services.files import write_atomic

    told = found["leak"]
    if file.suffix.lower() == ".html":
        text = leakage.page(told["report"], told["verdict"])
    else:
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
    write_atomic(file, text.encode(), 0o644)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _shares(text: str | None) -> tuple[float, float] | None:
    """Read ``TOP:OTHER``."""
    if text is None:
        return None
    top, _, other = text.partition(":")
    try:
        return float(top), float(other)
    except ValueError:
        raise InputInvalid(
            f"--goss {text} is not two shares.", hint="Write --goss 0.2:0.1."
        ) from None


def _direction(text: str) -> tuple[str, int]:
    """Read ``COLUMN:+`` or ``COLUMN:-``."""
    name, _, sign = text.rpartition(":")
    if not name or sign not in {"+", "-"}:
        raise InputInvalid(
            f"--monotone {text} has no direction.", hint="Write --monotone COLUMN:+ or COLUMN:-."
        )
    return name, 1 if sign == "+" else -1


def _party(text: str) -> tuple[str, Path]:
    """Read ``ID=FILE`` or ``FILE``."""
    name, mark, file = text.partition("=")
    path = Path(file if mark else text)
    return (name if mark else path.stem.lower()), path
