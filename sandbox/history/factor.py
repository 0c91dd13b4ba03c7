"""The lower triangular factor of the released cells' Gram matrix, grown row by row.

Rows are scaled to unit diagonal, which keeps cells of ten and of a million people on one footing.
The factor is ``L``, ``L L^T = D (M M^T + diag(lambda)) D``; ``M`` has a row of 0 and 1 for
each released cell and ``D = diag((n + lambda)^-1/2)``. Solving goes block by block: numpy has no
triangular solver, and its general one is exact enough and fast on small blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BLOCK: Final = 64


class Factor:
    """A factor of m rows; grows by whole tables."""

    def __init__(self) -> None:
        """Start with no row."""
        self.m = 0
        self._lower: Floats = np.zeros((0, 0))

    @property
    def lower(self) -> Floats:
        """The factor, m × m."""
        return self._lower[: self.m, : self.m]

    def fork(self) -> Factor:
        """Return the same, which grows without this."""
        forked = Factor()
        forked.m, forked._lower = self.m, self.lower.copy()
        return forked

    def solve(self, right: Floats) -> Floats:
        """Return ``L^-1 right`` for a right-hand side of m × g."""
        out = np.empty_like(right)
        for a in range(0, self.m, _BLOCK):
            b = min(a + _BLOCK, self.m)
            rest = right[a:b] - self._lower[a:b, :a] @ out[:a]
            out[a:b] = np.linalg.solve(self._lower[a:b, a:b], rest)
        return out

    def solve_transposed(self, right: Floats) -> Floats:
        """Return ``L^-T right`` for a right-hand side of m × g."""
        out = np.empty_like(right)
        for a in reversed(range(0, self.m, _BLOCK)):
            b = min(a + _BLOCK, self.m)
            rest = right[a:b] - self._lower[b : self.m, a:b].T @ out[b:]
            out[a:b] = np.linalg.solve(self._lower[a:b, a:b].T, rest)
        return out

    def append(self, rows: Floats) -> None:
        """Add the rows of a table, a × (m + a).

        Raises:
            InputInvalid: They do not fit, or the new diagonal is not positive.
        """
        count = len(rows)
        if rows.shape != (count, self.m + count) or not np.isfinite(rows).all():
            raise InputInvalid("Rows of a factor do not fit.")
        corner = rows[:, self.m :]
        if (np.diagonal(corner) <= 0).any() or np.triu(corner, 1).any():
            raise InputInvalid("Rows of a factor are not lower triangular.")
        if self.m + count > len(self._lower):
            room = max(2 * len(self._lower), self.m + count, _BLOCK)
            grown = np.zeros((room, room))
            grown[: self.m, : self.m] = self.lower
            self._lower = grown
        self._lower[self.m : self.m + count, : self.m + count] = rows
        self.m += count
