"""A large update: time, bytes and memory of quantising, packing and encrypting it.

``python -m benchmarks.encryption [--parameters 1000000] [--bits 3072] [--contributors 4]``

Prints a table. The peak is what the encrypting process held on top of what it held before, as a
multiple of the ciphertext's size.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from fusion.crypto import rng
from fusion.crypto.paillier import packing, vectors
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.keys import PublicKey
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import base_powers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=3072)
    parser.add_argument("--contributors", type=int, default=4)
    options = parser.parse_args()

    print("making a key ...", flush=True)
    key = PublicKey(safe_prime(options.bits // 2) * safe_prime(options.bits // 2))
    layout = packing.Layout(
        tensors=(packing.Tensor(name="update", size=options.parameters, kind="real", clip=2.0),),
        value_bits=24,
        contributors=options.contributors,
        key_bits=options.bits,
    )
    update = np.frombuffer(rng.token(2 * options.parameters), "<i2") / 2**14
    base_powers(key, current().name)  # the table of powers, once a key

    before = _peak_bytes()
    began = time.perf_counter()
    slots = packing.quantise(layout, {"update": update.astype(np.float64)}).slots
    quantised = time.perf_counter()
    data = vectors.encrypt(key, layout, bytes(32), slots).to_bytes()
    done = time.perf_counter()
    grown = _peak_bytes() - before

    print(f"parameters            {options.parameters:>14,}")
    print(f"key                   {options.bits:>14,} bits")
    print(f"ciphertexts           {layout.plaintexts:>14,}")
    print(f"bytes a parameter     {len(data) / options.parameters:>14.2f}")
    print(f"quantise              {quantised - began:>14.2f} s")
    print(f"pack and encrypt      {done - quantised:>14.2f} s")
    each = 1e6 * (done - quantised) / layout.plaintexts
    print(f"                      {each:>14.0f} us a ciphertext")
    print(f"ciphertext            {len(data) / 2**20:>14.1f} MiB")
    print(f"peak above the start  {grown / 2**20:>14.1f} MiB")
    print(f"                      {grown / len(data):>14.1f} times the ciphertext")


def _peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
