"""What the guard is asked, and what it decides: the seam to whoever compiles queries.

A request holds sets of people and what is measured over them, no measured value: a decision can't
depend on what it does not see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fusion.errors import InputInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sandbox.history.predicates import Predicate

Kind = Literal["stock", "flow"]

MAX_ENTITIES: Final = 2**31 - 1
MAX_NAME: Final = 400
_MONTH: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose ledger it is; everything that is asked under one scope is counted together.

    Attributes:
        owner: The organisation that has the data.
        dataset: Its name there.
        group: The grantee: all who may pool what they see.
        family: All functions of one sensitive column, and of what correlates with it.
        epoch: The quarter of a stock (2026-Q4), the period of a flow (2026-11).
    """

    owner: str
    dataset: str
    group: str
    family: str
    epoch: str

    def text(self) -> str:
        """Return the scope as one canonical line.

        Raises:
            InputInvalid: A part is empty or too long.
        """
        parts = (self.owner, self.dataset, self.group, self.family, self.epoch)
        if any(not 0 < len(part) <= MAX_NAME for part in parts):
            raise InputInvalid("A part of a history scope is empty or too long.")
        return canonical.encode(list(parts)).decode()


def epoch_of(kind: Kind, month: str) -> str:
    """Return the epoch that a month (``2026-11``) belongs to.

    Raises:
        InputInvalid: It is no month.
    """
    found = _MONTH.fullmatch(month)
    if found is None:
        raise InputInvalid(f"{month!r} is no month (YYYY-MM).")
    year, number = found.groups()
    return month if kind == "flow" else f"{year}-Q{(int(number) + 2) // 3}"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A table to be released.

    Attributes:
        scope: Which ledger.
        month: When it is asked, ``2026-11``: refusals are counted by month.
        measure: The function with its clamps and sensitive literals, normalised; one of the family.
        predicates: What each cell is by definition, over key attributes only.
        codes: For each entity of the cohort its cell, or -1; int32, one dimension.
        noise: Variance of the noise on a cell, in units of the prior variance of one entity's
            value (``docs/claims/history.md``); 0 for exact answers.
        merge: Whether cells that can't be released may be joined to one that can.
    """

    scope: Scope
    month: str
    measure: str
    predicates: tuple[Predicate, ...]
    codes: NDArray[np.int32]
    noise: float
    merge: bool = True

    def check(self, entities: int) -> None:
        """Check the shape.

        Raises:
            InputInvalid: Something does not fit.
        """
        codes = self.codes
        if codes.dtype != np.int32 or codes.shape != (entities,):
            raise InputInvalid(f"A table has a code (int32) for each of {entities} entities.")
        if entities and not -1 <= int(codes.min()) <= int(codes.max()) < len(self.predicates):
            raise InputInvalid("A code is neither -1 nor that of a cell.")
        if not self.predicates or not 0 < len(self.measure) <= MAX_NAME:
            raise InputInvalid("A table has at least one cell, and a measure.")
        if not (np.isfinite(self.noise) and 0 <= self.noise < 1e12):
            raise InputInvalid("The noise of a table is a finite number from 0 up.")
        epoch_of("flow", self.month)


class Status(StrEnum):
    """What becomes of a cell."""

    SERVED = "served"
    """Released now, alone."""
    MERGED = "merged"
    """Released now, joined with others of its table."""
    CACHED = "cached"
    """Released before: the same value again."""
    SNAPPED = "snapped"
    """So near to an earlier cell that the value of that one is given: no reportable change."""
    WITHHELD = "withheld"


class Reason(StrEnum):
    """Why a cell is not released as it was asked for."""

    SMALL = "small"
    PAIR = "pair"
    COMBINATION = "combination"
    HALF = "half"
    DEFINITION = "definition"
    CAPACITY = "capacity"
    CELLS = "cells"
    BUDGET = "budget"
    APPEARANCES = "appearances"


COLLISIONS: Final = frozenset({Reason.PAIR, Reason.COMBINATION, Reason.DEFINITION})
"""Reasons that count against the refusals of a month."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision about one cell.

    Attributes:
        status: What becomes of it.
        reason: Why, unless it is served or cached.
        source: Key of the released cell whose value it gets; empty if it is withheld.
        collides_with: Earlier queries of the same group, at most three.
    """

    status: Status
    reason: Reason | None = None
    source: str = ""
    collides_with: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {
            "collides_with": list(self.collides_with),
            "reason": str(self.reason or ""),
            "source": self.source,
            "status": str(self.status),
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a table.

    Attributes:
        outcomes: One a cell, in the order of the request.
        charged: Whether it counts against the refusals of the month: a cell collided that had not
            before.
    """

    outcomes: tuple[Outcome, ...]
    charged: bool = False

    def encode(self) -> bytes:
        """Return the decision as canonical JSON; equal decisions, equal bytes."""
        return canonical.encode(
            {
                "charged": self.charged,
                "outcomes": [outcome.document() for outcome in self.outcomes],
            }
        )


def noise_units(variance: float, low: float, high: float) -> float:
    """Return the noise of a cell as :class:`Request` takes it.

    No value clamped to [low, high] varies more than a fair coin between the two, so that this is
    the least that the noise can be worth.

    Args:
        variance: Of all that is added to a cell's sum, rounding included.
        low: Public lower bound of one entity's value.
        high: Public upper bound.

    Raises:
        InputInvalid: The bounds are not in order, or the variance is negative.
    """
    if not (np.isfinite(variance) and variance >= 0 and np.isfinite(high - low) and high > low):
        raise InputInvalid("Noise is a variance from 0 up, of values between two bounds.")
    return 4 * variance / (high - low) ** 2
