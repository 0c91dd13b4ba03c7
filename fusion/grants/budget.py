"""What a use costs, what a grant has left: integers, nothing below zero, nothing beyond the cap.

A budget belongs to one grant, one action and one data owner, who keeps it. An entry is reserved
before any work, committed when something has left, and released only by an explicit abort made
before anything left. A crash in between leaves it reserved, which counts as spent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, Literal, Protocol

from fusion.errors import GrantRefused
from fusion.grants.document import Align, Mock, Query, Score, Train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.grants.request import Request

Permission = Train | Align | Query | Score | Mock
Counter = Literal["runs", "epsilon_micro", "rows"]
COUNTERS: Final[tuple[Counter, ...]] = ("runs", "epsilon_micro", "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What is spent, or asked for: uses, millionths of epsilon, rows that come out."""

    runs: int = 0
    epsilon_micro: int = 0
    rows: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no amount.

        Raises:
            GrantRefused: Not an integer from 0 up.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or value < 0:
                raise GrantRefused(f"An amount of {each.name} is not a whole number from 0 up.")

    def __add__(self, other: Amount) -> Amount:
        """Return both together."""
        return Amount(**{name: getattr(self, name) + getattr(other, name) for name in COUNTERS})


NOTHING: Final = Amount()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """The most that may be spent; ``None`` is for what an action does not count."""

    runs: int
    epsilon_micro: int | None = None
    rows: int | None = None

    def exceeded(self, used: Amount, asked: Amount) -> tuple[Counter, ...]:
        """Return which counters would go beyond the cap; one that is not counted takes nothing."""
        total = used + asked
        return tuple(name for name in COUNTERS if getattr(total, name) > (getattr(self, name) or 0))

    def left(self, used: Amount) -> Amount:
        """Return what is left."""
        return Amount(
            **{name: max(0, (getattr(self, name) or 0) - getattr(used, name)) for name in COUNTERS}
        )


def cap_of(permission: Permission) -> Cap:
    """Return the most that a permission lets be spent in all."""
    return Cap(
        runs=permission.runs,
        epsilon_micro=getattr(permission, "epsilon_micro", None),
        rows=getattr(permission, "rows", None),
    )


def cost_of(request: Request, permission: Permission) -> Amount:
    """Return what a request costs under a permission; what is not counted costs nothing."""
    cap = cap_of(permission)
    return Amount(
        runs=1,
        epsilon_micro=(request.epsilon_micro or 0) if cap.epsilon_micro is not None else 0,
        rows=(request.rows or 0) if cap.rows is not None else 0,
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the log says of a move, written in the transaction that makes it.

    Attributes:
        entries: In their order.
        papers: Documents that they speak of, by name.
    """

    entries: Sequence[bytes] = ()
    papers: Mapping[str, bytes] = field(default_factory=dict)


NO_EVIDENCE: Final = Evidence()


class Budgets(Protocol):
    """What a data owner must never forget: what was spent under its grants.

    Adapters: :class:`fusion.stores.budgets.SqliteBudgets`, and in memory
    :class:`fusion.stores.budgets.MemoryBudgets`.
    """

    def used(self, grant: str, action: str, *, besides: str = "") -> Amount:
        """Return what is reserved or committed, but for one key."""
        ...

    def charged_to(self, key: str) -> str | None:
        """Return which grant a key was charged to, if it was."""
        ...

    def reserve(
        self,
        key: str,
        grant: str,
        action: str,
        asked: Amount,
        cap: Cap,
        evidence: Evidence = NO_EVIDENCE,
    ) -> None:
        """Charge an amount durably, before any work; the same again is fine.

        Args:
            key: Names the use; one that was released can't be used again.
            grant: The grant's id.
            action: What is done.
            asked: What it costs.
            cap: The most that may be spent in all.
            evidence: Goes to the log in the same transaction, the first time.

        Raises:
            fusion.errors.GrantRefused: It would go beyond the cap (code of the counter), or the
                key stands for something else.
        """
        ...

    def charged(self, key: str) -> tuple[str, str, Amount] | None:
        """Return grant, action and amount of a charge that is still reserved, if it is."""
        ...

    def reserved(self) -> list[str]:
        """Return the keys of all charges that are still reserved, in their order."""
        ...

    def commit(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Make a reservation final, durably, before anything leaves.

        Raises:
            fusion.errors.GrantRefused: There is none, or it was released.
        """
        ...

    def commit_all(self, charges: Mapping[str, Evidence]) -> None:
        """Make several reservations final, all of them or none, as :meth:`commit` does.

        Args:
            charges: What is logged of each, by key.

        Raises:
            fusion.errors.GrantRefused: One is none, or was released: all stay as they were.
        """
        ...

    def release(self, key: str, evidence: Evidence = NO_EVIDENCE) -> None:
        """Give a reservation back, because the use was given up before anything left.

        Raises:
            fusion.errors.GrantRefused: There is none, or it was committed.
        """
        ...
