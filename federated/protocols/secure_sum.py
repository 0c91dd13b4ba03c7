"""One secure sum: who may contribute to what, what a holder opens, and what it refuses.

Commit, list, submit, open (``docs/adr/0006-one-opening-a-round.md``). The three roles are three
classes: a :class:`Contributor` encrypts, commits and releases once; a :class:`Gate` decrypts the
product of exactly one listed set of contributions a round; the hub collects and combines with
functions, and is believed by nobody. Claim and refusals: ``docs/claims/secure-sum.md``.
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
    commit_to,
    commitment_opened,
    read,
    same,
    sign,
    vector_digest,
)
from fusion.crypto import rng
from fusion.crypto.paillier import packing, threshold, vectors
from fusion.crypto.paillier.residues import not_below, rows_from
from fusion.errors import ContributionRefused, GateRefused, MessageInvalid, QuorumLost
from fusion.ledger.entry import opening_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.crypto.paillier.packing import Layout
    from fusion.crypto.paillier.residues import Rows
    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.crypto.signing import SigningKey, VerifyKey
    from fusion.ports import ContributionLog, OpeningLog

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
        return None


class Contributor:
    """One organisation's side of the sums of a job."""

    def __init__(
        self, terms: JobTerms, organisation: str, key: SigningKey, log: ContributionLog
    ) -> None:
        """Bind an organisation's signing key to the terms of a job."""
        self._terms = terms
        self._organisation = organisation
        self._key = key
        self._log = log

    def check(self, manifest: RoundManifest) -> None:
        """Refuse a manifest that is not as agreed.

        Raises:
            ContributionRefused: It is not.
        """
        reason = self._terms.reason_against(manifest)
        if reason:
            msg = f"{self._organisation} does not contribute to round {manifest.round}: {reason}."
            raise ContributionRefused(msg, hint="Start the job again with the study as agreed.")

    def committed(self, manifest: RoundManifest) -> bytes | None:
        """Return the signed commitment already made to this manifest, if there is one.

        Raises:
            ContributionRefused: This attempt was committed to under another manifest.
        """
        kept = self._log.commitment(manifest.job, manifest.round, manifest.attempt)
        if kept is None:
            return None
        made_for, nonce, vector = kept
        if not same(made_for, manifest.digest()):
            msg = (
                f"{self._organisation} has committed to another manifest in round "
                f"{manifest.round}, attempt {manifest.attempt}."
            )
            raise ContributionRefused(msg, hint="Use a new attempt.")
        return self._sign_commitment(manifest, nonce, vector)

    def commit(self, manifest: RoundManifest, slots: NDArray[np.uint64]) -> bytes:
        """Encrypt a quantised contribution, remember it, and return the signed commitment.

        Raises:
            ContributionRefused: The manifest is not as agreed, or is not the one committed to.
        """
        self.check(manifest)
        earlier = self.committed(manifest)
        if earlier is not None:
            return earlier
        layout = self._terms.layout(manifest)
        vector = vectors.encrypt(
            self._terms.key.public, layout, manifest.digest(), slots
        ).to_bytes()
        nonce = rng.token(32)
        kept = (manifest.digest(), nonce, vector)
        self._log.remember_commitment(manifest.job, manifest.round, manifest.attempt, kept)
        return self._sign_commitment(manifest, nonce, vector)

    def check_listed(self, manifest: RoundManifest, listing: bytes) -> None:
        """Refuse a list that has a commitment in this party's name which it did not make.

        Raises:
            ContributionRefused: It has.
            VerificationFailed: The list is not signed by the hub, or not well formed.
        """
        listed = read(ContributionList, listing, {HUB: self._terms.authority})
        stated = listed.commitment_of(self._organisation)
        kept = self._log.commitment(manifest.job, manifest.round, manifest.attempt)
        own = None
        if kept is not None and same(kept[0], manifest.digest()):
            own = commit_to(manifest, self._organisation, kept[1], kept[2])
        if stated is not None and stated != own:
            msg = f"The list has a contribution of {self._organisation} that is not its own."
            raise ContributionRefused(msg, hint="Somebody else signs in its name: ask the hub.")

    def _sign_commitment(self, manifest: RoundManifest, nonce: bytes, vector: bytes) -> bytes:
        statement = Commitment(
            manifest=manifest.digest().hex(),
            organisation=self._organisation,
            commitment=commit_to(manifest, self._organisation, nonce, vector),
        )
        return sign(statement, self._key, self._organisation)

    def submit(self, manifest: RoundManifest, listing: bytes) -> tuple[bytes, bytes]:
        """Release the vector for one list.

        Args:
            manifest: The round.
            listing: The signed list.

        Returns:
            The signed submission and the vector.

        Raises:
            ContributionRefused: The list is not for this round, too short, names a stranger, does
                not have this party's commitment unchanged, or is the second list of the attempt.
            VerificationFailed: The list is not signed by the hub, or not well formed.
        """
        self.check(manifest)
        listed = read(ContributionList, listing, {HUB: self._terms.authority})
        kept = self._log.commitment(manifest.job, manifest.round, manifest.attempt)
        if kept is None or not same(kept[0], manifest.digest()):
            msg = f"{self._organisation} has not committed to this round."
            raise ContributionRefused(msg)
        _, nonce, vector = kept
        reason = _reason_against_list(self._terms, manifest, listed)
        own = commit_to(manifest, self._organisation, nonce, vector)
        if reason is None and listed.commitment_of(self._organisation) != own:
            reason = "its own commitment is not on it unchanged"
        if reason:
            msg = f"{self._organisation} does not submit to the list: {reason}."
            raise ContributionRefused(msg, hint="The round has to be tried again.")
        self._log.claim_submission(manifest.job, manifest.round, manifest.attempt, listed.digest())
        statement = Submission(
            manifest=manifest.digest().hex(),
            listing=listed.digest().hex(),
            organisation=self._organisation,
            vector=vector_digest(vector).hex(),
            nonce=nonce.hex(),
        )
        return sign(statement, self._key, self._organisation), vector


def _reason_against_list(
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
    if len(listed.entries) > manifest.contributors:
        return "it names more contributors than the layout declares"
    return None


@dataclass(frozen=True, slots=True)
class Contribution:
    """A submission with its vector, as the hub passes it on."""

    submission: bytes
    vector: bytes


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
    """Recompute the product of exactly the listed contributions.

    Raises:
        GateRefused: Anything is missing, doubled, foreign, too few, or not what was committed to.
        VerificationFailed: A signature or a vector is not what it has to be.
    """
    reason = terms.reason_against(manifest)
    listed = read(ContributionList, listing, {HUB: terms.authority})
    reason = reason or _reason_against_list(terms, manifest, listed)
    if reason:
        msg = f"Round {manifest.round} is not opened: {reason}."
        raise GateRefused(msg)
    submitted: dict[str, vectors.EncryptedVector] = {}
    digests = []
    for contribution in contributions:
        name, vector = verify_contribution(terms, manifest, listed, contribution)
        if name in submitted:
            msg = f"The contribution of {name} is not opened: it has more than one."
            raise GateRefused(msg)
        submitted[name] = vector
        digests.append(vector_digest(contribution.vector))
    if tuple(sorted(submitted)) != listed.organisations() or len(set(digests)) != len(digests):
        msg = "The contributions are not exactly the listed ones."
        raise GateRefused(msg, hint="Send every listed contribution, once, and no other.")
    product = vectors.add([submitted[name] for name in sorted(submitted)])
    opening = opening_digest(manifest.digest(), listed.digest())
    return Aggregate(product, opening, tuple(digests))


def verify_contribution(
    terms: JobTerms,
    manifest: RoundManifest,
    listed: ContributionList,
    contribution: Contribution,
) -> tuple[str, vectors.EncryptedVector]:
    """Return whose contribution this is, and its vector.

    Raises:
        GateRefused: It is not what was committed to, listed and signed.
        VerificationFailed: The signature or the vector is not what it has to be.
    """
    statement = read(Submission, contribution.submission, terms.parties)
    reason = _reason_against_submission(manifest, listed, statement, contribution.vector)
    if reason:
        msg = f"The contribution of {statement.organisation} is not opened: {reason}."
        raise GateRefused(msg)
    vector = vectors.parse(
        terms.key.public,
        terms.layout(manifest),
        contribution.vector,
        binding=manifest.digest(),
    )
    return statement.organisation, vector


def _reason_against_submission(
    manifest: RoundManifest, listed: ContributionList, statement: Submission, vector: bytes
) -> str | None:
    """Say why a submission can't be counted into this sum, or None."""
    if not same(statement.manifest, manifest.digest().hex()):
        return "it belongs to another round"
    if not same(statement.listing, listed.digest().hex()):
        return "it was submitted to another list"
    if listed.commitment_of(statement.organisation) != commitment_opened(manifest, statement):
        return "it is not what was committed to"
    if not same(bytes.fromhex(statement.vector), vector_digest(vector)):
        return "its vector is not the one that was signed"
    return None


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
    ) -> bytes:
        """Return this holder's partial decryption of the sum, in wire form.

        Raises:
            GateRefused: Not exactly one listed set of at least k contributions of this round, or
                the round, or one of the contributions, was opened before.
            VerificationFailed: A signature or a vector is not what it has to be.
        """
        total = aggregate(self._terms, manifest, listing, contributions)
        self._log.consume(manifest.job, manifest.round, total.opening, total.contributions)
        return threshold.partial(self._terms.key, self._share, total.product.rows).tobytes()


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


def read_partials(terms: JobTerms, manifest: RoundManifest, data: bytes) -> Rows:
    """Read one holder's partial decryption.

    Raises:
        MessageInvalid: Wrong length, or a value that is no residue modulo N.
    """
    width = terms.key.public.residue_bytes
    count = terms.layout(manifest).plaintexts
    if len(data) != width * count:
        msg = f"A partial decryption has {len(data)} bytes; {width * count} were expected."
        raise MessageInvalid(msg)
    rows = rows_from(data, width)
    if not rows.any(axis=1).all() or not_below(rows, terms.key.public.modulus).size:
        msg = "A partial decryption is no residue modulo N."
        raise MessageInvalid(msg)
    return rows


def combine(
    terms: JobTerms,
    manifest: RoundManifest,
    product: vectors.EncryptedVector,
    partials: Mapping[str, Rows],
    contributors: int,
) -> tuple[Sum, tuple[str, ...]]:
    """Decrypt the product with any t of the holders' partial decryptions.

    Returns:
        The sums, and the holders found to have sent a wrong partial decryption.

    Raises:
        VerificationFailed: No t of them prove themselves, or the sum can't be one of
            ``contributors`` well-formed contributions.
    """
    numbered = {terms.holders.index(name) + 1: values for name, values in partials.items()}
    plaintexts, wrong = threshold.combine_any(terms.key, numbered, product.rows)
    layout = terms.layout(manifest)
    total = packing.read_sum(layout, packing.unpack(layout, plaintexts), contributors)
    return total, tuple(terms.holders[index - 1] for index in wrong)
