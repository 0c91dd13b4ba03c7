"""What was asked from a node, one line each, and what became of it: kept at whoever asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from fusion.errors import InputInvalid
from fusion.services.files import make_folder, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import NodeHome

    Kind = Literal["queries", "python"]

_KEPT: Final = 10_000
"""Lines that are kept; older ones go."""


def keep(node: NodeHome, kind: Kind, said: dict[str, Any]) -> None:
    """Add a line to what was asked.

    Raises:
        InputInvalid: The file was changed into something else.
        EnvironmentUnfit: It can't be written.
    """
    make_folder(node.path / kind)
    with node.lock(f".{kind}.lock"):
        lines = [*history(node, kind), said][-_KEPT:]
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        write_atomic(_file(node, kind), text.encode())


def check_can_keep(node: NodeHome, kind: Kind) -> None:
    """Return if what is asked can be kept: looked at before anything is asked, and charged.

    Raises:
        EnvironmentUnfit: The folder can't be written.
    """
    make_folder(node.path / kind)
    with node.lock(f".{kind}.lock"):
        return


def history(node: NodeHome, kind: Kind) -> list[dict[str, Any]]:
    """Return what was asked, oldest first.

    Raises:
        InputInvalid: The file was changed into something else.
    """
    file = _file(node, kind)
    try:
        return [dict(json.loads(line)) for line in file.read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError):
        raise InputInvalid(
            f"{file} is not what it was written as.",
            hint="Put it back from a backup, or move it away: the next question begins a new one.",
        ) from None


def _file(node: NodeHome, kind: Kind) -> Path:
    return node.path / kind / "asked.jsonl"
