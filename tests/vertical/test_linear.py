"""Models in shares are those of the pooled table, and nobody sends what it should not."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical import designs, linear_pooled
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.gradients import Loss
from federated.protocols.vertical.linear import LinearFeatureParty, LinearLabelParty
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_terms import LinearTerms, Target
from federated.protocols.vertical.messages import Kind, decode, encode
from fusion.errors import DataInvalid, FusionError, InputInvalid, MessageInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.messages import Outgoing

    Floats = NDArray[np.float64]

NAMES = ("registry", "tax", "bank", "school")


class Linear:
    """All machines of a linear run, before the first message."""

    def __init__(self, family: Any, widths: list[int], rows: int = 600, **terms: Any) -> None:  # noqa: ANN401
        draw = seeds.generator("tests-linear", rows, *widths)
        common = draw.normal(size=(rows, 2))
        tables = [
            {f"c{i}": common @ draw.normal(size=2) + draw.normal(size=rows) for i in range(width)}
            for width in widths
        ]
        z = sum(column * 0.3 for table in tables for column in table.values())
        z = np.asarray(z) / np.std(z)
        if family == "logistic":
            self.labels = (draw.random(rows) < 1 / (1 + np.exp(1 - 2 * z))).astype(float)
        elif family == "linear":
            self.labels = 40 + 5 * z + draw.normal(size=rows)
        else:
            self.labels = draw.poisson(np.exp(0.6 * z)).astype(float)
        every = np.ones(rows, bool)
        self.blocks = [
            designs.design(table, every, intercept=i == 0).block(table, rows)
            for i, table in enumerate(tables)
        ]
        self.terms = LinearTerms(family=family, rows=rows, **terms)
        names = NAMES[: len(widths)]
        self.label = LinearLabelParty(
            names[0], names[1:], "dealer", self.terms, self.blocks[0], self.labels
        )
        self.parties = {
            name: LinearFeatureParty(name, names, "dealer", self.terms, block)
            for name, block in zip(names[1:], self.blocks[1:], strict=True)
        }
        dealer = LinearDealer(self.terms, names[0], names[1:])
        self.machines: dict[str, Any] = {names[0]: self.label, **self.parties, "dealer": dealer}

    def first(self) -> list[tuple[str, Outgoing]]:
        return [(name, out) for name, each in self.machines.items() for out in each.start()]

    def finish(self) -> dict[tuple[str, str], int]:
        sent = converse(self.machines, self.first())
        assert all(each.done for each in self.machines.values())
        return sent

    def weights(self) -> Floats:
        return np.concatenate([self.label.weights, *(p.weights for p in self.parties.values())])


@pytest.mark.parametrize("family", ["logistic", "linear", "poisson"])
@pytest.mark.parametrize("widths", [[2, 3], [1, 2, 1, 2]])
def test_weights_are_those_of_the_pooled_table(family: str, widths: list[int]) -> None:
    run = Linear(family, widths, epochs=100)
    run.finish()
    block = np.hstack(run.blocks)
    expected = linear_pooled.fit(block, run.label.target, run.terms.l2)
    scores, wanted = block @ run.weights(), block @ expected
    assert np.abs(run.weights() - expected).max() < 0.02
    assert np.corrcoef(scores, wanted)[0, 1] > 0.9995


def test_sizes_of_messages_depend_on_public_sizes_alone() -> None:
    first = Linear("logistic", [2, 2, 1], epochs=2)
    second = Linear("logistic", [2, 2, 1], epochs=2)
    second.label.target = Target("logistic", 0.3, 1.0, 1 - first.labels)
    assert first.finish() == second.finish()


def test_a_party_sends_words_that_look_uniform() -> None:
    """Labels that are all but constant, columns of 0: what leaves has no pattern."""
    run = Linear("logistic", [1, 1], rows=4096, epochs=1)
    waiting = deque(run.first())
    bits: dict[tuple[str, str], list[Any]] = {}
    while waiting:
        sender, out = waiting.popleft()
        message = decode(out.data)
        if message.kind in (Kind.SHARE, Kind.BLINDED):
            words = message.arrays[0].reshape(-1)
            if len(words) >= 4096:
                bits.setdefault((sender, out.to), []).append(words & np.uint64((1 << 40) - 1))
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    assert set(bits) == {("registry", "tax"), ("tax", "registry")}
    for words in (each for many in bits.values() for each in many):
        ones = np.unpackbits(words.view(np.uint8).reshape(-1, 8)[:, :5], axis=1).mean(axis=0)
        assert np.abs(ones - 0.5).max() < 6 * 0.5 / np.sqrt(4096)


@pytest.mark.parametrize("stop", range(0, 40, 3))
def test_a_changed_message_is_refused(stop: int) -> None:
    run = Linear("logistic", [1, 2, 1], rows=30, epochs=2)
    waiting = deque(run.first())
    for _ in range(stop):
        sender, out = waiting.popleft()
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    sender, out = waiting.popleft()
    message = decode(out.data)
    with pytest.raises(MessageInvalid):
        run.machines[out.to].receive("stranger", out.data)
    wrong = encode(Kind.END, message.tree, message.level, *message.arrays)
    refused = 0
    for _ in range(70):  # it is refused when it is due, or when too many wait
        try:
            run.machines[out.to].receive(sender, wrong)
        except FusionError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    "change", [{"rows": 1}, {"rows": 1 << 21}, {"epochs": 0}, {"momentum": 1.0}, {"l2": -1.0}]
)
def test_terms_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputInvalid, match="out of its range"):
        LinearTerms(family="logistic", **{"rows": 100, **change})  # type: ignore[arg-type]


def test_labels_that_a_family_can_not_have_are_refused() -> None:
    for family, labels in (("logistic", [0.0, 2.0]), ("poisson", [-1.0, 1.0]), ("linear", [1, 1])):
        with pytest.raises(DataInvalid):
            Target.of(family, np.array(labels, float))  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_no_unit_of_a_column_is_too_large_or_too_small(unit: float) -> None:
    draw = np.random.default_rng(4)
    plain = {"a": draw.normal(5, 2, 300), "b": draw.normal(size=300)}
    plain["a"][7] = np.nan
    scaled = {name: column * unit for name, column in plain.items()}
    every = np.ones(300, bool)
    with np.errstate(all="raise", under="ignore"):
        blocks = [designs.design(t, every, intercept=False).block(t, 300) for t in (plain, scaled)]
        # What a later row brings is clipped, however far away it is.
        far = {name: np.full(1, 1.7e308) for name in scaled}
        assert np.isfinite(designs.design(scaled, every, intercept=False).block(far, 1)).all()
    assert np.allclose(np.abs(blocks[0]), np.abs(blocks[1]), atol=1e-9)


@pytest.mark.parametrize("labels", [[1e101, 0.0], [1e-102, 0.0], [1e-200, 3e-200]])
def test_labels_in_a_unit_without_squares_are_refused(labels: list[float]) -> None:
    for make in (
        lambda y: Target.of("linear", y),
        lambda y: Loss("squared", y, np.ones(2, bool)),
    ):
        with pytest.raises(DataInvalid, match=r"beyond 1e\+100") as caught:
            make(np.array(labels))
        assert "nearer to 1" in caught.value.hint


@pytest.mark.parametrize("rows", [2, 1000, 1 << 17, 1 << 20])
@pytest.mark.parametrize("family", ["logistic", "linear", "poisson"])
def test_a_gradient_over_all_rows_fits_a_word(family: str, rows: int) -> None:
    terms = LinearTerms(family=family, rows=rows)  # type: ignore[arg-type]
    assert terms.gradient_cut >= 1
    assert terms.residual_bits >= 20
    largest = {"logistic": 1.0, "linear": 4.0, "poisson": 64.0}[family]
    assert largest * rows * 2.0 ** (14 + terms.residual_bits) <= 2.0**62
