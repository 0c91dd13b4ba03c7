"""Canonical JSON: one value, one spelling; everything else is refused."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import MessageInvalid
from fusion.wire import canonical
from fusion.wire.limits import MAX_DEPTH

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | (
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not 2**53 <= abs(x) < 1e21)
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_a_value_survives(value: object) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@given(values)
def test_encoding_is_what_any_json_reader_reads(value: object) -> None:
    assert json.loads(canonical.encode(value)) == value


@given(values)
def test_another_spelling_of_the_same_value_is_refused(value: object) -> None:
    spelled = json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if spelled != canonical.encode(value):
        with pytest.raises(MessageInvalid):
            canonical.decode(spelled)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        value = canonical.decode(data)
    except MessageInvalid:
        return
    assert canonical.encode(value) == data


@given(st.dictionaries(st.text(max_size=6), st.integers(0, 9), min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical.encode(turned) == canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"b":1,"a":2}',
        b"[1.0]",
        b"[-0]",
        b"[1e2]",
        b"[01]",
        b"[NaN]",
        b"[Infinity]",
        b"[1e999]",
        b"[9007199254740993]",
        b'["\\u0041"]',
        b'["\\ud800"]',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"{} ",
        b"[1,]",
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(MessageInvalid):
        canonical.decode(data)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**53 + 1, b"bytes", {1: 2}, {"a": {1, 2}}, "\ud800", {"\ud800": 1}],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(MessageInvalid):
        canonical.encode(value)


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(MessageInvalid) as refusal:
        canonical.encode({"income": 9_007_199_254_740_993})
    assert "9007199254740993" not in str(refusal.value)


def _nested(depth: int) -> object:
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def test_depth_has_a_limit_both_ways() -> None:
    deepest = canonical.encode(_nested(MAX_DEPTH))
    assert canonical.decode(deepest) == _nested(MAX_DEPTH)
    with pytest.raises(MessageInvalid):
        canonical.encode(_nested(MAX_DEPTH + 1))
    with pytest.raises(MessageInvalid):
        canonical.decode(b"[" + deepest + b"]")


def test_size_is_looked_at_first() -> None:
    assert canonical.decode(b"[1]", limit=3) == [1]
    with pytest.raises(MessageInvalid, match="3 is the limit"):
        canonical.decode(b"[10]", limit=3)
