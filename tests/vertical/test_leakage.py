"""The leak report: what parties see is what they saw, planted leaks are found, limits hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical.gradients import Goss, Loss
from federated.protocols.vertical.trees import Growth
from federated.vertical import guessing, leakage, leaves, membership, views
from federated.vertical.trained import Trained, Trees, Weights
from fusion.errors import DataInvalid, MessageInvalid, ModelWithheld
from fusion.grants.document import Train
from fusion.grants.leakage import Code, Limits, report_of, strictest, verdict
from tests.docs.sources import ROOT
from tests.vertical.parties import Run, make

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.feature_party import FeatureParty
    from federated.protocols.vertical.messages import Outgoing
    from federated.vertical.membership import Family
    from federated.vertical.options import Backend
    from fusion.grants.leakage import LeakReport

    Model = Literal["logistic", "linear", "poisson", "scorecard"]

GENTLE = Growth(trees=12, depth=3, min_leaf=30, learning_rate=0.2)
STEEP = Growth(trees=20, depth=8, min_leaf=1, l2=0.0, learning_rate=0.5)
BINARY = {"logistic", "scorecard"}
PROMISE = Limits(membership_permille=150, label_leak_permille=400, smallest_leaf=20)


def run(growth: Growth, *, seed: int = 3, rows: int = 1500, backend: str = "dealer") -> Run:
    """Train over the protocol on a noisy label."""
    made = make((3, 3), rows, seed)
    flip = seeds.generator("tests-leakage", seed).random(rows) < 0.1
    made = replace(made, labels=np.where(flip, 1 - made.labels, made.labels))
    training = seeds.generator("tests-leakage-rows", seed).random(rows) < 0.6
    return Run(replace(made, training=training), growth, backend).finish()


def trees_of(found: Run, backend: Backend = "dealer") -> Trees:
    part = found.label.part
    return Trees(
        loss=part.loss, grown=found.label.grown, kept=len(part.trees), growth=found.growth,
        backend=backend,
    )  # fmt: skip


def trained(found: Run, *, columns: bool = True) -> Trained:
    made = found.made
    own = dict(zip(found.names, found.columns[1:], strict=True)) if columns else {}
    outputs = found.label.part.loss.outputs(found.label.scores)
    return Trained(
        labels=made.labels, training=made.training, outputs=outputs, parties=found.names,
        columns=own,
    )  # fmt: skip


def report(found: Run) -> LeakReport:
    return leakage.report(trained(found), trees_of(found))


@pytest.fixture(scope="module")
def gentle() -> LeakReport:
    return report(run(GENTLE))


@pytest.fixture(scope="module")
def steep() -> LeakReport:
    return report(run(STEEP))


# ------------------------------------------------------------------------------- views


class Watch:
    """Writes down the deepest node that a feature party puts each row in, tree by tree."""

    def __init__(self, party: FeatureParty, rows: int) -> None:
        self.nodes: dict[int, NDArray[np.int16]] = {}
        self._party, self._rows, self._receive = party, rows, party.receive
        party.receive = self.receive  # type: ignore[method-assign]

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        out = self._receive(sender, data)
        if self._party._tree >= self._party._growth.alone_trees:
            line = self.nodes.setdefault(self._party._tree, np.ones(self._rows, np.int16))
            for node, members in self._party._nodes._members.items():
                line[members] = node
        return out


@pytest.mark.parametrize(
    "growth",
    [
        Growth(trees=5, depth=3, min_leaf=10),
        Growth(trees=4, depth=4, min_leaf=5, goss=Goss(top=0.3, other=0.2)),
        Growth(trees=30, depth=4, min_leaf=2, alone_trees=2, patience=4, learning_rate=1.0, l2=0.0),
        Growth(trees=2, depth=1, min_leaf=10, alone_trees=0),
    ],
)
def test_what_a_party_sees_is_what_it_saw(growth: Growth) -> None:
    made = make((3, 2, 2), 400, 5)
    found = Run(made, growth, "plain")
    watches = [Watch(party, len(made.labels)) for party in found.parties.values()]
    found.finish()
    grown = found.label.grown
    assert len(grown) >= len(found.label.part.trees) > 0
    joint = 0
    for number, (tree, place) in enumerate(grown):
        for index, (watch, party) in enumerate(
            zip(watches, found.parties.values(), strict=True), start=1
        ):
            if number < growth.alone_trees:
                assert number not in watch.nodes
                continue
            saw = watch.nodes[number].copy()
            last = max(map(int.bit_length, tree.splits))
            for node, split in tree.splits.items():
                # Of the last level it knows its own answers, which it was asked for.
                if node.bit_length() == last and split.owner == index:
                    members = np.flatnonzero(saw == node)
                    if number < len(found.label.part.trees):
                        left = party.part.left(found.columns[index], number, node, members)
                        saw[members] = np.where(left, 2 * node, 2 * node + 1)
                    else:
                        saw[members] = place[members]
            assert np.array_equal(views.seen(tree, place, index), saw)
            joint += 1
    assert joint


def test_leaves_of_rows_give_the_scores() -> None:
    found = run(GENTLE, rows=400)
    scores = list(trees_of(found).scores())
    tree, place = found.label.grown[-1]
    last = scores[-1] + np.array([tree.leaves[int(leaf)] for leaf in place])
    assert np.array_equal(last, found.label.scores)


# ------------------------------------------------------------------------------- planted leaks


def test_a_planted_leak_is_found_and_the_model_withheld(steep: LeakReport) -> None:
    assert steep.membership is not None
    assert steep.membership.advantage.low_micro > 250_000
    assert steep.membership.auc.low_micro > 600_000
    assert steep.leaves is not None
    assert steep.leaves.smallest == 1
    assert steep.leaves.singletons > 100
    assert steep.leaves.pure_rows > 500
    with pytest.raises(ModelWithheld) as refused:
        steep.check(PROMISE)
    assert refused.value.code == "L-01"
    assert refused.value.exit_code == 4
    assert "L-03" in refused.value.message
    assert "smallest_leaf = 1" in refused.value.hint
    # What it says would pass, does.
    told = verdict(steep, PROMISE)
    assert not told["released"]
    passes = {each["limit"]: each["passes"] for each in told["exceeded"]}
    steep.check(Limits.model_validate({**PROMISE.model_dump(), **passes}))


def test_a_model_that_behaves_passes(gentle: LeakReport) -> None:
    gentle.check(PROMISE)
    assert verdict(gentle, PROMISE)["released"]
    assert gentle.membership is not None
    assert gentle.membership.advantage.low_micro < 50_000
    assert gentle.leaves is not None
    assert gentle.leaves.smallest >= GENTLE.min_leaf
    assert (gentle.leaves.small, gentle.leaves.singletons) == (0, 0)


def test_the_first_tree_shows_nothing_and_the_next_one_does(gentle: LeakReport) -> None:
    (told,) = gentle.labels
    assert (told.sees, told.baseline) == ("partition", "columns")
    first, joint, *_, last = told.guesses
    assert (first.trees, first.gain.value_micro, first.auc) == (1, 0, told.alone)
    assert joint.trees == 2
    assert joint.gain.low_micro > 0
    assert last.trees == GENTLE.trees
    assert last.gain.low_micro > 0
    with pytest.raises(ModelWithheld) as refused:
        gentle.check(Limits(label_leak_permille=20))
    assert refused.value.code == "L-02"


def test_a_first_joint_tree_shows_more_where_no_tree_is_grown_alone() -> None:
    found = report(run(replace(GENTLE, trees=2, alone_trees=0), rows=900))
    (told,) = found.labels
    assert [guess.trees for guess in told.guesses] == [1, 2]
    assert told.guesses[0].gain.low_micro > 0


def test_sampling_by_gradients_gives_labels_away() -> None:
    goss = run(replace(GENTLE, goss=Goss(top=0.2, other=0.1), min_leaf=20))
    (told,) = report(goss).labels
    last = told.guesses[-1]
    assert last.held_out is not None
    # What it tells of rows trained on, it does not tell of anybody else.
    assert last.auc.low_micro > last.held_out.high_micro
    assert last.auc.low_micro > 850_000


def test_trees_of_one_level_show_next_to_nothing() -> None:
    found = run(replace(GENTLE, depth=1, trees=20), rows=900)
    (told,) = leakage.report(trained(found), trees_of(found)).labels
    deeper = leakage.report(trained(deep := run(GENTLE, rows=900)), trees_of(deep)).labels[0]
    assert told.gain.high_micro < deeper.guesses[-1].gain.value_micro
    for tree, place in found.label.grown[1:]:
        owner = tree.splits[1].owner
        assert len(np.unique(views.seen(tree, place, 1))) == (2 if owner == 1 else 1)


def test_gradients_in_the_clear_are_labels() -> None:
    found = run(replace(GENTLE, trees=3), rows=600, backend="plain")
    (told,) = leakage.report(trained(found), trees_of(found, "plain")).labels
    assert told.sees == "gradients"
    assert told.guesses[-1].auc.value_micro == 1_000_000


def test_trees_that_were_not_kept_were_seen() -> None:
    growth = Growth(trees=40, depth=5, min_leaf=2, learning_rate=1.0, l2=0.0, patience=3)
    found = run(growth, rows=600)
    kept = len(found.label.part.trees)
    assert kept < len(found.label.grown)
    told = report(found)
    assert told.leaves is not None
    assert len(told.leaves.trees) == kept
    assert told.labels[0].guesses[-1].trees == len(found.label.grown)


def test_without_a_partys_columns_its_own_guess_counts_as_chance() -> None:
    found = run(GENTLE, rows=900)
    known = leakage.report(trained(found), trees_of(found)).labels[0]
    unknown = leakage.report(trained(found, columns=False), trees_of(found)).labels[0]
    assert (known.baseline, unknown.baseline) == ("columns", "none")
    assert unknown.alone.value_micro == 500_000 < known.alone.value_micro
    # It can only look as if more had leaked.
    assert unknown.guesses[-1].gain.value_micro > known.guesses[-1].gain.value_micro


# ------------------------------------------------------------------------------- membership


def _membership(shift: float) -> dict[Any, Any]:
    draw = seeds.generator("tests-members")
    training = draw.random(4000) < 0.5
    found = draw.normal(size=4000) - shift * training
    classes = (draw.random(4000) < 0.3).astype(np.int64)
    return dict(membership.advantages(found, training, classes, 0))


def test_losses_that_are_alike_tell_nothing_and_others_do() -> None:
    for bounded in _membership(0.0).values():
        assert bounded.low < 0 < bounded.high < 0.1
    # Of two normal distributions one deviation apart, at the mean of one, and at the best place.
    expected = {"mean-loss": 0.341, "tuned": 0.383, "tuned-by-class": 0.383}
    for name, bounded in _membership(1.0).items():
        assert bounded.low < expected[name] < bounded.high


def test_each_class_may_have_a_threshold() -> None:
    draw = seeds.generator("tests-classes")
    training, classes = draw.random(8000) < 0.5, (draw.random(8000) < 0.5).astype(np.int64)
    found = draw.normal(size=8000) * 0.1 + 10 * classes - training
    told = dict(membership.advantages(found, training, classes, 0))
    assert told["tuned-by-class"].low > 0.9
    assert told["tuned"].high < 0.6


def test_few_false_positives_are_measured_where_there_are_enough_rows() -> None:
    draw = seeds.generator("tests-caught")
    training = np.arange(3000) < 1000
    found = np.where(training & (draw.random(3000) < 0.3), -1.0, draw.random(3000))
    told = dict(membership.caught(found, training))
    assert set(told) == {1_000, 10_000}
    assert told[1_000].low < 0.3 < told[1_000].high
    assert dict(membership.caught(found[:1400], training[:1400])).keys() == {10_000}
    assert membership.caught(found[:1050], training[:1050]) == []


@pytest.mark.parametrize("family", ["squared", "poisson", "logistic"])
def test_a_loss_is_smallest_at_the_label(family: Family) -> None:
    labels = np.array([0.0, 1.0])
    right = membership.losses(family, labels, labels)
    wrong = membership.losses(family, np.array([0.6, 0.4]), labels)
    assert np.all(right < wrong)
    assert np.all(np.abs(right) < 1e-6)
    with pytest.raises(DataInvalid):
        membership.losses(family, np.array([np.nan, 0.0]), labels)


# ------------------------------------------------------------------------------- leaves, weights


def test_leaves_are_counted_by_the_rows_that_made_them() -> None:
    places = [np.array([2, 2, 2, 3, 6, 6, 7], np.int16), np.array([2, 2, 2, 2, 2, 3, 3], np.int16)]
    labels = np.array([1, 1, 1, 0, 0, 1, 1.0])
    training = np.array([True] * 6 + [False])
    samples = [np.arange(6), np.array([0, 1, 2, 5])]
    found = leaves.leaves(places, samples, labels, training, 3)
    first, second = found.trees
    assert (first.leaves, first.smallest, first.small, first.pure) == (3, 1, 2, 2)
    assert (second.leaves, second.smallest, second.small, second.pure) == (2, 1, 1, 2)
    assert (found.smallest, found.small, found.pure) == (1, 3, 4)
    assert found.small_rows == 3  # the fourth to the sixth
    assert found.pure_rows == 5  # all but the fifth
    assert found.singletons == 2  # the fourth, and of the second tree's sample the sixth
    assert found.told_apart == 3  # the fourth, the fifth and the sixth


def test_a_weight_that_rests_on_one_row_is_found() -> None:
    rows = np.arange(40)
    training = rows < 30
    columns = np.stack([rows % 2, rows == 7, rows == 35, np.ones(40)], axis=1).astype(float)
    assert leaves.smallest_support(columns[:, :1], training) == 15
    assert leaves.smallest_support(columns, training) == 1
    assert leaves.smallest_support(columns[:, 2:], training) == 30
    found = _weights({"label": 15, "feature": 1})
    assert [each.smallest for each in found.weights] == [15, 1]
    with pytest.raises(ModelWithheld) as refused:
        found.check(Limits(smallest_leaf=2))
    assert refused.value.code == "L-03"
    found.check(Limits(smallest_leaf=1))


def _weights(supports: dict[str, int], model: Model = "logistic") -> LeakReport:
    draw = seeds.generator("tests-weights")
    partial, other = draw.normal(size=800), draw.normal(size=800)
    mean = 1 / (1 + np.exp(-partial - other))
    labels = (draw.random(800) < mean).astype(float)
    rows = Trained(
        labels=labels if model in BINARY else np.round(3 * mean),
        training=draw.random(800) < 0.7,
        outputs=mean if model in BINARY else 3 * mean,
        parties=("feature",),
    )
    weights = Weights(
        model=model, backend="dealer", partials={"feature": partial}, supports=supports
    )
    return leakage.report(rows, weights)


@pytest.mark.parametrize("model", ["logistic", "linear", "poisson", "scorecard"])
def test_weights_tell_a_party_what_its_columns_are_good_for(model: Model) -> None:
    (told,) = _weights({}, model).labels
    assert (told.sees, told.baseline, told.alone.value_micro) == ("weights", "none", 500_000)
    assert [guess.trees for guess in told.guesses] == [0]
    assert told.guesses[0].gain.value_micro == told.guesses[0].auc.value_micro - 500_000 > 100_000


# ------------------------------------------------------------------------------- limits, documents


def test_what_was_not_measured_is_not_released() -> None:
    found = run(GENTLE, rows=600)
    everybody = replace(trained(found), training=np.ones(600, bool))
    told = leakage.report(everybody, trees_of(found))
    assert told.membership is None
    with pytest.raises(ModelWithheld, match="held out") as refused:
        told.check(Limits(membership_permille=1000))
    assert refused.value.code == "L-04"
    assert not guessing.measurable(np.arange(600) < 5, np.ones(600, bool))
    empty = told.model_copy(update={"labels": ()})
    with pytest.raises(ModelWithheld) as refused:
        empty.check(Limits(label_leak_permille=1000))
    assert refused.value.code == "L-04"
    bare = _weights({})
    with pytest.raises(ModelWithheld) as refused:
        bare.check(Limits(smallest_leaf=1))
    assert refused.value.code == "L-04"
    told.check(Limits())


def test_a_study_of_a_few_rows_is_reported_as_not_measured() -> None:
    labels = np.array([0.0] * 12 + [1.0] * 9)
    training = np.ones(21, bool)
    loss = Loss("logistic", labels, training)
    tree, place = run(GENTLE, rows=400).label.grown[0]
    few = Trained(labels=labels, training=training, outputs=np.full(21, 0.5), parties=("one",))
    model = Trees(loss=loss, grown=[(tree, place[:21])], kept=1, growth=GENTLE, backend="dealer")
    assert leakage.report(few, model).labels == ()
    with pytest.raises(DataInvalid):
        replace(model, kept=2)


def test_the_strictest_of_several_limits_counts() -> None:
    grant = Train(models=("logistic",), k=2, rounds=1, runs=1, membership_permille=80)
    found = strictest(grant, PROMISE, Limits(smallest_leaf=30, membership_permille=90))
    assert found == Limits(membership_permille=80, label_leak_permille=400, smallest_leaf=30)
    assert strictest() == Limits()


def test_a_report_is_read_back_and_nothing_else_is(gentle: LeakReport) -> None:
    data = gentle.canonical()
    assert report_of(data) == gentle
    for path, value in (
        (("schema",), "fusion.leak-report/2"),
        (("more",), 1),
        (("rows_training",), 0),
        (("rows_held_out",), 1.5),
        (("membership", "auc", "value_micro"), 1_000_001),
        (("labels", 0, "sees"), "labels"),
        (("leaves", "trees", 0, "leaves"), 0),
    ):
        document: Any = json.loads(data)
        *way, last = path
        here = document
        for step in way:
            here = here[step]
        here[last] = value
        changed = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        with pytest.raises(MessageInvalid):
            report_of(changed)
    with pytest.raises(MessageInvalid):
        report_of(data[:-1])


def test_the_same_rows_give_the_same_report(gentle: LeakReport) -> None:
    assert report(run(GENTLE)) == gentle


def test_columns_that_are_the_label_leave_nothing_to_gain() -> None:
    found = run(GENTLE, rows=900)
    rows = trained(found)
    own = rows.columns["party-1"]
    own.codes[:, :] = rows.labels[:, None].astype(np.uint8)
    (told,) = leakage.report(rows, trees_of(found)).labels
    assert told.alone.value_micro == 1_000_000
    gain = told.guesses[-1].gain
    assert gain.value_micro <= 0
    assert gain.high_micro < 1000  # the least that a limit can say


def test_every_code_is_on_the_page() -> None:
    page = (ROOT / "docs/claims/leakage.md").read_text("utf-8")
    assert re.findall(r"^\| (L-\d\d) \|", page, re.MULTILINE) == [code.value for code in Code]
