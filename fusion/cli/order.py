"""``fusion order``: an operator's signed order for one run, where there is no way to the hub."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.cli import output
from fusion.cli.files import check_writable
from fusion.cli.runs import read_study

app = typer.Typer(
    help="Order a run as its operator, on networks where nodes do not reach the hub.",
    no_args_is_help=True,
)


@app.command("sign")
def sign(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write the order to this file.")],
    home: Annotated[
        Path,
        typer.Option(
            "--home",
            metavar="DIR",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="The operator's own folder, else $FUSION_HOME or this one.",
        ),
    ] = Path(),
    hours: Annotated[
        int, typer.Option(metavar="N", help="For how long a run may begin under it, at most 720.")
    ] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Sign an order for one run of a study; the hub takes it with fusion train --order FILE.

    At a node that reaches the hub, fusion train does both.
    """
    from fusion.services import orders
    from fusion.services.files import write_atomic
    from fusion.services.homes import open_home

    check_writable(out)
    _, data = orders.sign(open_home(home), read_study(study), str(study), hours=hours)
    write_atomic(out, data, 0o644)
    if as_json:
        output.document("fusion.order-file/1", {"file": str(out)})
        return
    output.result(str(out))
