"""The schema of a file, as a grant is bound to it: no row is read, types where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from fusion.connectors.files import read_table
from fusion.connectors.schemas import count_rows, read_schema
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from pathlib import Path


def test_parquet_says_what_is_what(tmp_path: Path) -> None:
    table = pa.table(
        {
            "a": pa.array([1], pa.int32()),
            "b": pa.array([1.5]),
            "c": pa.array(["x"]),
            "d": pa.array(["x"]).dictionary_encode(),
            "e": pa.array([0], pa.timestamp("s")),
            "f": pa.array([[1]]),
            "g": pa.array([True]),
        }
    )
    parquet.write_table(table, tmp_path / "t.parquet")
    assert read_schema(tmp_path / "t.parquet") == {
        "a": "number",
        "b": "number",
        "c": "text",
        "d": "text",
        "e": "time",
        "f": "other",
        "g": "text",
    }


def test_a_csv_file_says_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n", "utf-8")
    assert read_schema(tmp_path / "t.csv") == {"a": "cell", "b": "cell"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "a,a\n1,2\n"), ("t.csv", ""), ("t.parquet", "no"), ("t.txt", "a"), ("u.csv", None)],
)
def test_what_can_not_be_read_is_refused(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(DataInvalid):
        read_schema(tmp_path / name)


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), ("", "is empty")])
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_it_is_refused_in_the_words_of_whoever_reads_rows(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    said = []
    for read in (read_schema, count_rows, lambda path: read_table(path, ["a"])):
        with pytest.raises(DataInvalid, match=words) as refused:
            read(tmp_path / name)
        said.append((refused.value.message, refused.value.hint))
    assert said[0] == said[1] == said[2]
    assert "can be read" in said[0][1] or "path of the file" in said[0][1]


def test_a_refusal_does_not_quote_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("secret cells", "utf-8")
    with pytest.raises(DataInvalid) as refused:
        read_schema(tmp_path / "t.parquet")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("rows", [0, 1, 70_000])
def test_rows_are_counted_without_being_held(tmp_path: Path, rows: int) -> None:
    table = pa.table({"a": [f"line\n{n}" for n in range(rows)], "b": list(range(rows))})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert count_rows(tmp_path / "t.parquet") == rows
    lines = "".join(f'"{n}",x\n' for n in range(rows))
    (tmp_path / "t.csv").write_text(f"a,b\n{lines}", "utf-8")
    assert count_rows(tmp_path / "t.csv") == rows


@pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
def test_a_file_that_is_not_there_has_no_rows_to_count(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataInvalid):
        count_rows(tmp_path / name)
