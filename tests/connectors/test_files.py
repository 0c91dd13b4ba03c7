"""CSV and Parquet are read alike; what can't be read is refused without quoting a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fusion.connectors.files import MAX_FILE_BYTES, Table, read_table
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "secret-cell"


def csv(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, "utf-8")
    return path


def parq(folder: Path, **columns: object) -> Path:
    path = folder / "table.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def test_csv_and_parquet_give_the_same_table(tmp_path: Path) -> None:
    numbers, text = [1.5, None, 3.0], ["a", None, "NA"]
    tables = [
        read_table(csv(tmp_path, "n,other,w\n1.5,x,a\n,y,\n3,z,NA\n"), ["w", "n"]),
        read_table(parq(tmp_path, n=numbers, other=[1, 2, 3], w=text), ["w", "n"]),
    ]
    for table in tables:
        assert set(table) == {"n", "w"}
        assert (table.rows, len(table)) == (3, 2)
        assert table["n"].dtype == np.float64
        assert np.array_equal(table["n"], [1.5, np.nan, 3.0], equal_nan=True)
        assert table["w"].tolist() == text


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None], pa.int64()), [1.0, np.nan]),
        (pa.array([1.5, 2], pa.float32()), [1.5, 2.0]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([0, 1], pa.date32()), ["1970-01-01", "1970-01-02"]),
        (pa.array([None, None]), [None, None]),
        (pa.array(["1.50", "2.25"]).cast(pa.decimal128(5, 2)), [1.5, 2.25]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    ],
)
def test_types_of_parquet_become_numbers_or_words(
    tmp_path: Path, column: object, expected: list[object]
) -> None:
    found = read_table(parq(tmp_path, c=column), ["c"])["c"]
    if found.dtype == np.float64:
        assert np.array_equal(found, np.array(expected, dtype=float), equal_nan=True)
    else:
        assert found.tolist() == expected


def test_words_that_look_like_numbers_stay_words_where_asked(tmp_path: Path) -> None:
    path = csv(tmp_path, "code,flag\n01,true\n02,false\n")
    assert read_table(path, ["code", "flag"], text=["code"])["code"].tolist() == ["01", "02"]
    assert read_table(path, ["code"])["code"].tolist() == [1.0, 2.0]
    assert read_table(path, ["flag"])["flag"].tolist() == ["true", "false"]


def test_a_column_asked_for_twice_is_read_once(tmp_path: Path) -> None:
    assert set(read_table(csv(tmp_path, "a\n1\n"), ["a", "a"])) == {"a"}


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    assert read_table(csv(tmp_path, "a,b\n"), ["a"]).rows == 0
    assert read_table(parq(tmp_path, a=pa.array([], pa.int64())), ["a"]).rows == 0


def refused(path: Path, *columns: str, max_rows: int = 100) -> str:
    with pytest.raises(DataInvalid) as caught:
        read_table(path, columns, max_rows=max_rows)
    assert SECRET not in str(caught.value)
    # What others may get to read names the file, not where it lies.
    assert str(path.parent) not in str(caught.value)
    assert caught.value.exit_code == 2
    return "; ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("no.csv", "no.parquet"):
        message = refused(tmp_path / name, "a")
        assert "does not exist" in message
        assert str(tmp_path / name) in message


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert "can't be read" in refused(tmp_path / "folder.csv", "a")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "Parquet" in refused(tmp_path / "table.xlsx", "a")


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "is empty" in refused(tmp_path / name, "a")


@pytest.mark.parametrize("content", [b"secret-cell", b"PAR1" + b"\0" * 40 + b"PAR1", b"\xff" * 99])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    assert "damaged" in refused(path, "a")


def test_every_truncation_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parq(tmp_path, a=list(range(50)))
    whole = path.read_bytes()
    for length in range(1, len(whole), 37):
        path.write_bytes(whole[:length])
        assert "damaged" in refused(path, "a")


@pytest.mark.parametrize(
    "content", [b"a,b\n1,secret-cell\n1,2,3\n", b"a,b\n\xff\xfe,1\n", b"a,b\n1,2\n\x00"]
)
def test_a_damaged_csv_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert "table.csv" in refused(path, "a", "b")


def test_a_file_beyond_the_limit_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # takes no space on the disk
    assert f"more than {MAX_FILE_BYTES} bytes" in refused(path, "a")


def test_a_missing_column_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = csv(tmp_path, "height,weight\n1,2\n")
    message = refused(path, "hieght")
    assert "no column 'hieght'" in message
    assert "'height'" in message
    with pytest.raises(DataInvalid) as caught:
        read_table(path, ["hieght"])
    assert "height" not in str(caught.value)  # what columns there are is the owner's business


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "two columns 'a'" in refused(csv(tmp_path, "a,b,a\n1,2,3\n"), "a")


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    assert "of type list" in refused(parq(tmp_path, a=[[1], [2]]), "a")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_too_many_rows_are_refused(tmp_path: Path, kind: str) -> None:
    path = csv(tmp_path, "a\n" + "1\n" * 11) if kind == "csv" else parq(tmp_path, a=list(range(11)))
    message = refused(path, "a", max_rows=10)
    assert "more than 10 rows" in message
    assert "it has 11 rows" in message


def test_columns_of_a_table_have_one_length() -> None:
    with pytest.raises(DataInvalid):
        Table({"a": np.zeros(3), "b": np.zeros(4)})
