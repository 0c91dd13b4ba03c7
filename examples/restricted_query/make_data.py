"""Make up people, visits and regions to try a policy of restricted queries on.

    python -m examples.restricted_query.make_data --persons 5000 --visits 40000 --out DIR

The people are nobody; the generator is seeded so that a table can be made again. It is for examples
and benchmarks alone: nothing that protects anybody may come from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED: Final = 20260101
REGIONS: Final = tuple(f"R{number:02d}" for number in range(1, 13))
DEPARTMENTS: Final = ("er", "card", "onco", "ortho", "gp")
EDUCATION: Final = ("none", "primary", "secondary", "tertiary")


def persons(rng: np.random.Generator, count: int) -> pa.Table:
    """Return people: uneven regions and education, incomes with a long tail."""
    years = np.clip(rng.normal(1972, 18, count), 1931, 2007).astype(np.int32)
    income = np.round(rng.lognormal(10.4, 0.55, count), 2)
    return pa.table(
        {
            "person_id": np.arange(1, count + 1, dtype=np.int64),
            "birth_year": years,
            "sex": _chosen(rng, ("F", "M"), (0.51, 0.49), count),
            "region": _chosen(rng, REGIONS, _shares(len(REGIONS)), count),
            "education": _chosen(rng, EDUCATION, (0.05, 0.25, 0.45, 0.25), count),
            "income": income,
        }
    )


def visits(rng: np.random.Generator, count: int, people: int) -> pa.Table:
    """Return visits: some people come often."""
    often = rng.gamma(2.0, 1.0, people)
    who = rng.choice(people, count, p=often / often.sum()) + 1
    days = rng.integers(0, 4 * 365, count)
    diagnoses = tuple(f"D{number:03d}" for number in range(1, 41))
    return pa.table(
        {
            "visit_id": np.arange(1, count + 1, dtype=np.int64),
            "person_id": who.astype(np.int64),
            "visit_date": pa.array(np.datetime64("2020-01-01") + days, pa.date32()),
            "dept": _chosen(rng, DEPARTMENTS, (0.2, 0.15, 0.1, 0.15, 0.4), count),
            "diagnosis": _chosen(rng, diagnoses, _shares(len(diagnoses)), count),
            "cost": np.round(rng.lognormal(4.6, 0.8, count), 2),
            "duration_min": rng.integers(5, 180, count).astype(np.int32),
        }
    )


def regions() -> pa.Table:
    """Return the regions, which everybody may know."""
    return pa.table(
        {
            "region": list(REGIONS),
            "region_name": [f"Region {name[1:]}" for name in REGIONS],
            "population": [100_000 + 25_000 * place for place in range(len(REGIONS))],
            "rural": [place % 3 == 0 for place in range(len(REGIONS))],
        }
    )


def _chosen(rng: np.random.Generator, words: Sequence[str], shares: Any, count: int) -> pa.Array:  # noqa: ANN401 - numbers
    codes = rng.choice(len(words), count, p=shares).astype(np.int32)
    return pa.DictionaryArray.from_arrays(codes, list(words)).cast(pa.string())


def _shares(count: int) -> Any:  # noqa: ANN401 - an array of numbers
    weights = 1.0 / np.arange(1, count + 1)
    return weights / weights.sum()


def make(out: Path, people: int, count: int, seed: int = SEED) -> None:
    """Write the three tables into a folder, as Parquet."""
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    parquet.write_table(persons(rng, people), out / "persons.parquet")
    parquet.write_table(visits(rng, count, people), out / "visits.parquet")
    parquet.write_table(regions(), out / "regions.parquet")


def main() -> None:
    """Read the command line and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--persons", type=int, default=5000)
    parser.add_argument("--visits", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    make(arguments.out, arguments.persons, arguments.visits, arguments.seed)


if __name__ == "__main__":
    main()
