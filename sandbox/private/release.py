"""From exact sums to what leaves: noise on every group that there could be, then arithmetic.

What is made of noisy sums (averages, variances, the analyst's own ratios, order and limits) looks
at them alone and costs nothing. Counts and sums are left as they come, without rounding and below
0 where noise says so: they are right on average. Averages and variances are cut off at what they
can be, and missing where the noisy count is below 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox.disclosure import shown_keys
from sandbox.private.domains import InTable, check_groups
from sandbox.private.mechanism import noisy, sigma_of
from sandbox.private.plan import SPREAD, middle, needed, noise_of, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandbox.partials import Rows
    from sandbox.policy import Policy
    from sandbox.private.plan import Noise, Private, Sum
    from sandbox.relations import Core, Result, Statistic

Value = int | float | None
_LONG: Final = 2**63 - 1
Word = Literal["count", "entities", "sum", "squares"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How much noise is in a column of a result.

    Attributes:
        column: Its name.
        of: ``count``, ``entities``, ``sum``, or ``squares`` for a sum of squares.
        sd: Standard deviation of the noise on it, in the sum's own units.
        itself: Whether the column is this number; else it is made of it.
    """

    column: str
    of: Word
    sd: float
    itself: bool


def noises(private: Private, cores: Sequence[Core], rho_micro: int) -> dict[Sum, Noise]:
    """Return the noise of each sum of a statement that spends rho.

    Raises:
        QueryRefused: There is no noise large enough (Q-14).
    """
    cells = dict(zip(private.cores, private.cells, strict=True))
    rho = share(rho_micro, max(1, len(private.sums)))
    return {each: noise_of(each, cores[each.core], cells[each.core], rho) for each in private.sums}


def groups(
    private: Private, core: int, tables: Mapping[InTable, Rows], policy: Policy
) -> list[Any]:
    """Return the keys of every group that a core could have, in the order of their values.

    Args:
        private: What is released.
        core: The core's number.
        tables: Distinct values of the columns of public tables.
        policy: What may be asked.

    Raises:
        QueryRefused: There are more (Q-16).
    """
    lists = []
    for each in private.domains[private.cores.index(core)]:
        if isinstance(each, InTable):
            found = dict.fromkeys(value for (value,) in tables[each])
            if each.missing:
                found[None] = None
            some = sorted(value for value in found if value is not None)
            lists.append([*some, None] if None in found else some)
        else:
            lists.append(list(each))
    check_groups([len(each) for each in lists], policy)
    return list(product(*lists))


def released(
    number: int,
    core: Core,
    rows: Rows,
    keys: Sequence[tuple[Any, ...]],
    noise: Mapping[Sum, Noise],
) -> list[tuple[Any, ...]]:
    """Return the rows of a core that leave: keys, then statistics.

    Args:
        number: Of the core.
        core: The core.
        rows: Keys and exact sums, as :func:`sandbox.private.bounding.bounded_sql` has them.
        keys: Of every group that there could be; a row of another is dropped.
        noise: Of the core's sums, in the order of the rows' columns.
    """
    exact = {tuple(row[: core.keys]): row[core.keys :] for row in rows}
    nothing = (0,) * len(noise)
    vectors = {
        each: noisy([exact.get(key, nothing)[place] for key in keys], how)
        for place, (each, how) in enumerate(noise.items())
    }
    scaled = {each: [value * noise[each].unit for value in of] for each, of in vectors.items()}
    found = []
    for place, key in enumerate(keys):
        own = {each: of[place] for each, of in scaled.items()}
        values = (
            _value(core, each, [own[one] for one in needed(number, core, each)])
            for each in core.statistics
        )
        found.append((*shown_keys(core, key), *values))
    return found


def _value(core: Core, of: Statistic, sums: Sequence[int]) -> Value:
    if of.kind in {"entities", "count"}:
        return _long(sums[0])
    if of.kind == "sum":
        return _long(sums[0]) if of.whole else sums[0] / 10 ** of.scale[0]
    if sums[0] < 1:
        return None
    if of.kind in SPREAD:
        return _spread(of, sums)
    column = core.measures[of.measures[1]].value
    kind = core.rows.outputs[column or 0].value.type
    mean: float = (middle(core, of) + sums[1] / sums[0]) / 10 ** of.scale[1]
    return min(max(mean, kind.low), kind.high)


def _long(value: int) -> int:
    return max(-_LONG, min(_LONG, value))


def _spread(of: Statistic, sums: Sequence[int]) -> float | None:
    count, total, squares = (value / 10**scale for value, scale in zip(sums, of.scale, strict=True))
    by = count - 1 if of.kind.endswith("samp") else count
    if by < 1:
        return None
    variance = max(0.0, (squares - total * total / count) / by)
    return sqrt(variance) if of.kind.startswith("stddev") else variance


# ---------------------------------------------------------------------------- how accurate


def accuracy(result: Result, cores: Sequence[Core], noise: Mapping[Sum, Noise]) -> list[Accuracy]:
    """Return the noise in each column of a result; a column without noise has none."""
    found: dict[Accuracy, None] = {}
    for place, each in enumerate(result.outputs):
        for core, statistic, itself in _statistics(result, cores, place, direct=True):
            of = cores[core].statistics[statistic]
            for scale, one in zip(of.scale or (0,), needed(core, cores[core], of), strict=True):
                sd = sigma_of(noise[one]) * noise[one].unit / 10**scale
                alone = itself and of.kind in {"entities", "count", "sum"}
                found[Accuracy(each.name, _word(cores[core], of, one), sd, alone)] = None
    return list(found)


def _word(core: Core, of: Statistic, one: Sum) -> Word:
    if one.entities or of.kind == "entities":
        return "entities"
    if of.kind in SPREAD and one.measure == of.measures[-1]:
        return "squares"
    return "sum" if core.measures[one.measure].how == "sum" else "count"


def _statistics(
    result: Result, cores: Sequence[Core], place: int, *, direct: bool
) -> Iterator[tuple[int, int, bool]]:
    """Yield core and number of each statistic that a column is made of, and if it is that one."""
    if result.core is not None:
        # The columns of a core are its keys, then its statistics.
        first = cores[result.core].keys
        if place >= first:
            yield result.core, place - first, direct
        return
    if result.union is not None:
        for side in result.union[:2]:
            yield from _statistics(side, cores, place, direct=direct)
        return
    of = result.outputs[place].value
    for part in of.parts():
        if part.op == "col" and result.sources:
            source = result.sources[part.args[0]][0]
            yield from _statistics(source, cores, part.args[1], direct=direct and part is of)
