"""What leaves of a cell: the rules on size, dominance and rounding, applied to partial sums.

Pure: cells of a core and a policy give released rows. A cell of fewer than k entities is not there
at all, like one that nobody is in. A value that few contribute to, or that a few dominate, is
missing. In a sum the n largest contributions of the (n, k) rule are read as the one that follows,
so that whoever gives one person a weight of her own (CASE WHEN she THEN 1000000) does not see from
a missing or coarser value that she is there. Counts are rounded to the base; sums to the base
times the largest contribution (made round, so that it does not show either), which leaves a count
that is hidden in a sum as coarse as a count. An average is such a sum over such a count; further
statistics are made of sums that are rounded so. Sources: the ACRO rules (Green, Ritchie & Smith
2021) and Hundepool et al., Statistical Disclosure Control (2012), ch. 4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import isqrt
from typing import TYPE_CHECKING, Any

from sandbox.moments import MOMENTS, PARAMETERS, Column, TooCoarse, Totals, moment
from sandbox.noise import noise
from sandbox.quantiles import answered, one_value
from sandbox.rounding import round_up, rounded
from sandbox.suppression import complete

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandbox.compile import CoreQuery
    from sandbox.partials import Rows
    from sandbox.policy import Release
    from sandbox.relations import Core, Statistic

Value = int | float | None


@dataclass(frozen=True, slots=True)
class Part:
    """What a cell says of one measure.

    Attributes:
        entities: How many contribute something other than 0.
        total: Sum of contributions.
        absolute: Sum of their magnitudes.
        largest: The three largest magnitudes; of counts the second is the most that it can be.
        above: The two largest contributions above 0.
        below: The two largest magnitudes below 0.
        least: Least value of a row, where it is needed.
        greatest: Greatest value of a row, where it is needed.
        key: Of the set of contributors.
    """

    entities: int
    total: int
    absolute: int
    largest: tuple[int, int, int]
    above: tuple[int, int] = (0, 0)
    below: tuple[int, int] = (0, 0)
    least: int | None = None
    greatest: int | None = None
    key: int = 0

    def cut_off(self, n: int) -> Part:
        """Return it with the n largest magnitudes (1 or 2) read as the one that comes next."""
        most = self.largest[n]
        above, below = (
            sum(max(0, each - most) for each in side) for side in (self.above, self.below)
        )
        return replace(
            self,
            total=self.total - above + below,
            absolute=self.absolute - above - below,
            largest=(min(most, self.largest[0]), most, most),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One group of a core."""

    keys: tuple[Any, ...]
    entities: int
    parts: tuple[Part, ...]
    quantiles: dict[int, float | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a policy, and the secret of the node where noise is wanted."""

    release: Release
    secret: bytes = b""


def cells_of(core: Core, query: CoreQuery, rows: Rows) -> list[Cell]:
    """Return the cells that an engine's rows are, in the order of their keys."""
    names = {name: place for place, (name, _) in enumerate(query.columns)}
    found = []
    for row in rows:
        parts = [
            _part({short: row[names[name]] for short in "ntamslhxbcpquv"
                   if (name := f"m{place}{short}") in names})
            for place in range(len(core.measures))
        ]  # fmt: skip
        quantiles = {
            place: _quantile(core.statistics[place], parts, row, names, place)
            for place in range(len(core.statistics))
            if f"q{place}" in names
        }
        keys = tuple(row[: core.keys])
        found.append(Cell(keys, row[names["n"]], tuple(parts), quantiles))
    found.sort(key=lambda cell: [(each is None, _sortable(each)) for each in cell.keys])
    return found


def _quantile(
    of: Statistic, parts: Sequence[Part], row: tuple[Any, ...], names: dict[str, int], place: int
) -> float | None:
    found: float | None = row[names[f"q{place}"]]
    beside = row[names[f"q{place}w"]] if f"q{place}w" in names else None
    if found is None or beside is None:
        return found
    return one_value(found, beside, of.fraction, parts[of.measures[0]].total, of.bin)


def _part(at: dict[str, Any]) -> Part:
    """Return what a cell says of a measure; what the engine left out follows from the rest.

    Of one that is wanted for its total nothing does: nobody looks at who contributes to it.
    """
    if "n" not in at:
        return Part(0, at["t"], at["t"], (0, 0, 0), least=at.get("l"), greatest=at.get("h"))
    largest, second, third = at["m"], at.get("b"), at.get("c", 0)
    if second is None:
        # The most that it can be: the rest of the squares.
        rest = isqrt(max(at["s"] - largest**2, 0))
        second = min(largest, rest, at["t"] - largest)
    return Part(
        at["n"],
        at["t"],
        at.get("a", at["t"]),
        (largest, second, third),
        (at.get("p", largest), at.get("q", second)),
        (at.get("u", 0), at.get("v", 0)),
        at.get("l"),
        at.get("h"),
        at.get("x") or 0,
    )


def _sortable(value: Any) -> Any:  # noqa: ANN401 - a key of any type
    return 0 if value is None else value


def release(
    core: Core, cells: Sequence[Cell], rules: Rules, coarse: set[str] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows that leave: keys, then statistics, None where a value may not.

    Without keys there is exactly one row, whatever the data.

    Args:
        core: Of the cells.
        cells: What an engine found.
        rules: Of the policy.
        coarse: Takes the kinds of statistics of which one is missing because it is less than what
            it is rounded to, which follows from released numbers.
    """
    own, coarse = rules.release, set() if coarse is None else coarse
    free = own.base // 2 if own.sums == "largest" else 0
    keys, sizes = [cell.keys for cell in cells], [cell.entities for cell in cells]
    small = {place for place, size in enumerate(sizes) if size < own.k}
    gone = complete(keys, sizes, small, own.k, free)
    shown = [place for place in range(len(cells)) if place not in gone]
    columns: list[list[Value]] = []
    for place, statistic in enumerate(core.statistics):
        unsafe = gone | {cell for cell in shown if not _safe(cells[cell], statistic, own)}
        hidden = complete(keys, sizes, unsafe, own.k, free)
        columns.append(
            [None if cell in hidden else _value(cells[cell], place, statistic, rules, coarse)
             for cell in shown]
        )  # fmt: skip
    if core.keys == 0 and not shown:
        return [(None,) * len(core.statistics)]
    return [
        (*shown_keys(core, cells[cell].keys), *(column[row] for column in columns))
        for row, cell in enumerate(shown)
    ]


def shown_keys(core: Core, keys: tuple[Any, ...]) -> Iterator[Any]:
    """Yield keys as a result has them: whole numbers that stand for decimals become those."""
    for value, kind in zip(keys, core.key_types, strict=True):
        yield value / 10**kind.scale if kind.scale and value is not None else value


def _parts(cell: Cell, of: Statistic, rules: Release) -> list[Part]:
    """Return what a statistic is made of; of a sum, with the largest contributions cut off."""
    parts = [cell.parts[place] for place in of.measures]
    if of.kind in {"sum", "mean"} and rules.dominance is not None:
        parts[-1] = parts[-1].cut_off(rules.dominance.n)
    return parts


def _safe(cell: Cell, of: Statistic, rules: Release) -> bool:
    """Whether enough contribute to a value, and no one or two of them dominate it."""
    parts = _parts(cell, of, rules)
    first = parts[0]
    if of.kind == "quantile":
        edge = min(of.fraction, 10_000 - of.fraction)
        if of.bin and not answered(of.fraction, first.entities, rules.base):
            return False
        enough = first.entities * edge >= rules.k * 10_000
        return enough and not _carried(first, edge, rules) and not _dominated(first, rules)
    if any(part.entities < rules.k for part in parts[: _decisive(of)]):
        return False
    if of.kind in MOMENTS and first.entities - PARAMETERS.get(of.kind, 1) < rules.freedom:
        return False
    if of.kind == "entities":
        return True  # each entity counts once
    return not any(_dominated(part, rules) for part in parts[: _decisive(of)])


def _carried(part: Part, edge: int, rules: Release) -> bool:
    """Whether one or two with many rows can take a quantile to values of their own.

    What lies beyond it on one side are so many rows: whoever has fewer can't carry it past the
    values of all others (its breakdown point; Hampel 1971), and whoever has more may be its value.
    """
    if rules.dominance is None:
        return False
    first, second, _ = part.largest
    return (first + (second if rules.dominance.n == 2 else 0)) * 10_000 > part.total * edge


def _decisive(of: Statistic) -> int:
    """Return how many measures of a statistic have to be safe; the others are their products."""
    if of.kind == "mean":
        return 2
    return 1


def _dominated(part: Part, rules: Release) -> bool:
    """Whether the (n, k) or the p % rule holds a value back (Hundepool et al. 2012, 4.2.2)."""
    if part.absolute == 0:
        return False
    first, second, _ = part.largest
    top = rules.dominance
    if top is not None:
        share = first + (second if top.n == 2 else 0)
        if 100 * share > top.percent * part.absolute:
            return True
    rest = part.absolute - first - second
    return rules.p_percent is not None and 100 * rest < rules.p_percent * first


# ------------------------------------------------------------------------------ values


def _value(cell: Cell, place: int, of: Statistic, rules: Rules, coarse: set[str]) -> Value:
    parts = _parts(cell, of, rules.release)
    if of.kind in {"entities", "count"}:
        counted = parts[0].entities if of.kind == "entities" else parts[0].total
        return _counted(counted, parts[0], rules)
    if of.kind == "quantile":
        found = cell.quantiles[place]
        if found is None:
            return None
        scaled = rounded(Fraction(found), Fraction(of.bin))
        return _plain(scaled / 10 ** of.scale[0], whole=False)
    if of.kind in {"sum", "mean"}:
        return _sum_or_mean(of, parts, rules)
    try:
        found_moment = moment(of.kind, _totals(of, parts, rules))
    except TooCoarse:
        coarse.add(of.kind)
        return None
    return None if found_moment is None else _plain(found_moment, whole=False)


def _counted(counted: int, of: Part, rules: Rules) -> int:
    """Return a count as it is released."""
    moved = noise(rules.secret, "count", of.key, rules.release.noise.sd_milli)
    base = rules.release.base
    return max(0, int(rounded(Fraction(counted + moved), Fraction(base if base > 1 else 0))))


def _divisor(count: Part, rules: Rules) -> int:
    """Return what an average is divided by: the count as released, if sums are rounded at all.

    By the exact count an average would tell it, and rows that add nothing but themselves would
    move where it is rounded past what the sum is not to tell.
    """
    if rules.release.sums == "largest":
        return _counted(count.total, count, rules)
    return max(
        0, count.total + noise(rules.secret, "count", count.key, rules.release.noise.sd_milli)
    )


def _sum_or_mean(of: Statistic, parts: Sequence[Part], rules: Rules) -> Value:
    """Return a sum, or the quotient of it and the count, both as they are released."""
    total, scale = parts[-1], 10 ** of.scale[-1]
    moved = noise(rules.secret, of.family, total.key, rules.release.noise.sd_milli)
    largest = round_up(Fraction(total.largest[0]))
    step = largest * rules.release.base if rules.release.sums == "largest" else Fraction(0)
    released_sum = rounded(Fraction(total.total) + moved * largest, step) / scale
    if of.kind == "sum":
        return _plain(released_sum, whole=of.whole)
    count = _divisor(parts[0], rules)
    return None if count == 0 else _plain(released_sum / count, whole=False)


def _plain(value: Fraction, *, whole: bool) -> Value:
    return int(value) if whole else float(value)


def _totals(of: Statistic, parts: Sequence[Part], rules: Rules) -> Totals:
    """Return what is known of one column or two, in units."""
    units = [Fraction(part.total, 10**scale) for part, scale in zip(parts, of.scale, strict=True)]
    count, sd = parts[0], rules.release.noise.sd_milli
    places = (1,) if len(parts) == 3 else (1, 2)
    columns = [
        Column(units[place], units[place + len(places)], *_edges(parts[place], of.scale[place]))
        for place in places
    ]
    return Totals(
        count=count.total,
        divisor=_divisor(count, rules),
        one=count.largest[0],
        first=columns[0],
        second=columns[-1],
        product=units[-1],
        base=rules.release.base if rules.release.sums == "largest" else 0,
        # Keyed by who is counted: sums and products are over their rows.
        noise=(
            noise(rules.secret, of.family, count.key, sd),
            noise(rules.secret, f"{of.family} squares", count.key, sd),
        ),
    )


def _edges(part: Part, scale: int) -> tuple[Fraction, Fraction]:
    """Return the least and the greatest value of a row, in units."""
    edges = [each for each in (part.least, part.greatest) if each is not None] or [0]
    return Fraction(min(edges), 10**scale), Fraction(max(edges), 10**scale)
