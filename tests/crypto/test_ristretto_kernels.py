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
from fusion.crypto.ristretto import curve, field, selection, vector
from fusion.crypto.ristretto.group import ORDER, PointRefused, Scalar
from fusion.crypto.ristretto.sodium import SodiumGroup
from tests.crypto import ristretto_reference as reference
from tests.engines.test_addresses import WatchedProgram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.crypto.paillier.engines.kernels.shape import Shape
    from fusion.crypto.ristretto.field import Form
    from fusion.crypto.ristretto.group import Group

SHAPES: Final = list(vector.SHAPES.values())
FORMS: Final = {shape.name: field.form_of(shape) for shape in SHAPES}


def here(name: str) -> pytest.MarkDecorator:
    """Skip where the vector unit is missing."""
    reason = vector.unavailable(name)
    return pytest.mark.skipif(reason is not None, reason=str(reason))


ENGINES: Final = pytest.mark.parametrize(
    "group",
    [pytest.param(name, marks=here(name)) for name in vector.SHAPES],
    indirect=True,
)
EVERY_SHAPE: Final = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Group:
    return selection.named(request.param)


class NarrowMachine(ModelMachine):
    """Refuses a factor that the unit would cut off."""

    def _product(self, x: int, y: int) -> int:
        most = 2**52 if self.shape.high else 2**32
        assert x < most
        assert y < most
        return super()._product(x, y)


def lanes(shape: Shape, values: list[int]) -> list[list[int]]:
    """Return residues side by side, a vector a limb."""
    cut = [field.form_of(shape).cut(value) for value in values]
    return [list(limb) for limb in zip(*cut, strict=True)]


def value_of(form: Form, limbs: Sequence[Sequence[int]], lane: int = 0) -> int:
    places = zip(limbs, form.offsets(), strict=True)
    return sum(limb[lane] << offset for limb, offset in places)


def edges(form: Form) -> list[list[int]]:
    """Return tight residues: as large as limbs get, and around 0 and p."""
    large = [2**width + 2**form.slack - 1 for width in form.widths]
    values = (0, field.PRIME - 1, field.PRIME, field.PRIME + 1, 2**255 - 1)
    return [
        large,
        [large[0], *[0] * (form.size - 1)],
        [*[0] * (form.size - 1), large[-1]],
        [*form.cut(2**255 - 1)[:-1], large[-1]],
        *map(form.cut, values),
    ]


@EVERY_SHAPE
def test_the_field_at_its_edges(shape: Shape) -> None:
    form = field.form_of(shape)
    assert sum(form.widths) == 255
    m = NarrowMachine(shape)
    at = field.Arithmetic(m)
    for one, other in itertools.product(edges(form), edges(form)):
        x, y = ([m.splat(limb) for limb in each] for each in (one, other))
        a, b = value_of(form, x), value_of(form, y)
        found = [at.product(x, y), at.total(x, y), at.difference(x, y), at.squared(x)]
        for limbs, expected in zip(found, (a * b, a + b, a - b, a * a), strict=True):
            assert value_of(form, limbs) % field.PRIME == expected % field.PRIME
            for limb, width in zip(limbs, form.widths, strict=True):
                assert limb[0] < 2**width + 2**form.slack
        assert value_of(form, at.frozen(x)) == a % field.PRIME
        assert at.odd(x)[0] % 2 == a % field.PRIME % 2
        assert bool(at.zero(x)[0]) == (a % field.PRIME == 0)
    assert m.peak < 61


def program(shape: Shape, digits: int = curve.DIGITS) -> ModelProgram:
    made = ModelProgram(shape)
    curve.Curve(made, digits)
    return made


DIGESTS = [hashlib.sha512(bytes([at])).digest() for at in range(8)]
POINTS = [reference.from_uniform(digest) for digest in DIGESTS]


@EVERY_SHAPE
def test_the_map_on_the_model(shape: Shape) -> None:
    digests = DIGESTS[: shape.lanes]
    halves = [
        limb
        for half in (0, 32)
        for limb in lanes(
            shape,
            [int.from_bytes(each[half : half + 32], "little") % 2**255 for each in digests],
        )
    ]
    form = field.form_of(shape)
    out: list[list[int]] = [[]] * form.size
    program(shape).exported["from_uniform"](NarrowMachine(shape), At(halves), At(out), 1)
    found = [value_of(form, out, lane).to_bytes(32, "little") for lane in range(shape.lanes)]
    assert found == POINTS[: shape.lanes]


@EVERY_SHAPE
def test_a_product_on_the_model_and_what_does_not_decode(shape: Shape) -> None:
    given = [*POINTS[: shape.lanes - 2], bytes(32), (2).to_bytes(32, "little")]
    assert reference.decode(given[-1]) is None
    form = field.form_of(shape)
    numbers = lanes(shape, [int.from_bytes(each, "little") for each in given])
    scalar = 0x7A8F
    good: list[list[int]] = [[]]
    out: list[list[int]] = [[]] * form.size
    program(shape, 5).exported["multiply"](
        NarrowMachine(shape), At(numbers), At(curve.digits_of(scalar, 5)), At(out), At(good), 1
    )
    for lane, point in enumerate(given[:-2]):
        found = value_of(form, out, lane).to_bytes(32, "little")
        assert found == reference.multiply(scalar, point)
    assert [bool(flag) for flag in good[0]] == [True] * (shape.lanes - 1) + [False]
    assert value_of(form, out, shape.lanes - 2) == 0


def test_digits_are_the_scalar() -> None:
    for scalar in (1, 7, 8, 15, 16, ORDER - 1, *(rng.below(ORDER) for _ in range(50))):
        numbers = curve.digits_of(scalar)
        digits = [
            -size if sign else size for size, sign in zip(numbers[::2], numbers[1::2], strict=True)
        ]
        assert all(-8 <= digit <= 8 for digit in digits)
        assert sum(digit * 16**at for at, digit in enumerate(reversed(digits))) == scalar


@EVERY_SHAPE
def test_no_address_depends_on_the_scalar_or_the_points(shape: Shape) -> None:
    seen = []
    points = POINTS[: shape.lanes]
    for scalar, given in ((0x00, points), (0xF8, points), (0x13, points[::-1])):
        made = WatchedProgram(shape)
        curve.Curve(made, 3)
        numbers = lanes(shape, [int.from_bytes(each, "little") for each in given])
        room = At([None] * field.form_of(shape).size)
        digits = At(curve.digits_of(scalar, 3))
        made.run("multiply", At(numbers), digits, room, At([None]), 1)
        seen.append(made.machine.seen)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 1000


# ------------------------------------------------------------------ compiled


@ENGINES
@pytest.mark.parametrize("count", [1, 7, 8, 9, 515])
def test_an_engine_gives_the_bytes_of_libsodium(group: Group, count: int) -> None:
    sodium = SodiumGroup()
    digests = rng.token(64 * count)
    points = group.from_uniform(digests)
    assert points == sodium.from_uniform(digests)
    scalar = Scalar.fresh()
    assert group.multiply(scalar, points) == sodium.multiply(scalar, points)


@ENGINES
def test_digests_at_the_edges(group: Group) -> None:
    halves = [bytes(32), b"\xff" * 32, *(n.to_bytes(32, "little") for n in (1, field.PRIME - 1))]
    halves += [n.to_bytes(32, "little") for n in (field.PRIME, field.PRIME + 1, 2**255 - 1)]
    digests = b"".join(one + other for one in halves for other in halves)
    assert group.from_uniform(digests) == SodiumGroup().from_uniform(digests)


@ENGINES
def test_it_refuses_what_libsodium_refuses_and_by_the_same_name(group: Group) -> None:
    sodium = SodiumGroup()
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


@ENGINES
def test_a_wiped_scalar_masks_nothing(group: Group) -> None:
    scalar = Scalar.fresh()
    scalar.wipe()
    with pytest.raises(PointRefused):
        group.multiply(scalar, POINTS[0])


@ENGINES
@pytest.mark.soak
def test_random_strings_decode_where_they_do_for_libsodium(group: Group) -> None:
    sodium = SodiumGroup()
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
        fastest = next(name for name in selection.NAMES if selection.unavailable(name) is None)
        assert selection.choose("").name == fastest


@pytest.mark.skipif(vector.unavailable("avx2") is not None, reason="no vector unit")
def test_an_engine_that_errs_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        """Leaves zeros."""

    monkeypatch.setattr(
        vector, "_functions", lambda _shape: {"multiply": wrong, "from_uniform": wrong}
    )
    with pytest.warns(selection.GroupWarning, match="do not agree with libsodium"):
        assert selection.choose("").name == "sodium"
