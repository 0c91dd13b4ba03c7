"""The kernels of ristretto255 on the model: exact, nothing truncated, no address from a secret."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from fusion.crypto import rng
from fusion.crypto.paillier.engines.kernels.model import At, ModelMachine, ModelProgram
from fusion.crypto.paillier.engines.kernels.shape import IFMA
from fusion.crypto.ristretto import curve, field, selection, vector
from fusion.crypto.ristretto.group import ORDER, PointRefused, Scalar
from fusion.crypto.ristretto.sodium import SodiumGroup
from tests.crypto import ristretto_reference as reference
from tests.engines.test_addresses import WatchedProgram

if TYPE_CHECKING:
    from fusion.crypto.ristretto.group import Group

TIGHT: Final = 2**51 + 2**14
"""What every routine takes and leaves, limb by limb."""
VECTOR: Final = pytest.mark.skipif(
    vector.unavailable() is not None, reason=str(vector.unavailable())
)


class NarrowMachine(ModelMachine):
    """Refuses a factor that the unit would cut off."""

    def _product(self, x: int, y: int) -> int:
        assert x < 2**52
        assert y < 2**52
        return super()._product(x, y)


def lanes(values: list[int]) -> list[list[int]]:
    """Return residues side by side, five vectors."""
    cut = [field.limbs_of(value) for value in values]
    return [[each[at] for each in cut] for at in range(field.LIMBS)]


def value_of(limbs: list[list[int]], lane: int = 0) -> int:
    return sum(limb[lane] << field.RADIX * at for at, limb in enumerate(limbs))


LARGE = [TIGHT - 1] * 5
EDGES = [
    LARGE,
    [0] * 5,
    [TIGHT - 1, 0, 0, 0, 0],
    [0, 0, 0, 0, TIGHT - 1],
    field.limbs_of(field.PRIME),
    field.limbs_of(field.PRIME - 1),
    field.limbs_of(field.PRIME + 1),
    field.limbs_of(2**255 - 1),
    [2**51 - 1] * 4 + [2**51 + 5],
]


@pytest.mark.parametrize(("one", "other"), list(itertools.product(EDGES, EDGES)))
def test_the_field_at_its_edges(one: list[int], other: list[int]) -> None:
    m = NarrowMachine(IFMA)
    x, y = ([m.splat(limb) for limb in each] for each in (one, other))
    a, b = (sum(limb << 51 * at for at, limb in enumerate(each)) for each in (one, other))
    for work, expected in (
        (field.product, a * b),
        (field.total, a + b),
        (field.difference, a - b),
    ):
        found = work(m, x, y)
        assert value_of(found) % field.PRIME == expected % field.PRIME
        assert all(limb[0] < TIGHT for limb in found)
    squared = field.square(m, x)
    assert value_of(squared) % field.PRIME == a * a % field.PRIME
    assert all(limb[0] < TIGHT for limb in squared)
    assert value_of(field.frozen(m, x)) == a % field.PRIME
    assert field.odd(m, x)[0] % 2 == a % field.PRIME % 2
    assert bool(field.zero(m, x)[0]) == (a % field.PRIME == 0)
    assert m.peak <= 60


def program(digits: int = curve.DIGITS) -> ModelProgram:
    made = ModelProgram(IFMA)
    curve.Curve(made, digits)
    return made


DIGESTS = [hashlib.sha512(bytes([at])).digest() for at in range(8)]
POINTS = [reference.from_uniform(digest) for digest in DIGESTS]


def test_the_map_on_the_model() -> None:
    halves = [
        limb
        for half in (0, 32)
        for limb in lanes(
            [int.from_bytes(each[half : half + 32], "little") % 2**255 for each in DIGESTS]
        )
    ]
    out: list[list[int]] = [[]] * 5
    program().exported["from_uniform"](NarrowMachine(IFMA), At(halves), At(out), 1)
    assert [value_of(out, lane).to_bytes(32, "little") for lane in range(8)] == POINTS


def test_a_product_on_the_model_and_what_does_not_decode() -> None:
    given = [*POINTS[:6], bytes(32), (2).to_bytes(32, "little")]
    assert reference.decode(given[7]) is None
    numbers = lanes([int.from_bytes(each, "little") for each in given])
    scalar = 0x7A8F
    good: list[list[int]] = [[]]
    out: list[list[int]] = [[]] * 5
    program(5).exported["multiply"](
        NarrowMachine(IFMA), At(numbers), At(curve.digits_of(scalar, 5)), At(out), At(good), 1
    )
    for lane, point in enumerate(given[:6]):
        assert value_of(out, lane).to_bytes(32, "little") == reference.multiply(scalar, point)
    assert [bool(flag) for flag in good[0]] == [True] * 7 + [False]
    assert value_of(out, 6) == 0


def test_digits_are_the_scalar() -> None:
    for scalar in (1, 7, 8, 15, 16, ORDER - 1, *(rng.below(ORDER) for _ in range(50))):
        numbers = curve.digits_of(scalar)
        digits = [
            -size if sign else size for size, sign in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        assert all(-8 <= digit <= 8 for digit in digits)
        assert sum(digit * 16**at for at, digit in enumerate(reversed(digits))) == scalar


def test_no_address_depends_on_the_scalar_or_the_points() -> None:
    seen = []
    for scalar, points in ((0x000, POINTS), (0xF8F, POINTS), (0x123, POINTS[::-1])):
        made = WatchedProgram(IFMA)
        curve.Curve(made, 4)
        numbers = lanes([int.from_bytes(each, "little") for each in points])
        made.run(
            "multiply",
            At(numbers),
            At(curve.digits_of(scalar, 4)),
            At([None] * 5),
            At([None]),
            1,
        )
        seen.append(made.machine.seen)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 1000


# ------------------------------------------------------------------ compiled


@VECTOR
@pytest.mark.parametrize("count", [1, 7, 8, 9, 515])
def test_the_engine_gives_the_bytes_of_libsodium(count: int) -> None:
    group, sodium = vector.VectorGroup(), SodiumGroup()
    digests = rng.token(64 * count)
    points = group.from_uniform(digests)
    assert points == sodium.from_uniform(digests)
    scalar = Scalar.fresh()
    assert group.multiply(scalar, points) == sodium.multiply(scalar, points)


@VECTOR
def test_digests_at_the_edges() -> None:
    edges = [bytes(32), b"\xff" * 32, *(n.to_bytes(32, "little") for n in (1, field.PRIME - 1))]
    edges += [n.to_bytes(32, "little") for n in (field.PRIME, field.PRIME + 1, 2**255 - 1)]
    digests = b"".join(one + other for one in edges for other in edges)
    assert vector.VectorGroup().from_uniform(digests) == SodiumGroup().from_uniform(digests)


@VECTOR
def test_it_refuses_what_libsodium_refuses_and_by_the_same_name() -> None:
    group, sodium = vector.VectorGroup(), SodiumGroup()
    scalar = Scalar.fresh()
    point = POINTS[0]
    spoiled = [
        point[:at] + bytes([point[at] ^ 1 << bit]) + point[at + 1 :]
        for at in (0, 5, 31)
        for bit in range(8)
    ]
    near = [(field.PRIME + n).to_bytes(32, "little") for n in range(-6, 20)]
    for each in (*spoiled, *near, bytes(32), b"\xff" * 32):
        array = point + each + point
        assert _outcome(group, scalar, array) == _outcome(sodium, scalar, array)


def _outcome(group: Group, scalar: Scalar, points: bytes) -> bytes | tuple[int, str]:
    try:
        return group.multiply(scalar, points)
    except PointRefused as error:
        return error.index, error.fault


@VECTOR
def test_a_wiped_scalar_masks_nothing() -> None:
    scalar = Scalar.fresh()
    scalar.wipe()
    with pytest.raises(PointRefused):
        vector.VectorGroup().multiply(scalar, POINTS[0])


@VECTOR
@pytest.mark.soak
def test_random_strings_decode_where_they_do_for_libsodium() -> None:
    group, sodium = vector.VectorGroup(), SodiumGroup()
    count = 100_000
    strings = np.frombuffer(rng.token(32 * count), np.uint8).reshape(count, 32).copy()
    strings[:, 0] &= 0xFE
    strings[:, 31] &= 0x7F
    data = strings.tobytes()
    valid = [sodium.valid(data[at : at + 32]) for at in range(0, len(data), 32)]
    for flags, wanted in ((valid, True), ([not each for each in valid], False)):
        chosen = strings[np.array(flags)]
        if wanted:
            scalar, points = Scalar.fresh(), chosen.tobytes()
            assert group.multiply(scalar, points) == sodium.multiply(scalar, points)
        else:
            for each in chosen[:20_000]:
                with pytest.raises(PointRefused):
                    group.multiply(Scalar.fresh(), each.tobytes())
    assert 0.2 < sum(valid) / count < 0.3


# ------------------------------------------------------------------ which engine


def test_an_engine_is_chosen_by_name_and_replaced_aloud() -> None:
    assert selection.choose("sodium").name == "sodium"
    with pytest.warns(selection.GroupWarning, match="no engine 'abacus'"):
        assert selection.choose("abacus").name == "sodium"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastest = "sodium" if vector.unavailable() else "vector"
        assert selection.choose("").name == fastest


@VECTOR
def test_an_engine_that_errs_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector, "_MASK", vector._MASK >> vector._MASK.dtype.type(1))
    with pytest.warns(selection.GroupWarning, match="do not agree with libsodium"):
        assert selection.choose("").name == "sodium"
