"""Parts applied to rows: what a feature party answers, and what the label party makes of it.

An *answer* of a record is a fixed number of bytes. For trees it is a bit for each own node, in the
order of trees and nodes, set where the record goes left. For linear models and scorecards it is the
party's partial score, a 64-bit integer in units of 2^-32: with several feature parties masks are
added to it in that ring, which their sum loses again.

Contributions of trees are by path: what a split changes in the mean of the leaves below (Saabas,
*Interpreting random forests*, 2014). Those of linear models are weight times standardised value, of
scorecards what a column's points lack to their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.protocols.vertical import gradients
from federated.protocols.vertical.linear_terms import Target
from federated.protocols.vertical.nodes import packed_bytes
from federated.protocols.vertical.trees import ROOT
from federated.vertical import parts
from federated.vertical.part_making import design_of
from federated.vertical.parts import floats, part_of
from federated.vertical.tables import codes_of
from fusion.engine_ports import Scored
from fusion.errors import DataInvalid, InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Table = Mapping[str, NDArray[Any]]

FIXED_BITS: Final = 32
"""Fraction bits of a partial score."""
WORD: Final = 8
REASONS: Final = 4
LARGEST_PARTIAL: Final = 2.0**20
"""A feature party's partial score is smaller; words that masks are left in are hardly ever."""
_Label = parts.BoostingLabel | parts.LinearLabel | parts.ScorecardLabel
_Feature = parts.BoostingFeature | parts.LinearFeature | parts.ScorecardFeature


@dataclass(frozen=True, slots=True)
class Need:
    """What of a table a part reads.

    Attributes:
        columns: By name.
        words: Those among them that hold words.
    """

    columns: tuple[str, ...]
    words: frozenset[str]


def need_of(part: parts.ModelPart) -> Need:
    """Return what of a table a part reads."""
    if isinstance(part, parts.LinearLabel | parts.LinearFeature):
        words = [each.name for each in part.design.levels]
        return Need((*(each.name for each in part.design.numbers), *words), frozenset(words))
    names = tuple(column.name for column in part.columns)
    return Need(names, frozenset(c.name for c in part.columns if c.words is not None))


def label_part(data: bytes) -> _Label:
    """Read a label party's part.

    Raises:
        MessageInvalid: It is none.
    """
    part = part_of(data)
    if not isinstance(part, _Label):
        raise MessageInvalid("A part is not the label party's.")
    return part


def feature_part(data: bytes) -> _Feature:
    """Read a feature party's part.

    Raises:
        MessageInvalid: It is none.
    """
    part = part_of(data)
    if not isinstance(part, _Feature):
        raise MessageInvalid("A part is not a feature party's.")
    return part


def width_of(part: _Feature) -> int:
    """Return the bytes of an answer; at least one, so that there is something to seal."""
    if isinstance(part, parts.BoostingFeature):
        return max(1, packed_bytes(len(part.splits)))
    return WORD


def is_summed(part: parts.ModelPart) -> bool:
    """Whether answers are numbers of which the label party needs no more than the sum."""
    return not isinstance(part, parts.BoostingFeature | parts.BoostingLabel)


def answers(part: _Feature, table: Table, rows: NDArray[np.int64]) -> bytes:
    """Return the answers for rows, one behind the other.

    Args:
        part: Own.
        table: Own columns.
        rows: Which of its rows.

    Raises:
        DataInvalid: A column is of another type than in training, or a partial score too large.
    """
    own = checked(part, {name: table[name][rows] for name in need_of(part).columns})
    if isinstance(part, parts.BoostingFeature):
        values = _values(part.columns, own)
        bits = np.zeros((len(rows), len(part.splits)), bool)
        for at, split in enumerate(part.splits):
            bits[:, at] = _left(values[split.column], split)
        packed = np.packbits(bits, axis=1) if len(part.splits) else np.zeros((len(rows), 1), "u1")
        return packed.tobytes()
    if isinstance(part, parts.LinearFeature):
        partial = design_of(part.design).block(own, len(rows)) @ floats(part.weights)
    else:
        partial = _points(part, own, len(rows)).sum(axis=1)
    if not (np.abs(partial) < LARGEST_PARTIAL).all():
        raise DataInvalid("A partial score of a record is out of range.")
    return np.rint(partial * 2.0**FIXED_BITS).astype(np.int64).astype(">i8").tobytes()


def checked(part: parts.ModelPart, table: Table) -> dict[str, NDArray[Any]]:
    """Return columns of the types that the part was made with.

    Raises:
        DataInvalid: A column of numbers holds words, or the other way round.
    """
    words, found = need_of(part).words, {}
    for name, column in table.items():
        is_words = column.dtype == object
        if is_words == (name in words):
            found[name] = column
        elif is_words and all(cell is None for cell in column):
            found[name] = np.full(len(column), np.nan)
        elif not is_words and np.isnan(column).all():
            found[name] = np.full(len(column), None, object)
        else:
            raise DataInvalid(
                f"The column {name!r} is of another type than the model was trained with.",
                hint="Give the table the types that it had: numbers, or words.",
            )
    return found


def scores(
    part: _Label, table: Table, rows: NDArray[np.int64], given: Mapping[str, bytes]
) -> list[Scored]:
    """Return the scores of rows.

    Args:
        part: The label party's.
        table: Its columns.
        rows: Which of its rows.
        given: Answers of every feature party for these rows, in their order. Of models whose
            answers are summed, masks and all.

    Raises:
        DataInvalid: A column is of another type than in training.
        MessageInvalid: Answers are not of the size due, or add up to no score that a model has.
    """
    own = checked(part, {name: table[name][rows] for name in need_of(part).columns})
    if set(given) != set(part.parties):
        raise InputInvalid("Answers are not of the model's feature parties.")
    if isinstance(part, parts.BoostingLabel):
        return _trees(part, own, len(rows), given)
    rest = _summed(part, len(rows), given)
    others = " + ".join(part.parties)
    if isinstance(part, parts.LinearLabel):
        return _linear(part, own, rest, others)
    return _scorecard(part, own, rest, others)


def _summed(part: _Label, rows: int, given: Mapping[str, bytes]) -> Floats:
    """Return the sum of all parties' partial scores.

    Raises:
        MessageInvalid: Answers are not of the size due. The sum is larger than partial scores make
            it: masks have not met, or a party has answered with something else.
    """
    total = np.zeros(rows, np.uint64)
    for name in part.parties:
        if len(given[name]) != WORD * rows:
            raise MessageInvalid(f"The answers of {name} are not of the size due.")
        total += np.frombuffer(given[name], ">u8").astype(np.uint64)
    found = total.astype(np.int64) / 2.0**FIXED_BITS
    if not (np.abs(found) < len(part.parties) * LARGEST_PARTIAL).all():
        raise MessageInvalid(
            f"The answers of {', '.join(part.parties)} do not add up to a score.",
            hint="Ask again. If it stays so: do all of them run one version, and know one roster?",
        )
    return found


# ----------------------------------------------------------------------------- trees


def _values(columns: Sequence[parts.Column], own: Table) -> list[Floats]:
    """Return columns as the numbers that splits are about."""
    return [
        np.asarray(own[c.name], np.float64) if c.words is None else codes_of(c.words, own[c.name])
        for c in columns
    ]


def _left(values: Floats, split: parts.Split) -> Bools:
    """Say which rows a split sends left."""
    lacks = np.isnan(values)
    fits = values <= float.fromhex(split.at) if split.at is not None else ~lacks
    return np.where(lacks, split.missing, fits)


def _trees(
    part: parts.BoostingLabel, own: Table, rows: int, given: Mapping[str, bytes]
) -> list[Scored]:
    walk = _Walk(part, own, rows, given)
    total = np.full(rows, float.fromhex(part.start))
    for tree in range(part.trees):
        total = total + walk.tree(tree)
    outputs = gradients.outputs(
        part.objective, float.fromhex(part.scale), float.fromhex(part.mean), total
    )
    return _scored(total, outputs, walk.names, walk.contributions)


class _Walk:
    """Rows on their way down a model's trees.

    Attributes:
        names: Whose contributions: own columns, then parties.
        contributions: ``(rows, names)``.
    """

    def __init__(
        self, part: parts.BoostingLabel, own: Table, rows: int, given: Mapping[str, bytes]
    ) -> None:
        self._rows = rows
        self.names = [column.name for column in part.columns] + list(part.parties)
        self.contributions = np.zeros((rows, len(self.names)))
        values = _values(part.columns, own)
        self._left: dict[tuple[int, int], tuple[int, Bools]] = {
            (s.tree, s.node): (s.column, _left(values[s.column], s)) for s in part.splits
        }
        for owner, name in enumerate(part.parties):
            nodes = [(o.tree, o.node) for o in part.others if o.owner == owner]
            bits = _bits(name, given[name], rows, len(nodes))
            for at, place in enumerate(nodes):
                self._left[place] = (len(part.columns) + owner, bits[:, at])
        self._weights = {(f.tree, f.node): float.fromhex(f.weight) for f in part.leaves}
        self._means = _means(part, self._weights)

    def tree(self, number: int) -> Floats:
        """Return each row's weight in a tree, and add to contributions."""
        found = np.zeros(self._rows)
        open_nodes = [(ROOT, np.arange(self._rows))]
        while open_nodes:
            node, members = open_nodes.pop()
            if (number, node) in self._weights:
                found[members] = self._weights[number, node]
                continue
            who, left = self._left[number, node]
            goes = left[members]
            for side, mine in ((0, members[goes]), (1, members[~goes])):
                child = 2 * node + side
                change = self._means[number, child] - self._means[number, node]
                self.contributions[mine, who] += change
                if len(mine):
                    open_nodes.append((child, mine))
        return found


def _bits(name: str, data: bytes, rows: int, count: int) -> Bools:
    width = max(1, packed_bytes(count))
    if len(data) != width * rows:
        raise MessageInvalid(f"The answers of {name} are not of the size due.")
    packed = np.frombuffer(data, np.uint8).reshape(rows, width)
    return np.unpackbits(packed, axis=1, count=count).astype(bool)


def _means(
    part: parts.BoostingLabel, weights: Mapping[tuple[int, int], float]
) -> dict[tuple[int, int], float]:
    """Return the mean weight of the leaves below each node, by their rows."""
    rows = {(f.tree, f.node): max(1, f.rows) for f in part.leaves}
    sums = {place: (rows[place], rows[place] * weight) for place, weight in weights.items()}
    inner = [(s.tree, s.node) for s in part.splits] + [(o.tree, o.node) for o in part.others]
    for tree, node in sorted(inner, key=lambda place: -place[1]):
        (n, a), (m, b) = sums[tree, 2 * node], sums[tree, 2 * node + 1]
        sums[tree, node] = (n + m, a + b)
    return {place: total / count for place, (count, total) in sums.items()}


# ----------------------------------------------------------------------------- sums


def _linear(part: parts.LinearLabel, own: Table, rest: Floats, others: str) -> list[Scored]:
    design, weights = design_of(part.design), floats(part.weights)
    offset = float.fromhex(part.offset)
    partial = design.block(own, len(rest)) @ weights
    target = Target(part.family, offset, float.fromhex(part.scale), np.empty(0))
    pieces = design.standard(own, len(rest)) * (design.rotation @ weights[part.design.intercept :])
    names, columns = [], []
    for name, first, last in _raw_columns(part.design):
        names.append(name)
        columns.append(pieces[:, first:last].sum(axis=1))
    found = np.stack([*columns, rest], axis=1)
    total = partial + rest
    return _scored(total + offset, target.outputs(total), [*names, others], found)


def _raw_columns(design: parts.DesignPart) -> Iterator[tuple[str, int, int]]:
    """Yield each column's name and its raw columns, from the first up to the last."""
    at = 0
    for number in design.numbers:
        yield number.name, at, at + 2
        at += 2
    for level in design.levels:
        yield level.name, at, at + len(level.words)
        at += len(level.words)


def _points(part: parts.ScorecardLabel | parts.ScorecardFeature, own: Table, rows: int) -> Floats:
    """Return each row's points by column."""
    values = _values(part.columns, own)
    found = np.zeros((rows, len(part.points)))
    for at, each in enumerate(part.points):
        cuts, points = floats(each.cuts), floats(each.points)
        column = values[each.column]
        bins = np.where(np.isnan(column), len(cuts) + 1, np.searchsorted(cuts, column, "left"))
        found[:, at] = points[bins]
    return found


def _scorecard(part: parts.ScorecardLabel, own: Table, rest: Floats, others: str) -> list[Scored]:
    points = _points(part, own, len(rest))
    total = float.fromhex(part.base) + points.sum(axis=1) + rest
    means = np.array([float.fromhex(each.mean) for each in part.points])
    lost = np.concatenate(
        [means - points, (sum(map(float.fromhex, part.means)) - rest)[:, None]], axis=1
    )
    names = [part.columns[each.column].name for each in part.points]
    return _scored(total, total, [*names, others], lost)


def _scored(total: Floats, outputs: Floats, names: Sequence[str], found: Floats) -> list[Scored]:
    """Return scores with the largest contributions above zero as reasons."""
    order = np.argsort(-found, axis=1, kind="stable")[:, :REASONS]
    return [
        Scored(
            score=float(total[row]),
            output=float(outputs[row]),
            reasons=tuple(
                (names[at], float(found[row, at])) for at in order[row] if found[row, at] > 0
            ),
        )
        for row in range(len(total))
    ]
