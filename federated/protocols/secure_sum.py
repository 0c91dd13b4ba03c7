"""One secure sum: who may contribute to what, what a holder opens, and what it refuses.

Commit, list, submit, open (``docs/adr/0006-one-opening-a-round.md``). A
:class:`~federated.protocols.contributor.Contributor` encrypts, commits, proves and releases once; a
:class:`Gate` verifies each contribution, with its proof, and decrypts the product of exactly one
listed set of them a round; the hub collects and combines with functions, and is believed by nobody.
Claims and refusals: ``docs/claims/secure-sum.md``, ``docs/claims/contributions.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from federated.protocols.statements import (
    HUB,
    Commitment,
    ContributionList,
    ListEntry,
    RoundManifest,
    Submission,
    commitment_opened,
    proof_context,
    proof_digest,
    read,
    same,
    sign,
    vector_digest,
)
from fusion.crypto.paillier import knowledge, packing, share_proofs, threshold, vectors
from fusion.crypto.paillier.residues import not_below, rows_from
from fusion.errors import (
    GateRefused,
    MessageInvalid,
    QuorumLost,
    SumDisputed,
    VerificationFailed,
)
from fusion.ledger.entry import opening_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.crypto.paillier.packing import Layout
    from fusion.crypto.paillier.residues import Rows
    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.crypto.signing import SigningKey, VerifyKey
    from fusion.ports import OpeningLog

    Sum = Mapping[str, NDArray[np.float64]]
    """Each tensor's sum over all contributors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTerms:
    """What a party agreed to at set-up; every later request is measured against it.

    Attributes:
        job: The run.
        study: Digest of the study, in hexadecimal.
        key: The study's threshold key.
        holders: Organisations holding shares, in the order of their numbers from 1.
        layouts: The layout of each purpose.
        parties: Statement key of each organisation of the study.
        authority: Statement key of the hub.
        quorum: Fewest contributions that may be opened: the study's, or the party's own floor if
            that is higher.
        rounds: Rounds of training; one more sum judges the last model.
        masks: Whether contributions are masked pairwise, so that exactly those who joined are
            summed or nobody is.
    """

    job: str
    study: str
    key: ThresholdKey
    holders: tuple[str, ...]
    layouts: Mapping[str, Layout]
    parties: Mapping[str, VerifyKey]
    authority: VerifyKey
    quorum: int
    rounds: int
    masks: bool = False

    def layout(self, manifest: RoundManifest) -> Layout:
        """Return the layout of a manifest that :meth:`reason_against` has nothing against."""
        return self.layouts[manifest.purpose]

    def reason_against(self, manifest: RoundManifest) -> str | None:
        """Say what in ``manifest`` is not as agreed, or None."""
        layout = self.layouts.get(manifest.purpose)
        if manifest.job != self.job or not same(manifest.study, self.study):
            return "it belongs to another job or study"
        if not same(manifest.key, self.key.public.fingerprint):
            return "it names another key"
        if layout is None or not same(manifest.layout, layout.digest):
            return "its layout is not the study's"
        if manifest.contributors != layout.contributors:
            return "it declares another number of contributors"
        if manifest.quorum < self.quorum:
            return f"its quorum of {manifest.quorum} is below {self.quorum}"
        if (manifest.purpose == "moments") != (manifest.round == 0):
            return "only round 0 sums moments"
        if manifest.round > self.rounds + (manifest.purpose == "evaluate"):
            return f"the study has {self.rounds} rounds"
        # A second sum that judges would cost a private study its epsilon again.
        early = manifest.purpose == "evaluate" and manifest.round <= self.rounds
        reason = "only the last sum judges" if early else None
        return reason or self._reason_against_cohort(manifest.joined())

    def _reason_against_cohort(self, cohort: tuple[str, ...]) -> str | None:
        """Say why these can't be the ones that a sum is masked between, or None."""
        if not self.masks:
            return "it names a cohort, but the study's sums are not masked" if cohort else None
        strangers = sorted(set(cohort) - set(self.parties))
        if strangers:
            return f"{', '.join(strangers)} takes no part in the study"
        if len(cohort) < self.quorum:
            return f"{len(cohort)} joined; the quorum is {self.quorum}"
        return None


def reason_against_list(
    terms: JobTerms, manifest: RoundManifest, listed: ContributionList
) -> str | None:
    """Say why a list can't be the one of this sum, or None."""
    if not same(listed.manifest, manifest.digest().hex()):
        return "it belongs to another round"
    strangers = sorted(set(listed.organisations()) - set(terms.parties))
    if strangers:
        return f"{', '.join(strangers)} takes no part in the study"
    if len(listed.entries) < manifest.quorum:
        return f"{len(listed.entries)} contributions are fewer than the quorum of {manifest.quorum}"
    if manifest.cohort and listed.organisations() != manifest.joined():
        return "it does not name exactly those who joined"
    if len(listed.entries) > manifest.contributors:
        return "it names more contributors than the layout declares"
    return None


@dataclass(frozen=True, slots=True)
class Contribution:
    """A submission with its vector and its proof, as the hub passes them on."""

    submission: bytes
    vector: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """A contribution that is what was committed to, listed, signed and proved.

    Attributes:
        organisation: Whose.
        digest: Of the vector's bytes.
        vector: The ciphertexts.
    """

    organisation: str
    digest: bytes
    vector: vectors.EncryptedVector


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The product of exactly the listed contributions.

    Attributes:
        product: The encrypted sum.
        opening: Digest of manifest and list: what a holder opens at most one of a round.
        contributions: Digests of the vectors in it.
    """

    product: vectors.EncryptedVector
    opening: bytes
    contributions: tuple[bytes, ...]


def aggregate(
    terms: JobTerms,
    manifest: RoundManifest,
    listing: bytes,
    contributions: Sequence[Contribution],
) -> Aggregate:
    """Verify exactly the listed contributions, and recompute their product.

    Raises:
        GateRefused: Anything is missing, doubled, foreign, too few, or not what was committed to.
        VerificationFailed: A signature, a vector or a proof is not what it has to be.
    """
    return add_verified(
        terms, manifest, listing, verify_all(terms, manifest, listing, contributions)
    )


def verify_all(
    terms: JobTerms,
    manifest: RoundManifest,
    listing: bytes,
    contributions: Sequence[Contribution],
) -> tuple[Verified, ...]:
    """Verify contributions, of which no two may be one party's.

    Raises:
        GateRefused: The list is not as agreed, or a contribution is doubled or not as listed.
        VerificationFailed: A signature, a vector or a proof is not what it has to be.
    """
    listed = _check_listing(terms, manifest, listing)
    verified: dict[str, Verified] = {}
    for contribution in contributions:
        each = verify_contribution(terms, manifest, listed, contribution)
        if each.organisation in verified:
            msg = f"The contribution of {each.organisation} is not opened: it has more than one."
            raise GateRefused(msg)
        verified[each.organisation] = each
    return tuple(verified.values())


def add_verified(
    terms: JobTerms, manifest: RoundManifest, listing: bytes, verified: Sequence[Verified]
) -> Aggregate:
    """Recompute the product of exactly the listed contributions, each verified by the caller.

    Raises:
        GateRefused: One is missing, doubled or not on the list, or the list is not as agreed.
        VerificationFailed: The list is not signed by the hub.
    """
    listed = _check_listing(terms, manifest, listing)
    ordered = sorted(verified, key=lambda each: each.organisation)
    digests = tuple(each.digest for each in verified)
    if tuple(each.organisation for each in ordered) != listed.organisations() or len(
        set(digests)
    ) != len(digests):
        msg = "The contributions are not exactly the listed ones."
        raise GateRefused(msg, hint="Send every listed contribution, once, and no other.")
    product = vectors.add([each.vector for each in ordered])
    opening = opening_digest(manifest.digest(), listed.digest())
    return Aggregate(product, opening, digests)


def _check_listing(terms: JobTerms, manifest: RoundManifest, listing: bytes) -> ContributionList:
    """Return the list, if it may be opened at all.

    Raises:
        GateRefused: Manifest or list is not as agreed.
        VerificationFailed: The list is not signed by the hub, or not well formed.
    """
    reason = terms.reason_against(manifest)
    listed = read(ContributionList, listing, {HUB: terms.authority})
    reason = reason or reason_against_list(terms, manifest, listed)
    if reason:
        msg = f"Round {manifest.round} is not opened: {reason}."
        raise GateRefused(msg)
    return listed


def verify_contribution(
    terms: JobTerms,
    manifest: RoundManifest,
    listed: ContributionList,
    contribution: Contribution,
) -> Verified:
    """Return whose contribution this is, and its vector, if its maker knows what is in it.

    Raises:
        GateRefused: It is not what was committed to, listed and signed.
        VerificationFailed: The signature, the vector or the proof is not what it has to be; for
            the latter two the message names the contributor.
    """
    statement = read(Submission, contribution.submission, terms.parties)
    key, layout = terms.key.public, terms.layout(manifest)
    name = statement.organisation
    reason = _reason_against_submission(manifest, listed, statement, contribution)
    if reason:
        msg = f"The contribution of {name} is not opened: {reason}."
        raise GateRefused(msg)
    try:
        vector = vectors.parse(key, layout, contribution.vector, binding=manifest.digest())
        context = proof_context(manifest, listed, name)
        knowledge.verify(key, context, vector.rows, contribution.proof)
    except VerificationFailed as error:
        msg = f"The contribution of {name} is not opened: {error.message}"
        raise type(error)(msg, hint=error.hint) from None
    return Verified(name, vector_digest(contribution.vector), vector)


def _reason_against_submission(
    manifest: RoundManifest,
    listed: ContributionList,
    statement: Submission,
    contribution: Contribution,
) -> str | None:
    """Say why a submission can't be counted into this sum, or None."""
    if not same(statement.manifest, manifest.digest().hex()):
        return "it belongs to another round"
    if not same(statement.listing, listed.digest().hex()):
        return "it was submitted to another list"
    if listed.commitment_of(statement.organisation) != commitment_opened(manifest, statement):
        return "it is not what was committed to"
    if not same(bytes.fromhex(statement.vector), vector_digest(contribution.vector)):
        return "its vector is not the one that was signed"
    if not same(bytes.fromhex(statement.proof), proof_digest(contribution.proof)):
        return "its proof is not the one that was signed"
    return None


@dataclass(frozen=True, slots=True)
class Opened:
    """A holder's partial decryptions of a sum, and the proof that they are right, in wire form."""

    partials: bytes
    proof: bytes


class Gate:
    """A key holder's side: decrypts one listed sum a round, and forgets nothing."""

    def __init__(self, terms: JobTerms, organisation: str, share: int, log: OpeningLog) -> None:
        """Bind a key share to the terms of a job.

        Raises:
            GateRefused: The organisation is no holder of the study's key.
            KeyRefused: The share is not this holder's.
        """
        if organisation not in terms.holders:
            msg = f"{organisation} holds no share of the study's key."
            raise GateRefused(msg)
        self.index = terms.holders.index(organisation) + 1
        threshold.check_share(terms.key, self.index, share)
        self._terms = terms
        self._share = share
        self._log = log

    def open(
        self, manifest: RoundManifest, listing: bytes, contributions: Sequence[Contribution]
    ) -> Opened:
        """Return this holder's partial decryption of the sum, with its proof.

        Raises:
            GateRefused: Not exactly one listed set of at least k contributions of this round, or
                the round, or one of the contributions, was opened before.
            VerificationFailed: A signature or a vector is not what it has to be.
        """
        total = aggregate(self._terms, manifest, listing, contributions)
        self._log.consume(manifest.job, manifest.round, total.opening, total.contributions)
        key, rows = self._terms.key, total.product.rows
        partials = threshold.partial(key, self._share, rows)
        proof = share_proofs.prove(key, self.index, self._share, total.opening, rows, partials)
        return Opened(partials.tobytes(), proof)


def list_commitments(
    terms: JobTerms,
    manifest: RoundManifest,
    commitments: Sequence[bytes],
    key: SigningKey,
) -> bytes:
    """Verify commitments and return the signed list of them.

    Raises:
        QuorumLost: Fewer than the quorum.
        VerificationFailed: One of them is forged, malformed or doubled.
    """
    entries: dict[str, ListEntry] = {}
    for data in commitments:
        statement = read(Commitment, data, terms.parties)
        if (
            not same(statement.manifest, manifest.digest().hex())
            or statement.organisation in entries
        ):
            msg = f"The commitment of {statement.organisation} is for another round, or doubled."
            raise MessageInvalid(msg)
        entries[statement.organisation] = ListEntry(
            organisation=statement.organisation, commitment=statement.commitment
        )
    if len(entries) < manifest.quorum:
        msg = f"{len(entries)} organisations committed; the quorum is {manifest.quorum}."
        raise QuorumLost(msg)
    listed = ContributionList(
        manifest=manifest.digest().hex(), entries=[entries[name] for name in sorted(entries)]
    )
    return sign(listed, key, HUB)


def read_partials(terms: JobTerms, manifest: RoundManifest, opened: Opened) -> share_proofs.Answer:
    """Read one holder's partial decryption; its proof is verified when it is needed.

    Raises:
        MessageInvalid: Wrong length, or a value that is no residue modulo N.
    """
    data, size = opened.partials, share_proofs.proof_size(terms.key.public)
    if len(opened.proof) != size:
        msg = f"A share's proof has {len(opened.proof)} bytes; {size} were expected."
        raise MessageInvalid(msg)
    width = terms.key.public.residue_bytes
    count = terms.layout(manifest).plaintexts
    if len(data) != width * count:
        msg = f"A partial decryption has {len(data)} bytes; {width * count} were expected."
        raise MessageInvalid(msg)
    rows = rows_from(data, width)
    if not rows.any(axis=1).all() or not_below(rows, terms.key.public.modulus).size:
        msg = "A partial decryption is no residue modulo N."
        raise MessageInvalid(msg)
    return share_proofs.Answer(rows, opened.proof)


def combine(
    terms: JobTerms, total: Aggregate, answers: Mapping[str, share_proofs.Answer]
) -> tuple[Rows | None, tuple[str, ...]]:
    """Decrypt the product with t of the holders' partial decryptions.

    Returns:
        The plaintexts, or None if fewer than t answers are right; and the holders whose answers
        are not.

    Raises:
        VerificationFailed: Fewer than t answers.
    """
    numbered = {terms.holders.index(name) + 1: answer for name, answer in answers.items()}
    plaintexts, wrong = share_proofs.combine(terms.key, numbered, total.opening, total.product.rows)
    return plaintexts, tuple(terms.holders[index - 1] for index in wrong)


def sum_of(terms: JobTerms, manifest: RoundManifest, total: Aggregate, plaintexts: Rows) -> Sum:
    """Read the decrypted sum, if well-formed contributions can have made it.

    Raises:
        SumDisputed: They can't; says which plaintexts show it.
    """
    layout, contributors = terms.layout(manifest), len(total.contributions)
    flagged = packing.flagged(layout, plaintexts, contributors)
    if flagged:
        msg = (
            f"{len(flagged)} of {layout.plaintexts} plaintexts in the sum of round "
            f"{manifest.round} are out of range, the first of them number {flagged[0]}."
        )
        raise SumDisputed(msg, plaintexts=flagged)
    return packing.read_sum(layout, packing.unpack(layout, plaintexts), contributors)
