"""Options that many verbs have, said in one way."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def folder(whose: str) -> Any:  # noqa: ANN401 - what typer's own function returns
    """Return the option ``--home`` of a verb.

    Args:
        whose: Folder; in the help after "The folder of".
    """
    return typer.Option(
        "--home",
        metavar="DIR",
        envvar="FUSION_HOME",
        show_envvar=False,
        help=f"The folder of {whose}, else $FUSION_HOME or this one.",
    )
