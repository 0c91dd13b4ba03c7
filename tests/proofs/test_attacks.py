"""The attacks on a secure sum, played out: what each shows without proofs, and that it is refused.

The first half of a test runs the attack's algebra on the bare aggregation (multiply and decrypt):
the victim's plaintext comes out. The second half runs the same ciphertexts through the protocol.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.protocols.contributor import Contributor
from federated.protocols.secure_sum import aggregate, verify_contribution
from federated.protocols.statements import (
    HUB,
    ContributionList,
    Submission,
    proof_digest,
    read,
    sign,
)
from fusion.crypto.paillier import knowledge
from fusion.crypto.paillier.residues import integers, rows_from
from fusion.errors import ContributionRefused, FusionError, GateRefused, VerificationFailed
from fusion.stores.rounds import SqliteRoundLog
from tests.proofs.victims import SHIFT, inverted, mauled, of, opened
from tests.sums import Federation, Forger, federation_of

if TYPE_CHECKING:
    from pathlib import Path

    from federated.protocols.secure_sum import Contribution
    from federated.protocols.statements import RoundManifest
    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt


@pytest.fixture
def federation(dealt: Dealt) -> Federation:
    return federation_of(dealt)


def _rows(federation: Federation, contribution: Contribution) -> Rows:
    """Return the ciphertexts of a contribution, as everyone who gets it sees them."""
    width = federation.terms.key.public.ciphertext_bytes
    count = federation.terms.layouts["train"].plaintexts
    return rows_from(contribution.vector[-count * width :], width)


def _plaintext(federation: Federation, name: str, manifest: RoundManifest) -> int:
    """Return what a party encrypted, from its own memory."""
    secret = federation.logs[name].secret(manifest.job, manifest.round, manifest.attempt)
    assert secret is not None
    width = federation.terms.key.public.plaintext_bytes
    return int(integers(rows_from(secret[:width], width))[0])


def _attack(federation: Federation, manifest: RoundManifest, rows: Rows, names: str) -> bytes:
    """Have b commit, honestly, to ``rows``; all others go by the rules. Return the list."""
    forger = Forger(federation, "b")
    commitments = [forger.commit(manifest, rows), *federation.commit(manifest, names)]
    listing = federation.listed(manifest, commitments)
    honest = [federation.contributor(name).submit(manifest, listing) for name in names]
    own = forger.submit(
        manifest, listing, rows, forger.prove(manifest, listing, rows, [0] * len(rows))
    )
    listed = read(ContributionList, listing, {HUB: federation.hub.public})
    with pytest.raises(VerificationFailed, match="contribution of b is not opened"):
        verify_contribution(federation.terms, manifest, listed, own)
    for holder in "acd":
        with pytest.raises(VerificationFailed, match="contribution of b is not opened"):
            federation.gate(holder).open(manifest, listing, [own, *honest])
    return listing


def test_a_copy_twisted_in_the_same_round(federation: Federation) -> None:
    """As if b saw a's ciphertexts before it commits: a hub that collects without commitments."""
    key, dealt = federation.terms.key.public, federation.dealt
    manifest = federation.manifest()
    federation.commit(manifest, "ac")
    kept = {name: federation.logs[name].commitment("job", 1, 1) for name in "ac"}
    rows = {n: rows_from(k[2][-512:], 512) for n, k in kept.items() if k is not None}
    twisted = mauled(key, rows["a"])
    shown = opened(dealt, rows["a"], rows["c"], twisted)[0]
    assert shown >> SHIFT == _plaintext(federation, "a", manifest)
    _attack(federation, manifest, twisted, "ac")


def test_a_copy_twisted_from_an_earlier_round(federation: Federation) -> None:
    """Commitments alone don't help: b commits to its copy, which nobody has seen before."""
    key, dealt = federation.terms.key.public, federation.dealt
    first, second = federation.manifest(1), federation.manifest(2)
    _, contributions = federation.collect(first)
    secret = _plaintext(federation, "a", first)
    twisted = mauled(key, _rows(federation, contributions[0]))
    listing = _attack(federation, second, twisted, "acd")
    honest = [
        _rows(federation, federation.contributor(name).submit(second, listing)) for name in "acd"
    ]
    assert opened(dealt, *honest, twisted)[0] >> SHIFT == secret


def test_another_contribution_cancelled(federation: Federation) -> None:
    """``C_c^-1``: what is left of the sum is a's alone."""
    key, dealt = federation.terms.key.public, federation.dealt
    manifest = federation.manifest()
    federation.commit(manifest, "ac")
    kept = {name: federation.logs[name].commitment("job", 1, 1) for name in "ac"}
    rows = {n: rows_from(k[2][-512:], 512) for n, k in kept.items() if k is not None}
    cancelling = inverted(key, rows["c"])
    shown = opened(dealt, rows["a"], rows["c"], cancelling)[0]
    assert shown == _plaintext(federation, "a", manifest)
    _attack(federation, manifest, cancelling, "ac")


def test_the_sum_of_a_void_attempt_smuggled_into_the_next(federation: Federation) -> None:
    """The hub says that d dropped out; b puts the whole first attempt into the second one's sum."""
    key, dealt = federation.terms.key.public, federation.dealt
    first, second = federation.manifest(1, 1), federation.manifest(1, 2)
    _, void = federation.collect(first, "acd")
    product = key.product_ring.product([_rows(federation, each) for each in void])
    smuggled = mauled(key, product)
    listing = _attack(federation, second, smuggled, "ac")
    honest = [
        _rows(federation, federation.contributor(name).submit(second, listing)) for name in "ac"
    ]
    shown = opened(dealt, *honest, smuggled)[0]
    both = _plaintext(federation, "a", second) + _plaintext(federation, "c", second)
    assert shown & ((1 << SHIFT) - 1) == both
    assert (shown >> SHIFT) - both == _plaintext(federation, "d", first)


def test_a_plain_copy_under_another_name(federation: Federation) -> None:
    """b submits a's very ciphertexts and a's very proof."""
    first, second = federation.manifest(1), federation.manifest(2)
    _, contributions = federation.collect(first)
    rows = _rows(federation, contributions[0])
    forger = Forger(federation, "b")
    commitments = [forger.commit(second, rows), *federation.commit(second, "acd")]
    listing = federation.listed(second, commitments)
    own = forger.submit(second, listing, rows, contributions[0].proof)
    listed = read(ContributionList, listing, {HUB: federation.hub.public})
    with pytest.raises(VerificationFailed, match="contribution of b"):
        verify_contribution(federation.terms, second, listed, own)


def test_a_proof_for_another_list_is_refused(federation: Federation) -> None:
    """Even from the same party, for the same ciphertexts and the same attempt."""
    manifest = federation.manifest()
    commitments = federation.commit(manifest)
    full = federation.listed(manifest, commitments)
    short = federation.listed(manifest, commitments[:3])
    released = federation.contributor("a").submit(manifest, full)
    said = read(Submission, released.submission, federation.terms.parties)
    listed = read(ContributionList, short, {HUB: federation.hub.public})
    moved = said.model_copy(update={"listing": listed.digest().hex()})
    forged = dataclasses.replace(released, submission=sign(moved, federation.keys["a"], "a"))
    with pytest.raises(VerificationFailed, match="contribution of a"):
        verify_contribution(federation.terms, manifest, listed, forged)


def test_a_proof_swapped_on_the_way_is_not_what_was_signed(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    swapped = dataclasses.replace(contributions[0], proof=contributions[1].proof)
    with pytest.raises(GateRefused, match="of a is not opened: its proof is not the one"):
        federation.gate("b").open(manifest, listing, [swapped, *contributions[1:]])


def test_a_signed_proof_of_the_wrong_length_names_its_sender(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    said = read(Submission, contributions[0].submission, federation.terms.parties)
    for proof in (b"", contributions[0].proof[:-1], contributions[0].proof + b"\0"):
        changed = said.model_copy(update={"proof": proof_digest(proof).hex()})
        bad = dataclasses.replace(
            contributions[0], submission=sign(changed, federation.keys["a"], "a"), proof=proof
        )
        with pytest.raises(VerificationFailed, match="contribution of a"):
            federation.gate("b").open(manifest, listing, [bad, *contributions[1:]])


def test_the_same_forger_is_accepted_if_it_knows_what_it_sends(federation: Federation) -> None:
    """The refusals above are the proof's, not those of a forger that could never succeed."""
    manifest = federation.manifest()
    own = of(federation.terms.key.public, [0])
    forger = Forger(federation, "b")
    commitments = [forger.commit(manifest, own.rows), *federation.commit(manifest, "acd")]
    listing = federation.listed(manifest, commitments)
    honest = [federation.contributor(name).submit(manifest, listing) for name in "acd"]
    proof = forger.prove(manifest, listing, own.rows, [0], own.exponents)
    released = forger.submit(manifest, listing, own.rows, proof)
    total = aggregate(federation.terms, manifest, listing, [released, *honest])
    assert total.product.contributions == 4


# -------------------------------------------------------------------- sent again


def test_what_is_sent_again_is_the_same_bytes(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    for name, before in zip("abcd", contributions, strict=True):
        assert federation.contributor(name).submit(manifest, listing) == before


def test_what_is_sent_again_after_a_restart_is_the_same_bytes(
    federation: Federation, tmp_path: Path
) -> None:
    """Killed between commit and submit, and again between submit and the hub's answer."""
    manifest, file = federation.manifest(), tmp_path / "state.sqlite"

    def restarted() -> Contributor:
        return Contributor(federation.terms, "a", federation.keys["a"], SqliteRoundLog(file))

    commitments = [restarted().commit(manifest, np.zeros(10, np.uint64))]
    commitments += federation.commit(manifest, "bcd")
    listing = federation.listed(manifest, commitments)
    first = restarted().submit(manifest, listing)
    assert restarted().submit(manifest, listing) == first
    listed = read(ContributionList, listing, {HUB: federation.hub.public})
    verify_contribution(federation.terms, manifest, listed, first)


def test_no_second_proof_is_made_when_the_first_was_claimed_elsewhere(
    federation: Federation,
) -> None:
    """Two processes of one party at once: the first proof wins, the other never leaves."""
    manifest = federation.manifest()
    listing = federation.listed(manifest, federation.commit(manifest))
    log = federation.logs["a"]
    released = federation.contributor("a").submit(manifest, listing)
    listed = read(ContributionList, listing, {HUB: federation.hub.public})
    assert log.claim_submission("job", 1, 1, listed.digest(), b"late") == released.proof


def test_without_what_the_vector_was_made_from_nothing_is_released(
    federation: Federation,
) -> None:
    manifest = federation.manifest()
    listing = federation.listed(manifest, federation.commit(manifest))
    federation.logs["a"].forget_secret("job", 1, 1)
    with pytest.raises(ContributionRefused, match="can't prove"):
        federation.contributor("a").submit(manifest, listing)


def test_what_a_vector_was_made_from_is_gone_with_its_round(federation: Federation) -> None:
    federation.collect(federation.manifest(1))
    assert federation.logs["a"].secret("job", 1, 1) is not None
    federation.commit(federation.manifest(2), "a")
    assert federation.logs["a"].secret("job", 1, 1) is None


# -------------------------------------------------------------------- the holder's gate


@pytest.fixture(scope="module")
def collected(dealt: Dealt) -> tuple[Federation, RoundManifest, bytes, list[Contribution]]:
    made = federation_of(dealt)
    manifest = made.manifest()
    return made, manifest, *made.collect(manifest)


@given(
    part=st.sampled_from(["submission", "vector", "proof"]),
    where=st.integers(0, 1 << 20),
    bit=st.integers(0, 7),
)
def test_one_mutated_byte_anywhere_is_refused(
    collected: tuple[Federation, RoundManifest, bytes, list[Contribution]],
    part: str,
    where: int,
    bit: int,
) -> None:
    federation, manifest, listing, contributions = collected
    data = bytearray(getattr(contributions[0], part))
    data[where % len(data)] ^= 1 << bit
    changed = dataclasses.replace(contributions[0], **{part: bytes(data)})
    listed = read(ContributionList, listing, {HUB: federation.hub.public})
    with pytest.raises(FusionError):
        verify_contribution(federation.terms, manifest, listed, changed)


def test_the_proof_is_as_large_as_the_key_says_whatever_the_vector(
    federation: Federation,
) -> None:
    key = federation.terms.key.public
    manifest = federation.manifest()
    _, contributions = federation.collect(manifest)
    assert {len(each.proof) for each in contributions} == {knowledge.proof_size(key, 1)}
    assert knowledge.proof_size(key, 1 << 20) - knowledge.proof_size(key, 1) <= 3
