"""A hub and four parties that sum in this process, and a party that does not keep the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federated.anchors import Anchors
from federated.cohort import Reply
from federated.notary import Notary, cosign
from federated.protocols.contributor import Contributor
from federated.protocols.secure_sum import Contribution, Gate, JobTerms, Opened, list_commitments
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
from fusion.identity.members import AUTHORITY
from fusion.ledger import entry as entries
from fusion.ledger.entry import opening_digest
from fusion.stores.memory import MemoryRoundLog
from fusion.types import OrgId
from tests.books import memory_book, roster_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.paillier.residues import Rows
    from fusion.ports import OpeningLog
    from fusion.services.logbook import LogBook
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
    notary: Notary
    books: dict[str, LogBook]

    def contributor(self, name: str) -> Contributor:
        return Contributor(self.terms, name, self.keys[name], self.logs[name])

    def gate(self, name: str, log: OpeningLog | None = None) -> Holder:
        share = self.dealt.shares[NAMES.index(name)]
        anchors = Anchors(self.books[name], self.notary.roster, NAMES)
        gate = Gate(self.terms, name, share, log or self.logs[name], anchors)
        return Holder(self, gate)

    def witnessed(self, manifest: RoundManifest, listing: bytes, names: str = "abcd") -> bytes:
        """Log a list at the hub, have these cosign it, and return what shows it to a holder."""
        listed = read(ContributionList, listing, {HUB: self.hub.public})
        key = f"{manifest.digest().hex()} {listed.digest().hex()}"
        self.notary.log(
            key,
            entries.RoundListed(
                at=self.notary.book.now(),
                job=manifest.job,
                round=manifest.round,
                attempt=manifest.attempt,
                manifest=manifest.digest().hex(),
                listing=listed.digest().hex(),
                opening=opening_digest(manifest.digest(), listed.digest()).hex(),
                contributors=listed.organisations(),
                commitments=tuple(each.commitment for each in listed.entries),
            ),
        )
        for _ in range(2):
            announced = self.notary.announce()
            for name in names:
                head = cosign(self.books[name], self.notary.roster, announced)
                self.notary.take(Reply(OrgId(name), head))
        return (self.notary.anchor(key) or "").encode()

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


@dataclass
class Holder:
    """A gate, and what it is shown of the hub's log."""

    federation: Federation
    gate: Gate

    def open(
        self, manifest: RoundManifest, listing: bytes, contributions: Sequence[Contribution]
    ) -> Opened:
        anchor = self.federation.witnessed(manifest, listing)
        return self.gate.open(manifest, listing, contributions, anchor)


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
    logs = {name: MemoryRoundLog() for name in NAMES}
    books = {name: memory_book(name, keys[name], logs[name].ledger) for name in NAMES}
    roster = roster_of(hub.public, terms.parties, books)
    notary = Notary(memory_book(AUTHORITY, hub), roster, NAMES)
    return Federation(terms, hub, keys, logs, dealt, notary, books)


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
