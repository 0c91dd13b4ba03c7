"""Events of bins are counted right, of bins that are large enough, and told with a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical import scorecards
from federated.protocols.vertical.binning import Columns, bin_columns
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.counting import (
    FEWEST_OF_CLASS,
    CountingFeature,
    CountingLabel,
    told,
)
from federated.protocols.vertical.messages import Kind, decode, encode
from federated.vertical.binding import Binding
from federated.vertical.keeping import MemoryKeeping
from fusion.crypto.paillier.keys import PrivateKey
from fusion.errors import FusionError, InputInvalid, MessageInvalid
from tests.vertical.parties import make

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.counting import Bind
    from federated.protocols.vertical.messages import Outgoing
    from tests.keys import Dealt

    Floats = NDArray[np.float64]

ROWS, FEWEST, MOST = 240, 20, 30


@pytest.fixture(scope="module")
def key(dealt: Dealt) -> PrivateKey:
    return PrivateKey(*dealt.primes)


def columns_of(party: int, fewest: int = FEWEST) -> tuple[Columns, NDArray[np.int64]]:
    made = make([2, 3], ROWS, 3)
    every = np.ones(ROWS, bool)
    columns = scorecards.enough(bin_columns(made.tables[party], every, 6), every, fewest)
    return columns, scorecards.counted(columns, every, fewest)


def labels() -> Floats:
    return make([2, 3], ROWS, 3).labels


def test_events_are_those_of_the_clear_table(key: PrivateKey) -> None:
    label = CountingLabel(dict.fromkeys("ab", MOST), labels(), lambda: key, FEWEST)
    places = {name: columns_of(at) for at, name in enumerate(("a", "b"))}
    parties = {name: CountingFeature("l", *each) for name, each in places.items()}
    first: list[tuple[str, Outgoing]] = []
    for name, machine in {"l": label, **parties}.items():
        first += [(name, out) for out in machine.start()]
    converse({"l": label, **parties}, first)
    assert label.done
    for name, party in parties.items():
        columns, counted = places[name]
        events = columns.counts(np.flatnonzero(labels() > 0))[counted[:, 0], counted[:, 1]]
        rows = columns.counts(np.arange(ROWS))[counted[:, 0], counted[:, 1]]
        assert party.done
        assert party.events.tolist() == told(events, rows).tolist()
        assert label.smallest[name] == rows.min() >= FEWEST


def test_no_bin_is_told_to_be_of_one_class(key: PrivateKey) -> None:
    rows = np.array([20, 20, 20, 20])
    assert told(np.array([0, 3, 12, 20]), rows).tolist() == [5, 5, 12, 20 - FEWEST_OF_CLASS]
    with pytest.raises(InputInvalid, match="at least 10 rows"):
        CountingLabel({"a": MOST}, labels(), lambda: key, 9)


def answered(
    key: PrivateKey,
    columns: Columns,
    counted: NDArray[np.int64],
    bind: Bind = lambda *_: None,
) -> tuple[CountingLabel, bytes]:
    """Return a label party, and what a feature party answers it."""
    label = CountingLabel({"a": MOST}, labels(), lambda: key, FEWEST, bind)
    party = CountingFeature("l", columns, counted)
    label.start()
    (offer,) = party.start()
    out = [
        each for sent in label.receive("a", offer.data) for each in party.receive("l", sent.data)
    ]
    (product,) = out
    return label, product.data


def test_the_order_is_drawn_anew_for_every_run(key: PrivateKey) -> None:
    columns, counted = columns_of(1)
    found = []
    for _ in range(2):
        _, product = answered(key, columns, counted)
        (ciphertexts,) = decode(product).arrays
        found.append(key.decrypt(ciphertexts).tobytes())
    assert len(set(found)) > 1


def test_small_bins_are_not_counted(key: PrivateKey) -> None:
    columns, _ = columns_of(1, fewest=1)
    every = np.ones(ROWS, bool)
    counted = scorecards.counted(columns, every, 1)
    assert columns.counts(np.arange(ROWS))[counted[:, 0], counted[:, 1]].min() < FEWEST
    label, product = answered(key, columns, counted)
    with pytest.raises(MessageInvalid, match="fewer than 20 rows"):
        label.receive("a", product)


def test_other_bins_in_a_later_attempt_are_refused(key: PrivateKey) -> None:
    """Whatever order they come in."""
    binding = Binding(MemoryKeeping())
    columns, counted = columns_of(1)
    for bins in (counted, counted[::-1].copy()):
        label, product = answered(key, columns, bins, binding.bind)
        assert label.receive("a", product)
    label, product = answered(key, columns, counted[1:], binding.bind)
    with pytest.raises(MessageInvalid, match="a counts other bins"):
        label.receive("a", product)


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_no_bins_or_too_many_are_refused(key: PrivateKey, count: int) -> None:
    label = CountingLabel({"a": MOST}, labels(), lambda: key, FEWEST)
    label.start()
    with pytest.raises(MessageInvalid, match="no bins, or too many"):
        label.receive("a", encode(Kind.OFFER, 0, 0, np.array(count, np.uint32)))


def test_rubbish_is_refused_by_both(key: PrivateKey) -> None:
    columns, counted = columns_of(1)
    label, product = answered(key, columns, counted)
    changed = bytearray(product)
    changed[-300:] = bytes([255]) * 300
    with pytest.raises(MessageInvalid):
        label.receive("a", bytes(changed))
    party = CountingFeature("l", columns, counted)
    other = CountingLabel({"a": MOST}, labels(), lambda: key, FEWEST)
    other.start()
    (offer,) = party.start()
    first, second, *_ = (each.data for each in other.receive("a", offer.data))
    with pytest.raises(MessageInvalid, match="was due"):
        party.receive("l", second)
    party = CountingFeature("l", columns, counted)
    party.start()
    broken = bytearray(first)
    broken[-5] ^= 1  # the proof's end
    with pytest.raises(FusionError):
        party.receive("l", bytes(broken))
    party = CountingFeature("l", columns, counted)
    party.start()
    party.receive("l", first)
    party.receive("l", second)
    many = np.full(len(counted), ROWS, np.uint32)
    with pytest.raises(MessageInvalid, match="more events than a bin has rows"):
        party.receive("l", encode(Kind.COUNTS, 0, 0, many))


def test_bins_are_put_together_until_each_has_enough() -> None:
    draw = seeds.generator("tests-enough", 1)
    values = draw.integers(0, 30, 300).astype(float)
    values[:8] = np.nan
    every = np.ones(300, bool)
    fine = bin_columns({"x": values, "one": np.full(300, 2.0)}, every, 20)
    columns = scorecards.enough(fine, every, 40)
    (x, one) = columns.features
    assert 1 < len(x.cuts) < len(fine.features[0].cuts)
    assert set(x.cuts) <= set(fine.features[0].cuts)
    assert not len(one.cuts)
    assert np.array_equal(columns.codes[:, 0], x.codes(values))
    held = columns.counts(np.arange(300))[0]
    assert held[: len(x.cuts) + 1].min() >= 40
    # The bin for missing values has 8 rows, is not counted, and says nothing.
    places = scorecards.counted(columns, every, 40)
    assert (0, len(x.cuts) + 1) not in {tuple(each) for each in places.tolist()}
    events = np.full(len(places), 10)
    assert scorecards.evidence_of(columns, every, places, events)[0][-1] == 0
