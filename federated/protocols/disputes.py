"""Who made a sum that can't be: each contributor proves one ciphertext in range, or is named.

A hub asks when a sum that was opened fails its check. Whatever its reason is, nothing but "in
range" is learned of whoever answers. Claim: ``docs/claims/contributions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.protocols.statements import Defence, proof_context, proof_digest, read, same
from fusion.crypto.hashing import digest
from fusion.crypto.paillier import ranges
from fusion.errors import ContributionRefused, MessageInvalid

if TYPE_CHECKING:
    from federated.protocols.secure_sum import JobTerms, Verified
    from federated.protocols.statements import ContributionList, RoundManifest
    from fusion.crypto.paillier.residues import Rows


def defence_context(
    manifest: RoundManifest, listed: ContributionList, organisation: str, index: int
) -> bytes:
    """Return what a range proof is bound to: one party's ciphertext in one opened list."""
    context = proof_context(manifest, listed, organisation)
    return digest("banyan/defence-context/v1", context, index.to_bytes(8, "big"))


def defend(
    terms: JobTerms,
    manifest: RoundManifest,
    context: bytes,
    index: int,
    vector: tuple[Rows, Rows, Rows],
) -> bytes:
    """Prove that one of the own ciphertexts is in range.

    Args:
        terms: Of the job.
        manifest: Of the disputed round.
        context: From :func:`defence_context`.
        index: Which plaintext.
        vector: All ciphertexts, plaintexts and exponents.

    Raises:
        ContributionRefused: There is no such plaintext.
    """
    layout = terms.layout(manifest)
    if not 0 <= index < layout.plaintexts:
        msg = f"Round {manifest.round} has no plaintext {index} to be disputed."
        raise ContributionRefused(msg)
    ciphertext, plaintext, exponent = (rows[index : index + 1] for rows in vector)
    return ranges.prove(terms.key.public, layout, index, context, ciphertext, (plaintext, exponent))


def verify_defence(
    terms: JobTerms,
    manifest: RoundManifest,
    listed: ContributionList,
    index: int,
    contribution: Verified,
    answer: tuple[bytes, bytes],
) -> None:
    """Return if a contributor has shown that its disputed ciphertext is in range.

    Args:
        terms: Of the job.
        manifest: Of the disputed round.
        listed: Its list.
        index: Which plaintext.
        contribution: What was summed.
        answer: The signed statement and the proof.

    Raises:
        VerificationFailed: It has not.
    """
    signed, proof = answer
    name = contribution.organisation
    said = read(Defence, signed, {name: terms.parties[name]})
    stated = (said.manifest, said.listing, said.plaintext)
    if stated != (manifest.digest().hex(), listed.digest().hex(), index) or not same(
        bytes.fromhex(said.proof), proof_digest(proof)
    ):
        msg = f"The defence of {name} is of something else."
        raise MessageInvalid(msg)
    ranges.verify(
        terms.key.public,
        terms.layout(manifest),
        index,
        defence_context(manifest, listed, name, index),
        contribution.vector.rows[index : index + 1],
        proof,
    )
