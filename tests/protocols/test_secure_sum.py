"""Every refusal that the claim of the secure sum rests on, with real keys and real signatures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated.anchors import Anchors
from federated.protocols.contributor import Contributor
from federated.protocols.secure_sum import (
    Contribution,
    Gate,
    Opened,
    aggregate,
    combine,
    list_commitments,
    read_partials,
    sum_of,
)
from federated.protocols.statements import (
    HUB,
    ContributionList,
    ListEntry,
    Submission,
    read,
    sign,
    vector_digest,
)
from fusion.crypto import rng
from fusion.crypto.paillier import share_proofs, vectors
from fusion.crypto.signing import SigningKey
from fusion.errors import (
    ContributionRefused,
    GateRefused,
    KeyRefused,
    MessageInvalid,
    QuorumLost,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.stores.memory import MemoryRoundLog
from fusion.stores.rounds import SqliteRoundLog
from tests.sums import NAMES, Federation, federation_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.keys import Dealt


@pytest.fixture
def federation(dealt: Dealt) -> Federation:
    return federation_of(dealt)


def _open(federation: Federation, names: str = "abcd", holders: str = "abc") -> np.ndarray:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest, names)
    total = aggregate(federation.terms, manifest, listing, contributions)
    partials = {
        name: read_partials(
            federation.terms, manifest, federation.gate(name).open(manifest, listing, contributions)
        )
        for name in holders
    }
    plaintexts, wrong = combine(federation.terms, total, partials)
    assert wrong == ()
    assert plaintexts is not None
    sums = sum_of(federation.terms, manifest, total, plaintexts)
    return sums["w"]


@pytest.mark.parametrize(("names", "total"), [("abcd", 10.0), ("bcd", 9.0), ("acd", 8.0)])
def test_what_is_opened_is_the_sum(federation: Federation, names: str, total: float) -> None:
    assert np.abs(_open(federation, names) - total).max() < 1e-5


def test_with_one_holder_fewer_than_the_threshold_nothing_decrypts(
    federation: Federation,
) -> None:
    with pytest.raises(VerificationFailed):
        _open(federation, holders="ab")


def test_a_single_update_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    commitments = federation.commit(manifest, "a")
    with pytest.raises(QuorumLost):
        list_commitments(federation.terms, manifest, commitments, federation.hub)
    entry = ListEntry(organisation="a", commitment="0" * 64)
    alone = ContributionList(manifest=manifest.digest().hex(), entries=[entry])
    listing = sign(alone, federation.hub, HUB)
    with pytest.raises(ContributionRefused, match="quorum"):
        federation.contributor("a").submit(manifest, listing)
    with pytest.raises(GateRefused, match="quorum"):
        federation.gate("b").open(manifest, listing, [])


def test_fewer_than_k_are_refused_even_if_the_manifest_says_they_are_enough(
    federation: Federation,
) -> None:
    manifest = federation.manifest().model_copy(update={"quorum": 2})
    with pytest.raises(ContributionRefused, match="quorum"):
        federation.commit(manifest, "a")


def test_two_lists_in_one_round_are_refused_by_contributors(federation: Federation) -> None:
    manifest = federation.manifest()
    commitments = federation.commit(manifest)
    first = list_commitments(federation.terms, manifest, commitments, federation.hub)
    second = list_commitments(federation.terms, manifest, commitments[:3], federation.hub)
    federation.contributor("a").submit(manifest, first)
    federation.contributor("a").submit(manifest, first)  # the same list again is no harm
    with pytest.raises(ContributionRefused, match="another list"):
        federation.contributor("a").submit(manifest, second)


def test_two_lists_in_one_round_are_refused_by_holders_whatever_the_attempt(
    federation: Federation,
) -> None:
    first = federation.manifest(attempt=1)
    second = federation.manifest(attempt=2)
    all_of_them = federation.collect(first, "abcd")
    three_of_them = federation.collect(second, "abc")
    federation.gate("a").open(first, *all_of_them)
    federation.gate("a").open(first, *all_of_them)  # asked again after a crash of the hub
    with pytest.raises(GateRefused, match="opened"):
        federation.gate("a").open(second, *three_of_them)


def test_a_second_list_finds_too_few_holders(federation: Federation) -> None:
    """The differencing attack, played out: two sums of one round, each by another majority."""
    first, second = federation.manifest(attempt=1), federation.manifest(attempt=2)
    all_of_them, three_of_them = federation.collect(first), federation.collect(second, "abc")
    opened = [federation.gate(name).open(first, *all_of_them) for name in "abc"]
    assert len(opened) == federation.terms.key.threshold
    left = []
    for name in "abcd":
        try:
            left.append(federation.gate(name).open(second, *three_of_them))
        except GateRefused:
            continue
    assert len(left) < federation.terms.key.threshold


def test_overlapping_sums_are_refused(federation: Federation) -> None:
    """A contribution that was opened once is not opened in another sum, whoever colludes."""
    manifest = federation.manifest()
    commitments = federation.commit(manifest)
    four = list_commitments(federation.terms, manifest, commitments, federation.hub)
    three = list_commitments(federation.terms, manifest, commitments[:3], federation.hub)

    def submit(listing: bytes, names: str) -> list[Contribution]:
        found = []
        for name in names:
            # Contributors that collude: none remembers which list it has submitted to.
            federation.logs[name]._submissions.clear()
            federation.logs[name]._proofs.clear()
            found.append(federation.contributor(name).submit(manifest, listing))
        return found

    all_of_them, three_of_them = submit(four, "abcd"), submit(three, "abc")
    overlap = aggregate(federation.terms, manifest, three, three_of_them).contributions
    opened = aggregate(federation.terms, manifest, four, all_of_them).contributions
    assert set(overlap) < set(opened)
    federation.gate("d").open(manifest, four, all_of_them)
    with pytest.raises(GateRefused, match="was opened with another list"):
        federation.gate("d").open(manifest, three, three_of_them)
    # The rule on single contributions holds by itself, whatever the round.
    with pytest.raises(GateRefused, match="earlier sum"):
        federation.logs["d"].consume("job", 2, b"another opening", overlap[:1])


def test_last_rounds_contributions_are_refused(federation: Federation) -> None:
    manifest = federation.manifest(1)
    _, contributions = federation.collect(manifest)
    following = federation.manifest(2)
    listing, _ = federation.collect(following)
    with pytest.raises(GateRefused, match="another round"):
        federation.gate("a").open(following, listing, contributions)


def test_a_round_already_opened_is_not_opened_under_a_new_manifest(
    federation: Federation,
) -> None:
    manifest = federation.manifest(1)
    federation.gate("a").open(manifest, *federation.collect(manifest))
    again = federation.manifest(1, attempt=3)
    with pytest.raises(GateRefused):
        federation.gate("a").open(again, *federation.collect(again))


def test_a_swapped_vector_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    layout = federation.terms.layouts["train"]
    own = vectors.encrypt(
        federation.terms.key.public, layout, manifest.digest(), np.zeros(layout.size, np.uint64)
    ).to_bytes()
    swapped = [dataclasses.replace(contributions[0], vector=own), *contributions[1:]]
    with pytest.raises(GateRefused, match="not the one that was signed"):
        federation.gate("b").open(manifest, listing, swapped)


def test_a_swapped_vector_is_refused_even_if_its_sender_signs_it_anew(
    federation: Federation,
) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    layout = federation.terms.layouts["train"]
    own = vectors.encrypt(
        federation.terms.key.public, layout, manifest.digest(), np.zeros(layout.size, np.uint64)
    ).to_bytes()
    said = read(Submission, contributions[0].submission, federation.terms.parties)
    changed = said.model_copy(update={"vector": vector_digest(own).hex()})
    forged = Contribution(sign(changed, federation.keys["a"], "a"), own, contributions[0].proof)
    with pytest.raises(GateRefused, match="committed"):
        federation.gate("b").open(manifest, listing, [forged, *contributions[1:]])


def test_a_duplicate_party_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    with pytest.raises(GateRefused, match="more than one"):
        federation.gate("a").open(manifest, listing, [contributions[0], *contributions])
    with pytest.raises(GateRefused, match="more than one"):
        federation.gate("a").open(manifest, listing, [contributions[0]] * 4)


def test_a_missing_contribution_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    with pytest.raises(GateRefused, match="exactly"):
        federation.gate("a").open(manifest, listing, contributions[:3])


@pytest.mark.parametrize("part", ["vector", "submission", "proof"])
def test_one_flipped_byte_is_refused(federation: Federation, part: str) -> None:
    manifest = federation.manifest()
    listing, contributions = federation.collect(manifest)
    data = bytearray(getattr(contributions[0], part))
    data[len(data) // 2] ^= 1
    changed = dataclasses.replace(contributions[0], **{part: bytes(data)})
    with pytest.raises((GateRefused, VerificationFailed)):
        federation.gate("b").open(manifest, listing, [changed, *contributions[1:]])


def test_a_list_that_the_hub_did_not_sign_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    commitments = federation.commit(manifest)
    forged = list_commitments(federation.terms, manifest, commitments, SigningKey.generate())
    with pytest.raises(SignatureInvalid):
        federation.contributor("a").submit(manifest, forged)


def test_a_list_without_the_own_commitment_unchanged_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    federation.commit(manifest)
    entries = [ListEntry(organisation=name, commitment="0" * 64) for name in NAMES]
    listed = ContributionList(manifest=manifest.digest().hex(), entries=entries)
    with pytest.raises(ContributionRefused, match="unchanged"):
        federation.contributor("a").submit(manifest, sign(listed, federation.hub, HUB))


def test_a_list_with_a_stranger_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    federation.commit(manifest)
    entries = [ListEntry(organisation=name, commitment="0" * 64) for name in ("a", "b", "x")]
    listed = ContributionList(manifest=manifest.digest().hex(), entries=entries)
    with pytest.raises(ContributionRefused, match="x takes no part"):
        federation.contributor("a").submit(manifest, sign(listed, federation.hub, HUB))


def test_a_commitment_in_another_partys_name_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    impostor = Contributor(federation.terms, "b", federation.keys["a"], MemoryRoundLog())
    slots = np.zeros(10, np.uint64)
    commitments = [*federation.commit(manifest, "acd"), impostor.commit(manifest, slots)]
    with pytest.raises(SignatureInvalid):
        list_commitments(federation.terms, manifest, commitments, federation.hub)


def test_a_second_commitment_of_one_attempt_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    federation.commit(manifest, "a")
    other = manifest.model_copy(update={"model": "1" * 64})
    with pytest.raises(ContributionRefused, match="another manifest"):
        federation.commit(other, "a")


def test_asked_twice_a_party_commits_to_the_same_vector(federation: Federation) -> None:
    manifest = federation.manifest()
    assert federation.commit(manifest, "a") == federation.commit(manifest, "a")


@pytest.mark.parametrize(
    "change",
    [
        {"job": "another"},
        {"study": "6" * 64},
        {"key": "6" * 64},
        {"layout": "6" * 64},
        {"contributors": 5},
        {"purpose": "evaluate"},
        {"round": 0},
        {"round": 6},
    ],
)
def test_a_manifest_that_is_not_as_agreed_is_refused(
    federation: Federation, change: dict[str, object]
) -> None:
    manifest = federation.manifest().model_copy(update=change)
    with pytest.raises(ContributionRefused):
        federation.commit(manifest, "a")


def test_a_share_that_is_not_the_holders_is_refused(federation: Federation) -> None:
    evidence = Anchors(federation.books["a"], federation.notary.roster, NAMES)
    with pytest.raises(KeyRefused):
        Gate(federation.terms, "a", federation.dealt.shares[1], MemoryRoundLog(), evidence)
    with pytest.raises(GateRefused):
        Gate(federation.terms, "x", federation.dealt.shares[0], MemoryRoundLog(), evidence)


def test_a_partial_decryption_of_the_wrong_size_is_refused(federation: Federation) -> None:
    manifest = federation.manifest()
    width = federation.terms.key.public.residue_bytes
    proof = bytes(share_proofs.proof_size(federation.terms.key.public))
    for data in (b"", b"\0" * width, b"\xff" * width, b"\1" * (width + 1)):
        with pytest.raises(MessageInvalid):
            read_partials(federation.terms, manifest, Opened(data, proof))
    for other in (b"", proof[:-1], proof + b"\0"):
        with pytest.raises(MessageInvalid):
            read_partials(federation.terms, manifest, Opened(b"\1" * width, other))


def test_what_was_consumed_survives_a_restart(federation: Federation, tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    first = federation.manifest(attempt=1)
    second = federation.manifest(attempt=2)
    one, other = federation.collect(first), federation.collect(second, "abc")
    federation.gate("a", SqliteRoundLog(file)).open(first, *one)
    restarted = federation.gate("a", SqliteRoundLog(file))
    restarted.open(first, *one)
    with pytest.raises(GateRefused):
        restarted.open(second, *other)


def test_what_was_submitted_survives_a_restart(federation: Federation, tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    manifest = federation.manifest()

    def restarted() -> Contributor:
        return Contributor(federation.terms, "a", federation.keys["a"], SqliteRoundLog(file))

    own = restarted().commit(manifest, np.zeros(10, np.uint64))
    others = federation.commit(manifest, "bcd")
    full = list_commitments(federation.terms, manifest, [own, *others], federation.hub)
    short = list_commitments(federation.terms, manifest, [own, *others[:2]], federation.hub)
    assert restarted().submit(manifest, full) == restarted().submit(manifest, full)
    with pytest.raises(ContributionRefused):
        restarted().submit(manifest, short)


def test_each_nonce_is_fresh(federation: Federation) -> None:
    """Two parties with the same values commit to different bytes."""
    assert rng.token(32) != rng.token(32)
    manifest = federation.manifest()
    slots = np.zeros(10, np.uint64)
    assert federation.contributor("a").commit(manifest, slots) != federation.contributor(
        "b"
    ).commit(manifest, slots)


def test_a_holder_opens_no_list_with_a_forged_contribution_in_its_own_name(
    federation: Federation,
) -> None:
    """Whoever signs in a party's name, by a key slipped into the roster, is found by that party."""
    manifest = federation.manifest()
    impostor = Contributor(federation.terms, "b", federation.keys["b"], MemoryRoundLog())
    commitments = [*federation.commit(manifest, "acd"), impostor.commit(manifest, _zeros())]
    listing = list_commitments(federation.terms, manifest, commitments, federation.hub)
    federation.contributor("a").check_listed(manifest, listing)
    with pytest.raises(ContributionRefused, match="not its own"):
        federation.contributor("b").check_listed(manifest, listing)


def _zeros() -> np.ndarray:
    return np.zeros(10, np.uint64)


@pytest.mark.parametrize("colluding", [0, 1])
def test_fewer_colluding_holders_than_twice_the_threshold_less_all_get_one_sum(
    federation: Federation, colluding: int
) -> None:
    """3 of 4: holders that forget what they opened, as if they colluded, are too few if one."""
    first, second = federation.manifest(attempt=1), federation.manifest(attempt=2)
    all_of_them, three_of_them = federation.collect(first), federation.collect(second, "abc")
    for name in "abc":
        federation.gate(name).open(first, *all_of_them)
    for name in "abcd"[:colluding]:
        federation.logs[name] = MemoryRoundLog()
    opened = []
    for name in "abcd":
        try:
            opened.append(federation.gate(name).open(second, *three_of_them))
        except GateRefused:
            continue
    assert len(opened) == 1 + colluding < federation.terms.key.threshold
