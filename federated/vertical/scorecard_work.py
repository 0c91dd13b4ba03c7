"""A party's work on a scorecard: bins, events counted with the label party, weights, points.

Events of bins are counted first (:mod:`federated.protocols.vertical.counting`), encrypted whatever
the back end: it is once a run, and a dealer would have to deal for it beside the epochs. Then each
bin is replaced by its weight of evidence, and a logistic model of these columns is trained as
:class:`~.work.LinearWork` does it. What is judged, and scored with, are points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated.frames import read_frame, write_frame
from federated.protocols.vertical import linear_pooled, scorecards
from federated.protocols.vertical.binning import Columns, bin_columns
from federated.protocols.vertical.counting import CountingFeature, CountingLabel, told
from federated.protocols.vertical.judging import JudgingFeature, JudgingLabel
from federated.protocols.vertical.linear_terms import Target
from federated.vertical import leakage, part_making
from federated.vertical.measures import METRICS, measure
from federated.vertical.tables import coded, words_of
from federated.vertical.trained import Trained, Weights
from federated.vertical.work import LinearWork, Rows, own_key
from fusion.errors import DataInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from federated.protocols.vertical.counting import Bind
    from federated.protocols.vertical.messages import Outgoing
    from federated.protocols.vertical.scorecards import Scorecard
    from federated.protocols.vertical.scripts import Scripted
    from federated.vertical import model_section
    from federated.vertical.keeping import Mark, States
    from federated.vertical.work import Cast
    from fusion.grants.leakage import LeakReport

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_METRIC: Final = METRICS["scorecard"]


class ScorecardWork:
    """:class:`~.work.Work` on a scorecard; see the module."""

    def __init__(
        self,
        cast: Cast,
        me: str,
        model: model_section.Scorecard,
        rows: Rows,
        *,
        seed: int,
        widths: Mapping[str, int],
    ) -> None:
        """Take what was agreed, and the party's rows; bin its columns.

        Args:
            cast: Who takes part.
            me: The party.
            model: The study's model.
            rows: Its rows.
            seed: Of the study.
            widths: How many columns each feature party brings.

        Raises:
            DataInvalid: The label is not 0 and 1, or a feature party has no bin of enough rows.
        """
        self._cast, self._me, self._model, self._rows, self._seed = cast, me, model, rows, seed
        self._widths = widths
        training, labels = rows.training, rows.labels
        fine = bin_columns(coded(rows.table, training), training, model.bins)
        self.columns = scorecards.enough(fine, training, model.min_bin)
        self.places = scorecards.counted(self.columns, training, model.min_bin)
        if labels is None and not len(self.places):
            raise DataInvalid(
                f"No value of a column of {me} is that of {model.min_bin} common rows.",
                hint="Lower `min_bin`, or bring columns whose values repeat.",
            )
        self._target = None if labels is None else Target.of("logistic", labels[training])
        self._counting: CountingLabel | CountingFeature | None = None
        self._smallest: dict[str, int] = {me: self._own_smallest()}
        self._judge: Scripted | None = None
        self._linear: LinearWork | None = None
        self._events: Ints | None = None

    def _own_smallest(self) -> int:
        """Fewest training rows of an own bin that was counted; all rows where there is none."""
        rows = np.flatnonzero(self._rows.training)
        held = self.columns.counts(rows)[self.places[:, 0], self.places[:, 1]]
        return int(held.min(initial=len(rows)))

    # ------------------------------------------------------------------ counting

    def counting(self, bind: Bind = lambda *_: None) -> tuple[Scripted, frozenset[str]]:
        """Return what counts events, and with whom it talks.

        Args:
            bind: Holds feature parties to what they counted in an earlier attempt.
        """
        cast, training = self._cast, self._rows.training
        if self._rows.labels is not None:
            labels, fewest = self._rows.labels[training], self._model.min_bin
            # A bin for missing values beside those for values.
            most = {name: self._widths[name] * (self._model.bins + 1) for name in cast.features}
            self._counting = CountingLabel(
                most, labels, lambda: own_key(self._model.key_bits), fewest, bind
            )
            return self._counting, frozenset(cast.features)
        columns = Columns(self.columns.features, self.columns.codes[training])
        self._counting = CountingFeature(cast.label, columns, self.places)
        return self._counting, frozenset({cast.label})

    def count(self) -> bytes:
        """Take what was counted, and return it as it is kept."""
        counting = self._counting
        if counting is None:
            raise AssertionError
        if isinstance(counting, CountingFeature):
            self._events = counting.events
        else:
            self._events = self._own_events()
            self._smallest |= counting.smallest
        kept = self._events.astype("<i8").tobytes()
        self._weigh()
        return write_frame({"smallest": self._smallest}, {"events": kept})

    def counted(self, kept: bytes) -> None:
        """Take what was counted in an earlier attempt over the same rows.

        Raises:
            DataInvalid: It is of other bins.
        """
        head, blobs = read_frame(kept)
        self._smallest = dict(head["smallest"])
        self._events = np.frombuffer(blobs["events"], "<i8").astype(np.int64)
        if len(self._events) != len(self.places):
            raise DataInvalid("What was counted is of other bins.", hint="Start a new run.")
        self._weigh()

    def _own_events(self) -> Ints:
        """The label party's own bins, told to itself as to the others."""
        labels, training, places = self._rows.labels, self._rows.training, self.places
        if labels is None:
            raise AssertionError
        held = self.columns.counts(np.flatnonzero(training))
        events = self.columns.counts(np.flatnonzero(training & (labels > 0)))
        feature, place = places.T
        return told(events[feature, place], held[feature, place])

    def _weigh(self) -> None:
        """Replace bins by weights of evidence; from here on it is a logistic model of these."""
        columns, training, events = self.columns, self._rows.training, self._events
        if events is None:
            raise AssertionError
        self._evidence = scorecards.evidence_of(columns, training, self.places, events)
        table = {
            feature.name: line[columns.codes[:, i]]
            for i, (feature, line) in enumerate(zip(columns.features, self._evidence, strict=True))
        }
        rows = Rows(table, self._rows.labels, training)
        self._linear = LinearWork(self._cast, self._me, self._model, rows, seed=self._seed)

    # ------------------------------------------------------------------ weights

    @property
    def linear(self) -> LinearWork:
        """The logistic model of weights of evidence, once events are counted."""
        if self._linear is None:
            raise AssertionError
        return self._linear

    @property
    def machine(self) -> Any:  # noqa: ANN401 - see Work
        """See :class:`~.work.Work`."""
        return self.linear.machine

    @property
    def step(self) -> int:
        """See :class:`~.work.Work`."""
        return self.linear.step

    @property
    def support(self) -> int:
        """Fewest training rows that points of an own column rest on."""
        return self._smallest[self._me]

    def keep(self, states: States, mark: Mark) -> None:
        """See :class:`~.work.Work`."""
        self.linear.keep(states, mark)

    def go_on(self, states: States, mark: Mark) -> None:
        """See :class:`~.work.Work`."""
        self.linear.go_on(states, mark)

    def opening(self) -> list[Outgoing]:
        """See :class:`~.work.Work`."""
        return self.linear.opening()

    # ------------------------------------------------------------------ points

    def card(self) -> Scorecard:
        """Return own points; those of a column are 0 in the mean over the rows it was made from.

        So a party's mean says nothing, and the base is what everybody has.
        """
        linear, columns, training = self.linear, self.columns, self._rows.training
        design, weights = linear.design, linear.machine.weights
        lean = design.rotation @ weights[int(design.intercept) :] / design.scale
        # Each column of numbers has two raw ones: itself, and whether it is missing.
        slopes, means = lean[::2], design.mean[::2]
        names = [feature.name for feature in columns.features]
        table = {
            name: line - mean for name, line, mean in zip(names, self._evidence, means, strict=True)
        }
        intercept = 0.0
        if self._target is not None:
            intercept = float(weights[0]) + self._target.offset
        fitted = Columns(columns.features, columns.codes[training])
        scale = self._model.scale
        return scorecards.scorecard(fitted, table, slopes.tolist(), intercept, scale)

    def judging(self) -> tuple[Scripted, frozenset[str]]:
        """See :class:`~.work.Work`: what is told are points."""
        cast, card = self._cast, self.card()
        points = card.scores(self.columns) - card.base
        if self._rows.labels is not None:
            self._judge = JudgingLabel(cast.features, points + card.base)
        else:
            self._judge = JudgingFeature(self._me, cast.label, cast.features, points)
        return self._judge, cast.peers(self._me, linear=True) - {cast.dealer or ""}

    def part(self) -> bytes:
        """See :class:`~.work.Work`."""
        words = words_of(self._rows.table, self._rows.training)
        features = self.columns.features
        if self._rows.labels is not None:
            parties = self._cast.features
            means = [0.0] * len(parties)
            return part_making.scorecard_label(parties, self.card(), features, words, means)
        return part_making.scorecard_feature(self.card(), features, words)

    def leaning(self) -> Floats:
        """Return what own columns say of each row, in log odds of the event."""
        card = self.card()
        return (card.base - card.scores(self.columns)) / self._model.scale.factor

    @property
    def chances(self) -> Floats:
        """The joint model's chances of the event for all rows, at the label party."""
        return self._chances(self._joint())

    def _chances(self, points: Floats) -> Floats:
        """Return chances of the event from points."""
        scale = self._model.scale
        return np.asarray(1.0 / (1.0 + np.exp((points - scale.offset) / scale.factor)))

    def _joint(self) -> Floats:
        if not (isinstance(self._judge, JudgingLabel) and self._judge.done):
            raise AssertionError
        return self._judge.scores

    def quality(self) -> dict[str, Any] | None:
        """See :class:`~.work.Work`; alone is the best fit to own weights of evidence."""
        labels, training, linear = self._rows.labels, self._rows.training, self.linear
        target = self._target
        if labels is None or target is None:
            return None
        weights = linear_pooled.fit(linear.block[training], target, linear.terms.l2)
        alone = target.outputs(linear.block @ weights)
        return {
            "metric": _METRIC,
            "joint": measure(_METRIC, self._chances(self._joint()), labels, training),
            "alone": measure(_METRIC, alone, labels, training),
        }

    def leaks(self, small: int | None) -> LeakReport | None:
        """See :class:`~.work.Work`; the label party has counted the rows of all parties' bins."""
        del small
        labels = self._rows.labels
        if labels is None:
            return None
        joint, card = self._joint(), self.card()
        others = (card.scores(self.columns) - joint) / self._model.scale.factor
        weights = Weights(
            model="scorecard",
            backend="dealer" if self._cast.dealer else "paillier",
            partials=dict.fromkeys(self._cast.features, others),
            supports=self._smallest,
            rows_told=len(labels),
        )
        trained = Trained(
            labels=labels, training=self._rows.training, outputs=self._chances(joint),
            parties=self._cast.features, seed=self._seed,
        )  # fmt: skip
        return leakage.report(trained, weights)
