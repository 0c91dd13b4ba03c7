"""A dealt key for tests: the 2048-bit vector key, dealt to 4 holders of whom 3 decrypt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.crypto.paillier.modulus_proof import prove
from fusion.crypto.paillier.randomisers import Djn
from fusion.crypto.paillier.residues import integers, rows_of
from fusion.crypto.paillier.threshold import ThresholdKey, deal
from tests.vectors.known import known

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
    """Deal a real key with real safe primes: those of the vectors, as a search takes its time."""
    private = known(2048).private
    p, q = private.p, private.q
    key, shares = deal(p, q, threshold=3, holders=4)
    return Dealt(key, tuple(shares), (p, q))


def encrypted(key: PublicKey, messages: Iterable[Any]) -> Rows:
    """Encrypt integers, one a ciphertext."""
    return Djn(key).encrypt(rows_of(messages, key.plaintext_bytes))


def numbers(rows: Rows) -> list[int]:
    """Read rows as Python's integers."""
    return [int(value) for value in integers(rows)]
