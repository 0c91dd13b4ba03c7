"""What a party brings to a model once its rows are aligned: its machine, its part, its measures.

The same for every carrier: nothing here knows a network, a file or a clock. A party's tables come
in the common order of rows; which of them judge follows from the study's seed, so that all parties
know without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from federated.protocols.vertical import designs, kept, linear_pooled, pooled
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.dealt import Dealer, DealtFeatureSide, DealtLabelSide
from federated.protocols.vertical.encrypted import EncryptedFeatureSide, EncryptedLabelSide
from federated.protocols.vertical.feature_party import FeatureParty
from federated.protocols.vertical.gradients import Loss
from federated.protocols.vertical.judging import JudgingFeature, JudgingLabel
from federated.protocols.vertical.label_party import LabelParty
from federated.protocols.vertical.linear import LinearFeatureParty, LinearLabelParty
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_encrypted import (
    EncryptedLinearFeature,
    EncryptedLinearLabel,
)
from federated.vertical import leakage, part_making
from federated.vertical.leaves import smallest_support
from federated.vertical.measures import METRICS, measure
from federated.vertical.model_section import Boosting, Linear, Scorecard
from federated.vertical.tables import coded, words_of
from federated.vertical.trained import Trained, Trees, Weights
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import Exact
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.linear_terms import LinearTerms
    from federated.protocols.vertical.messages import Outgoing
    from federated.protocols.vertical.scripts import Scripted
    from federated.protocols.vertical.sides import FeatureSide, LabelSide
    from federated.vertical.keeping import Mark, States
    from fusion.grants.leakage import LeakReport

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Table = Mapping[str, NDArray[Any]]

DEALER = "hub"
"""Who deals, where somebody does: the authority, as its certificate says."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part as what.

    Attributes:
        label: Has the label.
        features: The others, in the study's order, which settles ties.
        dealer: Who deals, if anybody.
    """

    label: str
    features: tuple[str, ...]
    dealer: str | None

    @property
    def parties(self) -> tuple[str, ...]:
        """All who hold data, the label party first."""
        return (self.label, *self.features)

    def peers(self, me: str, *, linear: bool) -> frozenset[str]:
        """Return with whom a party talks while a model is trained."""
        if me == self.dealer:
            return frozenset(self.parties)
        found = set(self.features) if me == self.label else {self.label}
        if linear and me != self.label:
            helper = self.features[0]
            found |= set(self.features) if me == helper else {helper}
        if self.dealer is not None:
            found.add(self.dealer)
        return frozenset(found - {me})


@dataclass(frozen=True, slots=True)
class Rows:
    """A party's table in the common order.

    Attributes:
        table: Columns that train: floats with NaN, or words with None.
        labels: At the label party.
        training: Which rows train; the others judge.
    """

    table: Table
    labels: Floats | None
    training: Bools


class Work(Protocol):
    """One party's work on one model, in one attempt."""

    @property
    def machine(self) -> Any:  # noqa: ANN401 - of any protocol: see its `receive` and `done`
        """What talks."""
        ...

    @property
    def step(self) -> int:
        """Trees or epochs that are surely finished."""
        ...

    def keep(self, states: States, mark: Mark) -> None:
        """Keep the state after the last finished step."""
        ...

    def go_on(self, states: States, mark: Mark) -> None:
        """Go on after a step; before :meth:`opening`."""
        ...

    def opening(self) -> list[Outgoing]:
        """Return the first messages."""
        ...

    def judging(self) -> tuple[Scripted, frozenset[str]] | None:
        """Return what still has to be said, and with whom, so that the label party can judge."""
        ...

    def part(self) -> bytes:
        """Return the finished part, as :mod:`federated.vertical.parts` has it.

        Raises:
            MessageInvalid: It is larger than a part may be.
        """
        ...

    def quality(self) -> dict[str, Any] | None:
        """Return what the label party knows of the finished model; None at the others."""
        ...

    def leaks(self, small: int | None) -> LeakReport | None:
        """Return what the model, and its training, tell; None at all but the label party.

        Args:
            small: A leaf of fewer rows is counted as small.
        """
        ...


class BoostingWork:
    """A party's work on trees."""

    def __init__(
        self, cast: Cast, me: str, model: Boosting, rows: Rows, *, seed: int, terms: bytes
    ) -> None:
        """Take what was agreed, and the party's rows.

        Args:
            cast: Who takes part.
            me: The party.
            model: The study's model.
            rows: Its rows.
            seed: Of the study.
            terms: Digest of everything agreed, 32 bytes.

        Raises:
            DataInvalid: A column of words is to be monotone, or the label is none.
            InputInvalid: Values that do not go together.
        """
        self._cast, self._rows, self._leaves_kept = cast, rows, 0
        self._growth = model.growth(seed)
        mine = {name: sign for name, sign in model.monotone.items() if name in rows.table}
        for name in mine:
            if rows.table[name].dtype == object:
                raise DataInvalid(f"The column {name!r} holds words, which have no direction.")
        self.columns = bin_columns(
            coded(rows.table, rows.training), rows.training, model.bins, mine
        )
        self.machine: LabelParty | FeatureParty
        if rows.labels is not None:
            side = _label_side(cast, model, self._growth, len(rows.training))
            self.machine = LabelParty(
                cast.features, self.columns, rows.labels, rows.training, self._growth, terms, side
            )
        else:
            other = _feature_side(cast, me, self.columns, self._growth, len(rows.training))
            self.machine = FeatureParty(cast.label, self.columns, self._growth, terms, other)

    @property
    def step(self) -> int:
        """See :class:`Work`."""
        return self.machine.trees_grown

    def keep(self, states: States, mark: Mark) -> None:
        """See :class:`Work`."""
        if isinstance(self.machine, LabelParty):
            for number in range(self._leaves_kept, len(self.machine.grown)):
                states.keep_leaves(number, kept.write_leaves(self.machine.grown[number][1]))
            self._leaves_kept = len(self.machine.grown)
        states.keep(mark, self.machine.keep())

    def go_on(self, states: States, mark: Mark) -> None:
        """See :class:`Work`."""
        state = states.state(mark) or b""
        if isinstance(self.machine, LabelParty):
            self.machine.go_on(state, [*map(kept.read_leaves, states.leaves(mark.step))])
            self._leaves_kept = len(self.machine.grown)
        else:
            self.machine.go_on(state)

    def opening(self) -> list[Outgoing]:
        """See :class:`Work`."""
        return self.machine.offer() if isinstance(self.machine, FeatureParty) else []

    def judging(self) -> None:
        """See :class:`Work`: rows that judge went down the trees with the others."""

    def part(self) -> bytes:
        """See :class:`Work`."""
        words = words_of(self._rows.table, self._rows.training)
        if isinstance(self.machine, LabelParty):
            return part_making.boosting_label(self.machine.part, self._cast.features, words)
        return part_making.boosting_feature(self.machine.part, words)

    def quality(self) -> dict[str, Any] | None:
        """See :class:`Work`; alone is the same algorithm on the label party's own columns."""
        machine, labels, training = self.machine, self._rows.labels, self._rows.training
        if not isinstance(machine, LabelParty) or labels is None:
            return None
        alone = pooled.boost([self.columns], labels, training, self._growth)
        loss = Loss(self._growth.objective, labels, training)
        metric = METRICS[self._growth.objective]
        return {
            "metric": metric,
            "joint": measure(metric, machine.part.loss.outputs(machine.scores), labels, training),
            "alone": measure(metric, loss.outputs(alone.scores), labels, training),
        }

    def leaks(self, small: int | None) -> LeakReport | None:
        """See :class:`Work`; nobody else's columns are at hand."""
        machine, labels = self.machine, self._rows.labels
        if not isinstance(machine, LabelParty) or labels is None:
            return None
        loss = machine.part.loss
        trees = Trees(
            loss=loss, grown=machine.grown, kept=machine.trees_grown, growth=self._growth,
            backend="dealer" if self._cast.dealer else "paillier",
        )  # fmt: skip
        trained = Trained(
            labels=labels, training=self._rows.training, outputs=loss.outputs(machine.scores),
            parties=self._cast.features, seed=self._growth.seed,
        )  # fmt: skip
        return leakage.report(trained, trees, small=small)


def _label_side(cast: Cast, model: Boosting, growth: Any, rows: int) -> LabelSide:  # noqa: ANN401
    if cast.dealer is not None:
        return DealtLabelSide(cast.dealer, cast.features, rows)
    key = own_key(model.key_bits)
    return EncryptedLabelSide(key, Exact(key), growth, rows)


def _feature_side(cast: Cast, me: str, columns: Columns, growth: Any, rows: int) -> FeatureSide:  # noqa: ANN401
    if cast.dealer is None:
        return EncryptedFeatureSide(columns, growth, rows)
    index = cast.features.index(me)
    return DealtFeatureSide(columns, growth, rows, cast.dealer, cast.label, index)


class LinearWork:
    """A party's work on weights."""

    def __init__(
        self, cast: Cast, me: str, model: Linear | Scorecard, rows: Rows, *, seed: int
    ) -> None:
        """Take what was agreed, and the party's rows.

        Args:
            cast: Who takes part.
            me: The party.
            model: The study's model.
            rows: Its rows.
            seed: Of the study.

        Raises:
            DataInvalid: Nothing varies in the party's columns, or the label is none.
            InputInvalid: Fewer rows, or more, than can be trained on.
        """
        self._cast, self._me, self._rows, self._seed = cast, me, rows, seed
        training, labels = rows.training, rows.labels
        self.design = designs.design(rows.table, training, intercept=labels is not None, party=me)
        self.block = self.design.block(rows.table, len(training))
        self.terms = model.terms(int(training.sum()))
        self._judge: Scripted | None = None
        block = self.block[training]
        self.machine = (
            _linear_feature(cast, me, self.terms, block, model)
            if labels is None
            else _linear_label(cast, self.terms, block, labels[training], model)
        )

    @property
    def step(self) -> int:
        """See :class:`Work`."""
        return self.machine.epochs_done

    def keep(self, states: States, mark: Mark) -> None:
        """See :class:`Work`."""
        states.keep(mark, self.machine.keep())

    def go_on(self, states: States, mark: Mark) -> None:
        """See :class:`Work`."""
        self.machine.go_on(states.state(mark) or b"")

    def opening(self) -> list[Outgoing]:
        """See :class:`Work`."""
        return self.machine.start()

    def judging(self) -> tuple[Scripted, frozenset[str]]:
        """See :class:`Work`: nobody has had a score so far."""
        cast = self._cast
        own = self.block @ self.machine.weights
        if self._rows.labels is not None:
            self._judge = JudgingLabel(cast.features, own)
        else:
            self._judge = JudgingFeature(self._me, cast.label, cast.features, own)
        return self._judge, cast.peers(self._me, linear=True) - {cast.dealer or ""}

    def part(self) -> bytes:
        """See :class:`Work`."""
        machine = self.machine
        if isinstance(machine, LinearLabelParty | EncryptedLinearLabel):
            return part_making.linear_label(
                self._cast.features, machine.target, self.design, machine.weights
            )
        return part_making.linear_feature(self.design, machine.weights)

    def quality(self) -> dict[str, Any] | None:
        """See :class:`Work`; alone is the best fit to the label party's own columns."""
        machine, labels, training = self.machine, self._rows.labels, self._rows.training
        if not isinstance(machine, LinearLabelParty | EncryptedLinearLabel) or labels is None:
            return None
        metric, target = METRICS[self.terms.family], machine.target
        weights = linear_pooled.fit(self.block[training], target, self.terms.l2)
        alone = target.outputs(self.block @ weights)
        return {
            "metric": metric,
            "joint": measure(metric, target.outputs(self._scores), labels, training),
            "alone": measure(metric, alone, labels, training),
        }

    @property
    def _scores(self) -> Floats:
        """The joint scores of all rows, at the label party."""
        if not (isinstance(self._judge, JudgingLabel) and self._judge.done):
            raise AssertionError
        return self._judge.scores

    @property
    def support(self) -> int:
        """Fewest training rows that a weight of an own column rests on."""
        training = self._rows.training
        return smallest_support(self.design.raw(self._rows.table, len(training)), training)

    def leaks(self, small: int | None) -> LeakReport | None:
        """See :class:`Work`; every feature party is played with what all of them say together."""
        del small
        machine, labels = self.machine, self._rows.labels
        if not isinstance(machine, LinearLabelParty | EncryptedLinearLabel) or labels is None:
            return None
        others = self._scores - self.block @ machine.weights
        weights = Weights(
            model=self.terms.family,
            backend="dealer" if self._cast.dealer else "paillier",
            partials=dict.fromkeys(self._cast.features, others),
            supports={self._cast.label: self.support},
            rows_told=len(labels),
        )
        trained = Trained(
            labels=labels, training=self._rows.training,
            outputs=machine.target.outputs(self._scores),
            parties=self._cast.features, seed=self._seed,
        )  # fmt: skip
        return leakage.report(trained, weights)


def _linear_label(
    cast: Cast, terms: LinearTerms, block: Floats, labels: Floats, model: Linear | Scorecard
) -> LinearLabelParty | EncryptedLinearLabel:
    if cast.dealer is not None:
        return LinearLabelParty(cast.label, cast.features, cast.dealer, terms, block, labels)
    key = own_key(model.key_bits)
    return EncryptedLinearLabel(cast.label, cast.features, terms, block, labels, key)


def _linear_feature(
    cast: Cast, me: str, terms: LinearTerms, block: Floats, model: Linear | Scorecard
) -> LinearFeatureParty | EncryptedLinearFeature:
    if cast.dealer is not None:
        return LinearFeatureParty(me, cast.parties, cast.dealer, terms, block)
    return EncryptedLinearFeature(me, cast.parties, terms, block, own_key(model.key_bits))


def own_key(bits: int) -> PrivateKey:
    """Return a key of its own for an attempt: two safe primes."""
    return PrivateKey(safe_prime(bits // 2), safe_prime(bits // 2))


def dealer_of(
    cast: Cast, model: Boosting | Linear | Scorecard, rows: int, step: int
) -> Dealer | LinearDealer:
    """Return the machine of who deals.

    Args:
        cast: Who takes part.
        model: The study's model.
        rows: How many train.
        step: From which the attempt begins.
    """
    if isinstance(model, Boosting):
        return Dealer(cast.label, cast.features)
    return LinearDealer(model.terms(rows), cast.label, cast.features, step)
