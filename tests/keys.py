"""A dealt key for tests: 2048 bits, 3 of 4 holders, made once a test session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.crypto.paillier.modulus_proof import prove
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.crypto.paillier.threshold import ThresholdKey, deal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.crypto.paillier.keys import PublicKey
    from fusion.crypto.paillier.residues import Rows


@dataclass(frozen=True, slots=True)
class Dealt:
    """What the dealer knows during a ceremony."""

    key: ThresholdKey
    shares: tuple[int, ...]
    primes: tuple[int, int]

    @property
    def proof(self) -> bytes:
        """The dealer's proof of the modulus."""
        return prove(*self.primes)


def deal_for_tests() -> Dealt:
    """Deal a real key with real safe primes."""
    p, q = safe_prime(1024), safe_prime(1024)
    key, shares = deal(p, q, threshold=3, holders=4)
    return Dealt(key, tuple(shares), (p, q))


def encrypted(key: PublicKey, messages: Iterable[Any]) -> Rows:
    """Encrypt integers, one a ciphertext."""
    return Djn(key).encrypt(rows_of(messages, key.plaintext_bytes))


def numbers(rows: Rows) -> list[int]:
    """Read rows as Python's integers."""
    return [int(value) for value in integers(rows)]
