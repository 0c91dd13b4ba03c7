"""On which line of a study's file a key stands that a refusal names."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from fusion.wire.toml_lines import KeyPath, key_lines

if TYPE_CHECKING:
    from collections.abc import Callable


def line_of_key(text: str, key: str) -> int | None:
    """Return the line of a key as a refusal names it, or nothing if it names none.

    Args:
        text: TOML of a study that keeps the rules.
        key: ``section.key``, or ``columns.NAME`` for the input, or the label, of that name.
    """
    section, _, name = key.partition(".")
    path: KeyPath = (section, name)
    if section == "columns":
        document = tomllib.loads(text)
        names = [column["name"] for column in document["columns"]]
        if name in names:
            path = ("columns", names.index(name), "name")
        elif name == document["study"]["label"]:
            path = ("study", "label")
    return key_lines(text).get(path)


def place_in(text: str, origin: str) -> Callable[[str], str]:
    """Return what says where a key stands in a study's file, as ``study.toml:12``."""

    def place(key: str) -> str:
        line = line_of_key(text, key)
        return "" if line is None else f"{origin}:{line}"

    return place
