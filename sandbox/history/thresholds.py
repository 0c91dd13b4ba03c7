"""Thresholds that nobody can aim at: drawn for a set of people, by a secret of the node.

With a sharp threshold, nine known people as padding turn "refused or not" into "is this person in
the data". The draw is a function of the set alone, whatever query led to it, so that asking again
in other words draws nothing new (measured in ``docs/claims/history.md``).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from fusion.errors import InputInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECRET_BYTES: Final = 32
_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of a ledger; the defaults are those that were measured.

    Attributes:
        k: Fewest people that a released cell may single out.
        spread: The drawn threshold is k to k + spread - 1, in the middle most often.
        h_max: Largest leverage of one person, 0 to 1; usually 1 / k.
        slack: The drawn bound on all leverage is h_max, less this share of it at most.
        capacity: Share of h_max × entities that the sum of all leverages may reach.
        max_rows: Most released cells of a ledger.
        max_cells: Most cells of one table.
        refusals: Tables with a collision that a group may be refused in a month.
        max_appearances: Most released cells that one person may be in; 0 for no bound. What an
            insider who knows everybody else learns grows with it.
    """

    k: int = 10
    spread: int = 20
    h_max: float = 0.1
    slack: float = 0.1
    capacity: float = 0.5
    max_rows: int = 5000
    max_cells: int = 1000
    refusals: int = 5
    max_appearances: int = 0

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            InputInvalid: One is out of its range.
        """
        fits = (
            self.k >= 2,
            self.spread >= 1,
            0 < self.h_max <= 1,
            0 <= self.slack < 1,
            0 < self.capacity <= 1,
            1 <= self.max_rows <= 20_000,
            1 <= self.max_cells <= 4095,
            self.refusals >= 0,
            self.max_appearances >= 0,
        )
        if not all(fits):
            raise InputInvalid("A bound of the history policy is out of its range.")

    def least(self, draw: float) -> int:
        """Return the fewest people for a draw in [0, 1).

        Most draws lie in the middle: with a uniform one, the ends of its range would tell most,
        because there one of two answers is certain.
        """
        share = sqrt(draw / 2) if draw < 0.5 else 1 - sqrt((1 - draw) / 2)
        return self.k + min(int(share * self.spread), self.spread - 1)

    def most_step(self, draw: float) -> float:
        """Return the largest leverage that one cell may add for somebody.

        Without noise a set of n people alone adds 1/n: the bound is then the one on n.
        """
        return self.h_max * self.k / self.least(draw)

    def most_sum(self, draw: float) -> float:
        """Return the largest leverage that all cells together may have on somebody."""
        return self.h_max * (1 - self.slack * draw)


class Draws:
    """Keyed draws over the sets of one cohort."""

    def __init__(self, secret: bytes, scope: str, entities: int) -> None:
        """Derive this cohort's keys.

        Args:
            secret: Of the node, 32 bytes; known to nobody who asks.
            scope: Owner, dataset and epoch.
            entities: How many there are.

        Raises:
            InputInvalid: The secret has another length.
        """
        if len(secret) != SECRET_BYTES:
            raise InputInvalid(f"The history secret has {len(secret)} bytes, not {SECRET_BYTES}.")
        self._entities = entities
        self._for_keys = hmac.digest(
            secret, b"banyan/history/entities/v1\0" + scope.encode(), "sha256"
        )
        self._for_draws = hmac.digest(
            secret, b"banyan/history/draws/v1\0" + scope.encode(), "sha256"
        )
        self._keys: NDArray[np.uint64] | None = None

    def of(self, members: NDArray[np.bool_]) -> float:
        """Return the draw of a set, uniform in [0, 1): the same set, the same draw."""
        if self._keys is None:
            # The key is used for this stream only, so that a constant nonce is no repetition.
            stream = Cipher(ChaCha20(self._for_keys, bytes(16)), mode=None).encryptor()
            zeros = bytes(_KEY_BYTES * self._entities)
            self._keys = np.frombuffer(stream.update(zeros), dtype="<u8")
        name = int(np.bitwise_xor.reduce(self._keys[members], initial=np.uint64(0)))
        drawn = hmac.digest(self._for_draws, name.to_bytes(_KEY_BYTES, "big"), "sha256")
        return int.from_bytes(drawn[:6], "big") / 2.0**48
