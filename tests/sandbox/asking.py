"""What tests of restricted queries share: the example's policy, small data, one way to ask."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from sandbox.engine import execute
from sandbox.policy import Noise, Quantiles, Release
from sandbox.public_rows import count
from sandbox.query import answer
from sandbox.reading import parse_policy
from sandbox.trying import statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.fanout import PublicRows
    from sandbox.policy import Policy
    from sandbox.query import Answer
    from sandbox.trying import Statement

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/restricted_query/policy.yaml"
CORPORA = ROOT / "tests/corpora/sql"
EXACT = Release(
    k=1,
    dominance=None,
    p_percent=None,
    freedom=0,
    base=1,
    sums="none",
    conditions="exact",
    quantiles=Quantiles(low_percent=1, high_percent=99, rounding="none"),
)
"""A release that changes nothing: what is computed can be compared with any database."""


PUBLIC = {"regions": {"": 12, "region": 1, "region_name": 1, "population": 1, "rural": 8}}
"""How many rows of the example's public table have one value."""


@cache
def example() -> Policy:
    """Return the example's policy, read once: hundreds of statements are held to it."""
    return parse_policy(EXAMPLE.read_text("utf-8"), EXAMPLE.name)


def with_release(policy: Policy, **changed: Any) -> Policy:
    """Return a policy with other rules of release."""
    return policy.model_copy(update={"release": policy.release.model_copy(update=changed)})


def exact() -> Policy:
    """Return the example's policy with a release that changes nothing."""
    return example().model_copy(update={"release": EXACT})


def in_bins() -> Policy:
    """Return the example's policy with a release that changes nothing; conditions know bins."""
    return with_release(exact(), conditions="bin")


def noisy(policy: Policy, sd_milli: int = 2000) -> Policy:
    """Return a policy with cell-key noise."""
    return with_release(policy, noise=Noise(sd_milli=sd_milli))


def corpus(name: str) -> list[Statement]:
    """Return the statements of a corpus."""
    return list(statements((CORPORA / name).read_text("utf-8")))


def ask(sql: str, policy: Policy, inputs: Mapping[str, Path], secret: bytes = b"") -> Answer:
    """Answer a statement in this process."""
    run = partial(execute, inputs=inputs)
    return answer(sql, policy, run, secret=secret, public=public_of(policy, inputs))


_COUNTED: dict[object, PublicRows] = {}


def public_of(policy: Policy, inputs: Mapping[str, Path]) -> PublicRows:
    """Return how many rows of its public tables have one value; each file is counted once."""
    names = [name for name, table in policy.tables.items() if table.public and name in inputs]
    key = tuple((inputs[name], tuple(policy.tables[name].columns)) for name in names)
    if key not in _COUNTED:
        _COUNTED[key] = count(policy, partial(execute, inputs=inputs), "duckdb")
    return _COUNTED[key]


def write(folder: Path, tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, Path]:
    """Write tables as Parquet; return their files."""
    found = {}
    for name, columns in tables.items():
        found[name] = folder / f"{name}.parquet"
        parquet.write_table(pa.table({key: list(cells) for key, cells in columns.items()}),
                            found[name])  # fmt: skip
    return found
