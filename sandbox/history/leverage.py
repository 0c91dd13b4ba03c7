"""How much of each person is determined by all released cells together.

For released cells with 0/1 rows ``M`` and noise ``lambda``, the leverage of person i is
``h_i = m_i^T (M M^T + diag(lambda))^+ m_i``, where ``m_i`` marks the cells that i is in. Without
noise, every linear combination of the cells that involves anybody involves at least ``1 / max h``
people: for w in the row space and P the projector onto it, ``w_i^2 = <w, P e_i>^2 <= |w|^2 h_i``;
sum over the support of w. With noise, ``h_i`` is the share of the prior variance of i's value that
the cells remove, under independent priors. Background: Chin and Ozsoyoglu, "Auditing and inference
control in statistical databases", IEEE TSE 8(6), 1982 (the case h = 1); ``docs/claims/history.md``.

A new cell v with residual r and ``s = |r|^2 + noise`` after regression on the earlier ones adds
``r_i^2 / s``. No residual is estimated: where a bound that holds for everybody shows that all are
within theirs, they are left to be computed later, else they are computed for everybody.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.columns import Columns, sizes_of
from sandbox.history.factor import Factor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Codes = NDArray[np.int32]
    Floats = NDArray[np.float64]
    Places = NDArray[np.intp]

DEPENDENT: Final = 1e-7
"""Share of a scaled cell below which its residual counts as nothing."""

_FOLD: Final = 64
_BATCH: Final = 32
_MANY: Final = 8
"""Leverages of so small a share of all are computed alone until those of all are."""

_LOOKS: Final = 32
"""Share of all that computing those of any is counted for."""

_MARGIN: Final = 1 + 1e-9
"""On a bound, for the rounding of what it stands for."""


class Leverage:
    """The state of one ledger; changes by :meth:`absorb` only."""

    def __init__(self, entities: int) -> None:
        """Start with nothing released.

        Args:
            entities: Size of the cohort.
        """
        self.entities = entities
        self.columns = Columns(entities)
        self.factor = Factor()
        self._h: Floats = np.zeros(entities)
        self._exact = 0
        self._bounds: Floats | None = None
        self._everybody = self._highest = 0.0
        self._looked_at = 0
        self.appearances: NDArray[np.uint16] = np.zeros(entities, dtype=np.uint16)
        self.sizes: Floats = np.zeros(0)
        self.scale: Floats = np.zeros(0)

    def fork(self) -> Leverage:
        """Return the same, which changes without this."""
        forked: Leverage = copy(self)
        forked.columns, forked.factor = self.columns.fork(), self.factor.fork()
        forked.appearances = self.appearances.copy()
        # Other arrays are replaced, not written to.
        forked._bounds = None if self._bounds is None else self._bounds.copy()
        return forked

    @property
    def rows(self) -> int:
        """How many cells were released."""
        return self.factor.m

    @property
    def pending(self) -> int:
        """How many of the last cells leverages are only bounded for so far."""
        return self.rows - self._exact

    def known(self) -> tuple[int, Floats]:
        """Return for how many of the first cells leverages are computed, and these (N)."""
        return self._exact, self._h

    @property
    def h(self) -> Floats:
        """All leverages (N); computed now as far as they were not."""
        if self.pending:
            self._settle(self._h + self._added_by(self._exact))
        return self._h

    def _settle(self, h: Floats) -> None:
        self._h, self._exact, self._bounds = h, self.rows, None
        self._everybody, self._highest = 0.0, float(h.max(initial=0))
        self._looked_at = 0

    def absorb(
        self,
        codes: Codes,
        noise: float,
        rows: Floats,
        *,
        added: Floats | None = None,
        h: Floats | None = None,
    ) -> None:
        """Add a released table.

        Args:
            codes: For each entity its row 0 to a - 1, or -1.
            noise: Of each cell.
            rows: Of the factor, a × (m + a).
            added: What it adds to each leverage, where that is known; else it is bounded, and
                computed when it is asked for.
            h: The leverages with it, where they are known.
        """
        count = len(rows)
        sizes = sizes_of(codes, count).astype(np.float64)
        scale = 1 / np.sqrt(sizes + noise)
        bound = self._bound(rows, scale) if h is None and added is None else None
        if added is not None and not self.pending:
            h = self._h + added
        self.factor.append(rows)
        self.columns.add(codes, count)
        self.sizes = np.concatenate([self.sizes, sizes])
        self.scale = np.concatenate([self.scale, scale])
        self.appearances += codes >= 0
        if h is not None:
            self._settle(h)
        elif added is not None:
            self._bounds = self._h + added if self._bounds is None else self._bounds + added
            self._highest = float(self._bounds.max(initial=0))
        elif bound is not None:
            self._raise(codes, bound)

    def _bound(self, rows: Floats, scale: Floats) -> Floats:
        """Return the most that new rows add for anybody in each new cell, and for those in none."""
        m = self.rows
        inverse = np.linalg.inv(rows[:, m:])
        solved = self.factor.solve_transposed(rows[:, :m].T)
        own = np.vstack([scale[:, None] * inverse.T, np.zeros((1, len(rows)))])
        weights = -(self.scale[:, None] * solved) @ inverse.T
        return np.asarray(bounds(self.columns, own, weights).sum(axis=1))

    def _raise(self, codes: Codes, bound: Floats) -> None:
        """Raise bounds: for each cell, and last for those in none."""
        if self._bounds is None:
            self._bounds = self._h.copy()
        # What all of them get at least is one number: only those within are looked at.
        least = float(bound[-1])
        inside = np.flatnonzero(codes >= 0)
        raised = self._bounds[inside] + (bound[codes[inside]] - least)
        self._bounds[inside] = raised
        self._everybody += least
        self._highest = max(self._highest, float(raised.max(initial=0)))

    def stays_within(self, codes: Codes, bound: Floats, most: float) -> bool:
        """Return whether a table surely leaves everybody's leverage within a bound.

        Args:
            codes: For each entity its new cell, or -1.
            bound: The most that is added for anybody in each cell, and last in none.
            most: The bound.
        """
        if self._highest + bound.max() <= most / _MARGIN - self._everybody:
            return True
        # As in Columns.images: "wrap" takes -1 for the last.
        return self.all_within(np.take(bound, codes, mode="wrap"), most)

    def all_within(self, added: Floats, most: float) -> bool:
        """Return whether such additions (N) surely leave everybody's leverage within a bound."""
        known = self._h if self._bounds is None else self._bounds
        return bool((known + added).max(initial=0) <= most / _MARGIN - self._everybody)

    def stay_within(self, added: Floats, most: float) -> bool:
        """Return whether such additions (N) leave everybody's leverage within a bound.

        Of those for whom bounds do not tell, leverages are computed; of all, once they were many.
        """
        if self._bounds is not None:
            known = self._bounds + added
            doubtful = np.flatnonzero(known > most / _MARGIN - self._everybody)
            # A look at few costs more than they do: the factor is solved for every cell.
            self._looked_at += max(len(doubtful), self.entities // _LOOKS)
            if self._looked_at <= self.entities // _MANY:
                found = self._h[doubtful] + self._added_by(self._exact, doubtful)
                self._bounds[doubtful] = found - self._everybody
                self._highest = float(self._bounds.max(initial=0))
                return bool((found + added[doubtful]).max(initial=0) <= most)
        return bool((self.h + added).max(initial=0) <= most)

    def _added_by(self, first: int, among: Places | None = None) -> Floats:
        """Return what rows of the factor from one on add to leverages: everybody's, or of some."""
        added = np.zeros(self.entities)
        for begin in range(first, self.rows, _BATCH):
            end = min(begin + _BATCH, self.rows)
            unit = np.zeros((self.rows, end - begin))
            unit[np.arange(begin, end), np.arange(end - begin)] = 1
            weights = self.scale[:, None] * self.factor.solve_transposed(unit)
            ones = np.ones(end - begin)
            for which, image in self.columns.images(None, None, weights, among):
                np.multiply(image, image, out=image)
                added[which] += image @ ones
        return added if among is None else added[among]

    def recomputed(self) -> Floats:
        """Return all leverages from the factor at once, as a check of the incremental ones."""
        return self._added_by(0)

    def problem(self, tolerance: float) -> str:
        """Return what does not follow from the tables alone; empty if everything does."""
        gram = np.zeros((self.rows, self.rows))
        appearances = np.zeros_like(self.appearances)
        for first, codes, cells in self.columns.tables():
            shared = self.columns.intersections(codes, cells)
            gram[:, first : first + cells] = shared
            appearances += codes >= 0
        sizes = np.diagonal(gram)
        if not np.array_equal(sizes, self.sizes):
            return "sizes"
        if not np.array_equal(appearances, self.appearances):
            return "appearances"
        noise = 1 / self.scale**2 - sizes
        scaled = (gram + np.diag(noise)) * np.outer(self.scale, self.scale)
        lower = self.factor.lower
        if not np.allclose(lower @ lower.T, scaled, rtol=0, atol=tolerance):
            return "the factor"
        if not np.allclose(self.recomputed(), self.h, rtol=0, atol=tolerance):
            return "the leverages"
        return ""


def bounds(columns: Columns, own: Floats, weights: Floats) -> Floats:
    """Return the largest squares that sums as in :meth:`Columns.images` can have.

    Args:
        columns: The old cells.
        own: cells + 1 × g, what an entity gets for its new cell (last: in none).
        weights: rows × g, what it gets for each old cell that it is in.

    Returns:
        cells + 1 × g, for anybody in that cell.
    """
    low, high = columns.extremes(weights)
    return np.asarray(np.maximum((own + low) ** 2, (own + high) ** 2))


class Elimination:
    """A Cholesky factorisation that takes one cell after the other, in any order, or leaves it."""

    def __init__(self, gram: Floats) -> None:
        """Take what is left of the cells' Gram matrix after regression on the old ones."""
        self.chosen: list[int] = []
        self._left = gram
        self._columns: list[Floats] = []

    def rest(self, cell: int) -> float:
        """Return the squared residual of a cell after those that were taken, 0 to 1."""
        return float(self._left[cell, cell])

    def take(self, cell: int) -> None:
        """Give a cell the next row; its residual must be positive."""
        column = self._left[:, cell] / np.sqrt(self._left[cell, cell])
        self._left -= np.outer(column, column)
        self._columns.append(column)
        self.chosen.append(cell)

    def lower(self) -> Floats:
        """Return the factor's corner for the cells that were taken, a × a."""
        columns = [np.zeros(0)[:, None]] if not self.chosen else []
        columns += [column[self.chosen, None] for column in self._columns]
        return np.tril(np.hstack(columns))


class Trial:
    """A table that may be released: what each choice of its cells would add."""

    def __init__(
        self, ledger: Leverage, codes: Codes, shared: Floats, sizes: Floats, noise: float
    ) -> None:
        """Regress the cells on everything that was released.

        Args:
            ledger: What was.
            codes: For each entity its cell, or -1.
            shared: How many entities each old cell shares with each new one, m × g.
            sizes: Of the new cells, all of them at least 1.
            noise: On each new cell.
        """
        self.codes, self.sizes, self.noise = codes, sizes, noise
        self._ledger = ledger
        self._scale: Floats = 1 / np.sqrt(sizes + noise)
        self._solved = ledger.factor.solve(ledger.scale[:, None] * shared * self._scale)
        self._on_old = ledger.factor.solve_transposed(self._solved)
        self._gram = np.eye(len(sizes)) - self._solved.T @ self._solved

    def elimination(self) -> Elimination:
        """Return the factorisation of the new cells, with none of them chosen yet."""
        return Elimination(self._gram.copy())

    def coefficients(
        self, chosen: Sequence[int], lower: Floats, cell: int
    ) -> tuple[Floats, Floats]:
        """Return the combination of old and of chosen new cells that is nearest to a cell."""
        picked = list(chosen)
        on_new = self._gram[picked, cell]
        if picked:
            on_new = np.linalg.solve(lower.T, np.linalg.solve(lower, on_new))
        on_old = self._on_old[:, cell] - self._on_old[:, picked] @ on_new
        unit = self._scale[cell]
        return on_old * self._ledger.scale / unit, on_new * self._scale[picked] / unit

    def rows(self, chosen: Sequence[int], lower: Floats) -> Floats:
        """Return the factor's new rows, a × (m + a)."""
        return np.hstack([self._solved[:, list(chosen)].T, lower])

    def _maps(self, chosen: Sequence[int], lower: Floats) -> tuple[Floats, Floats]:
        picked = list(chosen)
        inverse = np.linalg.inv(lower)
        own = np.zeros((len(self.sizes) + 1, len(picked)))
        own[picked] = self._scale[picked, None] * inverse.T
        weights = -(self._ledger.scale[:, None] * self._on_old[:, picked]) @ inverse.T
        return own, weights

    def bounds(self, chosen: Sequence[int], lower: Floats) -> tuple[Floats, Floats]:
        """Return bounds on what the chosen cells add, without a look at the people.

        Returns:
            On each chosen cell's largest addition for anybody (a), and on what all of them add for
            anybody in each cell, and last in none (g + 1).
        """
        most = bounds(self._ledger.columns, *self._maps(chosen, lower)) * _MARGIN
        return most.max(axis=0), most.sum(axis=1)

    def stays_within(self, added: Floats, most: float) -> bool:
        """Return whether such additions surely leave everybody's leverage within a bound."""
        return self._ledger.stays_within(self.codes, added, most)

    def added(self, chosen: Sequence[int], lower: Floats) -> tuple[Floats, Floats]:
        """Return each chosen cell's largest addition for anybody (a), and that of all (N)."""
        own, weights = self._maps(chosen, lower)
        steps, ones = np.zeros(len(chosen)), np.ones(len(chosen))
        added = np.empty(self._ledger.entities)
        for which, image in self._ledger.columns.images(self.codes, own, weights):
            np.multiply(image, image, out=image)
            np.maximum(steps, _largest(image), out=steps)
            added[which] = image @ ones
        return steps, added

    def peaks(self, chosen: Sequence[int], lower: Floats) -> Floats:
        """Return the largest leverage of anybody after each chosen cell, in their order (a)."""
        own, weights = self._maps(chosen, lower)
        peaks = np.zeros(len(chosen))
        for which, image in self._ledger.columns.images(self.codes, own, weights):
            np.multiply(image, image, out=image)
            so_far = np.cumsum(image, axis=1) + self._ledger.h[which, None]
            np.maximum(peaks, _largest(so_far), out=peaks)
        return peaks

    def addition(self, chosen: Sequence[int], lower: Floats, place: int) -> Floats:
        """Return what the chosen cell at a place adds for each entity (N)."""
        own, weights = self._maps(chosen, lower)
        out = np.empty(self._ledger.entities)
        images = self._ledger.columns.images(
            self.codes, own[:, [place]].copy(), weights[:, [place]].copy()
        )
        for which, image in images:
            out[which] = image[:, 0] ** 2
        return out


def _largest(image: Floats) -> Floats:
    """Return the largest value of each column; numpy is slow on short rows, so many make one."""
    count, width = image.shape
    if count % _FOLD == 0:
        image = image.reshape(-1, _FOLD * width).max(axis=0).reshape(_FOLD, width)
    return np.asarray(image.max(axis=0))
