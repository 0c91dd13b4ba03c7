"""Makes ``proofs.json``: one proof of knowledge and one of a correct share, as bytes that stay.

``python -m tests.vectors.proofs.make``. Made anew only when a format changes on purpose: a proof
that was stored by one release has to verify in the next, and under every engine.
"""

from __future__ import annotations

import json
from pathlib import Path

from fusion.crypto import rng
from fusion.crypto.paillier import knowledge, share_proofs, threshold
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import rows_of
from tests.keys import deal_for_tests

CONTEXT = b"a fixed context"
FILE = Path(__file__).with_name("proofs.json")


def main() -> None:
    """Write the file."""
    dealt = deal_for_tests()
    key, blind = dealt.key.public, Djn(dealt.key.public)
    plaintexts = rows_of([0, 1, key.modulus - 1, rng.bits(2000)], key.plaintext_bytes)
    exponents = blind.exponents(len(plaintexts))
    rows = blind.encrypt_with(plaintexts, exponents)
    partials = threshold.partial(dealt.key, dealt.shares[1], rows)
    document = {
        "modulus": f"{key.modulus:x}",
        "threshold": dealt.key.threshold,
        "base": f"{dealt.key.base:x}",
        "verifiers": [f"{verifier:x}" for verifier in dealt.key.verifiers],
        "context": CONTEXT.hex(),
        "ciphertexts": rows.tobytes().hex(),
        "knowledge": knowledge.prove(key, CONTEXT, rows, plaintexts, exponents).hex(),
        "holder": 2,
        "partials": partials.tobytes().hex(),
        "share": share_proofs.prove(dealt.key, 2, dealt.shares[1], CONTEXT, rows, partials).hex(),
    }
    FILE.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
