"""``node.toml`` as its owner wrote it, with one dataset more or less; all else stays as it is."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit, InputInvalid
from fusion.services.files import write_atomic
from fusion.services.homes import NODE_FILE

if TYPE_CHECKING:
    from pathlib import Path

_HEADER: Final = "[data]"


def register(home: Path, dataset: str, file: Path) -> None:
    """Name a dataset's file in ``node.toml``; the caller holds the folder's lock.

    Raises:
        InputInvalid: The file is written in a way that can't be added to; nothing was changed.
        EnvironmentUnfit: It can't be read or replaced.
    """
    lines = _without(_read(home).splitlines(), dataset)
    entry = f"{json.dumps(dataset)} = {json.dumps(str(file), ensure_ascii=False)}"
    at = next((n for n, line in enumerate(lines) if line.split("#")[0].strip() == _HEADER), None)
    if at is None:
        lines += ["", _HEADER, entry]
    else:
        lines.insert(at + 1, entry)
    _replace(home, lines, {dataset: str(file)}, dataset)


def unregister(home: Path, dataset: str) -> None:
    """Take a dataset out of ``node.toml``; the caller holds the folder's lock.

    Raises:
        InputInvalid: The file is written in a way that can't be changed here; nothing was changed.
        EnvironmentUnfit: It can't be read or replaced.
    """
    _replace(home, _without(_read(home).splitlines(), dataset), {}, dataset)


def _read(home: Path) -> str:
    try:
        return (home / NODE_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EnvironmentUnfit(f"{home / NODE_FILE} can't be read.") from error


def _without(lines: list[str], dataset: str) -> list[str]:
    """Return the lines but for the one of the table ``[data]`` that names this dataset."""
    kept: list[str] = []
    table = ""
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            table = text.split("#")[0].strip()
        if table == _HEADER and _name_of(text) == dataset:
            continue
        kept.append(line)
    return kept


def _name_of(line: str) -> str | None:
    """Return the key of a line of TOML, or None where it has no simple one."""
    try:
        found = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    return next(iter(found), None)


def _replace(home: Path, lines: list[str], wanted: dict[str, str], dataset: str) -> None:
    before = tomllib.loads(_read(home))
    text = "\n".join(lines) + "\n"
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        after = {}
    rest = {k: v for k, v in before.get("data", {}).items() if k != dataset}
    if {**after, "data": after.get("data", {})} != {**before, "data": {**rest, **wanted}}:
        raise InputInvalid(
            f"{home / NODE_FILE} is written in a way that can't be changed here.",
            hint=f"Write its datasets under {_HEADER}, one a line.",
        )
    write_atomic(home / NODE_FILE, text.encode())
