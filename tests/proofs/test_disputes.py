"""A sum that can't be is not applied, and whoever caused it is named, in a whole run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.norms import bounded, check_mean
from federated.party import Party
from federated.protocols.contributor import MAX_DEFENCES, Contributor
from federated.protocols.disputes import verify_defence
from federated.protocols.secure_sum import aggregate, sum_of, verify_all
from federated.protocols.statements import HUB, ContributionList, read
from federated.study import parse_study
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.packing import Layout, Tensor, quantise
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import ContributionRefused, FusionError, SumDisputed, VerificationFailed
from tests.federation import NAMES, STUDY, federation
from tests.proofs.victims import of
from tests.sums import Federation, Forger, federation_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.party import _Job
    from federated.protocols.statements import RoundManifest
    from federated.study import Study
    from tests.keys import Dealt

MASKED = STUDY.replace("[deadlines]", "[aggregation]\nmasks = true\n\n[deadlines]")
SHORT = STUDY.replace("[deadlines]", "[aggregation]\nmax_norm = 0.05\n\n[deadlines]")


class Overflowing(Contributor):
    """Sets a bit in a slot that the layout does not have; all else by the rules."""

    def commit(
        self, manifest: RoundManifest, slots: NDArray[np.uint64], joins: Sequence[bytes] = ()
    ) -> bytes:
        layout = self._terms.layout(manifest)
        if manifest.purpose == "train":
            more = np.zeros(layout.plaintexts * layout.slots, np.uint64)
            more[: slots.size] = slots
            more[-1] = 1
            slots = more
        return super().commit(manifest, slots, joins)


class Culprit(Party):
    """A party that contributes so."""

    def _agree(self, name: str, study: Study, fingerprint: str, order: bytes | None) -> _Job:
        job = super()._agree(name, study, fingerprint, order)
        seat = self._seat
        job.contributor = Overflowing(job.terms, seat.organisation, seat.key, seat.log)
        return job


class Pushing(Party):
    """A party that sends the longest update that fits its slots."""

    def _values(self, job: _Job, manifest: RoundManifest, request: Any) -> Any:  # noqa: ANN401
        values = super()._values(job, manifest, request)
        if manifest.purpose == "train":
            values["update"] = np.full_like(values["update"], job.study.aggregation.clip / 2)
        return values


def test_the_culprit_of_an_overflow_is_named_and_the_sum_is_not_applied(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt)
    culprit = run.parties[NAMES[1]]
    culprit.party = Culprit(culprit.party._seat)
    with pytest.raises(SumDisputed, match="east could not prove its own in range") as caught:
        run.run().run()
    assert (caught.value.code, caught.value.exit_code) == ("F-505", 5)
    assert {event["organisation"] for event in run.of("refusal")} == {NAMES[1]}
    assert [event["round"] for event in run.of("round")] == [0]  # the moments, and no update
    assert all(flaky.asked.count("dispute") == 1 for flaky in run.parties.values())
    assert any("disputed" in note for note in run.notes[NAMES[0]])


def test_who_does_not_answer_a_dispute_is_named(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt)
    culprit = run.parties[NAMES[1]]
    culprit.party = Culprit(culprit.party._seat)
    culprit.away = lambda request: request.kind == "dispute"
    with pytest.raises(SumDisputed, match="east did not defend its own"):
        run.run().run()


def test_a_masked_sum_that_can_not_be_is_not_applied_and_names_nobody(
    tmp_path: Path, dealt: Dealt
) -> None:
    run = federation(tmp_path, dealt, study=MASKED)
    culprit = run.parties[NAMES[1]]
    culprit.party = Culprit(culprit.party._seat)
    with pytest.raises(SumDisputed, match="masked"):
        run.run().run()
    assert not run.of("refusal")
    assert "dispute" not in run.parties[NAMES[0]].asked


def test_a_mean_update_that_is_too_long_is_not_applied(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt, study=SHORT)
    culprit = run.parties[NAMES[1]]
    culprit.party = Pushing(culprit.party._seat)
    with pytest.raises(SumDisputed, match="length"):
        run.run().run()
    assert [event["round"] for event in run.of("round")] == [0]


def test_without_a_bound_on_its_length_the_same_update_passes(tmp_path: Path, dealt: Dealt) -> None:
    """Poisoning inside the legal range: nothing here detects it."""
    run = federation(tmp_path, dealt)
    culprit = run.parties[NAMES[1]]
    culprit.party = Pushing(culprit.party._seat)
    run.run().run()
    assert len(run.of("round")) == 4


def test_honest_parties_keep_to_the_length(tmp_path: Path, dealt: Dealt) -> None:
    run = federation(tmp_path, dealt, study=SHORT)
    before = run.run().run()
    free = federation(tmp_path, dealt).run().run()
    assert np.linalg.norm(before) < np.linalg.norm(free)


def test_a_mean_of_bounded_updates_never_raises_an_alarm() -> None:
    study = parse_study(SHORT, "study.toml")
    for number in range(40):
        size, contributors = 1 + 37 * number, 1 + number % 4
        layout = Layout(
            tensors=(Tensor(name="update", size=size, kind="real", clip=2.0),),
            value_bits=24, contributors=4, key_bits=2048,
        )  # fmt: skip
        rows = [1 + (number * 31 + k * 17) % 500 for k in range(contributors)]
        total = np.zeros(size)
        for k, count in enumerate(rows):
            delta = bounded(study, np.sin(np.arange(size) + k) * 10.0 ** (number % 5 - 2))
            weighted = {"update": delta * (count / study.max_rows)}
            slots = quantise(layout, weighted).slots.astype(np.float64)
            total += (slots - 2.0**23) * layout.step(layout.tensors[0])
        mean = total * (study.max_rows / sum(rows))
        check_mean(study, layout, mean, float(sum(rows)), contributors)


# -------------------------------------------------------------------- the protocol alone


@pytest.fixture
def summed(dealt: Dealt) -> Federation:
    return federation_of(dealt)


def test_only_who_submitted_to_a_list_defends_it(summed: Federation) -> None:
    manifest = summed.manifest()
    commitments = summed.commit(manifest)
    listing = summed.listed(manifest, commitments)
    with pytest.raises(ContributionRefused, match="submitted nothing"):
        summed.contributor("a").defend(manifest, listing, 0)
    summed.contributor("a").submit(manifest, listing)
    other = summed.listed(manifest, commitments[:3])
    with pytest.raises(ContributionRefused, match="submitted nothing"):
        summed.contributor("a").defend(manifest, other, 0)
    with pytest.raises(ContributionRefused, match="no plaintext 1"):
        summed.contributor("a").defend(manifest, listing, 1)
    summed.logs["a"].forget_secret("job", 1, 1)
    with pytest.raises(ContributionRefused, match="can't prove"):
        summed.contributor("a").defend(manifest, listing, 0)


def test_a_party_answers_so_many_disputes_and_no_more(summed: Federation) -> None:
    manifest = summed.manifest()
    listing, _ = summed.collect(manifest)
    party = summed.contributor("a")
    for index in range(1, MAX_DEFENCES + 1):
        with pytest.raises(ContributionRefused, match="no plaintext"):
            party.defend(manifest, listing, index)
    with pytest.raises(ContributionRefused, match="no more"):
        party.defend(manifest, listing, 0)


def test_a_defence_is_its_makers_for_one_plaintext_of_one_list(summed: Federation) -> None:
    manifest = summed.manifest()
    listing, contributions = summed.collect(manifest)
    listed = read(ContributionList, listing, {HUB: summed.hub.public})
    a, b, *_ = verify_all(summed.terms, manifest, listing, contributions)
    answer = summed.contributor("a").defend(manifest, listing, 0)
    verify_defence(summed.terms, manifest, listed, 0, a, answer)
    later = summed.manifest(2)
    for made_for, index, whose, given in (
        (manifest, 1, a, answer),
        (manifest, 0, b, answer),
        (later, 0, a, answer),
        (manifest, 0, a, (answer[0], answer[1][:-1])),
        (manifest, 0, a, (b"{}", answer[1])),
    ):
        with pytest.raises(FusionError):
            verify_defence(summed.terms, made_for, listed, index, whose, given)


@pytest.mark.parametrize("plaintext", [-1, 1 << 300], ids=["minus one", "overflow"])
def test_a_forger_that_knows_its_plaintext_passes_the_proof_and_fails_the_dispute(
    summed: Federation, dealt: Dealt, plaintext: int
) -> None:
    """Knowledge bounds nothing: the sum check flags it, and the range proof can't be made."""
    key = summed.terms.key.public
    manifest = summed.manifest()
    own = of(key, [plaintext % key.modulus])
    forger = Forger(summed, "b")
    commitments = [forger.commit(manifest, own.rows), *summed.commit(manifest, "acd")]
    listing = summed.listed(manifest, commitments)
    honest = [summed.contributor(name).submit(manifest, listing) for name in "acd"]
    proof = forger.prove(manifest, listing, own.rows, own.plaintexts, own.exponents)
    released = forger.submit(manifest, listing, own.rows, proof)
    total = aggregate(summed.terms, manifest, listing, [released, *honest])
    shown = PrivateKey(*dealt.primes).decrypt(total.product.rows)
    if plaintext > 0:
        with pytest.raises(SumDisputed, match="out of range") as caught:
            sum_of(summed.terms, manifest, total, shown)
        assert caught.value.plaintexts == (0,)
    # It has kept what a defence is made from; only the numbers are not in range.
    kept = (manifest.digest(), bytes.fromhex("00" * 32), forger.vector(manifest, own.rows))
    secret = rows_of(own.plaintexts, key.plaintext_bytes).tobytes() + own.exponents.tobytes()
    listed = read(ContributionList, listing, {HUB: summed.hub.public})
    summed.logs["b"].remember_commitment("job", 1, 1, kept, secret)
    summed.logs["b"].claim_submission("job", 1, 1, listed.digest(), proof)
    answer = summed.contributor("b").defend(manifest, listing, 0)
    verified = verify_all(summed.terms, manifest, listing, [released, *honest])[0]
    assert verified.organisation == "b"
    with pytest.raises(VerificationFailed, match="not those of its ciphertext"):
        verify_defence(summed.terms, manifest, listed, 0, verified, answer)


def test_one_full_range_too_much_in_a_slot_is_not_detected(
    summed: Federation, dealt: Dealt
) -> None:
    """The limit of the check: inside what all contributors together may reach, anything goes."""
    key, layout = summed.terms.key.public, summed.terms.layouts["train"]
    manifest = summed.manifest()
    own = of(key, [(2**24 - 1 + 2**23) << layout.slot_bits])
    forger = Forger(summed, "b")
    commitments = [forger.commit(manifest, own.rows), *summed.commit(manifest, "acd")]
    listing = summed.listed(manifest, commitments)
    honest = [summed.contributor(name).submit(manifest, listing) for name in "acd"]
    proof = forger.prove(manifest, listing, own.rows, own.plaintexts, own.exponents)
    released = forger.submit(manifest, listing, own.rows, proof)
    total = aggregate(summed.terms, manifest, listing, [released, *honest])
    shown = PrivateKey(*dealt.primes).decrypt(total.product.rows)
    sums = sum_of(summed.terms, manifest, total, shown)
    assert sums["w"][1] > 8.0 + 7.0  # a bare contribution reaches 8


def test_a_study_that_bounds_nothing_leaves_updates_alone() -> None:
    study = parse_study(STUDY, "study.toml")
    delta = np.full(9, 1e6)
    assert bounded(study, delta) is delta
    limited = replace(study, aggregation=study.aggregation.model_copy(update={"max_norm": 3.0}))
    assert np.linalg.norm(bounded(limited, delta)) == pytest.approx(3.0)
    assert bounded(limited, delta * 0).tolist() == [0.0] * 9
