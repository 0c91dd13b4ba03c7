"""Headers as spreadsheets and programs write them: each works, or is refused in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.connectors.files import read_table
from fusion.connectors.schemas import count_rows, read_schema
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AS_UTF8 = "is not UTF-8."


def write(folder: Path, content: bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refused(act: Callable[[], object]) -> tuple[str, str, str]:
    """Return message, hint and notes of a refusal."""
    with pytest.raises(DataInvalid) as caught:
        act()
    return caught.value.message, caught.value.hint, "; ".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"\xef\xbb\xbfid,a\nx,1\n", ["id", "a"]),
        (b"id,a\r\nx,1\r\n", ["id", "a"]),
        (b"id,a\rx,1\r", ["id", "a"]),
        ("编号,工时\nx,1\n".encode(), ["编号", "工时"]),
        (b'"id","a"\nx,1', ["id", "a"]),
        (b'"last, first",a\nx,1\n', ["last, first", "a"]),
        (b"\n\nid,a\nx,1\n\n\n", ["id", "a"]),
        (b"id,a,\nx,1,\n", ["id", "a"]),
    ],
    ids=["mark", "crlf", "cr", "chinese", "quoted", "comma-in-name", "blank-lines", "nameless"],
)
def test_headers_that_are_read(tmp_path: Path, content: bytes, names: list[str]) -> None:
    path = write(tmp_path, content)
    assert [name for name in read_schema(path) if name] == names
    table = read_table(path, names)
    assert table[names[0]].tolist() == ["x"]
    assert table[names[1]].tolist() == [1.0]
    assert count_rows(path) == 1


def test_the_ending_may_be_in_capitals(tmp_path: Path) -> None:
    path = write(tmp_path, b"id,a\nx,1\n", "T.CSV")
    assert list(read_schema(path)) == ["id", "a"]
    assert (read_table(path, ["id"]).rows, count_rows(path)) == (1, 1)


@pytest.mark.parametrize(
    "content",
    [
        "编号,工时\nx,1\n".encode("gbk"),
        "id,a\nx,1\n".encode("utf-16"),
        "id,a\nx,1\n".encode("utf-16-le"),
        "编号,工时\nx,1\n".encode("utf-16-be"),
    ],
    ids=["gbk", "utf-16", "utf-16-le", "utf-16-be"],
)
def test_a_header_in_another_encoding_is_refused_alike(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    acts = (
        lambda: read_schema(path),
        lambda: read_table(path, ["id"], text=["id"]),
        lambda: read_table(path, ["a"]),
    )
    for act in acts:
        message, hint, _ = refused(act)
        assert message == f"The data file t.csv {AS_UTF8}"
        assert "CSV UTF-8" in hint


@pytest.mark.parametrize("stated", [True, False])
def test_cells_in_another_encoding_are_refused_alike(tmp_path: Path, stated: bool) -> None:
    path = write(tmp_path, "id,a\n张三,1\n".encode("gbk"))
    message, hint, _ = refused(lambda: read_table(path, ["id"], text=["id"] if stated else []))
    assert message == f"The data file t.csv {AS_UTF8}"
    assert "CSV UTF-8" in hint


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ("ID,a", "it has 'ID'"),
        (" id,a", "it has ' id'"),
        ("\uff49\uff44 ,a", "it has '\uff49\uff44 '"),
        ("ids,a", "nearest that it has is 'ids'"),
        ("other,a", "none like it, of 2 columns"),
        ("id;a", "separated by semicolons"),
        ("id\ta", "separated by tabs"),
        ("id|a", "separated by vertical bars"),
    ],
)
def test_the_owner_is_told_what_is_nearest(tmp_path: Path, header: str, note: str) -> None:
    path = write(tmp_path, f"{header}\n".encode())
    message, _, notes = refused(lambda: read_table(path, ["id"]))
    assert message == "The data file t.csv has no column 'id'."  # which it has travels nowhere
    assert note in notes


def test_semicolons_with_commas_in_numbers_are_told_too(tmp_path: Path) -> None:
    path = write(tmp_path, b"id;a\nx;1,5\ny;2,5\n")
    message, _, notes = refused(lambda: read_schema(path))
    assert "damaged" in message
    assert "separated by semicolons" in notes
    assert "2,5" not in message + notes


def test_the_owner_is_told_which_row_has_cells_too_many(tmp_path: Path) -> None:
    path = write(tmp_path, b'id,a\nx,"1\n"\ny,2,secret-cell\n')
    message, _, notes = refused(lambda: read_table(path, ["id", "a"]))
    assert "damaged" in message
    assert "line 4 has 3 cells, the header 2" in notes
    assert "secret-cell" not in message + notes


def test_two_columns_of_one_name_are_refused_where_they_are_used(tmp_path: Path) -> None:
    path = write(tmp_path, b"id,a,a\nx,1,2\n")
    assert "two columns 'a'" in refused(lambda: read_table(path, ["id", "a"]))[0]
    assert read_table(path, ["id"])["id"].tolist() == ["x"]
    assert "'a'" in refused(lambda: read_schema(path))[2]
    path = write(tmp_path, b",a,\n1,2,\n")
    assert "columns without a name" in refused(lambda: read_schema(path))[2]


def test_a_blank_line_is_a_row_only_where_that_is_asked_for(tmp_path: Path) -> None:
    for content in (b"id\nx\n\ny\n\n", b"id,a\r\nx,1\r\n\r\ny,2\r\n\r\n"):
        path = write(tmp_path, content)
        assert read_table(path, ["id"])["id"].tolist() == ["x", "y"]
        kept = read_table(path, ["id"], blank_lines=True)
        assert kept["id"].tolist() == ["x", None, "y", None]
