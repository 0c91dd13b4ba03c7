"""Pairwise masks: they cancel, hide everything else, and leave the proofs where they are needed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.protocols.cohorts import read_join
from federated.protocols.secure_sum import aggregate, combine, read_partials, sum_of
from federated.protocols.statements import HUB, Join, RoundManifest, read, sign
from fusion.crypto import rng
from fusion.crypto.agreement import OneTimeKey
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.masks import add_masks
from fusion.crypto.paillier.packing import quantise
from fusion.crypto.paillier.residues import integers, rows_from, rows_of
from fusion.errors import (
    ContributionRefused,
    GateRefused,
    KeyRefused,
    MessageInvalid,
    SumDisputed,
    VerificationFailed,
)
from tests.proofs.victims import SHIFT, mauled, of, opened
from tests.sums import NAMES, Federation, Forger, federation_of

if TYPE_CHECKING:
    from federated.protocols.contributor import Contributor
    from federated.protocols.secure_sum import Contribution
    from fusion.crypto.paillier.keys import PublicKey
    from tests.keys import Dealt


class Cohort:
    """A masked federation: parties that live from join to submit, as those of a node do."""

    def __init__(self, dealt: Dealt) -> None:
        made = federation_of(dealt)
        made.terms = dataclasses.replace(made.terms, masks=True)
        self.federation: Federation = made
        self.parties: dict[str, Contributor] = {n: made.contributor(n) for n in NAMES}

    def joined(
        self, names: str = "abcd", number: int = 1, attempt: int = 1
    ) -> tuple[RoundManifest, list[bytes]]:
        joins = [self.parties[name].join(number, attempt) for name in names]
        read_joins = [read(Join, data, self.federation.terms.parties) for data in joins]
        manifest = self.federation.manifest(number, attempt)
        cohort = [each.joined() for each in read_joins]
        return manifest.model_copy(update={"cohort": cohort}), joins

    def commit(self, manifest: RoundManifest, joins: list[bytes], names: str) -> list[bytes]:
        return [
            self.parties[name].commit(manifest, self.slots(float(NAMES.index(name) + 1)), joins)
            for name in names
        ]

    def slots(self, value: float) -> np.ndarray:
        layout = self.federation.terms.layouts["train"]
        return quantise(layout, {"w": np.full(10, value)}).slots

    def collect(
        self, names: str = "abcd", number: int = 1, attempt: int = 1
    ) -> tuple[RoundManifest, bytes, list[Contribution]]:
        manifest, joins = self.joined(names, number, attempt)
        listing = self.federation.listed(manifest, self.commit(manifest, joins, names))
        return (
            manifest, listing, [self.parties[name].submit(manifest, listing) for name in names]
        )  # fmt: skip


@pytest.fixture
def cohort(dealt: Dealt) -> Cohort:
    return Cohort(dealt)


@pytest.fixture(scope="module")
def key(dealt: Dealt) -> PublicKey:
    return dealt.key.public


def _pairs(names: str) -> dict[str, dict[str, bytes]]:
    """Return what each shares with each other."""
    keys = {name: OneTimeKey.generate() for name in names}
    return {
        own: {
            peer: keys[own].agree(keys[peer].public, "".join(sorted(own + peer)).encode())
            for peer in names
            if peer != own
        }
        for own in names
    }


@given(names=st.sampled_from(["ab", "abc", "abcdefghi"]), count=st.integers(1, 5))
def test_masks_cancel_in_the_whole_cohort_and_nowhere_else(
    key: PublicKey, names: str, count: int
) -> None:
    pairs = _pairs(names)
    clear = [[rng.bits(600) for _ in range(count)] for _ in names]
    masked = [
        integers(add_masks(key, rows_of(values, key.plaintext_bytes), name, pairs[name]))
        for name, values in zip(names, clear, strict=True)
    ]
    sums = [sum(column) % key.n for column in zip(*masked, strict=True)]
    assert sums == [sum(column) for column in zip(*clear, strict=True)]
    assert all(value.bit_length() > key.bits - 64 for row in masked for value in row)
    partly = [sum(column) % key.n for column in zip(*masked[1:], strict=True)]
    assert all(value.bit_length() > key.bits - 64 for value in partly)


def test_both_sides_agree_for_one_occasion_only() -> None:
    one, other = OneTimeKey.generate(), OneTimeKey.generate()
    assert one.agree(other.public, b"x") == other.agree(one.public, b"x")
    assert one.agree(other.public, b"x") != one.agree(other.public, b"y")
    for bad in ("00" * 32, "01" + "00" * 31, "00"):
        with pytest.raises(KeyRefused):
            one.agree(bad, b"x")
    assert "Private" not in repr(one)


def test_what_is_opened_is_the_sum(cohort: Cohort) -> None:
    federation = cohort.federation
    manifest, listing, contributions = cohort.collect()
    total = aggregate(federation.terms, manifest, listing, contributions)
    partials = {
        name: read_partials(
            federation.terms, manifest, federation.gate(name).open(manifest, listing, contributions)
        )
        for name in "bcd"
    }
    plaintexts, _ = combine(federation.terms, total, partials)
    assert plaintexts is not None
    sums = sum_of(federation.terms, manifest, total, plaintexts)
    assert np.abs(sums["w"] - 10.0).max() < 1e-5


def test_all_holders_together_see_noise_in_a_single_contribution(
    cohort: Cohort, dealt: Dealt
) -> None:
    """Without masks any t holders read it: that is what masks are for."""
    _, _, contributions = cohort.collect()
    for contribution in contributions:
        (shown,) = opened(dealt, rows_from(contribution.vector[-512:], 512))
        assert shown.bit_length() > 2048 - 64
    bare = federation_of(dealt)
    manifest = bare.manifest()
    _, clear = bare.collect(manifest)
    (shown,) = opened(dealt, rows_from(clear[0].vector[-512:], 512))
    assert shown.bit_length() <= 260


def test_a_twisted_copy_in_a_masked_sum_shows_noise(cohort: Cohort, dealt: Dealt) -> None:
    key = dealt.key.public
    _, _, contributions = cohort.collect()
    rows = [rows_from(each.vector[-512:], 512) for each in contributions]
    (shown,) = opened(dealt, *rows, mauled(key, rows[0]))
    (honest,) = opened(dealt, *rows)
    assert (shown - honest) % key.modulus >> SHIFT != honest
    assert shown.bit_length() > 2048 - 64


def test_masks_alone_let_the_sum_of_a_void_attempt_into_the_next(
    cohort: Cohort, dealt: Dealt
) -> None:
    """The hole that masks have and the proof closes: a whole cohort's product is not masked."""
    key, federation = dealt.key.public, cohort.federation
    _, _, void = cohort.collect("abcd", attempt=1)
    product = key.product_ring.product([rows_from(c.vector[-512:], 512) for c in void])
    smuggled = mauled(key, product)
    manifest, joins = cohort.joined("abc", attempt=2)
    # b has its own masks, so it can add what they need; here it adds its masked zero.
    forger = Forger(federation, "b")
    masked_zero = cohort.parties["b"]._masked(manifest, rows_of([0], key.plaintext_bytes), joins)
    own = of(key, [int(integers(masked_zero)[0])])
    rows = key.product_ring.product([own.rows, smuggled])
    commitments = cohort.commit(manifest, joins, "ac")
    listing = federation.listed(manifest, [forger.commit(manifest, rows), *commitments])
    honest = [cohort.parties[name].submit(manifest, listing) for name in "ac"]
    (shown,) = opened(dealt, rows, *(rows_from(c.vector[-512:], 512) for c in honest))
    below, above = shown & ((1 << SHIFT) - 1), shown >> SHIFT
    (first,) = opened(dealt, product)
    assert above == first  # everybody's sum of the first attempt, and so d's by subtraction
    assert below < 1 << 300
    proof = forger.prove(manifest, listing, rows, own.plaintexts, own.exponents)
    released = forger.submit(manifest, listing, rows, proof)
    with pytest.raises(VerificationFailed, match="contribution of b"):
        federation.gate("a").open(manifest, listing, [released, *honest])


def test_wrong_masks_pass_the_proof_and_are_flagged_in_the_sum(
    cohort: Cohort, dealt: Dealt
) -> None:
    key, federation = dealt.key.public, cohort.federation
    manifest, joins = cohort.joined()
    own = of(key, [rng.below(key.modulus)])
    forger = Forger(federation, "b")
    commitments = [forger.commit(manifest, own.rows), *cohort.commit(manifest, joins, "acd")]
    listing = federation.listed(manifest, commitments)
    honest = [cohort.parties[name].submit(manifest, listing) for name in "acd"]
    proof = forger.prove(manifest, listing, own.rows, own.plaintexts, own.exponents)
    released = forger.submit(manifest, listing, own.rows, proof)
    total = aggregate(federation.terms, manifest, listing, [released, *honest])
    shown = PrivateKey(*dealt.primes).decrypt(total.product.rows)
    with pytest.raises(SumDisputed):
        sum_of(federation.terms, manifest, total, shown)


# -------------------------------------------------------------------- all or nothing


def test_a_list_without_one_that_joined_is_refused_by_all(cohort: Cohort) -> None:
    federation = cohort.federation
    manifest, joins = cohort.joined()
    commitments = cohort.commit(manifest, joins, "abcd")
    short = federation.listed(manifest, commitments[:3])
    with pytest.raises(ContributionRefused, match="exactly those who joined"):
        cohort.parties["a"].submit(manifest, short)
    with pytest.raises(GateRefused, match="exactly those who joined"):
        federation.gate("d").open(manifest, short, [])


def test_a_cohort_below_the_quorum_or_with_a_stranger_is_refused(cohort: Cohort) -> None:
    manifest, joins = cohort.joined("ab")
    with pytest.raises(ContributionRefused, match="quorum"):
        cohort.commit(manifest, joins, "a")
    manifest, joins = cohort.joined("abc")
    strange = manifest.cohort[2].model_copy(update={"organisation": "x"})
    changed = manifest.model_copy(update={"cohort": [*manifest.cohort[:2], strange]})
    with pytest.raises(ContributionRefused, match="x takes no part"):
        cohort.commit(changed, joins, "a")


def test_a_masked_study_has_no_bare_sum_and_a_bare_one_no_masked(
    cohort: Cohort, dealt: Dealt
) -> None:
    with pytest.raises(ContributionRefused, match="quorum"):
        cohort.commit(cohort.federation.manifest(), [], "a")
    bare = federation_of(dealt)
    with pytest.raises(ContributionRefused, match="not masked"):
        bare.contributor("a").join(1, 1)
    manifest, _ = cohort.joined()
    with pytest.raises(ContributionRefused, match="not masked"):
        bare.commit(manifest, "a")


def test_a_cohort_that_its_members_did_not_sign_is_refused(cohort: Cohort) -> None:
    """A hub that puts a key of its own in another's place would know the masks."""
    federation = cohort.federation
    manifest, joins = cohort.joined()
    own = manifest.cohort[1].model_copy(update={"key": OneTimeKey.generate().public})
    changed = manifest.model_copy(
        update={"cohort": [manifest.cohort[0], own, *manifest.cohort[2:]]}
    )
    with pytest.raises(ContributionRefused, match="not as it was signed"):
        cohort.commit(changed, joins, "a")
    forged = read(Join, joins[1], federation.terms.parties).model_copy(update={"key": own.key})
    signed = sign(forged, federation.hub, HUB)
    with pytest.raises(VerificationFailed):
        cohort.commit(changed, [joins[0], signed, *joins[2:]], "a")


def test_a_join_of_another_attempt_is_refused(cohort: Cohort) -> None:
    old = cohort.parties["b"].join(1, 1)
    manifest, joins = cohort.joined(attempt=2)
    stale = read(Join, old, cohort.federation.terms.parties).joined()
    changed = manifest.model_copy(
        update={"cohort": [manifest.cohort[0], stale, *manifest.cohort[2:]]}
    )
    with pytest.raises(MessageInvalid, match="b joined another attempt"):
        cohort.commit(changed, [joins[0], old, *joins[2:]], "a")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "00" * 32}, "key that can't be used"),
        ({"study": "6" * 64}, "another attempt"),
        ({"job": "another"}, "another attempt"),
        ({"round": 2}, "another attempt"),
    ],
)
def test_whoever_joins_with_nonsense_is_named_and_not_those_who_refuse_it(
    cohort: Cohort, change: dict[str, object], words: str
) -> None:
    federation = cohort.federation
    said = read(Join, cohort.parties["b"].join(1, 1), federation.terms.parties)
    data = sign(said.model_copy(update=change), federation.keys["b"], "b")
    with pytest.raises(MessageInvalid, match=f"b joined .*{words}"):
        read_join(federation.terms, 1, 1, data)


def test_the_own_join_has_to_be_in_the_cohort(cohort: Cohort) -> None:
    manifest, joins = cohort.joined("bcd")
    with pytest.raises(ContributionRefused, match="not joined"):
        cohort.commit(manifest, joins, "a")


def test_asked_twice_a_party_joins_with_the_same_key_until_it_has_committed(
    cohort: Cohort,
) -> None:
    before = cohort.parties["a"].join(1, 1)
    assert cohort.parties["a"].join(1, 1) == before
    cohort.collect()
    # The key is gone, and with it the masks: another one is made.
    assert cohort.parties["a"]._joined is None
    assert cohort.parties["a"].join(1, 1) != before


def test_a_restart_between_join_and_commit_voids_the_attempt(cohort: Cohort) -> None:
    manifest, joins = cohort.joined()
    cohort.parties["a"] = cohort.federation.contributor("a")
    with pytest.raises(ContributionRefused, match="not joined"):
        cohort.commit(manifest, joins, "a")


def test_what_a_masked_vector_was_made_from_is_gone_once_it_is_proved(cohort: Cohort) -> None:
    manifest, joins = cohort.joined()
    commitments = cohort.commit(manifest, joins, "abcd")
    log = cohort.federation.logs["a"]
    assert log.secret("job", 1, 1) is not None
    listing = cohort.federation.listed(manifest, commitments)
    released = cohort.parties["a"].submit(manifest, listing)
    assert log.secret("job", 1, 1) is None
    assert cohort.parties["a"].submit(manifest, listing) == released


def test_killed_before_it_has_forgotten_a_party_forgets_when_it_is_asked_again(
    cohort: Cohort,
) -> None:
    """The proof is claimed first: a crash in between leaves both, until the hub asks once more."""
    manifest, joins = cohort.joined()
    listing = cohort.federation.listed(manifest, cohort.commit(manifest, joins, "abcd"))
    log = cohort.federation.logs["a"]
    secret = log.secret("job", 1, 1)
    released = cohort.parties["a"].submit(manifest, listing)
    assert secret is not None
    log._secrets["job", 1, 1] = secret
    assert cohort.parties["a"].submit(manifest, listing) == released
    assert log.secret("job", 1, 1) is None
