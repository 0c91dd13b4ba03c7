"""What proofs and masks cost beside the encryption: CPU time a ciphertext, on one core.

``python -m benchmarks.contributions [--ciphertexts 1024] [--bits 2048] [--others 9]``

Prints a table. The range proof of a disputed ciphertext is in seconds for a whole one.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from fusion.crypto import rng
from fusion.crypto.paillier import knowledge, packing, ranges, share_proofs, threshold
from fusion.crypto.paillier.masks import add_masks
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import Djn, uniform_below
from fusion.crypto.paillier.share_proofs import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.crypto.paillier.keys import PublicKey

CONTEXT = bytes(32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--ciphertexts", type=int, default=1024)
    parser.add_argument("--bits", type=int, default=2048)
    parser.add_argument("--others", type=int, default=9)
    options = parser.parse_args()
    count = options.ciphertexts

    print("making a key ...", flush=True)
    half = options.bits // 2
    dealt, shares = threshold.deal(safe_prime(half), safe_prime(half), threshold=3, holders=4)
    key, blind = dealt.public, Djn(dealt.public)
    plaintexts, exponents = uniform_below(key.modulus, count), blind.exponents(count)
    rows = blind.encrypt_with(plaintexts, exponents)
    proof = knowledge.prove(key, CONTEXT, rows, plaintexts, exponents)
    pairs = {f"other-{index}": rng.token(32) for index in range(options.others)}
    partials = threshold.partial(dealt, shares[0], rows)
    answer = Answer(partials, share_proofs.prove(dealt, 1, shares[0], CONTEXT, rows, partials))

    steps: dict[str, Callable[[], object]] = {
        "encrypt": lambda: blind.encrypt_with(plaintexts, exponents),
        "prove knowledge": lambda: knowledge.prove(key, CONTEXT, rows, plaintexts, exponents),
        "verify knowledge": lambda: knowledge.verify(key, CONTEXT, rows, proof),
        f"mask with {options.others}": lambda: add_masks(key, plaintexts, "own", pairs),
        "partial decryption": lambda: threshold.partial(dealt, shares[0], rows),
        "prove the share": lambda: share_proofs.prove(dealt, 1, shares[0], CONTEXT, rows, partials),
        "verify the share": lambda: share_proofs.verify(dealt, 1, CONTEXT, rows, answer),
    }
    for name, step in steps.items():
        print(f"{name:<20} {1e6 * _seconds(step) / count:>12.2f} us a ciphertext")
    print(f"{'proofs':<20} {len(proof):>12,} and {len(answer.proof)} bytes")
    _ranges(key)


def _ranges(key: PublicKey) -> None:
    """Measure the range proof of one full ciphertext of 24-bit slots."""
    layout = packing.Layout(
        tensors=(packing.Tensor(name="update", size=1000, kind="real"),),
        value_bits=24,
        contributors=10,
        key_bits=key.bits,
    )
    plaintexts = packing.pack(layout, np.full(layout.size, 2**23, np.uint64))[:1]
    opening = plaintexts, Djn(key).exponents(1)
    row = Djn(key).encrypt_with(*opening)
    proof = ranges.prove(key, layout, 0, CONTEXT, row, opening)
    made = _seconds(lambda: ranges.prove(key, layout, 0, CONTEXT, row, opening))
    checked = _seconds(lambda: ranges.verify(key, layout, 0, CONTEXT, row, proof))
    print(f"{'prove a range':<20} {made:>12.2f} s ({layout.slots} slots of 24 bits)")
    print(f"{'verify a range':<20} {checked:>12.2f} s, {len(proof) / 1e6:.1f} MB")


def _seconds(step: Callable[[], object]) -> float:
    """Return the best CPU time of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        step()
        best = min(best, time.process_time() - began)
    return best


if __name__ == "__main__":
    main()
