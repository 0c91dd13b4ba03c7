"""What in a policy protects less than its defaults, which are ACRO's: said to its owner.

Each warning names the key, its value, and the usual one. Nothing is refused: an owner may know that
the data are less delicate than most.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from fusion.crypto.concentrated import MICRO, epsilon_of
from sandbox.policy import UNITS, Budget, Date, Dominance, Number, Quantiles, Release, Time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.policy import Policy

LARGE_EPSILON: Final = 10
"""An epsilon of mode ``dp`` from which on an owner is warned."""

_NAMED: Final = 5
"""Most columns that a warning names."""

_DELTA: Final = int(Budget.model_fields["delta_exponent"].default)


def weaker_than_usual(policy: Policy) -> list[str]:
    """Return what in a policy protects less than the defaults do, in words for its owner."""
    found = []
    late, usual = policy.time.late, Time().late
    if late > usual:
        found.append(
            f"time.late is {late}, {usual} is usual: each late answer of a month can tell whether "
            f"one person is there."
        )
    if policy.mode == "dp" and policy.budget is not None:
        return found + list(_of_budget(policy.budget))
    return [*found, *_of_release(policy.release), *_of_columns(policy)]


def _of_release(own: Release) -> Iterator[str]:
    usual = Release()
    for name, why in (
        ("k", "fewer people may stand behind what is shown"),
        ("base", "counts are rounded less"),
        ("freedom", "a statistic may follow from fewer people"),
    ):
        value, common = getattr(own, name), getattr(usual, name)
        if value < common:
            yield f"release.{name} is {value}, {common} is usual: {why}."
    if own.rows > usual.rows:
        yield f"release.rows is {own.rows}, {usual.rows} is usual: a result has more cells."
    if own.sums == "none":
        yield (
            "release.sums is none, largest is usual: sums are not rounded, and differences of "
            "answers show one person."
        )
    yield from _of_dominance(own)
    yield from _of_quantiles(own.quantiles)


def _of_dominance(own: Release) -> Iterator[str]:
    top, usual = own.dominance, Dominance()
    if top is None:
        yield (
            f"release.dominance is off, {{n: {usual.n}, percent: {usual.percent}}} is usual: one "
            f"contributor's value can be estimated."
        )
    elif top.n < usual.n:
        yield (
            f"release.dominance.n is {top.n}, {usual.n} is usual: the second largest contributor "
            f"can estimate the largest."
        )
    if top is not None and top.percent > usual.percent:
        yield (
            f"release.dominance.percent is {top.percent}, {usual.percent} is usual: a few may hold "
            f"more of a value."
        )
    share, least = own.p_percent, Release().p_percent
    if share is None or (least is not None and share < least):
        yield (
            f"release.p_percent is {'off' if share is None else share}, {least} is usual: the "
            f"largest contributor's value can be estimated more closely."
        )


def _of_quantiles(own: Quantiles) -> Iterator[str]:
    usual = Quantiles()
    for name, weaker in (
        ("low_percent", own.low_percent < usual.low_percent),
        ("high_percent", own.high_percent > usual.high_percent),
    ):
        if weaker:
            yield (
                f"release.quantiles.{name} is {getattr(own, name)}, {getattr(usual, name)} is "
                f"usual: nearer to the ends stand single people."
            )
    if own.rounding == "none":
        yield "release.quantiles.rounding is none, bin is usual: quantiles are people's values."


def _of_columns(policy: Policy) -> Iterator[str]:
    columns = {
        f"{table}.{name}": column
        for table, each in policy.tables.items()
        for name, column in each.columns.items()
    }
    numbers = {name: each for name, each in columns.items() if isinstance(each, Number)}
    if policy.release.conditions == "exact" and numbers:
        yield (
            "release.conditions is exact, bin is usual: conditions know numbers as they are, so "
            "that values can be listed."
        )
    if without := [name for name, each in numbers.items() if each.bin is None]:
        yield (
            f"bin is not stated of {_some(without)}: conditions know these as they are, so that "
            f"values can be listed, and quantiles are told to a thousandth of the range."
        )
    if open_ones := [name for name, each in numbers.items() if not each.sensitive]:
        yield (
            f"sensitive is false, true is usual, of {_some(open_ones)}: the history of releases "
            f"takes these numbers for nothing to protect."
        )
    usual = str(Date.model_fields["finest"].default)
    for unit in UNITS[: UNITS.index(usual)]:
        fine = [n for n, each in columns.items() if isinstance(each, Date) and each.finest == unit]
        if fine:
            yield (
                f"finest is {unit}, {usual} is usual, of {_some(fine)}: groups are of shorter "
                f"times, and smaller."
            )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" and more" if len(names) > _NAMED else "")


def _of_budget(budget: Budget) -> Iterator[str]:
    for name, rho in (("grant", budget.grant_rho_micro), ("dataset", budget.dataset_rho_micro)):
        epsilon = epsilon_of(Decimal(rho) / MICRO, Decimal(10) ** -budget.delta_exponent) / MICRO
        if epsilon > LARGE_EPSILON:
            yield (
                f"budget.{name}_rho_micro is {rho}, an epsilon of {epsilon:.1f} at a delta of "
                f"1e-{budget.delta_exponent}; beyond {LARGE_EPSILON} little is promised."
            )
    if budget.delta_exponent < _DELTA:
        yield (
            f"budget.delta_exponent is {budget.delta_exponent}, {_DELTA} is usual: what rho "
            f"is told as holds less often."
        )
