"""The certificate, against rational arithmetic; the incremental numbers, against an SVD."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.errors import HistoryBroken, InputInvalid
from sandbox.history import records
from sandbox.history.columns import Columns
from sandbox.history.factor import Factor
from sandbox.history.leverage import DEPENDENT, Leverage, Trial
from sandbox.history.state import Addition

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Codes = NDArray[np.int32]


def _add(ledger: Leverage, codes: Codes, noise: float) -> None:
    """Release all cells of a table that are not dependent."""
    cells = int(codes.max()) + 1
    sizes = np.bincount(codes[codes >= 0], minlength=cells).astype(float)
    trial = Trial(ledger, codes, ledger.columns.intersections(codes, cells), sizes, noise)
    elimination = trial.elimination()
    for cell in range(cells):
        if elimination.rest(cell) > DEPENDENT:
            elimination.take(cell)
    chosen, lower = elimination.chosen, elimination.lower()
    if chosen:
        onto = np.full(cells + 1, -1, dtype=np.int32)
        onto[chosen] = np.arange(len(chosen))
        most_steps, most_added = trial.bounds(chosen, lower)
        before = ledger.h
        steps, added = trial.added(chosen, lower)
        h = before + added
        assert (steps <= most_steps).all()
        assert (added <= most_added[codes]).all()
        assert not trial.stays_within(most_added, h.max() * (1 - 1e-6))
        peaks = trial.peaks(chosen, lower)
        assert peaks[-1] == pytest.approx(h.max(), abs=1e-12)
        for place, step in enumerate(steps):
            assert trial.addition(chosen, lower, place).max() == pytest.approx(step, abs=1e-12)
        ledger.absorb(onto[codes], noise, trial.rows(chosen, lower), added=added)


def _matrix(tables: list[Codes]) -> NDArray[np.int64]:
    return np.array(
        [codes == cell for codes in tables for cell in range(codes.max() + 1)], dtype=int
    )


def _table(draw: Generator, people: int, cells: int) -> Codes:
    codes = draw.integers(-1, cells, people).astype(np.int32)
    _, dense = np.unique(codes, return_inverse=True)
    return np.asarray(dense - (codes.min() < 0), dtype=np.int32)


def _without(row: list[Fraction], column: int, pivot: list[Fraction]) -> list[Fraction]:
    return [a - row[column] * b for a, b in zip(row, pivot, strict=True)]


def _echelon(rows: list[list[Fraction]]) -> list[list[Fraction]]:
    """Return the reduced row echelon form, without zero rows."""
    rows = [list(row) for row in rows]
    done: list[list[Fraction]] = []
    for column in range(len(rows[0]) if rows else 0):
        found = next((row for row in rows if row[column]), None)
        if found is None:
            continue
        rows.remove(found)
        pivot = [value / found[column] for value in found]
        rows = [_without(row, column, pivot) for row in rows]
        done = [*(_without(row, column, pivot) for row in done), pivot]
    return done


def _times(x: list[Fraction], y: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def _exact(matrix: NDArray[np.int64]) -> tuple[list[Fraction], int]:
    """Return everybody's leverage, and the size of the smallest support of a combination."""
    basis = _echelon([[Fraction(int(value)) for value in row] for row in matrix])
    people, rank = matrix.shape[1], len(basis)
    gram = [[_times(x, y) for y in basis] for x in basis]
    unit = [[Fraction(int(i == j)) for j in range(rank)] for i in range(rank)]
    solved = _echelon([[*row, *one] for row, one in zip(gram, unit, strict=True)])
    inverse = [row[rank:] for row in solved]
    h = [
        sum(
            (basis[i][p] * inverse[i][j] * basis[j][p] for i in range(rank) for j in range(rank)),
            Fraction(0),
        )
        for p in range(people)
    ]
    for size in range(1, people + 1):
        for support in combinations(range(people), size):
            outside = [[row[p] for p in range(people) if p not in support] for row in basis]
            if size == people or len(_echelon(outside)) < rank:
                return h, size
    return h, people


def _theorem(systems: int, first: int) -> None:
    for seed in range(first, first + systems):
        draw = np.random.default_rng([3, seed])
        people = int(draw.integers(3, 8))
        tables = [
            _table(draw, people, int(draw.integers(1, 4))) for _ in range(int(draw.integers(1, 4)))
        ]
        tables = [codes for codes in tables if codes.max() >= 0]
        if not tables:
            continue
        ledger = Leverage(people)
        for codes in tables:
            _add(ledger, codes, 0.0)
        h, smallest = _exact(_matrix(tables))
        assert np.allclose(ledger.h, [float(value) for value in h], rtol=0, atol=1e-9)
        assert smallest * max(h) >= 1
        assert sum(h) == ledger.rows


def test_a_combination_involves_at_least_one_over_h_people() -> None:
    _theorem(150, 0)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_same_for_three_thousand_systems() -> None:
    _theorem(3000, 1000)


@pytest.mark.parametrize("noise", [0.0, 24.0])
def test_what_grows_row_by_row_is_what_an_svd_gives(noise: float) -> None:
    draw = np.random.default_rng(5)
    people = 400
    ledger, tables = Leverage(people), []
    for _ in range(25):
        codes = _table(draw, people, int(draw.integers(1, 9)))
        _add(ledger, codes, noise)
        tables.append(codes)
        if len(tables) % 5:
            continue
        matrix = _matrix(tables).astype(float)
        _, s, vt = np.linalg.svd(matrix, full_matrices=False)
        kept = s > 1e-9
        shares = s[kept] ** 2 / (s[kept] ** 2 + noise)
        expected = (vt[kept] ** 2 * shares[:, None]).sum(axis=0)
        assert np.allclose(ledger.h, expected, rtol=0, atol=1e-9)
    assert np.allclose(ledger.recomputed(), ledger.h, rtol=0, atol=1e-9)
    assert ledger.problem(1e-9) == ""
    if not noise:
        assert ledger.h.sum() == pytest.approx(ledger.rows, abs=1e-8)


def test_the_order_of_tables_and_of_cells_does_not_matter() -> None:
    draw = np.random.default_rng(6)
    tables = [_table(draw, 300, 5) for _ in range(12)]
    found = []
    for turn in range(3):
        ledger = Leverage(300)
        for place in draw.permutation(len(tables)) if turn else range(len(tables)):
            cells = int(tables[place].max()) + 1
            renamed = np.append(draw.permutation(cells), -1).astype(np.int32)
            _add(ledger, renamed[tables[place]] if turn else tables[place], 24.0)
        found.append(ledger.h)
    assert np.allclose(found[0], found[1], rtol=0, atol=1e-10)
    assert np.allclose(found[0], found[2], rtol=0, atol=1e-10)


def test_replaying_rows_gives_the_same_leverages() -> None:
    draw = np.random.default_rng(7)
    ledger, again = Leverage(500), Leverage(500)
    for _ in range(10):
        codes = _table(draw, 500, 7)
        before = ledger.rows
        _add(ledger, codes, 24.0)
        again.absorb(codes, 24.0, ledger.factor.lower[before:].copy())
        nobody = np.full(500, -1, dtype=np.int32)
        assert not again.stays_within(nobody, np.zeros(1), ledger.h.max() * (1 - 1e-6))
    assert again.pending == again.rows
    assert np.allclose(again.h, ledger.h, rtol=0, atol=1e-12)
    assert again.pending == 0
    assert (again.appearances == ledger.appearances).all()


def test_what_is_surely_within_a_bound_is_within_it() -> None:
    draw = np.random.default_rng(12)
    people, sure = 20_000, 0
    ledger, exact = Leverage(people), Leverage(people)
    pending: list[int] = []
    for turn in range(40):
        codes = np.where(draw.random(people) < draw.uniform(0.01, 0.3), 0, -1).astype(np.int32)
        sizes = np.array([np.count_nonzero(codes == 0)], dtype=float)
        trial = Trial(ledger, codes, ledger.columns.intersections(codes, 1), sizes, 0.0)
        rest = trial.elimination()
        rest.take(0)
        lower = rest.lower()
        _, most = trial.bounds([0], lower)
        bound = 0.05 * draw.random()
        within = trial.stays_within(most, bound)
        rows = trial.rows([0], lower)
        # Some are computed, which does not say what those before them were.
        added = trial.added([0], lower)[1] if turn and turn % 7 == 0 else None
        ledger.absorb(codes, 0.0, rows, added=added)
        exact.absorb(codes, 0.0, rows)
        sure += within
        assert not within or exact.h.max() <= bound
        # Near the largest, bounds do not tell of some; what is found of them is exact.
        for share, stay in ((1 - 1e-6, False), (1 + 1e-6, True)) if turn % 8 == 7 else ():
            assert ledger.stay_within(np.zeros(people), exact.h.max() * share) is stay
        pending.append(ledger.pending)
    assert max(pending) > 5
    # A bound that never holds would be no saving.
    assert sure >= 15
    assert np.allclose(ledger.h, exact.h, rtol=0, atol=1e-12)


def test_one_cell_is_kept_as_bits_and_read_back() -> None:
    draw = np.random.default_rng(13)
    for people in (1, 7, 8, 1001):
        codes = np.where(draw.random(people) < 0.3, 0, -1).astype(np.int32)
        addition = Addition(codes, 0.0, np.ones((1, 1)), ())
        packed = records.encode("m", addition)
        measure, again = records.decode(*packed, people, 0)
        assert measure == "m"
        assert (again.codes == codes).all()
        for wrong in (people + 8, max(0, people - 8)):
            with pytest.raises(HistoryBroken):
                records.decode(*packed, wrong, 0)


@pytest.mark.parametrize("what", ["h", "sizes", "appearances", "factor"])
def test_what_does_not_follow_from_the_tables_is_found(what: str) -> None:
    draw = np.random.default_rng(8)
    ledger = Leverage(200)
    for _ in range(4):
        _add(ledger, _table(draw, 200, 5), 24.0)
    assert not ledger.problem(1e-9)
    if what == "factor":
        ledger.factor.lower[3, 1] += 1e-6
    else:
        getattr(ledger, what)[3] += 1 if what != "h" else 1e-6
    assert ledger.problem(1e-9)


def test_columns_count_what_plain_counting_counts() -> None:
    draw = np.random.default_rng(9)
    columns, tables = Columns(1000), []
    for cells in (3, 12, 40, 5000, 7, 7, 7, 7, 7, 1):
        codes = draw.integers(-1, cells, 1000).astype(np.int32)
        columns.add(codes, cells)
        tables.extend([codes == cell for cell in range(cells)])
    new = draw.integers(-1, 6, 1000).astype(np.int32)
    plain = [[int((old & (new == cell)).sum()) for cell in range(6)] for old in tables]
    assert (columns.intersections(new, 6) == plain).all()
    for row in (0, 2, 3, 54, 55, 5054, 5055, len(tables) - 1):
        assert (columns.members(row) == tables[row]).all()
    with pytest.raises(IndexError):
        columns.members(len(tables))


def test_a_factor_solves_and_refuses_what_is_no_factor() -> None:
    draw = np.random.default_rng(10)
    lower = np.tril(draw.normal(size=(150, 150))) * 0.1 + np.eye(150)
    factor = Factor()
    for first in range(0, 150, 10):
        factor.append(lower[first : first + 10, : first + 10])
    right = draw.normal(size=(150, 4))
    assert np.allclose(lower @ factor.solve(right), right)
    assert np.allclose(lower.T @ factor.solve_transposed(right), right)
    for wrong in (
        np.zeros((1, 151)),
        np.full((1, 151), np.nan),
        np.ones((1, 150)),
        np.ones((2, 152)),
    ):
        with pytest.raises(InputInvalid):
            factor.append(wrong)
