"""Rows about one person each, as a script returns them, and the table that the node makes of them.

The script says in which cell a person is and what her value is; the node counts, adds up and
applies the policy's rules, so that nothing that the script has computed over several people leaves.
It is the reviewer who knows whether a row is about the person that it names: a script can put what
it likes into a row (``docs/claims/python.md``). What the worker answers are plain arrays, read by
length; nothing in them is believed before it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.crypto.hashing import digest
from fusion.errors import WorkCrashed
from sandbox.disclosure import Cell, Part
from sandbox.python_job import PEOPLE_MAGIC
from sandbox.relations import Core, Output, Relation, Statistic
from sandbox.selection import Selection, attributes_of
from sandbox.values import TEXT, Expr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.grants.python_job import Column, Measure, Returns
    from sandbox.policy import Policy

    Ints = NDArray[np.int64]

FAMILY: Final = "python"
"""What noise is keyed by beside the people: one name, or another name would draw it anew."""

_COUNT_BYTES: Final = 8
_MOST_CELLS: Final = 2**62


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """Everybody of a table, and in which cell, as the node knows it.

    Attributes:
        table: Which.
        numbers: People, rising; int32.
        codes: Of each person the place of each key in its domain, -1 where it is missing; int32.
        domains: Values of each key.
    """

    table: str
    numbers: NDArray[np.int32]
    codes: NDArray[np.int32]
    domains: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Rows about one person each.

    Attributes:
        numbers: Who, by number on the list of the revision; int32, each once.
        places: Of each row its cell; int64.
        keys: Of each cell the values of its keys.
        values: Of each sum or mean the scaled value of each row; int64, 0 where it is missing.
        present: Of each sum or mean which rows have a value.
    """

    numbers: NDArray[np.int32]
    places: Ints
    keys: list[tuple[Any, ...]]
    values: list[Ints]
    present: list[NDArray[np.bool_]]

    def pairs(self) -> NDArray[np.int32]:
        """Return (number of a person, number of a cell), as the history takes them."""
        return np.column_stack([self.numbers, self.places.astype(np.int32)])


def measured(returns: Returns) -> list[Measure]:
    """Return the measures for which a script states a value."""
    return [each for each in returns.measures if each.statistic != "people"]


def stated(returns: Returns) -> list[Column]:
    """Return the keys that a script states."""
    return [each for each in returns.columns if each.of is None]


def answer_bytes(returns: Returns, people: int) -> int:
    """Return how long the longest answer is that can be right."""
    width = 4 + 4 * len(stated(returns)) + 8 * len(measured(returns))
    return len(PEOPLE_MAGIC) + _COUNT_BYTES + width * people


def read_people(returns: Returns, answer: bytes, people: int, base: Base | None) -> People:
    """Return what an answer says.

    Args:
        returns: What is declared.
        answer: Of the worker.
        people: How many there are.
        base: Who is in which cell where the node says so: then everybody of it is there, without a
            value where the script has no row, and rows about others are left out.

    Raises:
        WorkCrashed: It is not of the declared form, or has somebody twice or who is not listed.
    """
    begin = len(PEOPLE_MAGIC) + _COUNT_BYTES
    count = int.from_bytes(answer[len(PEOPLE_MAGIC) : begin], "big")
    whole = answer_bytes(returns, count) if count <= people else -1
    if not answer.startswith(PEOPLE_MAGIC) or len(answer) != whole:
        raise WorkCrashed("the answer is no rows about people")
    numbers, begin = _array(answer, begin, count, "<i4")
    if count and not (int(numbers.min()) >= 0 and int(numbers.max()) < people):
        raise WorkCrashed("a row is about somebody who is not listed")
    if len(np.unique(numbers)) != count:
        raise WorkCrashed("two rows are about one person")
    codes = np.zeros((count, len(stated(returns))), np.int32)
    domains: list[tuple[Any, ...]] = []
    for place, column in enumerate(stated(returns)):
        codes[:, place], begin = _array(answer, begin, count, "<i4")
        domains.append((False, True) if column.kind == "boolean" else column.categories)
        lowest = int(codes[:, place].min(initial=0))
        if lowest < -1 or int(codes[:, place].max(initial=0)) >= len(domains[-1]):
            raise WorkCrashed("a key of a cell is not one of those declared")
    values, present = [], []
    for measure in measured(returns):
        found, begin = _array(answer, begin, count, "<f8")
        there = ~np.isnan(found)
        inside = np.clip(np.where(there, found, 0.0), measure.low, measure.high)
        scaled = np.rint(inside * 10.0**measure.decimals).astype(np.int64)
        values.append(np.where(there, scaled, 0))
        present.append(there)
    if base is not None:
        place = np.searchsorted(base.numbers, numbers)
        inside_base = place < len(base.numbers)
        inside_base[inside_base] = base.numbers[place[inside_base]] == numbers[inside_base]
        values = [_spread(each, place, inside_base, len(base.numbers)) for each in values]
        present = [_spread(each, place, inside_base, len(base.numbers)) for each in present]
        numbers, codes, domains = base.numbers, base.codes, base.domains
    places, keys = _cells(codes, domains, returns.max_rows)
    return People(numbers, places, keys, values, present)


def _array(answer: bytes, begin: int, count: int, kind: str) -> tuple[Any, int]:
    end = begin + count * np.dtype(kind).itemsize
    return np.frombuffer(answer[begin:end], kind), end


def _spread(rows: Any, place: Any, inside: Any, people: int) -> Any:  # noqa: ANN401 - arrays
    """Return values of rows as values of all people of a table."""
    found = np.zeros(people, rows.dtype)
    found[place[inside]] = rows[inside]
    return found


def _cells(
    codes: NDArray[np.int32], domains: list[tuple[Any, ...]], most: int
) -> tuple[Ints, list[tuple[Any, ...]]]:
    if not domains:
        return np.zeros(len(codes), np.int64), [()] if len(codes) else []
    # A missing key is the last one, as in the tables that queries return.
    sizes = [len(domain) + 1 for domain in domains]
    ranks = [
        np.where(codes[:, place] < 0, size - 1, codes[:, place]).astype(np.int64)
        for place, size in enumerate(sizes)
    ]
    if prod(sizes) < _MOST_CELLS:
        # One number a cell is sorted much faster than rows of numbers are.
        joint = np.zeros(len(codes), np.int64)
        for rank, size in zip(ranks, sizes, strict=True):
            joint = joint * size + rank
        _, first, places = np.unique(joint, return_index=True, return_inverse=True)
        found = np.column_stack(ranks)[first]
    else:
        found, places = np.unique(np.column_stack(ranks), axis=0, return_inverse=True)
    if len(found) > most:
        msg = f"there are {len(found)} cells, and max_rows declares {most}"
        raise WorkCrashed(msg)
    keys = [
        tuple(
            domain[code] if code < len(domain) else None
            for domain, code in zip(domains, row.tolist(), strict=True)
        )
        for row in found
    ]
    return places.reshape(-1).astype(np.int64), keys


# ------------------------------------------------------------------------------- the table


def core_of(returns: Returns) -> Core:
    """Return what is released, as the rules of release take it."""
    outputs = tuple(
        Output(column.name, _key(column, place)) for place, column in enumerate(returns.columns)
    )
    statistics, place = [], 0
    for measure in returns.measures:
        match measure.statistic:
            case "people":
                statistics.append(Statistic("entities", (place,)))
                place += 1
            case "sum":
                own = (measure.decimals,)
                statistics.append(Statistic("sum", (place,), own, family=FAMILY))
                place += 1
            case "mean":
                scale = (0, measure.decimals)
                both = (place, place + 1)
                statistics.append(Statistic("mean", both, scale, family=FAMILY))
                place += 2
    rows = Relation(outputs=outputs, entity=True, rows=1)
    return Core(rows, len(outputs), (), tuple(statistics))


def _key(column: Column, place: int) -> Expr:
    if column.of is None:
        return Expr("key", (place,), TEXT, f"python key {place}")
    return Expr("base", (column.of,), TEXT, column.of)


def selection_of(returns: Returns, job: str, policy: Policy, base: str | None) -> Selection:
    """Return whom a job's cells select, as the history takes it.

    Where the node says who is in which cell, they are those of a query over the table, grouped by
    the same dimensions. A script is no condition that could be read: its cells are compared with
    earlier ones by the people in them.

    Args:
        returns: What is declared.
        job: Digest of the job; names what is measured.
        policy: Of the dataset.
        base: The table that says who is in which cell, if the node does.
    """
    core = core_of(returns)
    kept = tuple(range(core.keys))
    cells = Core(core.rows, core.keys, (), ())
    if base is None:
        return Selection(cells, kept, job, (), (f"python {job}",), {})
    return Selection(cells, kept, job, (), (f"from {base}",), attributes_of(policy))


def cells_of(returns: Returns, people: People, secret: bytes) -> list[Cell]:
    """Return what the rules of release look at, of each cell in the order of ``people.keys``."""
    cells = len(people.keys)
    sizes = np.bincount(people.places, minlength=cells).tolist()
    marks = _marks(people.numbers, secret)
    ones = np.ones(len(people.numbers), np.int64)
    columns: list[list[Part]] = []
    values = iter(zip(people.values, people.present, strict=True))
    for measure in returns.measures:
        if measure.statistic == "people":
            columns.append(_parts(people.places, ones, marks, cells))
            continue
        scaled, present = next(values)
        if measure.statistic == "mean":
            columns.append(_parts(people.places, present.astype(np.int64), marks, cells))
        columns.append(_parts(people.places, scaled, marks, cells))
    return [
        Cell(keys, sizes[place], tuple(column[place] for column in columns), {})
        for place, keys in enumerate(people.keys)
    ]


def _marks(numbers: NDArray[np.int32], secret: bytes) -> NDArray[np.uint64]:
    """Return a pseudo-random number of each person: their exclusive or is the key of a set.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014); noise is drawn from the key by HMAC.
    """
    salt = int.from_bytes(digest("banyan/python/marks/v1", secret)[:8], "big")
    found = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found ^ (found >> np.uint64(31))


def _parts(places: Ints, values: Ints, marks: NDArray[np.uint64], cells: int) -> list[Part]:
    """Return what each cell says of one measure."""
    there = values != 0
    places, values, marks = places[there], values[there], marks[there]
    sizes = np.bincount(places, minlength=cells)
    total, absolute = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    np.add.at(total, places, values)
    np.add.at(absolute, places, np.abs(values))
    keys = np.zeros(cells, np.uint64)
    np.bitwise_xor.at(keys, places, marks)
    largest = _greatest(places, np.abs(values), cells, 3)
    above = _greatest(places, np.maximum(values, 0), cells, 2)
    below = _greatest(places, np.maximum(-values, 0), cells, 2)
    return [
        Part(
            int(sizes[cell]),
            int(total[cell]),
            int(absolute[cell]),
            (largest[cell][0], largest[cell][1], largest[cell][2]),
            (above[cell][0], above[cell][1]),
            (below[cell][0], below[cell][1]),
            key=int(keys[cell]),
        )
        for cell in range(cells)
    ]


def _greatest(places: Ints, values: Ints, cells: int, most: int) -> Sequence[list[int]]:
    """Return the greatest values of each cell, the greatest first; 0 where there are no more."""
    order = np.lexsort((-values, places))
    ranked, kept = places[order], values[order]
    starts = np.searchsorted(ranked, np.arange(cells))
    ends = np.searchsorted(ranked, np.arange(cells), side="right")
    found = np.zeros((cells, most), np.int64)
    for rank in range(most):
        inside = starts + rank < ends
        found[inside, rank] = kept[starts[inside] + rank]
    rows: list[list[int]] = found.tolist()
    return rows
