"""The fixed Paillier vectors as objects of the library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from fusion.crypto.paillier import damgard_jurik
from fusion.crypto.paillier.keys import PrivateKey, PublicKey
from fusion.crypto.paillier.residues import Rows, rows_of
from fusion.crypto.paillier.threshold import ThresholdKey

FOLDER: Final = Path(__file__).parent / "paillier"
SIZES: Final = (2048, 3072, 4096)


@dataclass(frozen=True)
class Known:
    """One key of the files and what is known about it.

    Attributes:
        document: The file as it stands.
    """

    document: dict[str, Any]

    @cached_property
    def private(self) -> PrivateKey:
        """Both primes, which the whole world knows."""
        return PrivateKey(int(self.document["p"], 16), int(self.document["q"], 16))

    @property
    def public(self) -> PublicKey:
        """The modulus."""
        return self.private.public

    def scheme(self, degree: int) -> dict[str, Any]:
        """Return the vectors of one degree."""
        (found,) = (made for made in self.document["degrees"] if made["degree"] == degree)
        return dict(found)

    def plaintexts(self, degree: int) -> list[int]:
        """Return the plaintext of each case."""
        made = self.scheme(degree)
        return [int(made["plaintexts"][case["plaintext"]], 16) for case in made["cases"]]

    def exponents(self, degree: int) -> Rows:
        """Return the randomiser exponent of each case."""
        made = self.scheme(degree)
        values = (int(made["exponents"][case["exponent"]], 16) for case in made["cases"])
        return rows_of(values, self.public.randomiser_bits // 8)

    def ciphertexts(self, degree: int) -> Rows:
        """Return the ciphertext of each case."""
        values = (int(case["ciphertext"], 16) for case in self.scheme(degree)["cases"])
        return rows_of(values, damgard_jurik.ciphertext_bytes(self.public, degree))

    def dealing(self, degree: int) -> tuple[ThresholdKey, list[int]]:
        """Return the dealt key and the shares of holder 1, 2, ..."""
        dealt = self.scheme(degree)["dealing"]
        key = ThresholdKey(
            public=self.public,
            threshold=dealt["threshold"],
            base=int(dealt["base"], 16),
            verifiers=tuple(int(verifier, 16) for verifier in dealt["verifiers"]),
            degree=degree,
        )
        return key, [int(share, 16) for share in dealt["shares"]]


@lru_cache
def known(bits: int) -> Known:
    """Return the vectors of one key length."""
    return Known(json.loads((FOLDER / f"{bits}.json").read_text("utf-8")))
