"""ristretto255 against RFC 9496: its vectors, its bad encodings, and the text as a program."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from fusion.crypto.ristretto import selection
from fusion.crypto.ristretto.group import ORDER, Group, PointRefused, Scalar
from fusion.crypto.ristretto.sodium import SodiumGroup
from fusion.errors import KeyRefused
from tests.crypto import ristretto_reference as reference

GENERATOR = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"
MULTIPLES = {
    2: "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    3: "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    14: "46376b80f409b29dc2b5f6f0c52591990896e5716f41477cd30085ab7f10301e",
}
"""RFC 9496, A.1."""
UNIFORM = {
    "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1"
    "4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6": (
        "3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46"
    ),
    "f116b34b8f17ceb56e8732a60d913dd10cce47a6d53bee9204be8b44f6678b27"
    "0102a56902e2488c46120e9276cfe54638286b9e4b3cdb470b542d46c2068d38": (
        "f26e5b6f7d362d2d2a94c5d0e7602cb4773c95a2e5c31a64f133189fa76ed61b"
    ),
}
"""RFC 9496, A.3."""
BAD = {
    "non-canonical": (
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        GENERATOR[:-2] + "f6",
    ),
    "no point": (
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
        "de6a7b00deadc788eb6b6c8d20c0ae96c2f2019078fa604fee5b87d6e989ad7b",
    ),
    "identity": ("00" * 32,),
}
"""RFC 9496, A.2: not reduced and negative; not on the curve. And the identity, and the generator
with its highest bit set, which libsodium 1.0.18 takes."""


@pytest.fixture(scope="module", params=selection.NAMES)
def group(request: pytest.FixtureRequest) -> Group:
    reason = selection.unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    return selection.named(request.param)


def scalar(number: int) -> Scalar:
    return Scalar(number.to_bytes(32, "little"))


def test_multiples_of_the_generator(group: Group) -> None:
    for number, expected in MULTIPLES.items():
        assert group.multiply(scalar(number), bytes.fromhex(GENERATOR)).hex() == expected


def test_the_one_way_map(group: Group) -> None:
    for data, expected in UNIFORM.items():
        assert group.from_uniform(bytes.fromhex(data)).hex() == expected


@pytest.mark.parametrize(("fault", "point"), [(f, p) for f, ps in BAD.items() for p in ps])
def test_a_bad_encoding_is_refused_by_name(group: Group, fault: str, point: str) -> None:
    good = bytes.fromhex(GENERATOR)
    with pytest.raises(PointRefused) as caught:
        group.multiply(scalar(7), good + good + bytes.fromhex(point) + good)
    assert (caught.value.index, caught.value.fault) == (2, fault)


def test_the_rfc_as_a_program_gives_the_same(group: Group) -> None:
    digests = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(24))
    points = group.from_uniform(digests)
    secret = Scalar.fresh()
    number = int.from_bytes(secret.held, "little")
    product = group.multiply(secret, points)
    for at in range(24):
        point = reference.from_uniform(digests[64 * at : 64 * at + 64])
        assert points[32 * at : 32 * at + 32] == point
        assert product[32 * at : 32 * at + 32] == reference.multiply(number, point)


def test_the_inverse_undoes(group: Group) -> None:
    secret = Scalar.fresh()
    points = group.from_uniform(hashlib.sha512(b"x").digest() * 3)
    masked = group.multiply(secret, points)
    assert masked != points
    assert group.multiply(secret.inverse(), masked) == points


@pytest.mark.parametrize("number", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_a_scalar_is_below_the_order_and_not_zero(number: int) -> None:
    with pytest.raises(KeyRefused):
        scalar(number)


def test_a_wiped_scalar_masks_nothing(group: Group) -> None:
    secret = Scalar.fresh()
    secret.wipe()
    assert not any(secret.held)
    with pytest.raises(PointRefused):
        group.multiply(secret, bytes.fromhex(GENERATOR))


def test_a_scalar_shows_nothing() -> None:
    secret = Scalar.fresh()
    assert secret.held.hex() not in repr(secret)
    assert repr(secret) == "Scalar(…)"


def test_an_array_has_whole_items(group: Group) -> None:
    with pytest.raises(ValueError, match="too many"):
        group.multiply(Scalar.fresh(), bytes(33))


def test_the_library_leaves_no_file_behind() -> None:
    SodiumGroup()
    assert not Path(sys.modules["rbcl._sodium"].lib_path).exists()
