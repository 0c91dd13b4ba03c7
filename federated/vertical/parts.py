"""Parts of joint models as closed documents: canonical JSON, exact, of bounded size.

A party's part is what it needs to answer for its own columns, and nothing of another's. Thresholds
are values, not bins, so that a part stands for itself; columns that no split uses are left out.
Single numbers are written in hexadecimal (C99, as ``float.hex`` has it), arrays as little-endian
float64 in base64 (RFC 4648): what is read back is the same to the last bit.

========================  ==========================================================
form                      whose, and what
========================  ==========================================================
``boosting-label``        trees: own splits, whose the others are, leaves; the loss
``boosting-feature``      own splits: column, threshold, where missing values go
``linear-label``          target, own design (standardisation), weights
``linear-feature``        own design, weights
``scorecard-label``       base, own points by bin, means
``scorecard-feature``     own points by bin, means
========================  ==========================================================
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from federated.protocols.vertical.trees import MAX_DEPTH, MAX_TREES, ROOT
from fusion.errors import MessageInvalid
from fusion.services.model_facts import MAX_PART_BYTES
from fusion.wire import canonical
from fusion.wire.documents import Document, Part, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Broken = Iterator[tuple[tuple[str | int, ...], str]]

MAX_COLUMNS: Final = 10_000
MAX_WORDS: Final = 1_000_000
MAX_SIDE: Final = 4096
_LAST_NODE: Final = 2 << MAX_DEPTH
_ARRAY: Final = np.dtype("<f8")


def _finite(text: str) -> str:
    try:
        float.fromhex(text)
    except OverflowError:
        raise ValueError("a number is not finite") from None
    return text


def _decodable(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("an array is not base64") from None
    if len(raw) % 8 or not np.isfinite(np.frombuffer(raw, _ARRAY)).all():
        raise ValueError("an array is not of finite float64")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[
    str,
    Field(pattern=r"^-?0x[01]\.[0-9a-f]{1,13}p[+-]\d{1,4}$", max_length=32),
    AfterValidator(_finite),
]
Array = Annotated[str, Field(max_length=MAX_PART_BYTES), AfterValidator(_decodable)]
Words = Annotated[tuple[Annotated[str, Field(max_length=4000)], ...], Field(max_length=MAX_WORDS)]
Organisation = Annotated[str, Field(min_length=1, max_length=63)]
Parties = Annotated[tuple[Organisation, ...], Field(min_length=1, max_length=16)]
Index = Annotated[int, Field(ge=0, le=MAX_COLUMNS)]
TreeNode = Annotated[int, Field(ge=ROOT, lt=_LAST_NODE)]


def hexed(value: float) -> str:
    """Return a number as parts have it."""
    return float(value).hex()


def array(values: Floats) -> str:
    """Return an array as parts have it; its shape is for the reader to know."""
    return base64.b64encode(np.ascontiguousarray(values, _ARRAY).tobytes()).decode()


def floats(text: str) -> Floats:
    """Return an array of a part, flat."""
    return np.frombuffer(base64.b64decode(text), _ARRAY).astype(np.float64)


class Column(Part):
    """A column that a part reads.

    Attributes:
        name: Its name.
        words: Of a column of words: all that were seen in training, at the places that are their
            codes; None for numbers.
    """

    name: Name
    words: Words | None = None


Columns = Annotated[tuple[Column, ...], Field(max_length=MAX_COLUMNS)]


class Split(Part):
    """Where rows go at a node: left if the value is at most ``at``.

    Attributes:
        tree: Of which tree.
        node: Of which node.
        column: Index of the column.
        at: Largest value that goes left; None: every value does.
        missing: Whether rows without a value go left.
    """

    tree: Annotated[int, Field(ge=0, lt=MAX_TREES)]
    node: TreeNode
    column: Index
    at: Number | None
    missing: bool


class Foreign(Part):
    """A node that is another party's; ``owner`` is its index among the parties."""

    tree: Annotated[int, Field(ge=0, lt=MAX_TREES)]
    node: TreeNode
    owner: Annotated[int, Field(ge=0, lt=16)]


class Leaf(Part):
    """A leaf; ``rows`` are the aligned rows in it, for contributions."""

    tree: Annotated[int, Field(ge=0, lt=MAX_TREES)]
    node: TreeNode
    weight: Number
    rows: Annotated[int, Field(ge=0, le=2**31 - 1)]


_Nodes = 1 << 21
Splits = Annotated[tuple[Split, ...], Field(max_length=_Nodes)]


class _Form(Document):
    """What every form has."""

    schema_: Literal["fusion.model-part/1"] = Field(default="fusion.model-part/1", alias="schema")


class BoostingLabel(_Form):
    """The label party's part of boosted trees.

    Attributes:
        objective: The loss.
        scale: What a score of 1 is on the scale of labels.
        start: Score before the first tree.
        mean: Of the labels.
        parties: Feature parties.
        columns: Own columns that a split uses.
        trees: How many.
        splits: Own, by tree and node.
        others: Other parties' nodes, by tree and node.
        leaves: By tree and node.
    """

    form: Literal["boosting-label"] = "boosting-label"
    objective: Literal["logistic", "squared"]
    scale: Number
    start: Number
    mean: Number
    parties: Parties
    columns: Columns
    trees: Annotated[int, Field(ge=0, le=MAX_TREES)]
    splits: Splits
    others: Annotated[tuple[Foreign, ...], Field(max_length=_Nodes)]
    leaves: Annotated[tuple[Leaf, ...], Field(max_length=_Nodes)]


class BoostingFeature(_Form):
    """A feature party's part of boosted trees: own splits, by tree and node."""

    form: Literal["boosting-feature"] = "boosting-feature"
    columns: Columns
    splits: Splits


class Levels(Part):
    """Words of a column that have a raw column of their own."""

    name: Name
    words: Words


class NumberColumn(Part):
    """A column of numbers, and what stands in where one is missing."""

    name: Name
    fill: Number


class DesignPart(Part):
    """:class:`federated.protocols.vertical.designs.Design`.

    Attributes:
        numbers: Columns of numbers, two raw columns each.
        levels: Columns of words, a raw column a level.
        mean: Of raw columns.
        scale: Their standard deviations.
        rotation: Raw columns by columns of the block, row by row.
        intercept: Whether the block begins with a column of ones.
    """

    numbers: Annotated[tuple[NumberColumn, ...], Field(max_length=MAX_COLUMNS)]
    levels: Annotated[tuple[Levels, ...], Field(max_length=MAX_COLUMNS)]
    mean: Array
    scale: Array
    rotation: Array
    intercept: bool

    @property
    def raw(self) -> int:
        """Raw columns."""
        return 2 * len(self.numbers) + sum(len(each.words) for each in self.levels)

    @model_validator(mode="after")
    def _sizes(self) -> DesignPart:
        raw, rotation = self.raw, len(floats(self.rotation))
        fits = len(floats(self.mean)) == len(floats(self.scale)) == raw
        if not fits or (rotation % raw if raw else rotation) or rotation > MAX_SIDE * MAX_SIDE:
            raise ValueError("arrays of a design are not of one size")
        return self


class _Linear(_Form):
    """What both parts of a linear model have."""

    design: DesignPart
    weights: Array

    @model_validator(mode="after")
    def _width(self) -> _Linear:
        raw = self.design.raw
        width = (len(floats(self.design.rotation)) // raw if raw else 0) + self.design.intercept
        if len(floats(self.weights)) != width:
            raise ValueError("there are not as many weights as columns of the block")
        return self


class LinearLabel(_Linear):
    """The label party's part of a generalised linear model.

    Attributes:
        family: The model.
        offset: Added to the sum of all parties' partial scores.
        scale: Of a linear score, or of a Poisson mean.
        parties: Feature parties.
    """

    form: Literal["linear-label"] = "linear-label"
    family: Literal["logistic", "linear", "poisson"]
    offset: Number
    scale: Number
    parties: Parties


class LinearFeature(_Linear):
    """A feature party's part of a generalised linear model."""

    form: Literal["linear-feature"] = "linear-feature"


class Points(Part):
    """A column's points.

    Attributes:
        column: Its index.
        cuts: Upper ends of all bins but the last; ascending.
        points: Of each bin, that for missing values last.
        mean: Over the rows it was made from.
    """

    column: Index
    cuts: Array
    points: Array
    mean: Number

    @model_validator(mode="after")
    def _bins(self) -> Points:
        cuts = floats(self.cuts)
        if len(floats(self.points)) != len(cuts) + 2 or (np.diff(cuts) <= 0).any():
            raise ValueError("there are not as many points as bins, or cuts do not rise")
        return self


class _Scorecard(_Form):
    """What both parts of a scorecard have."""

    columns: Columns
    points: Annotated[tuple[Points, ...], Field(max_length=MAX_COLUMNS)]


class ScorecardLabel(_Scorecard):
    """The label party's part of a scorecard.

    Attributes:
        parties: Feature parties.
        base: Points of everybody.
        means: Of each feature party: mean of its points; reasons are measured by it.
    """

    form: Literal["scorecard-label"] = "scorecard-label"
    parties: Parties
    base: Number
    means: Annotated[tuple[Number, ...], Field(max_length=16)]


class ScorecardFeature(_Scorecard):
    """A feature party's part of a scorecard."""

    form: Literal["scorecard-feature"] = "scorecard-feature"


ModelPart = (
    BoostingLabel | BoostingFeature | LinearLabel | LinearFeature | ScorecardLabel
    | ScorecardFeature
)  # fmt: skip
_FORMS: Final[dict[str, type[Any]]] = {
    "boosting-label": BoostingLabel,
    "boosting-feature": BoostingFeature,
    "linear-label": LinearLabel,
    "linear-feature": LinearFeature,
    "scorecard-label": ScorecardLabel,
    "scorecard-feature": ScorecardFeature,
}


def part_of(data: bytes) -> ModelPart:
    """Read a part.

    Raises:
        MessageInvalid: Too large, not canonical, of no known form, or not whole in itself.
    """
    found = canonical.decode(data, MAX_PART_BYTES)
    form = _FORMS.get(found.get("form", "")) if isinstance(found, dict) else None
    if form is None:
        raise MessageInvalid("A model's part is of no known form.")
    part: ModelPart = read(data, form, "model's part", MAX_PART_BYTES, _broken)
    return part


def bytes_of(part: ModelPart) -> bytes:
    """Return a part's bytes.

    Raises:
        MessageInvalid: It is larger than a part may be, or not whole in itself.
    """
    data = part.canonical()
    if len(data) > MAX_PART_BYTES:
        raise MessageInvalid(
            f"A model's part has {len(data)} bytes; {MAX_PART_BYTES} is the limit."
        )
    for path, message in _broken(part):
        raise MessageInvalid(f"A model's part is not whole: {'.'.join(map(str, path))}: {message}")
    return data


def _broken(part: ModelPart) -> Broken:
    """Yield what in a part does not fit together."""
    if isinstance(part, BoostingLabel | BoostingFeature):
        yield from _sorted(part)
    if isinstance(part, BoostingLabel):
        yield from _whole(part)
    if isinstance(part, ScorecardLabel) and len(part.means) != len(part.parties):
        yield ("means",), "There is not one for each party."
    if isinstance(part, ScorecardLabel | ScorecardFeature):
        for at, each in enumerate(part.points):
            if each.column >= len(part.columns):
                yield ("points", at), "There is no such column."


def _sorted(part: BoostingLabel | BoostingFeature) -> Broken:
    places = [(split.tree, split.node) for split in part.splits]
    if places != sorted(set(places)):
        yield ("splits",), "They are not in the order of trees and nodes, each once."
    for at, split in enumerate(part.splits):
        if split.column >= len(part.columns):
            yield ("splits", at), "There is no such column."


def _whole(part: BoostingLabel) -> Broken:
    """Hold trees to being trees: every path from a root ends in a leaf, and nothing is beside."""
    inner = {(s.tree, s.node) for s in part.splits} | {(o.tree, o.node) for o in part.others}
    leaves = {(leaf.tree, leaf.node) for leaf in part.leaves}
    everything = inner | leaves
    counted = len(part.splits) + len(part.others) + len(part.leaves)
    children = {(t, 2 * n + side) for t, n in inner for side in (0, 1)}
    roots = {(t, ROOT) for t in range(part.trees)}
    if counted != len(everything) or everything != children | roots:
        yield ("leaves",), "Nodes do not make whole trees."
    for at, other in enumerate(part.others):
        if other.owner >= len(part.parties):
            yield ("others", at), "There is no such party."
