"""A small study and tables that fit it, for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from federated.study import Study, parse_study
from fusion.connectors.files import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT = """\
[study]
name = "small"
dataset = "people"
label = "ill"
positive = "yes"
organisations = ["north", "south", "west"]
quorum = 2
rounds = 3
holdout = 0.25
seed = 5
max_rows = 1000

[model]
kind = "logistic"

[local]
steps = 4
batch = 8
learning_rate = 0.1

[optimiser]
kind = "fedavg"

[key]
threshold = 2
holders = ["north", "south", "west"]

[[columns]]
name = "age"
type = "number"
min = 0
max = 100

[[columns]]
name = "town"
type = "category"
categories = ["a", "b", "c"]

[[columns]]
name = "height"
type = "number"
min = 1.0
max = 2.5
"""


def study(*changes: tuple[str, str]) -> Study:
    """Return the small study with pieces of its text replaced."""
    return parse_study(edited(*changes), "small.toml")


def edited(*changes: tuple[str, str]) -> str:
    """Return the text with pieces replaced."""
    text = TEXT
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


def words(*cells: str | None) -> NDArray[np.object_]:
    """Return a column of words."""
    return np.array(cells, dtype=object)


def table(rows: int = 40, **columns: object) -> Table:
    """Return a table that fits the small study, some columns replaced."""
    index = np.arange(rows)
    fitting: dict[str, Any] = {
        "age": 20.0 + index % 50,
        "town": words(*("abc"[i % 3] for i in index)),
        "height": 1.5 + (index % 7) / 10.0,
        "ill": words(*("yes" if i % 4 == 0 else "no" for i in index)),
    }
    return Table(fitting | columns)
