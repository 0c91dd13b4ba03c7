"""``fusion doctor``: what is wrong with this machine, hub or node, and what to do about it."""

# ruff: noqa: PLC0415 - a verb imports when it runs: --help stays quick, and so do light verbs

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.cli import output
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from fusion.services.findings import Finding


def doctor(
    home: Annotated[
        Path | None,
        typer.Argument(
            metavar="HOME",
            envvar="FUSION_HOME",
            show_envvar=False,
            help="A hub's or node's folder, else $FUSION_HOME; without either, the machine alone.",
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Examine this machine, and a hub or node on it; changes nothing.

    Exit code 3 when there is a problem. A warning is no problem yet.
    """
    from fusion.services.doctor import examine, kind_of
    from fusion.services.findings import worst

    found = examine(home)
    if as_json:
        content = {
            "home": None if home is None else str(home.resolve()),
            "kind": None if home is None else kind_of(home),
            "status": worst(found),
            "findings": [asdict(finding) for finding in found],
        }
        output.document("fusion.doctor/1", content)
    else:
        _print(found)
    if worst(found) == "problem":
        raise typer.Exit(EnvironmentUnfit.exit_code)


def _print(found: list[Finding]) -> None:
    width = max(len(finding.check) for finding in found)
    for finding in found:
        head = f"{finding.status:<7}  {finding.check:<{width}}  "
        output.result(f"{head}{output.clean(finding.message)}")
        if finding.todo:
            output.result(f"{'':<{len(head)}}-> {output.clean(finding.todo)}")
    counts = [
        f"{count} {status}{'' if count == 1 else 's'}"
        for status in ("problem", "warning")
        if (count := sum(finding.status == status for finding in found))
    ]
    output.note(", ".join(counts) or "nothing to do")
