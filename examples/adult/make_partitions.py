"""Cut UCI Adult into the demo's four organisations, by where people work.

    python -m examples.adult.make_partitions FOLDER federated/demo

FOLDER holds ``adult.data`` and ``adult.test`` as the UCI Machine Learning Repository gives them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS: Final = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country", "income",
)  # fmt: skip
NUMBERS: Final = {"age", "education-num", "capital-gain", "capital-loss", "hours-per-week"}
LEFT_OUT: Final = {
    "workclass",  # one value in most partitions
    "fnlwgt",  # a survey weight, not a property of the person
}
ORGANISATIONS: Final = {
    "Federal-gov": "federal",
    "State-gov": "state",
    "Local-gov": "local",
    "Private": "enterprise",
    "Self-emp-inc": "enterprise",
    "Self-emp-not-inc": "enterprise",
}
HOME: Final = "United-States"


def read_rows(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of both files, labels spelt alike, countries reduced to home or abroad."""
    for name in ("adult.data", "adult.test"):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            for cells in csv.reader(file, skipinitialspace=True):
                if len(cells) != len(COLUMNS):
                    continue  # the heading of adult.test, and blank lines
                row = dict(zip(COLUMNS, cells, strict=True))
                row["income"] = row["income"].rstrip(".")
                if row["native-country"] not in {HOME, "?"}:
                    row["native-country"] = "abroad"
                yield row


def partition(rows: Iterator[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Return rows by organisation; rows whose work class is unknown or unpaid are dropped."""
    parts: dict[str, list[dict[str, str]]] = {name: [] for name in ORGANISATIONS.values()}
    for row in rows:
        organisation = ORGANISATIONS.get(row["workclass"])
        if organisation is not None:
            parts[organisation].append(row)
    return parts


def write(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Write rows as Parquet: numbers as integers, words as dictionaries."""
    arrays = {
        name: pa.array([int(row[name]) for row in rows], pa.int32())
        if name in NUMBERS
        else pa.array([row[name] for row in rows]).dictionary_encode()
        for name in COLUMNS
        if name not in LEFT_OUT
    }
    parquet.write_table(pa.table(arrays), path, compression="zstd", compression_level=19)


def main() -> None:
    """Read the two files, write the four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder with adult.data and adult.test")
    parser.add_argument("target", type=Path, help="folder for the Parquet files")
    options = parser.parse_args()
    for organisation, rows in partition(read_rows(options.source)).items():
        path = options.target / f"{organisation}.parquet"
        write(rows, path)
        positive = sum(row["income"] == ">50K" for row in rows)
        print(f"{path}: {len(rows)} rows, {positive} above 50K, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
