"""Proofs that were made once and are kept: formats and hashes stay what they are."""

from __future__ import annotations

import json

import pytest

from fusion.crypto.paillier import knowledge, share_proofs
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.residues import rows_from
from fusion.crypto.paillier.share_proofs import Answer
from fusion.crypto.paillier.threshold import ThresholdKey
from fusion.errors import VerificationFailed
from tests.vectors.proofs.make import FILE


def test_a_stored_proof_still_verifies() -> None:
    kept = json.loads(FILE.read_text("utf-8"))
    key = PublicKey(int(kept["modulus"], 16))
    context = bytes.fromhex(kept["context"])
    rows = rows_from(bytes.fromhex(kept["ciphertexts"]), key.ciphertext_bytes)
    proof = bytes.fromhex(kept["knowledge"])
    knowledge.verify(key, context, rows, proof)
    with pytest.raises(VerificationFailed):
        knowledge.verify(key, context + b"\0", rows, proof)
    dealt = ThresholdKey(
        public=key,
        threshold=kept["threshold"],
        base=int(kept["base"], 16),
        verifiers=tuple(int(verifier, 16) for verifier in kept["verifiers"]),
    )
    partials = rows_from(bytes.fromhex(kept["partials"]), key.residue_bytes)
    answer = Answer(partials, bytes.fromhex(kept["share"]))
    share_proofs.verify(dealt, kept["holder"], context, rows, answer)
    with pytest.raises(VerificationFailed):
        share_proofs.verify(dealt, 1, context, rows, answer)
