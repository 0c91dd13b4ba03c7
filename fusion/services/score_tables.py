"""A holder's own table as scoring reads it: records by key, and whether the file is another now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.alignment.preparation import examine
from fusion.connectors.files import read_table
from fusion.errors import DataInvalid
from fusion.services.grants import schema_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.alignment.preparation import Duplicates
    from fusion.engine_ports import Applicable
    from fusion.services.homes import NodeHome
    from fusion.services.models import KeptModel

_RULES: Final[dict[str, Duplicates]] = {
    "refuse": "unique-only",
    "first": "first",
    "unique-only": "unique-only",
}


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table with the records that can be scored.

    Attributes:
        columns: What the part reads.
        rows: The row of each key.
        mark: Of the file that it was read from; see :func:`mark_of`.
    """

    columns: Mapping[str, Any]
    rows: Mapping[str, int]
    mark: str


def mark_of(node: NodeHome, kept: KeptModel) -> str:
    """Return what changes when the file of a model's table does; the file is not read.

    Raises:
        DataInvalid: There is none.
    """
    path = node.config.data.get(kept.facts.own.dataset)
    try:
        if path is None:
            raise FileNotFoundError
        found = path.stat()
    except OSError:
        raise DataInvalid(
            f"The table {kept.facts.own.dataset} of {kept.name} is not there.",
            hint="`fusion data list` shows the tables of this node.",
        ) from None
    return f"{found.st_dev}.{found.st_ino}.{found.st_size}.{found.st_mtime_ns}"


def own_table(node: NodeHome, kept: KeptModel, part: Applicable) -> OwnTable:
    """Read what scoring needs of a holder's table.

    A key on several rows counts as its first, if the model's rule says so, and else as none.

    Raises:
        InputInvalid: The node has no such table.
        DataInvalid: The file can't be read, or lacks a column.
        Refused: It is described as core data.
    """
    own, identifier = kept.facts.own, kept.facts.shared.identifier
    mark = mark_of(node, kept)
    schema_of(node, own.dataset)  # refuses what may not be used
    table = read_table(
        node.config.data[own.dataset],
        (own.identifier, *part.columns),
        text=(own.identifier, *part.words),
    )
    rule = _RULES[identifier.duplicates]
    cells = table[own.identifier].tolist()
    found = examine(identifier.kind, cells, duplicates=rule, fold=identifier.fold)
    return OwnTable(
        columns={name: table[name] for name in part.columns},
        rows=dict(zip(found.keys, found.rows, strict=True)),
        mark=mark,
    )
