"""A study's columns out of an organisation's file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.connectors.files import Table, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from federated.study import Study


def read_columns(study: Study, path: Path) -> Table:
    """Read what the study names, and nothing else.

    Raises:
        DataInvalid: The file can't be read, or lacks a column.
    """
    wanted = [*(column.name for column in study.columns), study.label]
    return read_table(path, wanted, text=study.text_columns)
