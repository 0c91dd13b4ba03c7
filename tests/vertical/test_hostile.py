"""Whatever a party sends, the other ends with a named refusal: it never acts on half a message."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.protocols.vertical.dealt import MAX_OPEN, Dealer
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_terms import LinearTerms
from federated.protocols.vertical.messages import (
    MAX_MESSAGE_BYTES,
    Kind,
    Outgoing,
    decode,
    encode,
    need,
)
from federated.protocols.vertical.permutations import SEED_BYTES
from federated.protocols.vertical.trees import Growth
from fusion.errors import FusionError, KeyRefused, MessageInvalid, VerificationFailed
from tests.vertical.parties import DEALER, LABEL, TERMS, Run, make

if TYPE_CHECKING:
    from tests.keys import Dealt

GROWTH = Growth(trees=2, depth=3, min_leaf=5, alone_trees=0)


def fresh(backend: str) -> Run:
    return Run(make([1, 2, 1], 120, 9), GROWTH, backend)


def until(run: Run, stop: int) -> tuple[str, Outgoing]:
    """Deliver ``stop`` messages; return the next one, not delivered."""
    waiting = deque(run.first())
    for _ in range(stop):
        sender, out = waiting.popleft()
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    return waiting.popleft()


def count(backend: str) -> int:
    seen: list[int] = []
    fresh(backend).finish(lambda *_: seen.append(1))
    return len(seen)


COUNTS = {backend: count(backend) for backend in ("plain", "dealer")}


@pytest.mark.parametrize("backend", ["plain", "dealer"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_message_is_refused_or_understood(backend: str, data: st.DataObject) -> None:
    run = fresh(backend)
    # The randomness of a run is its own: the number of messages may differ by a few.
    sender, out = until(run, data.draw(st.integers(0, COUNTS[backend] - 8)))
    blob = bytearray(out.data)
    how = data.draw(st.sampled_from(["cut", "grow", "flip", "head"]))
    if how == "cut":
        del blob[data.draw(st.integers(0, len(blob) - 1)) :]
    elif how == "grow":
        blob += b"\0"
    else:
        end = min(24, len(blob)) if how == "head" else len(blob)
        place = data.draw(st.integers(0, end - 1))
        blob[place] ^= 1 << data.draw(st.integers(0, 7))
    refused = False
    try:
        run.machines[out.to].receive(sender, bytes(blob))
    except FusionError:  # anything else would fail the test
        refused = True
    assert refused or how in {"flip", "head"}


@pytest.mark.parametrize("backend", ["plain", "dealer"])
@pytest.mark.parametrize("stop", [0, 3, 9, 14])
def test_a_message_twice_or_from_a_stranger_is_refused(backend: str, stop: int) -> None:
    run = fresh(backend)
    sender, out = until(run, stop)
    with pytest.raises(MessageInvalid):
        run.machines[out.to].receive("stranger", out.data)
    run.machines[out.to].receive(sender, out.data)
    with pytest.raises(FusionError):
        run.machines[out.to].receive(sender, out.data)


def test_the_wrong_kind_is_named() -> None:
    run = fresh("plain")
    with pytest.raises(MessageInvalid, match="PARTITION message came where OFFER was due"):
        run.label.receive("party-1", encode(Kind.PARTITION, 0, 0))
    party = run.parties["party-1"]
    with pytest.raises(MessageInvalid, match="TREE message came where START was due"):
        party.receive(LABEL, encode(Kind.TREE, 0, 0))


def test_other_terms_are_refused() -> None:
    run = fresh("plain")
    other = np.frombuffer(TERMS[::-1], np.uint8)
    with pytest.raises(MessageInvalid, match="other terms"):
        run.parties["party-1"].receive(LABEL, encode(Kind.START, 0, 0, other))


def test_directions_of_another_split_are_refused() -> None:
    run = fresh("plain")
    waiting = deque(run.first())
    while True:
        sender, out = waiting.popleft()
        if out.to == LABEL and decode(out.data).kind is Kind.PARTITION:
            break
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    message = decode(out.data)
    turned = ~message.arrays[0]
    with pytest.raises(MessageInvalid, match=r"sums it was chosen for|fewer rows"):
        run.label.receive(sender, encode(Kind.PARTITION, message.tree, message.level, turned))


def test_a_split_below_the_least_leaf_is_refused_by_its_owner() -> None:
    growth = Growth(trees=2, depth=3, min_leaf=25, alone_trees=0)
    run = Run(make([1, 2], 120, 9), growth, "plain")
    waiting = deque(run.first())
    while decode(waiting[0][1].data).kind is not Kind.CANDIDATES:
        sender, out = waiting.popleft()
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    message = decode(waiting[0][1].data)
    options = run.sides[0].options
    eligible = np.unpackbits(message.arrays[0], axis=1, count=len(options))[0]
    (handle, *_) = np.flatnonzero(eligible == 0)
    one = np.array([1], np.uint32)
    data = encode(Kind.SPLITS, 0, 0, one, one, np.array([handle], np.uint32))
    with pytest.raises(MessageInvalid, match="fewer rows"):
        run.parties["party-1"].receive(LABEL, data)


def test_a_key_that_is_none_is_refused(dealt: Dealt) -> None:
    run = Run(make([1, 2], 60, 9), GROWTH, "paillier", primes=dealt.primes)
    terms = np.frombuffer(TERMS, np.uint8)
    modulus, proof = run.label_side.start()
    for bad in (modulus[:128], modulus & 0xFE):
        with pytest.raises(KeyRefused):
            run.parties["party-1"].receive(LABEL, encode(Kind.START, 0, 0, terms, bad, proof))
    data = encode(Kind.START, 0, 0, terms, modulus, np.ascontiguousarray(proof[::-1]))
    with pytest.raises(VerificationFailed):
        run.parties["party-1"].receive(LABEL, data)


def test_ciphertexts_out_of_range_are_refused(dealt: Dealt) -> None:
    run = Run(make([1, 2], 60, 9), GROWTH, "paillier", primes=dealt.primes)
    waiting = deque(run.first())
    while True:
        sender, out = waiting.popleft()
        message = decode(out.data)
        if message.kind is Kind.GRADIENTS:
            break
        waiting.extend((out.to, each) for each in run.machines[out.to].receive(sender, out.data))
    rows = message.arrays[0].copy()
    rows[3] = 0xFF
    with pytest.raises(MessageInvalid, match="out of range"):
        run.machines[out.to].receive(sender, encode(Kind.GRADIENTS, 0, 0, rows))


def test_a_dealer_refuses_what_the_two_sides_ask_for_differently() -> None:
    run = fresh("dealer")
    dealer, seed = run.machines[DEALER], np.zeros(32, np.uint8)

    def ask(rows: int) -> bytes:
        return encode(Kind.REQUEST, 0, 0, np.array([0, rows, 2], np.uint32), seed)

    assert dealer.receive(LABEL, ask(50)) == []
    with pytest.raises(MessageInvalid, match="different sizes"):
        dealer.receive("party-1", ask(51))
    with pytest.raises(MessageInvalid, match="can't be dealt"):
        dealer.receive("party-2", ask(50))


@pytest.mark.parametrize(("tree", "level"), [(0, 0), (1, 0), (0, 2), (2**32 - 1, 255)])
def test_a_dealer_refuses_a_level_that_the_other_side_does_not_ask_for(
    tree: int, level: int
) -> None:
    """It would wait for the other side for ever, and both sides for it."""
    dealer, seed = fresh("dealer").machines[DEALER], np.zeros(32, np.uint8)
    sizes = np.array([0, 50, 2], np.uint32)
    other = np.array([1, 50, 2], np.uint32)
    assert dealer.receive("party-1", encode(Kind.REQUEST, 0, 0, sizes, seed)) == []
    assert len(dealer.receive(LABEL, encode(Kind.REQUEST, 0, 0, sizes, seed))) == 2
    assert dealer.receive(LABEL, encode(Kind.REQUEST, 0, 0, other, seed)) == []
    assert dealer.receive(LABEL, encode(Kind.REQUEST, 0, 1, sizes, seed)) == []
    with pytest.raises(MessageInvalid, match=r"different levels|earlier level"):
        dealer.receive("party-1", encode(Kind.REQUEST, tree, level, sizes, seed))


@pytest.mark.parametrize(
    ("party", "tree", "level"), [(0, 3, 1), (0, 3, 2), (1, 3, 2), (1, 3, 0), (1, 4, 1)]
)
def test_a_label_party_asks_for_all_parties_in_turn(party: int, tree: int, level: int) -> None:
    """Whom it leaves out would wait for ever, and everybody with it."""
    dealer, seed = fresh("dealer").machines[DEALER], np.zeros(32, np.uint8)

    def ask(party: int, tree: int, level: int) -> bytes:
        return encode(Kind.REQUEST, tree, level, np.array([party, 50, 2], np.uint32), seed)

    for each in (ask(0, 3, 0), ask(1, 3, 0), ask(0, 3, 1)):
        assert dealer.receive(LABEL, each) == []
    with pytest.raises(MessageInvalid, match=r"out of its order|came twice"):
        dealer.receive(LABEL, ask(party, tree, level))


def test_levels_that_one_side_alone_asks_for_are_bounded() -> None:
    dealer, seed = fresh("dealer").machines[DEALER], np.zeros(32, np.uint8)
    sizes = np.array([0, 50, 2], np.uint32)
    for tree in range(MAX_OPEN):
        dealer.receive("party-1", encode(Kind.REQUEST, tree, 0, sizes, seed))
    with pytest.raises(MessageInvalid, match="more levels"):
        dealer.receive("party-1", encode(Kind.REQUEST, MAX_OPEN, 0, sizes, seed))


def test_cuts_beyond_the_bins_are_refused_before_they_are_listed() -> None:
    """2^32 - 1 cuts and the two bins beside them are 1 in the numbers of a message."""
    run = fresh("dealer")
    waiting = deque(run.first())
    while decode(waiting[0][1].data).kind is not Kind.CANDIDATES:
        sender, out = waiting.popleft()
        answers = run.machines[out.to].receive(sender, out.data)
        waiting.extend((out.to, each) for each in answers)
    sender, out = waiting.popleft()
    message = decode(out.data)
    bits, sign, layout, *rest = message.arrays
    layout = layout.copy()
    layout[0, 0] = 2**32 - 1
    data = encode(message.kind, message.tree, message.level, bits, sign, layout, *rest)
    with pytest.raises(MessageInvalid, match="not those of these rows"):
        run.machines[out.to].receive(sender, data)


def test_sizes_in_a_message_never_decide_what_is_allocated() -> None:
    huge = encode(Kind.TREE, 0, 0, np.zeros(1, np.uint8))
    blob = bytearray(huge)
    blob[-5:-1] = (0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(MessageInvalid, match="shorter than its arrays"):
        decode(bytes(blob))
    with pytest.raises(MessageInvalid, match="longer than any"):
        decode(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(MessageInvalid, match="sizes due"):
        need(decode(huge), Kind.TREE, 0, 0, ("u1", (2,)))
    with pytest.raises(MessageInvalid, match="another tree"):
        need(decode(huge), Kind.TREE, 1, 0, ("u1", (1,)))


@pytest.mark.parametrize("width", [0, 4097, 2**32 - 1])
def test_a_linear_dealer_makes_no_block_of_any_width(width: int) -> None:
    terms = LinearTerms(family="logistic", rows=1000, epochs=1)
    dealer, seed = LinearDealer(terms, LABEL, ["bank"]), np.zeros(SEED_BYTES, np.uint8)
    dealer.start()
    data = encode(Kind.SEED, 0, 0, np.array(width, np.uint32), seed, seed)
    with pytest.raises(MessageInvalid, match="larger"):
        dealer.receive(LABEL, data)


def test_a_linear_dealer_makes_no_blocks_beyond_its_memory() -> None:
    terms = LinearTerms(family="logistic", rows=1 << 17, epochs=1)
    dealer, seed = LinearDealer(terms, LABEL, ["bank"]), np.zeros(SEED_BYTES, np.uint8)
    dealer.start()
    dealer.receive(LABEL, encode(Kind.SEED, 0, 0, np.array(1, np.uint32), seed, seed))
    data = encode(Kind.SEED, 0, 0, np.array(2048, np.uint32), seed, seed)
    with pytest.raises(MessageInvalid, match="larger"):
        dealer.receive("bank", data)


def test_a_dealer_of_trees_deals_no_level_beyond_its_memory() -> None:
    dealer, seed = Dealer(LABEL, ["bank"]), np.zeros(SEED_BYTES, np.uint8)
    sizes = np.array([0, 1 << 21, 1 << 12], np.uint32)
    with pytest.raises(MessageInvalid, match="can't be dealt"):
        dealer.receive(LABEL, encode(Kind.REQUEST, 0, 0, sizes, seed))
