"""How much of each person is determined by all released cells together.

For released cells with 0/1 rows ``M`` and noise ``lambda``, the leverage of person i is
``h_i = m_i^T (M M^T + diag(lambda))^+ m_i``, where ``m_i`` marks the cells that i is in. Without
noise, every linear combination of the cells that involves anybody involves at least ``1 / max h``
people: for w in the row space and P the projector onto it, ``w_i^2 = <w, P e_i>^2 <= |w|^2 h_i``;
sum over the support of w. With noise, ``h_i`` is the share of the prior variance of i's value that
the cells remove, under independent priors. Background: Chin and Ozsoyoglu, "Auditing and inference
control in statistical databases", IEEE TSE 8(6), 1982 (the case h = 1); ``docs/claims/history.md``.

A new cell v with residual r and ``s = |r|^2 + noise`` after regression on the earlier ones adds
``r_i^2 / s``. Residuals are computed for everybody, never estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.history.columns import Columns
from sandbox.history.factor import Factor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Codes = NDArray[np.int32]
    Floats = NDArray[np.float64]

DEPENDENT: Final = 1e-7
"""Share of a scaled cell below which its residual counts as nothing."""

_FOLD: Final = 64


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
        self.h: Floats = np.zeros(entities)
        self.appearances: NDArray[np.uint16] = np.zeros(entities, dtype=np.uint16)
        self.sizes: Floats = np.zeros(0)
        self.scale: Floats = np.zeros(0)

    @property
    def rows(self) -> int:
        """How many cells were released."""
        return self.factor.m

    def absorb(self, codes: Codes, noise: float, rows: Floats, h: Floats | None = None) -> None:
        """Add a released table.

        Args:
            codes: For each entity its row 0 to a - 1, or -1.
            noise: Of each cell.
            rows: Of the factor, a × (m + a).
            h: The leverages with it, where they are known; else they are computed.
        """
        count = len(rows)
        sizes = np.bincount(codes[codes >= 0], minlength=count).astype(np.float64)
        scale = 1 / np.sqrt(sizes + noise)
        if h is None:
            h = self._with(codes, rows, scale)
        self.factor.append(rows)
        self.columns.add(codes, count)
        self.sizes = np.concatenate([self.sizes, sizes])
        self.scale = np.concatenate([self.scale, scale])
        self.appearances += codes >= 0
        self.h = h

    def _with(self, codes: Codes, rows: Floats, scale: Floats) -> Floats:
        m = self.rows
        inverse = np.linalg.inv(rows[:, m:])
        solved = self.factor.solve_transposed(rows[:, :m].T)
        own = np.vstack([scale[:, None] * inverse.T, np.zeros((1, len(rows)))])
        weights = -(self.scale[:, None] * solved) @ inverse.T
        h = self.h.copy()
        for which, image in self.columns.images(codes, own, weights):
            h[which] += np.einsum("ij,ij->i", image, image)
        return h

    def recomputed(self) -> Floats:
        """Return all leverages from the factor at once, as a check of the incremental ones."""
        h = np.zeros(self.entities)
        inverse = self.factor.solve(np.eye(self.rows)) * self.scale
        for begin in range(0, self.rows, 32):
            for which, image in self.columns.images(None, None, inverse[begin : begin + 32].T):
                h[which] += np.einsum("ij,ij->i", image, image)
        return h

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

    def added(self, chosen: Sequence[int], lower: Floats) -> tuple[Floats, Floats]:
        """Return each chosen cell's largest addition for anybody (a), and h with all (N)."""
        own, weights = self._maps(chosen, lower)
        steps, ones = np.zeros(len(chosen)), np.ones(len(chosen))
        h = self._ledger.h.copy()
        for which, image in self._ledger.columns.images(self.codes, own, weights):
            np.multiply(image, image, out=image)
            np.maximum(steps, _largest(image), out=steps)
            h[which] += image @ ones
        return steps, h

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
