"""Digests: domain and boundaries of the parts are part of what is named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.hashing import digest, hexdigest

parts = st.lists(st.binary(max_size=40), max_size=5)


@given(st.text(max_size=20), parts, st.text(max_size=20), parts)
def test_two_inputs_have_one_digest_only_if_they_are_the_same(
    domain: str, some: list[bytes], other_domain: str, others: list[bytes]
) -> None:
    same_input = (domain, some) == (other_domain, others)
    assert (digest(domain, *some) == digest(other_domain, *others)) == same_input


@given(parts)
def test_moving_a_boundary_changes_the_digest(some: list[bytes]) -> None:
    joined = b"".join(some)
    if [joined] != some:
        assert digest("test", joined) != digest("test", *some)


def test_the_format_is_fixed() -> None:
    # Stored digests have to keep their meaning: SHA-256 of 8-byte lengths and parts.
    assert hexdigest("a", b"bc") == digest("a", b"bc").hex()
    assert (
        hexdigest("a", b"bc") == "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205"
    )
