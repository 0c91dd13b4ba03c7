"""What tests of mode ``dp`` share: a policy, tiny tables, one way to ask without noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.engine import execute
from sandbox.partials import reply_of
from sandbox.private.statement import compile_private
from sandbox.reading import parse_policy
from tests.sandbox.asking import write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sandbox.policy import Policy
    from sandbox.private.statement import Statement

POLICY = """\
schema: fusion.policy/1
title: People and their visits
mode: dp
budget: {grant_rho_micro: 1000000, dataset_rho_micro: 2000000, contributions: 2}
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      sex: {class: dimension, values: [F, M]}
      region: {class: dimension, values: [north, south, east], complete: true}
      age: {class: dimension, type: integer, low: 0, high: 120}
      income: {class: number, low: -10, high: 100, decimals: 1}
      town: {class: dimension}
  visits:
    entity: person_id
    rows: 5
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension, values: [er, gp, onco, lab]}
      day: {class: date, low: "2020-01-01", high: "2021-12-31", finest: month}
      cost: {class: number, low: 0, high: 50}
  regions:
    public: true
    columns:
      region: {class: public}
      name: {class: public}
"""
SALT = "5a17"


def policy(text: str = POLICY) -> Policy:
    """Return the policy."""
    return parse_policy(text, "policy.yaml")


Tables = dict[str, dict[str, list[Any]]]


def tables() -> Tables:
    """Return seven people, one of them twice in a table of one row each, and 20 visits."""
    people = [
        (1, "F", "north", 20, 99.9, "A"),
        (2, "M", "north", 30, -12.0, "B"),
        (3, "F", "south", 41, 50.0, "A"),
        (4, "X", "east", 52, None, "C"),
        (5, "M", "east", 200, 20.5, "A"),
        (6, None, "nowhere", 64, 7.25, "B"),
        (7, "F", "south", None, 100.0, "D"),
        # More rows than the policy has it: an owner's mistake must not be her loss.
        (7, "M", "north", 33, 80.0, "D"),
    ]
    depts, visits = ["er", "gp", "onco", "lab"], []
    for person in range(1, 6):
        for number in range(person + 1):
            month = 1 + (person * 3 + number) % 12
            cost = (person * 17 + number * 29) % 70
            visits.append((person, depts[(person + number) % 4], f"2020-{month:02}-03", cost))
    return {
        "persons": _columns(("person_id", "sex", "region", "age", "income", "town"), people),
        "visits": _columns(("person_id", "dept", "day", "cost"), visits),
        "regions": {"region": ["north", "south", "east"], "name": ["N", "S", "E"]},
    }


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: list(cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)}


def without(found: Mapping[str, Mapping[str, list[Any]]], person: int) -> Tables:
    """Return the tables without all rows of a person."""
    out: Tables = {}
    for name, table in found.items():
        ids = table.get("person_id")
        keep = [place for place in range(len(next(iter(table.values()))))
                if ids is None or ids[place] != person]  # fmt: skip
        out[name] = {key: [cells[place] for place in keep] for key, cells in table.items()}
    return out


def exact(statement: Statement, inputs: Mapping[str, Path]) -> list[dict[Any, list[int]]]:
    """Return the sums before noise: for each core, keys to sums in units."""
    asked = statement.compiled.asked
    rows = reply_of(execute(asked.request, inputs), asked)
    found = []
    for leaf, own in zip(statement.compiled.leaves, rows, strict=False):
        if leaf.core is not None:
            keys = statement.compiled.cores[leaf.core].keys
            found.append({row[:keys]: list(row[keys:]) for row in own})
    return found


def compiled(sql: str, **options: Any) -> Statement:
    """Compile a statement under the policy."""
    public = {"regions": {"": 3, "region": 1, "name": 1}}
    return compile_private(
        sql, options.pop("policy", None) or policy(), salt=SALT, **{"public": public, **options}
    )


def written(folder: Path, found: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, Path]:
    """Write tables as files."""
    folder.mkdir(exist_ok=True)
    return write(folder, found)
