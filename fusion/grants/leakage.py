"""What a joint model tells about the rows it was trained on: the report, and what it is held to.

A grant limits it (``permissions.train``), a study promises it, and the decision before training
compares the two. After training the label party measures (``federated/vertical/leakage.py``), and
the model is released only where the report keeps every limit: by the bound of each measure, not by
its middle, and not where nothing was measured. What each number means and what it does not bound
is on ``docs/claims/leakage.md``. A report holds counts and rates, never a value of the data.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Protocol

from pydantic import Field

from fusion.errors import ModelWithheld
from fusion.grants.document import MAX_PARTIES, Count, Name, Permille
from fusion.wire.documents import Document, Part, read

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: Final = "fusion.leak-report/1"
MAX_REPORT_BYTES: Final = 4 * 1024 * 1024
MILLION: Final = 1_000_000
_PERMILLE: Final = 1000

Rows = Annotated[int, Field(ge=0, le=2**53 - 1)]
Share = Annotated[int, Field(ge=0, le=MILLION)]
Difference = Annotated[int, Field(ge=-MILLION, le=MILLION)]
AttackName = Literal["mean-loss", "tuned", "tuned-by-class"]
Sees = Literal["partition", "gradients", "weights"]
Baseline = Literal["columns", "none"]


class Code(StrEnum):
    """Stable codes of why a model is withheld."""

    MEMBERSHIP = "L-01"
    LABELS = "L-02"
    LEAF = "L-03"
    NOT_MEASURED = "L-04"


class HasLimits(Protocol):
    """A grant's ``permissions.train``, a request of training, or limits."""

    @property
    def membership_permille(self) -> int | None:
        """See :class:`Limits`."""
        ...

    @property
    def label_leak_permille(self) -> int | None:
        """See :class:`Limits`."""
        ...

    @property
    def smallest_leaf(self) -> int | None:
        """See :class:`Limits`."""
        ...


class Limits(Part):
    """How much a model may tell; ``None`` limits nothing.

    Attributes:
        membership_permille: Most advantage of any attack that tells rows trained on from others.
        label_leak_permille: Most that a feature party's guess of labels may gain, in AUC.
        smallest_leaf: Fewest rows that a leaf's weight, or a weight, may rest on.
    """

    membership_permille: Permille | None = None
    label_leak_permille: Permille | None = None
    smallest_leaf: Count | None = None


def strictest(*all_of: HasLimits) -> Limits:
    """Return the limits that keep all of some: of grants, of what a study promises."""

    def given(name: str) -> list[int]:
        found: list[int | None] = [getattr(each, name) for each in all_of]
        return [value for value in found if value is not None]

    return Limits(
        membership_permille=min(given("membership_permille"), default=None),
        label_leak_permille=min(given("label_leak_permille"), default=None),
        smallest_leaf=max(given("smallest_leaf"), default=None),
    )


class Measure(Part):
    """A rate or a difference of rates in millionths, with its bounds at 95 %."""

    value_micro: Difference
    low_micro: Difference
    high_micro: Difference


def measure(value: float, low: float, high: float) -> Measure:
    """Return a measure in whole millionths, its bounds rounded outwards and within -1 to 1."""
    bounds = (math.floor(low * MILLION), math.ceil(high * MILLION))
    low_micro, high_micro = (min(MILLION, max(-MILLION, each)) for each in bounds)
    return Measure(value_micro=round(value * MILLION), low_micro=low_micro, high_micro=high_micro)


class Attack(Part):
    """One way to tell rows trained on from others: true positives less false ones, as rates."""

    name: AttackName
    advantage: Measure


class Caught(Part):
    """Share of the rows trained on that are told where so few others are taken for them."""

    false_positives_micro: Share
    true_positives: Measure


class Membership(Part):
    """Attacks that see the model's output and the true label of a row."""

    rows_in: Count
    rows_out: Count
    auc: Measure
    attacks: Annotated[tuple[Attack, ...], Field(min_length=1, max_length=3)]
    caught: Annotated[tuple[Caught, ...], Field(max_length=8)] = ()

    @property
    def advantage(self) -> Measure:
        """The advantage whose upper bound is the greatest."""
        return max((each.advantage for each in self.attacks), key=lambda m: m.high_micro)


class Guess(Part):
    """How well a feature party guesses labels after so many trees, the label party's own counted.

    Attributes:
        trees: How many; 0 for a model without trees.
        auc: On rows trained on, whose labels it does not know.
        gain: Of that over its guess by what it has of its own.
        held_out: The AUC on rows never trained on: what of it is about anybody at all.
    """

    trees: Rows
    auc: Measure
    gain: Measure
    held_out: Measure | None = None


class LabelLeak(Part):
    """What one feature party's view of the training tells it about labels.

    Attributes:
        party: The party.
        sees: Row partitions of trees, gradients themselves, or the weights of its own columns.
        baseline: What the guess without the view is made of; ``none`` is no better than chance.
        known_labels: How many labels it is given.
        alone: AUC of the guess without the view.
        guesses: After more and more trees; the last is of the whole model.
    """

    party: Name
    sees: Sees
    baseline: Baseline
    known_labels: Rows
    alone: Measure
    guesses: Annotated[tuple[Guess, ...], Field(min_length=1, max_length=32)]

    @property
    def gain(self) -> Measure:
        """The gain whose upper bound is the greatest: a party may ignore what came later."""
        return max((each.gain for each in self.guesses), key=lambda m: m.high_micro)


class TreeLeaves(Part):
    """The leaves of one tree, by the rows that their weights were made of."""

    leaves: Count
    smallest: Rows
    small: Rows
    pure: Rows


class Leaves(Part):
    """Leaves of all trees.

    Attributes:
        k: A leaf of fewer rows is small.
        smallest: Fewest rows of any leaf.
        small: Leaves with fewer than ``k`` rows.
        small_rows: Rows that are in one.
        pure: Leaves whose rows all have one label.
        pure_rows: Rows that are in one: whoever sees the partition and a leaf's sign knows theirs.
        singletons: Rows that are alone in a leaf of some tree: its weight is their label.
        told_apart: Rows that share all their leaves with no other.
        trees: Of each tree.
    """

    k: Count
    smallest: Rows
    small: Rows
    small_rows: Rows
    pure: Rows
    pure_rows: Rows
    singletons: Rows
    told_apart: Rows
    trees: Annotated[tuple[TreeLeaves, ...], Field(max_length=10_000)]


class Support(Part):
    """Fewest rows on which a weight of a party's columns rests in a model without trees."""

    party: Name
    smallest: Rows


class Exceeded(NamedTuple):
    """A limit that a report does not keep.

    Attributes:
        code: Which.
        limit: Its key and value, as in the grant.
        found: What was measured, in words.
        passes: The value with which it would pass; None if none would.
    """

    code: Code
    limit: tuple[str, int]
    found: str
    passes: int | None


class LeakReport(Document):
    """The report on one model.

    Attributes:
        membership: None where no rows were held out.
        labels: Of each feature party; empty where a class has too few rows.
        leaves: Of a model of trees.
        weights: Of one without, of the parties whose columns were looked at.
        rows_told: Of how many rows the label party was told the sum of the others' scores to
            measure this; with one other party that is its score.
    """

    schema_: Literal["fusion.leak-report/1"] = Field(alias="schema", default="fusion.leak-report/1")
    model: Literal["boosting", "logistic", "linear", "poisson", "scorecard"]
    backend: Literal["paillier", "dealer", "plain"]
    rows_training: Count
    rows_held_out: Rows
    membership: Membership | None
    labels: Annotated[tuple[LabelLeak, ...], Field(max_length=MAX_PARTIES)]
    leaves: Leaves | None
    weights: Annotated[tuple[Support, ...], Field(max_length=MAX_PARTIES)] = ()
    rows_told: Rows = 0

    def exceeded(self, limits: HasLimits) -> list[Exceeded]:
        """Return every limit that is not kept."""
        return [*self._membership(limits), *self._labels(limits), *self._leaves(limits)]

    def check(self, limits: HasLimits) -> None:
        """Return if the model may be released.

        Args:
            limits: Those of the study, or of all grants: :func:`strictest`.

        Raises:
            ModelWithheld: A limit is not kept, or nothing was measured that shows it; L-01 to
                L-04.
        """
        found = self.exceeded(limits)
        if found:
            message = "; ".join(
                f"{each.found}, where {each.limit[0]} is {each.limit[1]} ({each.code})"
                for each in found
            )
            kept = "; ".join(f"{each.limit[0]} is {each.limit[1]} ({each.code})" for each in found)
            raise ModelWithheld(
                f"The model is not released: {message}.",
                hint=_advice(found),
                code=found[0].code,
                told=f"The model is not released, as a limit is not kept: {kept}. What was "
                "measured is in the log of the party that holds the label.",
            )

    def _membership(self, limits: HasLimits) -> Iterator[Exceeded]:
        limit = limits.membership_permille
        if limit is None:
            return
        key = "membership_permille", limit
        if self.membership is None:
            yield Exceeded(Code.NOT_MEASURED, key, "no rows were held out to measure by", None)
            return
        advantage = self.membership.advantage
        if advantage.high_micro > limit * _PERMILLE:
            yield _beyond(Code.MEMBERSHIP, key, "an advantage of telling members", advantage)

    def _labels(self, limits: HasLimits) -> Iterator[Exceeded]:
        limit = limits.label_leak_permille
        if limit is None:
            return
        key = "label_leak_permille", limit
        if not self.labels:
            found = "too few rows of a class to guess labels"
            yield Exceeded(Code.NOT_MEASURED, key, found, None)
            return
        worst = max(self.labels, key=lambda each: each.gain.high_micro)
        gain = worst.gain
        if gain.high_micro > limit * _PERMILLE:
            what = f"a gain of {worst.party} in guessing labels"
            yield _beyond(Code.LABELS, key, what, gain)

    def _leaves(self, limits: HasLimits) -> Iterator[Exceeded]:
        limit = limits.smallest_leaf
        if limit is None:
            return
        key = "smallest_leaf", limit
        sizes = [each.smallest for each in self.weights]
        if self.leaves is not None:
            sizes.append(self.leaves.smallest)
        if not sizes:
            yield Exceeded(Code.NOT_MEASURED, key, "no weight's rows were counted", None)
        elif min(sizes) < limit:
            found = f"a weight rests on {min(sizes)} rows"
            yield Exceeded(Code.LEAF, key, found, min(sizes) or None)


def report_of(data: bytes) -> LeakReport:
    """Read a report's canonical bytes, as another party sent them.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or no report.
    """
    return read(data, LeakReport, "leak report", MAX_REPORT_BYTES, lambda _: ())


def verdict(report: LeakReport, limits: HasLimits) -> dict[str, Any]:
    """Return what a card shows of a report held to limits: kept, or why not and what would do."""
    found = report.exceeded(limits)
    return {
        "released": not found,
        "limits": {name: getattr(limits, name) for name in Limits.model_fields},
        "exceeded": [
            {
                "code": each.code.value, "limit": each.limit[0], "is": each.limit[1],
                "found": each.found, "passes": each.passes,
            }
            for each in found
        ],
    }  # fmt: skip


def _beyond(code: Code, key: tuple[str, int], what: str, measure: Measure) -> Exceeded:
    """Return a limit that the upper bound of a measure is beyond."""
    passes = -(-measure.high_micro // _PERMILLE)
    middle, bound = (f"{v / _PERMILLE:.0f}" for v in (measure.value_micro, measure.high_micro))
    found = f"{what} of {middle} per mille, {bound} by its upper bound"
    return Exceeded(code, key, found, passes if passes <= _PERMILLE else None)


def _advice(found: list[Exceeded]) -> str:
    terms = [f"{each.limit[0]} = {each.passes}" for each in found if each.passes is not None]
    grant = f" A study and grants with {' and '.join(terms)} would pass." if terms else ""
    less = {
        Code.MEMBERSHIP: "fewer or flatter trees, more l2, or more rows",
        Code.LABELS: "depth 1, more `alone_trees`, no GOSS",
        Code.LEAF: "a larger `min_leaf`, or no column that is rare",
        Code.NOT_MEASURED: "more rows of each class, some of them held out (`test_fraction`)",
    }
    ways = "; ".join(dict.fromkeys(less[each.code] for each in found))
    return f"Train again with {ways}.{grant}"
