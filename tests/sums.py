"""A hub and four parties that sum in this process, and a party that does not keep the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.contributor import Contributor
from federated.protocols.secure_sum import Contribution, Gate, JobTerms, list_commitments
from federated.protocols.statements import (
    HUB,
    Commitment,
    ContributionList,
    RoundManifest,
    Submission,
    commit_to,
    proof_context,
    proof_digest,
    read,
    sign,
    vector_digest,
)
from fusion.crypto import rng
from fusion.crypto.paillier import knowledge
from fusion.crypto.paillier.packing import Layout, Tensor, quantise
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import rows_of
from fusion.crypto.paillier.vectors import EncryptedVector
from fusion.crypto.signing import SigningKey
from fusion.stores.memory import MemoryRoundLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.paillier.residues import Rows
    from tests.keys import Dealt

NAMES = ("a", "b", "c", "d")
STUDY = "5" * 64


@dataclass
class Federation:
    """A hub and four parties that all hold a share, three of which have to agree."""

    terms: JobTerms
    hub: SigningKey
    keys: dict[str, SigningKey]
    logs: dict[str, MemoryRoundLog]
    dealt: Dealt

    def contributor(self, name: str) -> Contributor:
        return Contributor(self.terms, name, self.keys[name], self.logs[name])

    def gate(self, name: str) -> Gate:
        share = self.dealt.shares[NAMES.index(name)]
        return Gate(self.terms, name, share, self.logs[name])

    def manifest(self, number: int = 1, attempt: int = 1) -> RoundManifest:
        return RoundManifest(
            job="job",
            study=STUDY,
            round=number,
            attempt=attempt,
            purpose="train",
            key=self.terms.key.public.fingerprint,
            layout=self.terms.layouts["train"].digest,
            contributors=4,
            quorum=3,
            model="0" * 64,
        )

    def commit(self, manifest: RoundManifest, names: str = "abcd") -> list[bytes]:
        commitments = []
        for name in names:
            values = np.full(10, float(NAMES.index(name) + 1))
            slots = quantise(self.terms.layouts["train"], {"w": values}).slots
            commitments.append(self.contributor(name).commit(manifest, slots))
        return commitments

    def collect(
        self, manifest: RoundManifest, names: str = "abcd"
    ) -> tuple[bytes, list[Contribution]]:
        """Run commit, list and submit with these parties."""
        listing = self.listed(manifest, self.commit(manifest, names))
        return listing, [self.contributor(name).submit(manifest, listing) for name in names]

    def listed(self, manifest: RoundManifest, commitments: Sequence[bytes]) -> bytes:
        return list_commitments(self.terms, manifest, commitments, self.hub)


def federation_of(dealt: Dealt) -> Federation:
    """Make a federation that sums ten numbers."""
    hub = SigningKey.generate()
    keys = {name: SigningKey.generate() for name in NAMES}
    layout = Layout(
        tensors=(Tensor(name="w", size=10, kind="real", clip=8.0),),
        value_bits=24,
        contributors=4,
        key_bits=2048,
    )
    terms = JobTerms(
        job="job",
        study=STUDY,
        key=dealt.key,
        holders=NAMES,
        layouts={"train": layout},
        parties={name: key.public for name, key in keys.items()},
        authority=hub.public,
        quorum=3,
        rounds=5,
    )
    return Federation(terms, hub, keys, {name: MemoryRoundLog() for name in NAMES}, dealt)


class Forger:
    """A contributor that signs whatever serves it: ciphertexts that it did not make, any proof."""

    def __init__(self, federation: Federation, name: str) -> None:
        self._federation = federation
        self.name = name
        self._nonce = rng.token(32)

    def vector(self, manifest: RoundManifest, rows: Rows) -> bytes:
        """Put ciphertexts into a vector for this round."""
        terms = self._federation.terms
        return EncryptedVector(
            key=terms.key.public,
            layout=terms.layout(manifest),
            randomiser=Djn.name,
            binding=manifest.digest(),
            contributions=1,
            rows=rows,
        ).to_bytes()

    def commit(self, manifest: RoundManifest, rows: Rows) -> bytes:
        """Commit to them, as honestly as anyone."""
        statement = Commitment(
            manifest=manifest.digest().hex(),
            organisation=self.name,
            commitment=commit_to(manifest, self.name, self._nonce, self.vector(manifest, rows)),
        )
        return sign(statement, self._federation.keys[self.name], self.name)

    def prove(
        self,
        manifest: RoundManifest,
        listing: bytes,
        rows: Rows,
        plaintexts: Sequence[int],
        exponents: Rows | None = None,
    ) -> bytes:
        """Prove as if these were the plaintexts, and the exponents."""
        key = self._federation.terms.key.public
        listed = read(ContributionList, listing, {HUB: self._federation.hub.public})
        return knowledge.prove(
            key,
            proof_context(manifest, listed, self.name),
            rows,
            rows_of(plaintexts, key.plaintext_bytes),
            Djn(key).exponents(len(rows)) if exponents is None else exponents,
        )

    def submit(
        self, manifest: RoundManifest, listing: bytes, rows: Rows, proof: bytes
    ) -> Contribution:
        """Release ciphertexts with any proof."""
        vector = self.vector(manifest, rows)
        listed = read(ContributionList, listing, {HUB: self._federation.hub.public})
        statement = Submission(
            manifest=manifest.digest().hex(),
            listing=listed.digest().hex(),
            organisation=self.name,
            vector=vector_digest(vector).hex(),
            proof=proof_digest(proof).hex(),
            nonce=self._nonce.hex(),
        )
        signed = sign(statement, self._federation.keys[self.name], self.name)
        return Contribution(signed, vector, proof)
