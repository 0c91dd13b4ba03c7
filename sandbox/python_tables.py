"""What a Python job may read of an owner's tables, and in which cells the node has their people.

Files of what it reads are made by :mod:`sandbox.python_copies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fusion.grants.approval import refusal
from fusion.grants.python_job import keyed_by
from sandbox.policy import Key
from sandbox.python_people import Base
from sandbox.selection import attributes_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.grants.approval import Verdict
    from fusion.grants.python_job import Returns
    from sandbox.attached import Attached
    from sandbox.policy import Policy


def check_fits(policy: Policy, returns: Returns) -> None:
    """Return if a declaration fits a policy.

    Raises:
        PythonRefused: It reads what the policy does not have, or returns more rows than it lets go.
    """
    columns_read(policy, returns)
    if returns.max_rows > policy.release.rows:
        raise refusal("P-08", f"The policy lets {policy.release.rows} rows go.")


def check_files(found: Attached) -> None:
    """Return if scripts can read the tables of a dataset.

    Raises:
        PythonRefused: They are in a database.
    """
    if found.source != "files":
        raise refusal("P-12")


def check_mode(policy: Policy, verdict: Verdict) -> None:
    """Return if a table may leave as a verdict says, in the mode of a policy.

    Raises:
        PythonRefused: By itself, where the policy asks for differential privacy.
    """
    if policy.mode != "sdc" and verdict.release == "automatic":
        raise refusal("P-11")


def columns_read(policy: Policy, returns: Returns) -> tuple[str, ...]:
    """Return every ``table.column`` about people that a job reads, keys of its tables among them.

    Raises:
        PythonRefused: The policy has no such table or column, or it is a key of another kind.
    """
    found = set()
    for name, columns in returns.reads.items():
        table = policy.tables.get(name)
        if table is None:
            raise refusal("P-08", f"There is no table {name}.")
        for column in columns:
            what = table.columns.get(column)
            if what is None or (isinstance(what, Key) and column != table.entity):
                raise refusal("P-08", f"{name}.{column} can't be read.")
            if not table.public:
                found.add(f"{name}.{column}")
        if table.entity is not None:
            found.add(f"{name}.{table.entity}")
    declared = attributes_of(policy)
    for each in returns.columns:
        if each.of is not None and each.of not in declared:
            raise refusal("P-08", f"{each.of} is no dimension of a table with one row each.")
    return tuple(sorted(found))


def base_table(policy: Policy, returns: Returns) -> str | None:
    """Return the table by which the node says who is in which cell; None if the script does."""
    name = keyed_by(returns)
    table = policy.tables.get(name or "")
    return None if table is None or table.entity is None or table.rows != 1 else name


def base_of(policy: Policy, returns: Returns, inputs: Mapping[str, Path]) -> Base | None:
    """Return who is in which cell where the node says so; None if the script does."""
    name = base_table(policy, returns)
    person = None if name is None else policy.tables[name].entity
    if name is None or person is None:
        return None
    return read_base(name, inputs[name], person, returns)


def read_base(name: str, path: Path, person: str, returns: Returns) -> Base:
    """Return who is in which cell, from a copy in which people are numbers.

    Args:
        name: Of the table.
        path: The copy.
        person: The column with the numbers.
        returns: Names the dimensions.
    """
    wanted = [(each.of or "").partition(".")[2] for each in returns.columns]
    read = parquet.read_table(path, columns=list(dict.fromkeys([person, *wanted])))
    numbers, first = np.unique(read.column(person).to_numpy(), return_index=True)
    codes = np.zeros((len(numbers), len(wanted)), np.int32)
    domains: list[tuple[Any, ...]] = []
    for place, column in enumerate(wanted):
        values = read.column(column).combine_chunks()
        domain = sorted(values.drop_null().unique().to_pylist())
        found = pc.index_in(values, value_set=pa.array(domain, values.type)).fill_null(-1)
        codes[:, place] = found.to_numpy(zero_copy_only=False)[first]
        domains.append(tuple(domain))
    return Base(name, numbers.astype(np.int32), codes, domains)
