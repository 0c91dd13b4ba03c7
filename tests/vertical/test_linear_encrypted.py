"""Models without a third party take the pooled table's steps; products, means, what is refused."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import gmpy2
import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical import encrypted_party, lookups
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.encrypted_blocks import (
    ENTRY_BITS,
    MAX_CELLS,
    OFFSET,
    OtherBlock,
    OwnBlock,
    Shape,
    common_power,
)
from federated.protocols.vertical.encrypted_party import exact_sums
from federated.protocols.vertical.linear_encrypted import (
    EncryptedLinearFeature,
    EncryptedLinearLabel,
)
from federated.protocols.vertical.linear_terms import LinearTerms, Target
from federated.protocols.vertical.lookups import VALUE_BITS, Lookup
from federated.protocols.vertical.messages import Kind, decode, encode
from federated.protocols.vertical.permutations import system_words
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import Exact, Tabled
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.errors import FusionError, InputInvalid, MessageInvalid
from tests.vertical.test_linear import NAMES, Linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.messages import Outgoing
    from tests.keys import Dealt

    Floats = NDArray[np.float64]


class Encrypted:
    """All machines of a run without a dealer, of the same tables as with one."""

    def __init__(
        self,
        dealt: Dealt,
        family: str,
        widths: list[int],
        rows: int = 200,
        **terms: Any,  # noqa: ANN401
    ) -> None:
        self.made = Linear(family, widths, rows, **terms)
        key, names = PrivateKey(*dealt.primes), NAMES[: len(widths)]
        self.key, self.terms = key, self.made.terms
        mine, *others = self.made.blocks
        self.label = EncryptedLinearLabel(
            names[0], names[1:], self.terms, mine, self.made.labels, key
        )
        self.parties = {
            name: EncryptedLinearFeature(name, names, self.terms, block, key)
            for name, block in zip(names[1:], others, strict=True)
        }
        self.machines: dict[str, Any] = {names[0]: self.label, **self.parties}

    def first(self) -> list[tuple[str, Outgoing]]:
        return [(name, out) for name, each in self.machines.items() for out in each.start()]

    def finish(self) -> dict[tuple[str, str], int]:
        sent = converse(self.machines, self.first())
        assert all(each.done for each in self.machines.values())
        return sent

    def weights(self) -> Floats:
        return np.concatenate([self.label.weights, *(p.weights for p in self.parties.values())])


def in_the_clear(terms: LinearTerms, blocks: Sequence[Floats], target: Target) -> Floats:
    """Take the same steps on the joined table, in floating point."""
    block, one = np.hstack(blocks), float(1 << 16)
    gradient, decay, momentum = terms.step(len(blocks))
    now = before = np.zeros(block.shape[1])
    for _ in range(terms.epochs):
        scores = block @ now + (target.offset if terms.family == "logistic" else 0.0)
        sums = block.T @ (_mean(terms.family, scores) - target.values) / 2.0**terms.row_bits
        step = momentum * (now - before) - decay * now - gradient * sums
        now, before = now + step / one, now
    return now


def _mean(family: str, z: Floats) -> Floats:
    if family == "linear":
        return z
    return np.asarray(np.exp(z) if family == "poisson" else 1 / (1 + np.exp(-z)))


@pytest.mark.parametrize(
    ("family", "widths"),
    [("linear", [1, 2]), ("poisson", [2, 1]), ("logistic", [1, 2, 1, 2])],
)
def test_steps_are_those_of_the_pooled_table(dealt: Dealt, family: str, widths: list[int]) -> None:
    run = Encrypted(dealt, family, widths, epochs=8)
    run.finish()
    expected = in_the_clear(run.terms, run.made.blocks, run.label.target)
    assert np.abs(expected).max() > 0.2
    assert np.abs(run.weights() - expected).max() < 0.01


def test_a_run_goes_on_from_an_epoch(dealt: Dealt) -> None:
    run = Encrypted(dealt, "linear", [1, 1, 1], rows=60, epochs=3)
    run.finish()
    states = {name: machine.keep() for name, machine in run.machines.items()}
    longer = Encrypted(dealt, "linear", [1, 1, 1], rows=60, epochs=6)
    for name, machine in longer.machines.items():
        machine.go_on(states[name])
        assert machine.epochs_done == 3
    longer.finish()
    expected = in_the_clear(longer.terms, longer.made.blocks, longer.label.target)
    assert np.abs(longer.weights() - expected).max() < 0.01
    with pytest.raises(MessageInvalid, match="not one of this kind"):
        run.label.go_on(states["tax"])
    other = Encrypted(dealt, "linear", [1, 2, 1], rows=60, epochs=6)
    for name, machine in other.machines.items():
        machine.go_on(states[name])
    with pytest.raises(MessageInvalid, match="other columns"):
        other.finish()


def test_sizes_of_messages_depend_on_public_sizes_alone(dealt: Dealt) -> None:
    first = Encrypted(dealt, "logistic", [2, 1], rows=40, epochs=2)
    second = Encrypted(dealt, "logistic", [2, 1], rows=40, epochs=2)
    second.label.target = Target("logistic", 0.3, 1.0, 1 - first.made.labels)
    assert first.finish() == second.finish()


# ------------------------------------------------------------------------------ products


class Blocks:
    """A block at its owner and at another."""

    def __init__(self, dealt: Dealt, rows: int, columns: int) -> None:
        self.key = PrivateKey(*dealt.primes)
        draw = seeds.generator("tests-blocks", rows, columns)
        self.entries = draw.integers(-OFFSET, OFFSET, (rows, columns), endpoint=True)
        self.entries[0] = OFFSET
        self.entries[-1] = -OFFSET
        self.shape = Shape.of(self.key.public, rows, columns, 28)
        randomiser = Exact(self.key)
        self.own = OwnBlock(self.key, randomiser, self.entries, self.shape)
        self.other = OtherBlock(self.key.public, Tabled(self.key.public), self.shape)
        for way, first, count in self.shape.pieces():
            self.other.take(way, first, self.own.piece(way, first, count))


@pytest.fixture(scope="module")
def blocks(dealt: Dealt) -> Blocks:
    return Blocks(dealt, 37, 14)


def test_shares_of_products_add_up_exactly(blocks: Blocks) -> None:
    rows, columns = blocks.entries.shape
    top = (1 << 28) - 1
    for weights in ([top] * columns, [0] * columns, [k * 19_088_743 for k in range(columns)]):
        product, mine = blocks.other.scores(weights, 28)
        found = (blocks.own.scores(product) + mine).view(np.int64)
        assert np.array_equal(found, blocks.entries @ np.array(weights))
    for words in (np.full(rows, np.uint64((1 << 64) - 1)), system_words(rows)):
        product, share = blocks.other.sums(words)
        sums = [a + b for a, b in zip(blocks.own.sums(product), share, strict=True)]
        lines = zip(*blocks.entries.tolist(), strict=True)
        expected = [sum(x * w for x, w in zip(line, words.tolist(), strict=True)) for line in lines]
        assert sums == expected
        assert exact_sums(blocks.entries.view(np.uint64), words) == expected


def test_what_an_owner_decrypts_is_masked_in_every_slot(blocks: Blocks) -> None:
    """Weights of 0, the same product 64 times: every bit of every slot is as often 1 as 0."""
    rows, columns = blocks.entries.shape
    slots = blocks.shape.across
    plain = np.concatenate(
        [blocks.key.decrypt(blocks.other.scores([0] * columns, 28)[0]) for _ in range(40)]
    )
    used = plain[:, : slots.count * slots.size].reshape(-1, slots.size)
    ones = np.unpackbits(used, axis=1, bitorder="little").mean(axis=0)
    assert not ones[-1]  # room for the sum
    assert np.abs(ones[:-1] - 0.5).max() < 6 * 0.5 / np.sqrt(len(used))
    # The mask is 64 bits longer than any sum.
    assert 8 * slots.size - 1 >= 64 + (columns * ((1 << 28) - 1) * 2 * OFFSET).bit_length()
    assert 8 * blocks.shape.down.size - 1 >= 64 + (rows * ((1 << 64) - 1) * 2 * OFFSET).bit_length()


def test_what_returns_does_not_show_the_weights_in_its_randomiser(blocks: Blocks) -> None:
    """Whoever has the primes sees of which class of squares it is: all four come up."""
    p, q = blocks.key.p, blocks.key.q
    classes = set()
    for _ in range(12):
        product, _ = blocks.other.scores([1] * blocks.shape.columns, 28)
        for value in integers(product):
            classes.add((gmpy2.legendre(value, p), gmpy2.legendre(value, q)))
    assert len(classes) == 4


def test_one_power_of_a_column_for_all_groups(dealt: Dealt) -> None:
    key = PrivateKey(*dealt.primes).public
    values = [[3, 5, 7], [11, 13, 17]]
    columns = np.stack([rows_of(line, key.ciphertext_bytes) for line in values])
    found = [int(v) for v in integers(common_power(key, columns, [6, 5], 3))]
    assert found == [a**6 * b**5 for a, b in zip(*values, strict=True)]
    assert [int(v) for v in integers(common_power(key, columns, [0, 0], 3))] == [1, 1, 1]


def test_too_large_a_block_is_refused(dealt: Dealt) -> None:
    key = PrivateKey(*dealt.primes).public
    assert Shape.of(key, MAX_CELLS // 32, 32, 28).rows
    with pytest.raises(InputInvalid, match="at most"):
        Shape.of(key, MAX_CELLS // 32 + 1, 32, 28)


def test_what_is_no_masked_sum_is_refused(blocks: Blocks) -> None:
    width = blocks.key.public.plaintext_bytes
    plain = rows_of([blocks.key.public.modulus - 1] * 3, width)
    with pytest.raises(MessageInvalid, match="something else than masked sums"):
        blocks.own.scores(Exact(blocks.key).encrypt(plain))


# ------------------------------------------------------------------------------ means


@pytest.mark.parametrize("row_bits", [8, 14, 20])
@pytest.mark.parametrize("family", ["logistic", "linear", "poisson"])
def test_a_mean_is_right_in_the_mean(family: Any, row_bits: int) -> None:  # noqa: ANN401
    """Shared scores, rounded by chance: the average is the function, to less than is stated."""
    lookup, bits, rows = Lookup.of(family, row_bits), encrypted_party.SCORE_BITS, 3000
    draw = seeds.generator("tests-lookups", row_bits)
    for z in (-3.7, -0.31, 0.0, 1.23):
        score = np.full(rows, round((z - lookup.centre) * 2**bits)).astype(np.int64)
        mine = draw.integers(0, 1 << 63, rows).astype(np.uint64)
        other = score.view(np.uint64) - mine
        masks = system_words(rows)
        chosen = lookup.levels(other, bits).astype(np.int64)
        tables = lookup.tables(lookup.levels(mine, bits), masks)
        found = (tables[np.arange(rows), chosen] + masks).view(np.int64) / 2**VALUE_BITS
        mean = float(_mean(family, np.array(z)))
        noise = found.std() / np.sqrt(rows)
        assert abs(found.mean() - mean) < 6 * noise + 0.0025 * max(1.0, mean)
        assert abs(found - mean).max() <= 0.3 * max(1.0, mean)


def test_fewer_rows_have_finer_tables() -> None:
    assert [Lookup.of("logistic", b).level_bits for b in (1, 12, 13, 14, 20)] == [9, 9, 8, 7, 7]


# ------------------------------------------------------------------------------ hostile


def test_a_changed_message_is_refused(dealt: Dealt) -> None:
    """Of each kind of message: another kind, another epoch, another size, another number."""
    run = Encrypted(dealt, "logistic", [1, 2, 1], rows=24, epochs=1)
    waiting, seen, refused = deque(run.first()), set(), 0
    while waiting:
        sender, out = waiting.popleft()
        message, machine = decode(out.data), run.machines[out.to]
        if machine._due is not None and machine._due.sender == sender:
            seen.add(message.kind)
            refused += _refuses(machine, sender, message)
        answers = machine.receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    assert seen == {
        Kind.OFFER, Kind.KEY, Kind.START, Kind.REQUEST, Kind.BLOCK, Kind.BITS, Kind.SEEDS,
        Kind.PRODUCT, Kind.SHARE, Kind.CHOICES, Kind.TABLES, Kind.WEIGHTS,
    }  # fmt: skip
    assert refused > 60


def _refuses(machine: Any, sender: str, message: Any) -> int:  # noqa: ANN401
    """Check a due message's changes against what the machine waits for."""
    arrays, count = message.arrays, 0
    longer = [np.concatenate([a.reshape(-1), a.reshape(-1)[:1]]) for a in arrays]
    changed = [
        encode(Kind.END, message.tree, message.level, *arrays),
        encode(message.kind, message.tree + 1, message.level, *arrays),
        encode(message.kind, message.tree, message.level, *longer, np.zeros(1, np.uint8)),
    ]
    due, inbox = machine._due, machine._inbox[sender]
    for data in changed:
        before = (machine._running, machine._due)
        machine._running = _waits(due)
        with pytest.raises(MessageInvalid):
            machine.receive(sender, data)
        machine._running, machine._due = before
        inbox.clear()
        count += 1
    return count


def _waits(due: Any) -> Any:  # noqa: ANN401
    """A script that never goes on: it would if a message were taken."""
    yield due
    raise AssertionError


@pytest.mark.parametrize("kind", [Kind.KEY, Kind.BLOCK, Kind.BITS, Kind.SEEDS, Kind.PRODUCT])
def test_residues_that_are_none_are_refused(dealt: Dealt, kind: Kind) -> None:
    run = Encrypted(dealt, "logistic", [1, 1], rows=24, epochs=1)
    waiting = deque(run.first())
    while decode(waiting[0][1].data).kind is not kind:
        sender, out = waiting.popleft()
        waiting.extend((out.to, each) for each in run.machines[out.to].receive(sender, out.data))
    sender, out = waiting[0]
    message = decode(out.data)
    arrays = [np.zeros_like(array) for array in message.arrays]
    data = encode(kind, message.tree, message.level, *arrays)
    with pytest.raises(FusionError):
        run.machines[out.to].receive(sender, data)


def test_entries_have_the_bits_that_masks_are_made_for() -> None:
    assert 1 << ENTRY_BITS << 4 == OFFSET
    assert lookups.VALUE_BITS + 10 < 64 - 40  # a mean of 2^10 wraps with a chance below 2^-40
