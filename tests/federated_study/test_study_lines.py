"""Keys are found on the line they stand on, whatever TOML allows around them."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.wire.toml_lines import key_lines, line_of

if TYPE_CHECKING:
    from collections.abc import Iterable

TRICKY = '''\
# name = "no"
top = 1 # [not a table]
quoted."a.b".'c d' = "# no comment [x] ="
[table]   # comment
text = """
[not.a.table]
key = "in a string" \\""" still"""""
raw = \'\'\'
x = \\'\'\'
after = [ # comment ]
  1, "]", # [
  { deep = [
    2, 3 ] },
  [4],
]
inline = { a = 1, "b" = { c = [5] } }

[[rows]]
name = "first"
[[rows.cells]]
n = 1
[[rows.cells]]
n = 2
[[rows]]
name = "second"
[rows.extra]
k = 2024-01-01
[table.sub]
z = 1'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted", "a.b", "c d"), 3),
        (("table",), 4),
        (("table", "text"), 5),
        (("table", "raw"), 8),
        (("table", "after"), 10),
        (("table", "after", 0), 11),
        (("table", "after", 2, "deep"), 12),
        (("table", "after", 2, "deep", 1), 13),
        (("table", "after", 3, 0), 14),
        (("table", "inline", "b", "c", 0), 16),
        (("rows",), 18),
        (("rows", 0, "name"), 19),
        (("rows", 0, "cells", 1, "n"), 23),
        (("rows", 1), 24),
        (("rows", 1, "extra", "k"), 27),
        (("table", "sub", "z"), 29),
    ],
)
def test_keys_are_found(path: tuple[str | int, ...], line: int) -> None:
    assert key_lines(TRICKY)[path] == line
    assert line_of(TRICKY.replace("\n", "\r\n"), path) == line


def test_a_missing_key_is_where_its_table_is() -> None:
    assert line_of(TRICKY, ("rows", 1, "extra", "missing")) == 26
    assert line_of(TRICKY, ("nowhere", 3)) == 1


def paths(value: object, above: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Return the path of every key and item in a parsed document."""
    pairs: Iterable[tuple[Any, object]] = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    found: set[tuple[str | int, ...]] = set()
    for key, item in pairs:
        found.add((*above, key))
        found |= paths(item, (*above, key))
    return found


@pytest.mark.parametrize("name", ["study.toml", "study-mlp.toml"])
def test_every_key_of_a_study_has_a_line_that_shows_it(name: str) -> None:
    text = (resources.files("federated") / "demo" / name).read_text("utf-8")
    lines = text.splitlines()
    found = key_lines(text)
    assert set(found) == paths(tomllib.loads(text))
    assert all(str(p[-1]) in lines[n - 1] for p, n in found.items() if isinstance(p[-1], str))


def test_every_key_of_a_tricky_text_is_found() -> None:
    assert set(key_lines(TRICKY)) == paths(tomllib.loads(TRICKY))


KEYS = st.text("abc-_1", min_size=1, max_size=3)
SCALARS = st.sampled_from(['"x"', "'#'", "1", "1.5e3", "true", '"""a\n"""', "[1,\n2]", "{ z = 1 }"])


@given(st.lists(st.tuples(KEYS, st.dictionaries(KEYS, SCALARS, max_size=4)), max_size=5))
def test_generated_tables_are_found(tables: list[tuple[str, dict[str, str]]]) -> None:
    text, expected = "", {}
    for index, (name, pairs) in enumerate(dict(tables).items()):
        text += "\n" * index + f"[{name}]\n"
        for key, value in pairs.items():
            expected[(name, key)] = text.count("\n") + 1
            text += f"{key} = {value} # comment\n"
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found[path] for path in expected} == expected
