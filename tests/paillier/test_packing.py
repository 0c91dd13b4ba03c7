"""Fixed point, packing and sums: exact where they say exact, bounded where they say bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.crypto.paillier.packing import (
    Layout,
    Tensor,
    pack,
    quantise,
    read_sum,
    unpack,
)
from fusion.crypto.paillier.residues import rows_of
from fusion.errors import DataInvalid, InputInvalid, MessageInvalid
from tests.keys import numbers


def _layout(size: int = 300, contributors: int = 4, bits: int = 24, clip: float = 2.0) -> Layout:
    return Layout(
        tensors=(
            Tensor(name="w", size=size, kind="real", clip=clip),
            Tensor(name="n", size=1, kind="count"),
        ),
        value_bits=bits,
        contributors=contributors,
        key_bits=2048,
    )


@given(
    size=st.integers(1, 400),
    contributors=st.integers(1, 9),
    bits=st.integers(8, 40),
    data=st.data(),
)
def test_packed_integers_add_up_slot_by_slot(
    size: int, contributors: int, bits: int, data: st.DataObject
) -> None:
    layout = _layout(size, contributors, bits)
    top = 2**bits - 1
    rows = [
        np.array(
            [data.draw(st.sampled_from([0, 1, top, top // 2])) for _ in range(3)]
            + [top] * (layout.size - 3),
            dtype=np.uint64,
        )[: layout.size]
        for _ in range(contributors)
    ]
    packed = (numbers(pack(layout, row)) for row in rows)
    total = [sum(column) for column in zip(*packed, strict=True)]
    assert all(value < 1 << (layout.key_bits - 1) for value in total)
    expected = np.sum([row.astype(object) for row in rows], axis=0)
    assert unpack(layout, rows_of(total, 256)).tolist() == list(expected)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=200), clip=st.floats(0.01, 4))
def test_the_sum_is_off_by_at_most_half_a_step_a_contributor(
    values: list[float], clip: float
) -> None:
    layout = _layout(len(values), 3, 24, clip)
    array = np.array(values)
    quantised = quantise(layout, {"w": array, "n": np.array([7.0])})
    slots = quantised.slots * np.uint64(3)
    total = read_sum(layout, slots, 3)
    step = layout.step(layout.tensors[0])
    # The topmost level is one step below the clip.
    assert np.abs(total["w"] - 3 * np.clip(array, -clip, clip)).max() <= 3 * step * 1.0001
    assert total["n"][0] == 21
    assert quantised.clipped == int((np.abs(array) > clip).sum())


def test_zero_is_exact() -> None:
    layout = _layout(5)
    slots = quantise(layout, {"w": np.zeros(5), "n": np.zeros(1)}).slots
    assert read_sum(layout, slots, 1)["w"].tolist() == [0.0] * 5


@pytest.mark.parametrize(
    "values",
    [
        {"w": np.full(300, np.nan), "n": np.ones(1)},
        {"w": np.full(300, np.inf), "n": np.ones(1)},
        {"w": np.zeros(299), "n": np.ones(1)},
        {"n": np.ones(1)},
        {"w": np.zeros(300), "n": np.array([-1.0])},
        {"w": np.zeros(300), "n": np.array([0.5])},
        {"w": np.zeros(300), "n": np.array([2.0**24])},
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataInvalid):
        quantise(_layout(), values)


def test_an_overflow_is_noticed() -> None:
    layout = _layout()
    rows = numbers(pack(layout, np.zeros(layout.size, np.uint64)))
    used = layout.slots * layout.slot_bits
    last = (layout.size % layout.slots) * layout.slot_bits
    for wrong in ([rows[0] | 1 << used, *rows[1:]], rows[:-1], [*rows[:-1], 1 << last]):
        with pytest.raises(MessageInvalid):
            unpack(layout, rows_of(wrong, 256))


def test_a_slot_that_so_many_contributors_can_not_reach_is_refused() -> None:
    layout = _layout()
    slots = np.zeros(layout.size, np.uint64)
    slots[0] = 2 * (2**24 - 1) + 1
    with pytest.raises(MessageInvalid):
        read_sum(layout, slots, 2)
    with pytest.raises(MessageInvalid):
        read_sum(layout, slots, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"value_bits": 1},
        {"value_bits": 41},
        {"contributors": 0},
        {"tensors": ()},
        {"tensors": (Tensor(name="w", size=0, kind="real"),)},
        {"tensors": (Tensor(name="w", size=1, kind="real", clip=float("inf")),)},
        {"tensors": (Tensor(name="w", size=1, kind="count"),) * 2},
    ],
)
def test_a_layout_that_can_not_hold_is_refused(arguments: dict[str, object]) -> None:
    good: dict[str, object] = {
        "tensors": (Tensor(name="w", size=1, kind="real"),),
        "value_bits": 24,
        "contributors": 4,
        "key_bits": 2048,
    }
    with pytest.raises(InputInvalid):
        Layout(**{**good, **arguments})  # type: ignore[arg-type]


def test_a_parameter_costs_no_more_than_8_6_bytes() -> None:
    layout = Layout(
        tensors=(Tensor(name="w", size=1_000_000, kind="real"),),
        value_bits=24,
        contributors=16,
        key_bits=3072,
    )
    assert layout.plaintexts * layout.key_bits / 4 / layout.size <= 8.6


def test_the_digest_names_everything_that_gives_slots_a_meaning() -> None:
    digests = {
        _layout().digest,
        _layout(301).digest,
        _layout(contributors=5).digest,
        _layout(bits=25).digest,
        _layout(clip=1.0).digest,
    }
    assert len(digests) == 5
