"""A contributor's side of a sum: join, encrypt, commit, prove, release once.

What it may never do: release a vector for two lists of one attempt, or make a second proof where
one was claimed. Both are held by its :class:`~fusion.ports.ContributionLog`, across restarts.
Claims: ``docs/claims/secure-sum.md``, ``docs/claims/contributions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federated.protocols.cohorts import read_join
from federated.protocols.disputes import defence_context, defend
from federated.protocols.secure_sum import Contribution, reason_against_list
from federated.protocols.statements import (
    HUB,
    Commitment,
    ContributionList,
    Defence,
    Join,
    Submission,
    commit_to,
    mask_context,
    proof_context,
    proof_digest,
    read,
    same,
    sign,
    vector_digest,
)
from fusion.crypto import rng
from fusion.crypto.agreement import OneTimeKey
from fusion.crypto.paillier import knowledge, packing, vectors
from fusion.crypto.paillier.masks import add_masks
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import rows_from
from fusion.errors import ContributionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from federated.protocols.secure_sum import JobTerms
    from federated.protocols.statements import RoundManifest
    from fusion.crypto.paillier.residues import Rows
    from fusion.crypto.signing import SigningKey
    from fusion.ports import ContributionLog


MAX_DEFENCES: Final = 16
"""Disputed plaintexts of one job that a party proves; each takes seconds."""


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
        # Never stored: whoever restarts between join and commit joins another attempt.
        self._joined: tuple[Join, OneTimeKey] | None = None
        self._defended: set[tuple[int, int, int]] = set()

    def check(self, manifest: RoundManifest) -> None:
        """Refuse a manifest that is not as agreed.

        Raises:
            ContributionRefused: It is not.
        """
        reason = self._terms.reason_against(manifest)
        if reason:
            msg = f"{self._organisation} does not contribute to round {manifest.round}: {reason}."
            raise ContributionRefused(msg, hint="Start the job again with the study as agreed.")

    # ------------------------------------------------------------------ join

    def join(self, number: int, attempt: int) -> bytes:
        """Join one attempt of a masked sum, with a key that is for it alone.

        Asked again for the same attempt, the same statement is signed, until it is committed to.

        Raises:
            ContributionRefused: The study's sums are not masked.
        """
        terms = self._terms
        if not terms.masks:
            msg = f"{self._organisation} joins no sum: the study's sums are not masked."
            raise ContributionRefused(msg)
        if self._joined is None or (self._joined[0].round, self._joined[0].attempt) != (
            number,
            attempt,
        ):
            key = OneTimeKey.generate()
            statement = Join(
                job=terms.job,
                study=terms.study,
                round=number,
                attempt=attempt,
                organisation=self._organisation,
                key=key.public,
                nonce=rng.token(32).hex(),
            )
            self._joined = statement, key
        return sign(self._joined[0], self._key, self._organisation)

    def _masked(self, manifest: RoundManifest, plaintexts: Rows, joins: Sequence[bytes]) -> Rows:
        """Add the masks that this party shares with everyone else who joined.

        Raises:
            ContributionRefused: The cohort is not what its members signed, or has not this party.
            VerificationFailed: A join is forged, not well formed or for another attempt.
        """
        signed = [read_join(self._terms, manifest.round, manifest.attempt, data) for data in joins]
        reason = None
        if [j.joined() for j in signed] != manifest.cohort:
            reason = "its cohort is not as it was signed"
        elif self._joined is None or self._joined[0] not in signed:
            reason = "it has not joined this attempt with this key"
        if reason or self._joined is None:
            msg = f"{self._organisation} does not mask round {manifest.round}: {reason}."
            raise ContributionRefused(msg, hint="The round has to be tried again.")
        key = self._joined[1]
        pairs = {
            each.organisation: key.agree(
                each.key, mask_context(manifest, self._organisation, each.organisation)
            )
            for each in manifest.cohort
            if each.organisation != self._organisation
        }
        return add_masks(self._terms.key.public, plaintexts, self._organisation, pairs)

    # ------------------------------------------------------------------ commit

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

    def commit(
        self, manifest: RoundManifest, slots: NDArray[np.uint64], joins: Sequence[bytes] = ()
    ) -> bytes:
        """Encrypt a quantised contribution, remember it, and return the signed commitment.

        Args:
            manifest: The round.
            slots: From :func:`~fusion.crypto.paillier.packing.quantise`.
            joins: In a masked sum, what the members of the cohort signed, in its order.

        Raises:
            ContributionRefused: The manifest is not as agreed, is not the one committed to, or its
                cohort is not what its members signed.
            VerificationFailed: A join is forged or not well formed.
        """
        self.check(manifest)
        earlier = self.committed(manifest)
        if earlier is not None:
            return earlier
        layout, key = self._terms.layout(manifest), self._terms.key.public
        plaintexts = packing.pack(layout, slots)
        if manifest.cohort:
            plaintexts = self._masked(manifest, plaintexts, joins)
        exponents = Djn(key).exponents(len(plaintexts))
        vector = vectors.encrypt_with(
            key, layout, manifest.digest(), plaintexts, exponents
        ).to_bytes()
        nonce = rng.token(32)
        self._log.remember_commitment(
            manifest.job,
            manifest.round,
            manifest.attempt,
            (manifest.digest(), nonce, vector),
            plaintexts.tobytes() + exponents.tobytes(),
        )
        self._joined = None  # the masks can't be made again
        return self._sign_commitment(manifest, nonce, vector)

    def _sign_commitment(self, manifest: RoundManifest, nonce: bytes, vector: bytes) -> bytes:
        statement = Commitment(
            manifest=manifest.digest().hex(),
            organisation=self._organisation,
            commitment=commit_to(manifest, self._organisation, nonce, vector),
        )
        return sign(statement, self._key, self._organisation)

    # ------------------------------------------------------------------ submit

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

    def submit(self, manifest: RoundManifest, listing: bytes) -> Contribution:
        """Release the vector for one list, with the proof that its plaintexts are known.

        Asked again for the same list, the very same bytes are released: a proof is made once.

        Args:
            manifest: The round.
            listing: The signed list.

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
        reason = reason_against_list(self._terms, manifest, listed)
        own = commit_to(manifest, self._organisation, nonce, vector)
        if reason is None and listed.commitment_of(self._organisation) != own:
            reason = "its own commitment is not on it unchanged"
        if reason:
            msg = f"{self._organisation} does not submit to the list: {reason}."
            raise ContributionRefused(msg, hint="The round has to be tried again.")
        proof = self._proof(manifest, listed, vector)
        statement = Submission(
            manifest=manifest.digest().hex(),
            listing=listed.digest().hex(),
            organisation=self._organisation,
            vector=vector_digest(vector).hex(),
            proof=proof_digest(proof).hex(),
            nonce=nonce.hex(),
        )
        return Contribution(sign(statement, self._key, self._organisation), vector, proof)

    def _proof(self, manifest: RoundManifest, listed: ContributionList, vector: bytes) -> bytes:
        """Return the one proof of this attempt, claimed for this list before it leaves.

        Raises:
            ContributionRefused: The attempt is bound to another list, or can't be proved any more.
        """
        attempt = (manifest.job, manifest.round, manifest.attempt)
        earlier = self._log.submission(*attempt)
        if earlier is not None:
            # The log refuses another list; for the same one it keeps what it has.
            first = self._log.claim_submission(*attempt, listed.digest(), earlier[1])
            self._forget(manifest)
            return first
        secret = self._log.secret(*attempt)
        if secret is None:
            msg = f"{self._organisation} can't prove this contribution any more."
            raise ContributionRefused(msg, hint="Use a new attempt.")
        layout, key = self._terms.layout(manifest), self._terms.key.public
        ciphertexts = vectors.parse(key, layout, vector, binding=manifest.digest()).rows
        plaintexts, exponents = self._parts(secret, layout.plaintexts)
        context = proof_context(manifest, listed, self._organisation)
        proof = knowledge.prove(key, context, ciphertexts, plaintexts, exponents)
        first = self._log.claim_submission(*attempt, listed.digest(), proof)
        self._forget(manifest)
        return first

    def _forget(self, manifest: RoundManifest) -> None:
        """Drop what a proved vector was made from, if it will never be disputed: a masked one."""
        if manifest.cohort:
            self._log.forget_secret(manifest.job, manifest.round, manifest.attempt)

    # ------------------------------------------------------------------ dispute

    def defend(self, manifest: RoundManifest, listing: bytes, index: int) -> tuple[bytes, bytes]:
        """Prove that one ciphertext of what was submitted is in range; return statement and proof.

        Args:
            manifest: The round whose sum is disputed.
            listing: The list that was submitted to.
            index: Which plaintext.

        Raises:
            ContributionRefused: Nothing was submitted to this list, the sum is masked, there is no
                such plaintext, or what it was made from is not kept any more.
            VerificationFailed: The list is not signed by the hub, or not well formed.
        """
        self.check(manifest)
        listed = read(ContributionList, listing, {HUB: self._terms.authority})
        attempt = (manifest.job, manifest.round, manifest.attempt)
        kept, secret = self._log.commitment(*attempt), self._log.secret(*attempt)
        released = self._log.submission(*attempt)
        if released is None or not same(released[0], listed.digest()) or manifest.cohort:
            msg = f"{self._organisation} has submitted nothing to this list that can be disputed."
            raise ContributionRefused(msg)
        if kept is None or secret is None or not same(kept[0], manifest.digest()):
            msg = f"{self._organisation} can't prove this contribution any more."
            raise ContributionRefused(msg)
        self._defended.add((manifest.round, manifest.attempt, index))
        if len(self._defended) > MAX_DEFENCES:
            msg = f"{self._organisation} has answered {MAX_DEFENCES} disputes, and no more."
            raise ContributionRefused(msg, hint="One disputed plaintext names who is wrong.")
        layout, key = self._terms.layout(manifest), self._terms.key.public
        rows = vectors.parse(key, layout, kept[2], binding=manifest.digest()).rows
        context = defence_context(manifest, listed, self._organisation, index)
        made_from = self._parts(secret, layout.plaintexts)
        proof = defend(self._terms, manifest, context, index, (rows, *made_from))
        statement = Defence(
            manifest=manifest.digest().hex(),
            listing=listed.digest().hex(),
            organisation=self._organisation,
            plaintext=index,
            proof=proof_digest(proof).hex(),
        )
        return sign(statement, self._key, self._organisation), proof

    def _parts(self, secret: bytes, count: int) -> tuple[Rows, Rows]:
        """Take apart what the log kept: plaintexts and exponents."""
        width = self._terms.key.public.plaintext_bytes
        plaintexts, exponents = secret[: count * width], secret[count * width :]
        return rows_from(plaintexts, width), rows_from(exponents, len(exponents) // count)
