"""A column of numbers with a few other cells: never categories, unless somebody says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fusion.connectors.files import Reading, Table, read_table
from fusion.connectors.numerals import MISSING_MARKS
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from pathlib import Path

WIDE = str.maketrans("0123456789.-", "".join(chr(0xFEE0 + ord(c)) for c in "0123456789.-"))


def read(folder: Path, cells: list[str], *, text: bool = False) -> Table:
    path = folder / "t.csv"
    path.write_text("".join(f'"{cell}",x\n' for cell in ["hours", *cells]), "utf-8")
    return read_table(path, ["hours"], text=["hours"] if text else [])


@pytest.mark.parametrize("mark", sorted(MISSING_MARKS))
def test_a_mark_of_a_missing_cell_is_missing_among_numbers(tmp_path: Path, mark: str) -> None:
    table = read(tmp_path, ["40", mark, "1.5e2", "-.5", ""])
    assert np.array_equal(table["hours"], [40, np.nan, 150, -0.5, np.nan], equal_nan=True)
    marks = 1 if mark else 0
    assert table.readings["hours"] == Reading("numbers", marks=marks)
    assert len(table.notices()) == marks


def test_a_mark_among_words_is_a_word(tmp_path: Path) -> None:
    table = read(tmp_path, ["a", "NA", "", "-"])
    assert table["hours"].tolist() == ["a", "NA", None, "-"]
    assert table.readings["hours"] == Reading("words")
    assert read(tmp_path, ["NA", "-"])["hours"].tolist() == ["NA", "-"]


def test_full_width_numbers_are_numbers(tmp_path: Path) -> None:
    for others in (["40", "41"], []):
        table = read(tmp_path, [*others, "12".translate(WIDE), "-3.5".translate(WIDE)])
        assert table["hours"].tolist()[-2:] == [12.0, -3.5]
        assert table.readings["hours"] == Reading("numbers", widened=2)
        assert "full-width" in table.notices()[0]


@pytest.mark.parametrize(
    "odd",
    [
        *("1,000", "n.a.", "\uff11\uff0c000", "12A", "40 h", "missing", "$40"),
        *("inf", "-Infinity", "+INF", "1e400", "-1e999", "0x10", "0X1f"),
    ],
)
def test_one_odd_cell_of_many_is_refused(tmp_path: Path, odd: str) -> None:
    cells = [str(n) for n in range(100)]
    cells[17] = odd
    with pytest.raises(DataInvalid) as caught:
        read(tmp_path, cells)
    message, hint = caught.value.message, caught.value.hint
    assert "'hours' of numbers" in message
    assert "plain numbers" in hint
    assert caught.value.study_key == "columns.hours"
    # What travels has no cell and no count of rows.
    assert not any(text in message + hint.replace("not 1,000", "") for text in (odd, "17", "19"))
    assert "1 of 100 cells; the first is in row 19" in caught.value.__notes__[0]
    assert odd not in caught.value.__notes__[0]
    assert read(tmp_path, cells, text=True)["hours"].tolist() == cells


@pytest.mark.parametrize(
    "form", ["1,{0:03d}", "{0}%", "$ {0}", "{0},5", "1 {0:03d}", "inf", "{0}e400", "\u221e"]
)
def test_numbers_all_written_for_people_are_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(DataInvalid, match="of numbers"):
        read(tmp_path, [form.format(n) for n in range(50)])


@pytest.mark.parametrize(
    "cells",
    [
        ["0", "1", "2", "3+"] * 10,  # counts with an open end
        ["250", "414", "V27", "E11"] * 10,  # codes of diagnoses
        ["12", "12A", "7"] * 10,  # numbers of houses
        ["2020/1/2", "2021/3/4"] * 10,
        ["1-10", "11-20"] * 10,
        ["0", "1", "x"],
    ],
)
def test_codes_with_digits_are_words(tmp_path: Path, cells: list[str]) -> None:
    table = read(tmp_path, cells)
    assert table["hours"].tolist() == cells
    assert table.readings["hours"] == Reading("words")


def test_parquet_says_itself_what_is_a_word(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    cells = [*map(str, range(99)), "NA"]
    parquet.write_table(pa.table({"hours": cells, "n": [1.0] * 100}), path)
    table = read_table(path, ["hours", "n"])
    assert table["hours"].tolist() == cells
    assert [table.readings[name].read_as for name in ("hours", "n")] == ["words", "numbers"]


def test_many_different_words_cost_little(tmp_path: Path) -> None:
    cells = [f"P{n:07d}" for n in range(100_000)]
    began = time.process_time()
    assert read(tmp_path, cells)["hours"].tolist() == cells
    assert time.process_time() - began < 2.0


def test_hexadecimals_are_no_numbers(tmp_path: Path) -> None:
    """pyarrow alone reads them as such."""
    codes = ["0x1F", "0xAB", "0x10"]
    assert read(tmp_path, codes)["hours"].tolist() == codes
    # In another column they leave this one what it is.
    path = tmp_path / "u.csv"
    path.write_text("hours,code\n40,0x1F\n41,0xAB\n", "utf-8")
    table = read_table(path, ["hours", "code"])
    assert table["hours"].tolist() == [40.0, 41.0]
    assert table["code"].tolist() == ["0x1F", "0xAB"]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_an_infinite_cell_of_parquet_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "t.parquet"
    cells = np.array([1.0, np.nan, -np.inf, np.inf])
    parquet.write_table(pa.table({"hours": pa.array(cells).cast(kind)}), path)
    with pytest.raises(DataInvalid, match="'hours' of numbers with cells that are inf") as caught:
        read_table(path, ["hours"])
    assert caught.value.study_key == "columns.hours"
    assert "2 of 4 cells; the first is in row 3" in caught.value.__notes__[0]
    parquet.write_table(pa.table({"hours": pa.array(cells[:2]).cast(kind)}), path)
    assert np.array_equal(read_table(path, ["hours"])["hours"], cells[:2], equal_nan=True)
