"""With and without one random person: the same status and error, and of cells what is documented.

Who she is is drawn for each: of every attribute she has a value that others have or one of her own,
and she has no visits or many. What may differ is what docs/claims/queries.md says ("What one person
may change"): in cells that she is in, a count by a step of its rounding, a sum by one of its own,
and a cell or value that reaches its threshold, with what is hidden beside it. Cells that she is not
in are the same.
"""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from fusion.errors import FusionError
from sandbox import disclosure, query
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.rounding import round_up
from tests.sandbox.asking import PUBLIC, corpus, example, write
from tests.sandbox.test_neighbours import TARGET, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.disclosure import Cell
    from sandbox.query import Compiled
    from sandbox.relations import Core

    Data = dict[str, dict[str, list[Any]]]
    Keys = tuple[Any, ...]

RULES = Rules(example().release)
LEGIT = [each.sql for each in corpus("legit.txt")]
ANALYSTS = [each.sql for each in corpus("analysts.txt")]


def joined(data: Data, seed: int) -> Data:
    """Return data with a random person more, who may be the only one of some attributes."""
    rng = random.Random(seed)

    def one(common: tuple[Any, ...], own: object) -> object:
        return rng.choice(common) if rng.random() < 0.7 else own

    person = (
        TARGET, one((1950, 1970, 1999), 1931), one(("F", "M"), "X"), one(("R01", "R02"), "R99"),
        one(("primary", "tertiary"), "none"), one((20_000.0, 55_555.55), rng.choice((0.0, 9e6))),
    )  # fmt: skip
    visits = [
        (90_000 + number, TARGET, one(("2021-03-03", "2021-11-28"), "2033-02-28"),
         one(("er", "card"), "own"), one(("D001", "D010"), "D099"), one((10.0, 899.99), 999_999.99),
         one((5, 60), 99_999))
        for number in range(rng.choice((0, 1, 4, 80)))
    ]  # fmt: skip
    new: dict[str, list[tuple[Any, ...]]] = {"persons": [person], "visits": visits, "regions": []}
    return {
        name: {
            column: [*cells, *(row[place] for row in new[name])]
            for place, (column, cells) in enumerate(columns.items())
        }
        for name, columns in data.items()
    }


class Ran(NamedTuple):
    """What became of a statement: its error, and of each core its cells and what was released."""

    error: tuple[str, str]
    cells: dict[int, dict[Keys, Cell]]
    released: dict[int, dict[Keys, tuple[Any, ...]]]


@cache
def _compiled(sql: str) -> Compiled:
    return query.compile_statement(sql, example(), public=PUBLIC)


def ran(sql: str, run: Callable[[bytes], bytes]) -> Ran:
    """Run a statement, keeping what no analyst sees."""
    compiled = _compiled(sql)
    reply = run(compiled.asked.request)
    cells, released = {}, {}
    for number, own in query.cells(compiled, reply).items():
        core = compiled.cores[number]
        cells[number] = {tuple(disclosure.shown_keys(core, each.keys)): each for each in own}
        rows = disclosure.release(core, own, RULES)
        released[number] = {tuple(row[: core.keys]): tuple(row[core.keys :]) for row in rows}
    try:
        query.finish(compiled, reply, RULES)
    except FusionError as error:
        return Ran((error.code, str(error)), cells, released)
    return Ran(("", ""), cells, released)


def differences(sql: str, one: Ran, other: Ran) -> Iterator[str]:
    """Yield what differs by more than a person may change."""
    if one.error != other.error:
        yield f"{one.error} {other.error}"
    for number, core in enumerate(_compiled(sql).cores):
        with_her, without = one.cells[number], other.cells[number]
        shown, before = one.released[number], other.released[number]
        hers = {keys for keys in {*with_her, *without} if with_her.get(keys) != without.get(keys)}
        held_back = any(len(each) < len(cells) or None in sum(each.values(), ())
                        for each, cells in ((shown, with_her), (before, without)))  # fmt: skip
        for keys in {*shown, *before}:
            if keys not in shown or keys not in before:
                # Who reaches k, or is hidden beside who does not.
                if not held_back or (core.keys == 0):
                    yield f"{keys} is there in one alone"
                continue
            for place, (new, old) in enumerate(zip(shown[keys], before[keys], strict=True)):
                if new == old or (held_back and None in {new, old}):
                    continue
                if keys not in hers:
                    yield f"{keys}, where she is not: {old} became {new}"
                elif abs(new - old) > _most(core, place, with_her[keys], without[keys]):
                    yield f"{keys}: {old} became {new}"


def _most(core: Core, place: int, new: Cell, old: Cell) -> float:
    """Return what a value of a cell may change by."""
    statistic = core.statistics[place]
    measure = statistic.measures[-1]
    parts = [each.parts[measure] for each in (new, old)]
    base = RULES.release.base
    if statistic.kind == "entities":
        return base
    if statistic.kind == "count":
        # Steps of the rounding that her rows can pass.
        rows = abs(parts[0].total - parts[1].total)
        return base * (rows // base + 1)
    if statistic.kind == "sum":
        # Her part is no more than the largest that is left, which a step is made of.
        steps = [base * round_up(Fraction(_left(each).largest[0])) for each in parts]
        return float(sum(steps, Fraction(0)) / 10 ** statistic.scale[-1])
    return float("inf")


def _left(part: disclosure.Part) -> disclosure.Part:
    top = RULES.release.dominance
    return part if top is None else part.cut_off(top.n)


@pytest.mark.parametrize(
    ("seeds", "people", "statements"),
    [((1,), 2, LEGIT),
     pytest.param(range(2, 10), 12, LEGIT + ANALYSTS,
                  marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)  # fmt: skip
def test_a_random_person_changes_what_is_documented(
    seeds: range, people: int, statements: list[str], tmp_path: Path
) -> None:
    found, changed = [], 0
    for seed in seeds:
        data = tables(seed, with_target=False)
        runs = []
        for number in range(people + 1):
            folder = tmp_path / f"{seed}-{number}"
            folder.mkdir()
            own = data if number == 0 else joined(data, 1000 * seed + number)
            runs.append(partial(execute, inputs=write(folder, own)))
        for sql in statements:
            without = ran(sql, runs[0])
            for number, run in enumerate(runs[1:], 1):
                with_her = ran(sql, run)
                changed += with_her.cells != without.cells
                found += [(sql, seed, number, each) for each in differences(sql, with_her, without)]
    assert found == []
    # Many statements are about her, or nothing was compared.
    assert changed > len(statements) * people * len(seeds) // 4
