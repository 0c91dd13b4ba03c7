"""``fusion policy``: what an owner lets be asked, and trying that before anybody else does."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.files import check_new, read_bounded
from fusion.cli.options import Json
from fusion.errors import InputInvalid

app = typer.Typer(
    help="Write, show, check and try the policy of restricted queries.",
    no_args_is_help=True,
)
MAX_FILE_BYTES = 64 * 1024 * 1024
_LISTED = 10
"""Most values of a column that are shown."""
_SHOWN = 20
"""Most rows of a table that are shown where there are many tables."""
FAILED = 1

File = Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The policy as it was written.")]
Keeper = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="URI",
        help="PostgreSQL, with the role that freezes tables; used now and kept nowhere: "
        "postgresql://USER@HOST/DATABASE, @FILE or env:NAME. Or Spark: spark+parquet:///FOLDER.",
    ),
]
Reader = Annotated[
    str,
    typer.Option(
        "--reader",
        metavar="URI",
        help="The same database, with the role that only reads; kept by the node.",
    ),
]


def _text(path: Path) -> str:
    try:
        return read_bounded(path, MAX_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputInvalid(f"{path} is not UTF-8 text.") from error


@app.command("init")
def init(
    file: Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The file to write.")],
) -> None:
    """Write a policy to begin with: two tables about people, one public, ACRO's defaults."""
    from fusion.services import engines
    from fusion.services.files import write_atomic

    check_new(file)
    write_atomic(file, engines.queries().policy_template().encode(), 0o644)
    output.note(f"written to {file}")


@app.command("show")
def show(file: File, *, as_json: Json = False) -> None:
    """Show which tables and columns can be asked about, and the rules of release."""
    found = _checked(file)
    if as_json:
        output.document("fusion.policy-status/1", found)
        return
    policy = found["policy"]
    output.facts(
        [
            ("title", policy["title"]),
            ("digest", found["digest"]),
            ("mode", policy["mode"]),
            *(_noisy(policy) if policy["mode"] == "dp" else _rounded(policy["release"])),
            ("rows", f"at most {policy['release']['rows']}"),
            ("functions", ", ".join(policy["functions"] or ["all that are listed"])),
        ]
    )
    rows = [
        [f"{table}.{name}", column["class"], column.get("type", column["class"]), _values(column)]
        for table, what in policy["tables"].items()
        for name, column in what["columns"].items()
    ]
    output.result("")
    output.table(["column", "class", "type", "values"], rows)


def _rounded(release: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("k", release["k"]),
        ("dominance", _dominance(release)),
        ("counts", f"rounded to {release['base']}"),
        ("sums", _sums(release)),
        ("conditions", _conditions(release)),
        ("noise", f"standard deviation {release['noise']['sd_milli'] / 1000:g}"),
    ]


def _conditions(release: dict[str, Any]) -> str:
    if release["conditions"] == "exact":
        return "know numbers as they are"
    return "know no more of a number than its bin, where it has one"


def _noisy(policy: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what holds under mode ``dp``, in place of the rules of release."""
    budget = policy["budget"]
    usual = budget["query_rho_micro"] or "a hundredth of a grant's"
    spent = (
        f"in millionths of rho: a grant {budget['grant_rho_micro']}, the dataset "
        f"{budget['dataset_rho_micro']}, a query {usual} unless it says"
    )
    return [
        ("budget", spent),
        ("groups", f"one entity counts in at most {budget['contributions']}"),
    ]


def _dominance(release: dict[str, Any]) -> str:
    rule = release["dominance"]
    share = f"{rule['n']} hold less than {rule['percent']} %" if rule else "no (n, k) rule"
    return f"{share}; p % {release['p_percent'] or 'off'}"


def _sums(release: dict[str, Any]) -> str:
    if release["sums"] == "none":
        return "not rounded"
    return f"rounded to {release['base']} largest contributions"


def _values(column: dict[str, Any]) -> str:
    """Return what is said of a column's values: those listed, bounds, and what holds for them."""
    low, high = column.get("low"), column.get("high")
    said = []
    if listed := column.get("values"):
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        said.append(", ".join(map(str, listed[:_LISTED])) + more)
    elif low is not None and column["class"] != "public":
        said.append(f"{low} to {high}")
    if column.get("bin") is not None:
        said.append(f"bin {column['bin']}")
    if "finest" in column:
        said.append(f"by {column['finest']} at the finest")
    said += [word for word in ("complete", "sensitive") if column.get(word)]
    return "; ".join(said)


@app.command("check")
def check(file: File, *, as_json: Json = False) -> None:
    """Check a policy, and say what in it protects less than ACRO's defaults."""
    found = _checked(file)
    if as_json:
        output.document("fusion.policy-status/1", found)
        return
    output.result(f"{file} is a policy, digest {found['digest']}")
    for warning in found["warnings"]:
        output.note(warning)


def _checked(file: Path) -> dict[str, Any]:
    from fusion.services import engines

    return engines.queries().policy(_text(file), str(file))


@app.command("try")
def try_policy(
    file: File,
    *,
    statements: Annotated[
        Path, typer.Option("--file", metavar="FILE.sql", help="One statement a line.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="A Parquet or CSV file for each table, or FILE.duckdb."
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="URI",
            help="postgresql://USER@HOST/DATABASE or spark+parquet:///FOLDER; @FILE, env:NAME.",
        ),
    ] = "",
    execute: Annotated[
        bool, typer.Option("--execute", help="Run what is accepted; show what would leave.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say of each statement whether the policy answers it, by which rule not, and what leaves.

    In the file, lines that begin with -- are comments; -- [class] sets the class of what follows.
    For owners: it runs in this process, without the isolation that queries of others get. The exit
    code is 1 if a statement that the policy answers failed; refusals are what was asked about.
    """
    from fusion.services import engines

    found = engines.queries().try_policy(
        _text(file), str(file), _text(statements), data, execute=execute, source=source
    )
    failed = FAILED if found["counts"]["error"] else 0
    if as_json:
        output.document("fusion.policy-try/1", found)
        raise typer.Exit(failed)
    for warning in found["warnings"]:
        output.note(warning)
    rows = [
        [each["line"], each["verdict"], each["code"], each["message"] or _size(each)]
        for each in found["statements"]
    ]
    output.table(["line", "verdict", "rule", "why"], rows)
    for each in found["statements"]:
        _show_tried(each)
        for note in each.get("notes", []):
            output.note(f"line {each['line']}: {note}")
    counts = found["counts"]
    output.note(
        f"{counts['accepted']} accepted, {counts['refused']} refused, {counts['error']} errors"
    )
    raise typer.Exit(failed)


def _show_tried(verdict: dict[str, Any]) -> None:
    """Print what would leave of a statement that was run."""
    if not verdict.get("columns"):
        return
    rows = [["" if cell is None else cell for cell in row] for row in verdict["rows"]]
    output.result(f"\nline {verdict['line']}")
    output.table(verdict["columns"], rows[:_SHOWN])
    if len(rows) > _SHOWN:
        output.result(f"and {len(rows) - _SHOWN} more rows: --json has them")


def _size(verdict: dict[str, Any]) -> str:
    return f"{len(verdict['rows'])} rows" if "rows" in verdict else ""


@app.command("add")
def add(
    file: File,
    *,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="ID", help="The dataset of this node.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="A Parquet or CSV file for each table, or FILE.duckdb; else the dataset's own "
            "file is the table.",
        ),
    ] = None,
    source: Keeper = "",
    reader: Reader = "",
    home: Annotated[
        Path,
        typer.Option(
            "--home",
            metavar="DIR",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="The node's folder, else $FUSION_HOME or this one.",
        ),
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Attach a policy to a dataset: sign it, and freeze the tables that are asked about.

    Attach it again after the data has changed: a query sees the tables as they were then.
    """
    from fusion.services import engines
    from fusion.services.homes import NodeHome

    node = NodeHome.open(home)
    if source:
        output.note("freezing the tables where they are, which takes as long as copying them there")
    found = engines.queries().attach_policy(
        node, _text(file), str(file), dataset, data, source=source, reader=reader
    )
    if as_json:
        output.document("fusion.policy-attached/1", found)
        return
    _say_attached(found)


def _say_attached(found: dict[str, Any]) -> None:
    output.facts(
        [
            ("dataset", found["dataset"]),
            ("revision", found["revision"]),
            ("policy", found["digest"]),
            ("schema digest", found["schema_digest"]),
            ("columns", ", ".join(found["columns"])),
            ("people", found["people"]),
        ]
    )
    if found["tables"]:
        rows = [
            [name, each["rows"], each["left_out"], sum(each["unread"].values())]
            for name, each in found["tables"].items()
        ]
        output.result("")
        output.table(["table", "rows", "left out", "cells not read"], rows)
    for warning in found["warnings"]:
        output.note(warning)
    if found["unchanged"]:
        output.note(
            "policy and tables are those that were attached: the revision stays, with what was "
            "released in it"
        )
    output.note("a grant for queries names this schema digest and these columns")
    if found["revision"] == 1:
        output.note("a node that is up answers queries from now on, if work can be confined there")


@app.command("source-sql")
def source_sql(
    file: File,
    *,
    database: Annotated[
        str, typer.Option("--database", metavar="NAME", help="The name of the database.")
    ] = "postgres",
    schema: Annotated[
        str, typer.Option("--schema", metavar="NAME", help="The schema where the tables are.")
    ] = "public",
) -> None:
    """Print the SQL that makes the two roles of PostgreSQL that a policy needs.

    One freezes the tables when the policy is attached, the other reads what was frozen.
    """
    from fusion.services import engines

    output.result(engines.queries().source_sql(_text(file), str(file), database, schema).rstrip())
