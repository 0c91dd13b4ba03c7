"""The parties' trees are those of the pooled table, to the last bit, with every back end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.protocols.vertical import scoring
from federated.protocols.vertical.binning import left_sums
from federated.protocols.vertical.gradients import Goss
from federated.protocols.vertical.messages import Kind, decode, encode
from federated.protocols.vertical.pooled import cells_of, cuts_of
from federated.protocols.vertical.sides import Level, Offer
from federated.protocols.vertical.trees import Growth
from fusion.crypto.paillier.residues import integers
from fusion.errors import InputInvalid
from tests.vertical.parties import LABEL, Run, make

if TYPE_CHECKING:
    from tests.keys import Dealt

GROWTHS = st.builds(
    Growth,
    objective=st.sampled_from(["logistic", "squared"]),
    trees=st.integers(1, 4),
    depth=st.integers(1, 4),
    learning_rate=st.sampled_from([0.1, 0.7, 1.0]),
    l2=st.sampled_from([0.0, 1.0, 10.0]),
    gamma=st.sampled_from([0.0, 0.5]),
    min_leaf=st.integers(1, 20),
    alone_trees=st.integers(0, 1),
    goss=st.sampled_from([None, None, Goss(top=0.2, other=0.3)]),
    patience=st.sampled_from([0, 0, 1, 2]),
    seed=st.integers(0, 99),
)


@pytest.mark.parametrize("backend", ["plain", "dealer"])
@given(
    growth=GROWTHS,
    widths=st.lists(st.integers(0, 3), min_size=2, max_size=4),
    rows=st.integers(60, 300),
    seed=st.integers(0, 10**6),
    bins=st.integers(2, 12),
    missing=st.sampled_from([0.0, 0.2]),
    sign=st.sampled_from([0, 0, 1, -1]),
)
@settings(max_examples=40, deadline=None)
def test_trees_are_those_of_the_pooled_table(
    backend: str,
    growth: Growth,
    widths: list[int],
    rows: int,
    seed: int,
    bins: int,
    missing: float,
    sign: int,
) -> None:
    widths = [widths[0], *(max(1, width) for width in widths[1:])]
    made = make(widths, rows, seed, missing=missing)
    run = Run(made, growth, backend, bins=bins, monotone={"c0": sign}).finish()
    run.check_equal()


@pytest.mark.parametrize("objective", ["logistic", "squared"])
def test_encrypted_trees_are_those_of_the_pooled_table(dealt: Dealt, objective: str) -> None:
    growth = Growth(
        objective=objective,  # type: ignore[arg-type]
        trees=2, depth=3, min_leaf=5, alone_trees=0 if objective == "squared" else 1,
        goss=Goss(top=0.3, other=0.4) if objective == "squared" else None,
    )  # fmt: skip
    run = Run(make([1, 2, 2], 160, 3), growth, "paillier", primes=dealt.primes).finish()
    run.check_equal()
    assert any(party.part.splits for party in run.parties.values())


@pytest.mark.parametrize("backend", ["plain", "dealer"])
def test_the_joint_score_is_that_of_training(backend: str) -> None:
    run = Run(make([1, 2], 300, 5), Growth(trees=5, min_leaf=5), backend).finish()
    answers = [
        scoring.answers(party.part, columns)
        for party, columns in zip(run.parties.values(), run.columns[1:], strict=True)
    ]
    assert np.array_equal(scoring.score(run.label.part, run.columns[0], answers), run.label.scores)


def test_decrypted_sums_are_the_plain_ones_of_every_candidate(dealt: Dealt) -> None:
    growth = Growth(min_leaf=1)
    run = Run(make([1, 3], 120, 7, missing=0.3), growth, "paillier", primes=dealt.primes)
    side, columns, label = run.sides[0], run.columns[1], run.label_side
    draw = np.arange(120)
    pairs = np.stack([(draw * 99991) % (1 << 24) - (1 << 23), (draw * 31) % (1 << 21)], axis=1)
    terms = np.arange(32, dtype=np.uint8)
    side.start(decode(encode(Kind.START, 0, 0, terms, *label.start())))
    side.tree(0, np.arange(120))
    for data in label.tree(0, pairs):
        side.take(LABEL, decode(data))
    nodes = [np.arange(0, 120, 2), np.arange(40), np.array([7])]
    needed = np.ones((3, len(side.options)), bool)
    needed[1, ::2] = False
    side.level(0, nodes, needed)
    ready = side.reply()
    assert ready is not None
    offer = Offer(len(side.options), 3, columns.bins)
    reading = label.reading(Level("party-1", offer, 0, 0, [pairs[n] for n in nodes], 3))
    found = reading.candidates(ready[1], len(side.options))
    for rows, sums, shown in zip(nodes, found, needed, strict=True):
        cells = cells_of(columns, pairs[rows], rows)
        expected = left_sums(cells, side.options, cuts_of(columns))
        assert np.array_equal(sums, np.where(shown[:, None], expected, 0))


def test_what_returns_does_not_show_which_rows_were_added(dealt: Dealt) -> None:
    """The same sums of the same rows come back as other ciphertexts each time."""
    run = Run(make([1, 1], 60, 1, missing=0), Growth(min_leaf=1), "paillier", primes=dealt.primes)
    side, label = run.sides[0], run.label_side
    side.start(decode(encode(Kind.START, 0, 0, np.zeros(32, np.uint8), *label.start())))
    side.tree(0, np.arange(60))
    for data in label.tree(0, np.ones((60, 2), np.int64)):
        side.take(LABEL, decode(data))
    replies = []
    for _ in range(2):
        side.level(0, [np.arange(60)], np.ones((1, len(side.options)), bool))
        ready = side.reply()
        assert ready is not None
        replies.append(np.asarray(ready[1][0]))
    plain = [label.key.decrypt(reply) for reply in replies]
    assert np.array_equal(plain[0], plain[1])
    assert not set(integers(replies[0])) & set(integers(replies[1]))


def test_candidates_come_in_another_order_for_every_tree(dealt: Dealt) -> None:
    run = Run(make([1, 3], 60, 1), Growth(min_leaf=1), "paillier", primes=dealt.primes)
    side = run.sides[0]
    side.start(decode(encode(Kind.START, 0, 0, np.zeros(32, np.uint8), *run.label_side.start())))
    orders = set()
    for number in range(4):
        side.tree(number, np.arange(60))
        orders.add(tuple(zip(side.options.feature, side.options.threshold, strict=True)))
    assert len(orders) == 4


def test_the_first_tree_and_the_last_level_are_not_told() -> None:
    growth = Growth(trees=3, depth=2, min_leaf=5)
    run = Run(make([2, 2], 300, 2), growth, "plain")
    told = []
    waiting = deque(run.first())
    while waiting:
        sender, out = waiting.popleft()
        message = decode(out.data)
        if sender == LABEL:
            told.append((message.kind, message.tree, message.level))
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    assert {tree for kind, tree, _ in told if kind is Kind.TREE} == {1, 2}
    assert {level for kind, _, level in told if kind is Kind.GROW} == {0}


@pytest.mark.parametrize("change", [{"depth": 11}, {"min_leaf": 0}, {"learning_rate": 0.0}])
def test_terms_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputInvalid, match="out of its range"):
        Growth(**change)  # type: ignore[arg-type]


def test_a_monotone_direction_holds_for_the_joint_model() -> None:
    made = make([1, 1], 400, 4, missing=0)
    run = Run(made, Growth(trees=6, min_leaf=5, alone_trees=0), "plain", monotone={"c0": -1})
    run.finish().check_equal()
    own = run.columns[0].codes[:, 0]
    other = run.columns[1].codes[:, 0]
    for value in np.unique(own):
        rows = np.flatnonzero(own == value)
        order = rows[np.argsort(other[rows], kind="stable")]
        assert (np.diff(run.label.scores[order]) <= 1e-12).all()
