"""Makes the fixed Paillier vectors beside it: ``python -m tests.vectors.paillier.generate``.

Everything follows from one seed through SHAKE-256, so that anybody gets the same files, byte for
byte; nothing here is secret and **no key of these files may ever protect anything**. Values are
computed with Python's own ``pow`` from the formulas of the papers (Paillier, EUROCRYPT 1999;
Damgård, Jurik and Nielsen, Int. J. Inf. Secur. 9, 2010; Shoup, EUROCRYPT 2000), none with the code
under test, and ``phe`` computes or decrypts those of degree 1 a second time before they are
written. The safe primes are searched with the project's sieve: about a minute in all.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final

import gmpy2
import phe.paillier

from fusion.crypto.paillier import primes

FOLDER: Final = Path(__file__).parent
SIZES: Final = (2048, 3072, 4096)
SEED: Final = b"banyan/vectors/paillier/v1"
WARNING: Final = "TEST KEYS: the primes and shares are public. Never protect anything with them."
CASES: Final = 17
SLOT_BITS: Final = 34
THRESHOLD: Final = 3
HOLDERS: Final = 4
DEALT_CIPHERTEXTS: Final = 3
"""How many of the ciphertexts the dealing's partial decryptions are given for."""

Plain = dict[str, int]


def number(label: str, bits: int) -> int:
    """Return ``bits`` bits that follow from the seed and the label."""
    stream = hashlib.shake_256(SEED + b"/" + label.encode()).digest(-(-bits // 8))
    return int.from_bytes(stream, "big") >> (-bits % 8)


def safe_prime(label: str, bits: int) -> int:
    """Return the first safe prime at or after a start that follows from the seed."""
    start = number(label, bits - 1) | (0b11 << (bits - 3))
    start += (5 - start) % 6
    while True:
        for index in primes._survivors(start):
            q = start + 6 * int(index)
            if all(gmpy2.is_strong_prp(x, 2) for x in (q, 2 * q + 1)) and all(
                gmpy2.is_prime(x, 40) for x in (q, 2 * q + 1)
            ):
                return 2 * q + 1
        start += 6 * primes._WINDOW


def fingerprint(n: int, bits: int) -> str:
    """SHA-256 over length-prefixed domain, modulus and randomiser name."""
    state = hashlib.sha256()
    for part in (b"banyan/paillier-key/v1", n.to_bytes(bits // 8, "big"), b"djn-half"):
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()


def base_root(n: int, bits: int) -> int:
    """Return x^2 mod N, whose N^s-th power is the randomiser base of degree s."""
    stream = hashlib.shake_256(b"banyan/djn-base/v1" + n.to_bytes(bits // 8, "big"))
    x = int.from_bytes(stream.digest(bits // 8 + 16), "big") % n
    return x * x % n


def exponents(bits: int) -> Plain:
    """Return exponents of half the key's length, those that trip windowed tables among them."""
    half = bits // 2
    full = number(f"{bits}/rho", half) | 1 << (half - 1)
    return {
        "zero": 0,
        "one": 1,
        "small": number(f"{bits}/rho-small", 16),
        "top-bits-zero": full >> 23,
        "middle-zero": full & ~(((1 << 200) - 1) << (half // 2)),
        "all-ones": (1 << half) - 1,
        "random": full,
    }


def plaintexts(n: int, bits: int, degree: int) -> Plain:
    """Return plaintexts below N^degree, the edges among them."""
    slots = degree * (bits - 1) // SLOT_BITS
    return {
        "random": number(f"{bits}/m/{degree}", degree * bits + 128) % n**degree,
        "zero": 0,
        "one": 1,
        "top": n**degree - 1,
        "packed-top": (1 << slots * SLOT_BITS) - 1,
    }


def scheme(n: int, bits: int, degree: int) -> dict[str, Any]:
    """Return ciphertexts of one degree: ``(1 + N)^m h^rho mod N^(degree + 1)``."""
    order = n ** (degree + 1)
    h = pow(base_root(n, bits), n**degree, order)
    messages, rhos = plaintexts(n, bits, degree), exponents(bits)
    cases, product, total = [], 1, 0
    for index in range(CASES):
        m_name = list(messages)[index % len(messages)]
        rho_name = list(rhos)[index % len(rhos)]
        c = pow(1 + n, messages[m_name], order) * pow(h, rhos[rho_name], order) % order
        cases.append({"plaintext": m_name, "exponent": rho_name, "ciphertext": f"{c:x}"})
        product, total = product * c % order, (total + messages[m_name]) % n**degree
    return {
        "degree": degree,
        "h": f"{h:x}",
        "plaintexts": {name: f"{m:x}" for name, m in messages.items()},
        "exponents": {name: f"{rho:x}" for name, rho in rhos.items()},
        "cases": cases,
        "product": f"{product:x}",
        "sum": f"{total:x}",
    }


def dealing(p: int, q: int, made: dict[str, Any]) -> dict[str, Any]:
    """Return Shamir shares of N^-degree and the partial decryptions of the first cases."""
    n, order, degree = p * q, (p - 1) // 2 * ((q - 1) // 2), made["degree"]
    label = f"{n.bit_length()}/dealing/{degree}"
    secret = pow(n**degree, -1, order)
    rest = [number(f"{label}/{i}", n.bit_length() + 128) % order for i in range(1, THRESHOLD)]
    polynomial = list(enumerate([secret, *rest]))
    shares = [sum(c * i**power for power, c in polynomial) % order for i in range(1, HOLDERS + 1)]
    base = pow(number(f"{label}/base", n.bit_length() + 128) % n, 2, n)
    chosen = [int(case["ciphertext"], 16) for case in made["cases"][:DEALT_CIPHERTEXTS]]
    clear = 2 * math.factorial(HOLDERS)
    return {
        "threshold": THRESHOLD,
        "shares": [f"{share:x}" for share in shares],
        "base": f"{base:x}",
        "verifiers": [f"{pow(base, share, n):x}" for share in shares],
        "partials": [[f"{pow(c % n, clear * share, n):x}" for c in chosen] for share in shares],
    }


def document(bits: int, p: int, q: int) -> dict[str, Any]:
    """Return the vectors of one key."""
    n = p * q
    degrees = [scheme(n, bits, degree) for degree in (1, 2)]
    for made in degrees:
        made["dealing"] = dealing(p, q, made)
    r = number(f"{bits}/r", bits + 128) % n
    message = plaintexts(n, bits, 1)["random"]
    return {
        "warning": WARNING,
        "bits": bits,
        "slot_bits": SLOT_BITS,
        "p": f"{p:x}",
        "q": f"{q:x}",
        "fingerprint": fingerprint(n, bits),
        "full": {"r": f"{r:x}", "ciphertext": f"{(1 + message * n) * pow(r, n, n * n) % n**2:x}"},
        "degrees": degrees,
    }


def check_with_phe(made: dict[str, Any], every: int = 1) -> None:
    """Have ``phe`` compute the ciphertexts of degree 1 from r = x^(2 rho), and decrypt them.

    Args:
        made: The vectors of one key.
        every: Look at the first case and each ``every``-th after it.

    Raises:
        ValueError: It does not get the same.
    """
    p, q, bits = int(made["p"], 16), int(made["q"], 16), made["bits"]
    n = p * q
    public = phe.paillier.PaillierPublicKey(n)
    private = phe.paillier.PaillierPrivateKey(public, p, q)
    first = made["degrees"][0]
    for case in first["cases"][::every]:
        m = int(first["plaintexts"][case["plaintext"]], 16)
        r = pow(base_root(n, bits), int(first["exponents"][case["exponent"]], 16), n)
        c = int(case["ciphertext"], 16)
        if public.raw_encrypt(m, r_value=r) != c or private.raw_decrypt(c) != m:
            msg = f"phe disagrees about {case['plaintext']}, {case['exponent']}, {bits} bits."
            raise ValueError(msg)
    full = made["full"]
    m = int(first["plaintexts"]["random"], 16)
    if public.raw_encrypt(m, r_value=int(full["r"], 16)) != int(full["ciphertext"], 16):
        msg = f"phe disagrees about the full randomiser, {bits} bits."
        raise ValueError(msg)
    if private.raw_decrypt(int(first["product"], 16)) != int(first["sum"], 16):
        msg = f"phe disagrees about the product, {bits} bits."
        raise ValueError(msg)


def main() -> None:
    """Search, compute, check and write."""
    for bits in SIZES:
        p, q = (safe_prime(f"{bits}/{side}", bits // 2) for side in "pq")
        made = document(bits, p, q)
        check_with_phe(made)
        path = FOLDER / f"{bits}.json"
        path.write_text(json.dumps(made, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
