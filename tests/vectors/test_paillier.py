"""The fixed vectors, under every engine that this machine runs, to the byte.

How they were made and checked a second time: ``tests/vectors/paillier/README.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import gmpy2
import pytest

from fusion.crypto.paillier import damgard_jurik, threshold
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.packing import Layout, Tensor
from fusion.crypto.paillier.randomisers import Djn, generator
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import EnvironmentUnfit
from tests.engine_choice import NAMES, running
from tests.keys import numbers
from tests.vectors.known import SIZES, known
from tests.vectors.paillier import generate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.crypto.paillier.engines.engine import Engine

DEGREES = damgard_jurik.DEGREES
BATCHES = (1, 7, 8, 9, 17)
"""One lane, one fewer than a vector has, a full vector, one more, and two vectors and one."""
UNDER_ENGINES = [
    pytest.param(bits, marks=[pytest.mark.soak] if bits == 4096 else []) for bits in SIZES
]
"""The shortest key and the usual one in every test run; the longest takes its time."""


@pytest.fixture(scope="module", params=NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    try:
        with running(request.param) as chosen:
            yield chosen
    except EnvironmentUnfit as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("bits", SIZES)
def test_the_files_are_what_their_generator_computes(bits: int) -> None:
    document = known(bits).document
    p, q = int(document["p"], 16), int(document["q"], 16)
    for prime in (p, q):
        assert prime.bit_length() == bits // 2
        assert gmpy2.is_prime(prime)
        assert gmpy2.is_prime((prime - 1) // 2)
    assert document["fingerprint"] == generate.fingerprint(p * q, bits)
    for made in document["degrees"]:
        values = generate.plaintexts(p * q, bits, made["degree"])
        assert made["plaintexts"] == {name: f"{m:x}" for name, m in values.items()}
        rhos = generate.exponents(bits)
        assert made["exponents"] == {name: f"{rho:x}" for name, rho in rhos.items()}


def test_the_smallest_key_s_vectors_are_made_again_to_the_letter() -> None:
    p, q = known(2048).private.p, known(2048).private.q
    made = generate.scheme(p * q, 2048, 1)
    made["dealing"] = generate.dealing(p, q, made)
    assert made == known(2048).scheme(1)


@pytest.mark.parametrize("bits", SIZES)
def test_phe_computes_the_same_ciphertexts(bits: int) -> None:
    generate.check_with_phe(known(bits).document, every=5)


@pytest.mark.parametrize("bits", SIZES)
def test_the_key_is_named_and_based_as_written(bits: int) -> None:
    key = known(bits).public
    assert key.fingerprint == known(bits).document["fingerprint"]
    assert int(key.randomiser_base) == int(known(bits).scheme(1)["h"], 16)
    assert damgard_jurik.base(key) == int(known(bits).scheme(2)["h"], 16)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", SIZES)
def test_the_largest_packed_plaintext_is_that_of_the_layout(bits: int, degree: int) -> None:
    layout = Layout(
        tensors=(Tensor(name="w", size=1, kind="real"),),
        value_bits=24,
        contributors=1024,
        key_bits=bits,
        degree=degree,
    )
    assert layout.slot_bits == known(bits).document["slot_bits"]
    top = (1 << layout.slots * layout.slot_bits) - 1
    assert top == int(known(bits).scheme(degree)["plaintexts"]["packed-top"], 16)
    assert top < known(bits).public.modulus ** degree


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_encrypting_gives_the_fixed_ciphertexts(engine: Engine, bits: int, degree: int) -> None:
    vectors = known(bits)
    key = vectors.public
    blind = Djn(key) if degree == 1 else damgard_jurik.DjnSquared(key)
    plaintexts = rows_of(vectors.plaintexts(degree), damgard_jurik.plaintext_bytes(key, degree))
    exponents, expected = vectors.exponents(degree), vectors.ciphertexts(degree)
    for batch in (9,) if bits == 4096 else BATCHES:
        made = blind.encrypt_with(plaintexts[:batch], exponents[:batch])
        assert made.tobytes() == expected[:batch].tobytes(), f"{engine.name}, {batch}"


@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_the_key_holder_s_powers_are_those_of_pow(engine: Engine, bits: int) -> None:
    """The exact randomiser draws its exponents, so what it computes with them is held to pow."""
    del engine
    vectors = known(bits)
    p, q = vectors.private.p, vectors.private.q
    base = pow(generator(p), p, p * p)
    ring = current().ring(p, 2)
    messages, exponents = vectors.plaintexts(1), vectors.exponents(1)
    made = ring.fixed_base(base, p.bit_length(), factor=q % p).powers(
        exponents, rows_of(messages, vectors.public.plaintext_bytes)
    )
    assert numbers(made) == [
        pow(base, e, p * p) * (1 + p * (q % p) * m) % (p * p)
        for e, m in zip(numbers(exponents), messages, strict=True)
    ]


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_decrypting_gives_the_fixed_plaintexts(engine: Engine, bits: int, degree: int) -> None:
    vectors = known(bits)
    private, expected = vectors.private, vectors.plaintexts(degree)
    for batch in BATCHES if bits == 2048 else (9,):
        rows = vectors.ciphertexts(degree)[:batch]
        opened = private.decrypt(rows) if degree == 1 else damgard_jurik.decrypt(private, rows)
        assert numbers(opened) == expected[:batch], f"{engine.name}, {batch}"


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_the_product_is_the_fixed_one(engine: Engine, bits: int, degree: int) -> None:
    del engine
    vectors, rows = known(bits), known(bits).ciphertexts(degree)
    ring = damgard_jurik.product_ring(vectors.public, degree)
    expected = int(vectors.scheme(degree)["product"], 16)
    assert ring.fold(rows) == expected
    assert numbers(ring.product([rows[i : i + 1] for i in range(len(rows))])) == [expected]


@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_a_full_randomiser_is_the_fixed_one(engine: Engine, bits: int) -> None:
    del engine
    key, full = known(bits).public, known(bits).document["full"]
    message = int(known(bits).scheme(1)["plaintexts"]["random"], 16)
    blinding = key.ring.power(rows_of([int(full["r"], 16)], key.residue_bytes), key.modulus)
    clear = rows_of([1 + message * key.modulus], key.ciphertext_bytes)
    assert numbers(key.product_ring.product([blinding, clear])) == [int(full["ciphertext"], 16)]


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("bits", UNDER_ENGINES)
def test_a_dealing_decrypts_as_written(engine: Engine, bits: int, degree: int) -> None:
    del engine
    vectors = known(bits)
    key, shares = vectors.dealing(degree)
    written = vectors.scheme(degree)["dealing"]["partials"]
    rows = vectors.ciphertexts(degree)[: len(written[0])]
    partials = {}
    for index, (share, expected) in enumerate(zip(shares, written, strict=True), start=1):
        threshold.check_share(key, index, share)
        partials[index] = threshold.partial(key, share, rows)
        assert numbers(partials[index]) == [int(value, 16) for value in expected]
    for group in ((1, 2, 3), (1, 3, 4), (2, 3, 4)) if bits == 2048 else ((2, 3, 4),):
        opened = threshold.combine(key, {i: partials[i] for i in group}, rows)
        assert numbers(opened) == vectors.plaintexts(degree)[: len(rows)]
