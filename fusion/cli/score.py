"""``fusion score``: scores of records by a joint model, at its label party's node."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

import csv
import io
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.cli import output
from fusion.cli.files import check_new
from fusion.cli.options import Json, folder
from fusion.cli.serving import serve as run_service
from fusion.errors import EnvironmentUnfit, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.services.models import KeptModel
    from fusion.services.scoring import Row

app = typer.Typer(help="Score records with a joint model.", invoke_without_command=True)

Home = Annotated[Path, folder("the label party's node")]
Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="NAME, NAME/VERSION, or the id.")
]
Purpose = Annotated[
    str, typer.Option(metavar="dpv:NAME", help="What for, if not what the model was trained for.")
]


@app.callback()
def score(
    context: typer.Context,
    *,
    model: Model = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="FILE", help="CSV or Parquet with the identifiers."),
    ] = None,
    column: Annotated[
        str,
        typer.Option(metavar="NAME", help="Their column, if it is not called as in the own table."),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the scores here, as CSV.")
    ] = None,
    purpose: Purpose = "",
    as_json: Json = False,
    home: Home = Path(),
) -> None:
    """Score the records of a file, one line each, in its order.

    Who has no score is in the table as well, with why. Each call is charged to the grants.
    The file has a header; --out names a file that is not there yet.
    """
    if context.invoked_subcommand is not None:
        return
    if model is None or ids is None:
        raise InputInvalid(
            "Scoring takes a model and a file of identifiers.",
            hint="fusion score --model NAME --ids ids.csv",
        )
    check_new(out)
    kept, rows = _scored(home, model, ids, column, purpose)
    _report(kept, rows, out, as_json=as_json)


def _scored(
    home: Path, model: str, ids: Path, column: str, purpose: str
) -> tuple[KeptModel, list[Row]]:
    """Score the records of a file."""
    from fusion.services.homes import NodeHome
    from fusion.services.models import find_model
    from fusion.services.node_link import Connection
    from fusion.services.scoring import Scorer

    node = NodeHome.open(home)
    kept = find_model(node, model)
    cells = _identifiers(ids, column, kept)
    with (
        output.progress(f"scoring {len(cells):,}") as tell,
        Connection(node) as connection,
        Scorer(connection, node, kept, purpose=purpose, tell=tell) as scorer,
    ):
        return kept, scorer.score(cells)


def _report(kept: KeptModel, rows: Sequence[Row], out: Path | None, *, as_json: bool) -> None:
    """Write scores to a file, or print them; say how many records have none.

    Raises:
        EnvironmentUnfit: The file can't be written: scores are printed, as they were charged.
    """
    from fusion.services.files import write_atomic

    if out is not None:
        try:
            write_atomic(out, _csv(rows).encode())
        except EnvironmentUnfit:
            _report(kept, rows, None, as_json=as_json)
            raise
        output.note(f"written to {out}")
    missing = Counter(row.missing for row in rows if row.scored is None)
    if as_json:
        scored = len(rows) - missing.total()
        counts = {"rows": len(rows), "scored": scored, "missing": dict(missing)}
        content: dict[str, Any] = {"model": kept.id, "name": kept.name, **counts}
        if out is None:
            content["scores"] = [row.to_json() for row in rows]
        output.document("fusion.scores/1", content)
        return
    if out is None:
        output.result(_csv(rows).rstrip("\n"))
    for why, count in sorted(missing.items()):
        output.note(f"no score for {count}: {why}")


def _identifiers(path: Path, column: str, kept: KeptModel) -> list[object]:
    """Read the identifiers of a file, a cell a line; an only column may have any name.

    Raises:
        InputInvalid: The file may have no header.
        DataInvalid: It can't be read, or lacks the column.
    """
    from fusion.alignment.identifiers import is_identifier
    from fusion.connectors.files import read_table
    from fusion.connectors.schemas import read_schema

    own = kept.facts.own.identifier
    names = list(read_schema(path))
    chosen = column or own
    if not column and len(names) == 1 and own not in names:
        chosen = names[0]
        if is_identifier(kept.facts.shared.identifier.kind, chosen):
            refused = InputInvalid(
                f"The first line of {path.name} could be an identifier, not the column's name.",
                hint=f"Write {own} as its first line, or name its column with --column.",
            )
            refused.add_note(f"it has the one column {chosen!r}")
            raise refused
    table = read_table(path, [chosen], text=[chosen], blank_lines=True)
    cells: list[object] = table[chosen].tolist()
    return cells


def _csv(rows: Sequence[Row]) -> str:
    """Return scores as CSV: reasons as NAME:AMOUNT, the strongest first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "score", "output", "reasons", "missing"])
    for row in rows:
        scored = row.scored
        reasons = [f"{name}:{amount:.6g}" for name, amount in scored.reasons] if scored else []
        values = [repr(scored.score), repr(scored.output)] if scored else ["", ""]
        writer.writerow([row.identifier, *values, " ".join(reasons), row.missing])
    return text.getvalue()


@app.command("serve")
def serve(
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="NAME, NAME/VERSION, or the id.")
    ],
    socket: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="The Unix socket; else score.sock in the model's folder."
        ),
    ] = None,
    purpose: Purpose = "",
    home: Home = Path(),
) -> None:
    """Serve single records to programs of this account, until Ctrl-C or SIGTERM.

    At a Unix socket: POST /v1/score {"id": "..."}. Each call is charged to the grants.
    """
    from fusion.services.homes import NodeHome
    from fusion.services.models import find_model
    from fusion.services.node_link import Connection
    from fusion.services.score_server import serve_until
    from fusion.services.scoring import Scorer

    node = NodeHome.open(home)
    kept = find_model(node, model)
    path = socket or kept.path / "score.sock"

    def service_loop(stop: threading.Event) -> int:
        with (
            Connection(node) as connection,
            Scorer(connection, node, kept, purpose=purpose, tell=output.note) as scorer,
        ):
            scorer.prepare()
            said = f"{kept.name} is served at {path}"
            serve_until(path, scorer, _facts(kept), stop, lambda: output.note(said))
        return 0

    raise typer.Exit(run_service(service_loop))


def _facts(kept: KeptModel) -> dict[str, str]:
    return {"model": kept.id, "name": kept.name, "kind": kept.facts.shared.kind}
