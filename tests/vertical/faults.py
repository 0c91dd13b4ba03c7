"""Faults at any message of a vertical run: what may come in its place (``tests/faulting.py``)."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.protocols.vertical import scorecards
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.counting import CountingFeature, CountingLabel
from federated.protocols.vertical.judging import JudgingFeature, JudgingLabel
from federated.protocols.vertical.messages import MAX_MESSAGE_BYTES, Kind, decode, encode
from federated.protocols.vertical.trees import Growth
from fusion.crypto.paillier.keys import PrivateKey
from tests.faulting import Play, walk
from tests.vertical.parties import Run as Trees
from tests.vertical.parties import make
from tests.vertical.test_linear import NAMES, Linear
from tests.vertical.test_linear_encrypted import Encrypted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federated.protocols.vertical.messages import Array, Message
    from tests.faulting import Case, Fault
    from tests.keys import Dealt

ROWS = 60


def _trees(backend: str, others: int, dealt: Dealt | None) -> Play:
    growth = Growth(trees=2, depth=2, min_leaf=5, alone_trees=0)
    primes = None if dealt is None else dealt.primes
    run = Trees(make([1, *[1] * others], ROWS, 9), growth, backend, primes=primes)
    return Play(run.machines, deque(run.first()))


def _linear(family: str, others: int) -> Play:
    run = Linear(family, [1, *[2] * others], rows=ROWS, epochs=2)
    return Play(run.machines, deque(run.first()))


def _encrypted(family: str, others: int, dealt: Dealt) -> Play:
    run = Encrypted(dealt, family, [1, *[1] * others], rows=ROWS // 2, epochs=2)
    return Play(run.machines, deque(run.first()))


def _judging(others: int) -> Play:
    label, *names = NAMES[: others + 1]
    scores = np.arange(ROWS) / 7
    machines: dict[str, Any] = {label: JudgingLabel(names, scores)}
    machines |= {name: JudgingFeature(name, label, names, scores) for name in names}
    first = deque((name, out) for name, each in machines.items() for out in each.start())
    return Play(machines, first)


def _counting(others: int, dealt: Dealt) -> Play:
    """The bins of a scorecard: events that the label party counts with each other party."""
    rows, fewest = 2 * ROWS, 10
    made, every = make([1, *[2] * others], rows, 9), np.ones(2 * ROWS, bool)
    label, *names = NAMES[: others + 1]
    key = PrivateKey(*dealt.primes)
    most = dict.fromkeys(names, 20)
    machines: dict[str, Any] = {label: CountingLabel(most, made.labels, lambda: key, fewest)}
    for name, table in zip(names, made.tables[1:], strict=True):
        columns = scorecards.enough(bin_columns(table, every, 6), every, fewest)
        counted = scorecards.counted(columns, every, fewest)
        machines[name] = CountingFeature(label, columns, counted)
    first = deque((name, out) for name, each in machines.items() for out in each.start())
    return Play(machines, first)


PROTOCOLS: dict[str, Callable[[Dealt, int], Play]] = {
    "boosting-dealer": lambda _, others: _trees("dealer", others, None),
    "boosting-paillier": lambda dealt, others: _trees("paillier", others, dealt),
    "logistic-dealer": lambda _, others: _linear("logistic", others),
    "linear-dealer": lambda _, others: _linear("linear", others),
    "poisson-dealer": lambda _, others: _linear("poisson", others),
    "logistic-paillier": lambda dealt, others: _encrypted("logistic", others, dealt),
    "linear-paillier": lambda dealt, others: _encrypted("linear", others, dealt),
    "poisson-paillier": lambda dealt, others: _encrypted("poisson", others, dealt),
    "counting": lambda dealt, others: _counting(others, dealt),
    "judging": lambda _, others: _judging(others),
}

# ------------------------------------------------------------------------------ faults


def faults(data: bytes, before: list[bytes], draw: np.random.Generator) -> Iterator[Fault]:
    """Yield what may arrive in place of a message.

    Args:
        data: The message.
        before: Earlier ones, of the same sender first.
        draw: For bytes that nobody has chosen.
    """
    size = len(data)
    yield "lost", []
    yield "empty", [b""]
    yield "half", [data[: size // 2]]
    yield "short", [data[:-1]]
    yield "long", [data + b"\0"]
    yield "random", [draw.bytes(size)]
    yield "random behind the head", [data[:11] + draw.bytes(max(0, size - 11))]
    yield "twice", [data, data]
    for number, old in enumerate(before[:3]):
        yield f"an earlier one, {number}", [old]
    for bit in draw.integers(0, 8 * size, 6).tolist():
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", [bytes(flipped)]
    message = decode(data)
    for name, changed in _changed(message, draw):
        yield name, [changed]
    yield "too many arrays", [data[:10] + b"\xff" + data[11:]]
    yield "a size that is none", [_sized(data, 0xFFFFFFFF)]


def huge(data: bytes) -> Fault:
    """Return more than a message may have."""
    return "huge", [data + bytes(MAX_MESSAGE_BYTES)]


def _sized(data: bytes, size: int) -> bytes:
    """Return a message whose first array claims to have a size."""
    if len(data) < 17 or not data[12]:
        return data[:11]
    return data[:13] + struct.pack("<I", size) + data[17:]


def _changed(message: Message, draw: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    kind, tree, level, arrays = message.kind, message.tree, message.level, message.arrays
    for other in draw.choice(list(Kind), 2, replace=False).tolist():
        yield f"of kind {Kind(other).name}", encode(Kind(other), tree, level, *arrays)
    yield "of another step", encode(kind, tree, (level + 1) % 256, *arrays)
    yield "of another tree", encode(kind, (tree + 1) % (1 << 32), level, *arrays)
    yield "of the last tree", encode(kind, (1 << 32) - 1, 255, *arrays)
    yield "without arrays", encode(kind, tree, level)
    yield "with one array more", encode(kind, tree, level, *arrays, np.zeros(1, np.uint8))
    for place, array in enumerate(arrays):
        for name, changed in _arrays(array, draw):
            given = [*arrays[:place], changed, *arrays[place + 1 :]]
            yield f"array {place} {name}", encode(kind, tree, level, *given)


def _arrays(array: Array, draw: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Yield what may stand in an array's place: other sizes, other types, other values."""
    info, flat = np.iinfo(array.dtype), array.reshape(-1)
    yield "longer", np.concatenate([flat, flat[:1]])
    yield "in one more dimension", array[None]
    yield "without anything", np.zeros(0, array.dtype)
    yield "as a number", np.zeros((), array.dtype)
    if array.ndim:
        yield "one less", array[:-1]
        yield "twice as many", np.concatenate([array, array])
    if array.ndim > 1:
        yield "turned", np.ascontiguousarray(array.T)
    for other in (np.uint8, np.uint32, np.uint64, np.int8):
        if other is not array.dtype.type:
            yield f"as {other.__name__}", array.astype(other)
    yield "all zero", np.zeros_like(array)
    yield "all one", np.ones_like(array)
    yield "all largest", np.full_like(array, info.max)
    yield "all smallest", np.full_like(array, info.min)
    yield "random", draw.integers(info.min, info.max, array.shape, array.dtype, endpoint=True)
    if array.size > 1:
        yield "backwards", np.ascontiguousarray(array[::-1])
        one = array.copy()
        one.reshape(-1)[0] = info.max
        yield "one largest", one
        one = array.copy()
        one.reshape(-1)[-1] = one.reshape(-1)[0]
        yield "one twice", one


def cases(
    protocol: str,
    others: int,
    dealt: Dealt,
    wanted: Callable[[int, int], bool] = lambda *_: True,
) -> Iterator[Case]:
    """Run a protocol once, and every fault at its messages; yield how each case ended.

    Args:
        protocol: One of :data:`PROTOCOLS`.
        others: Feature parties.
        dealt: A key.
        wanted: Told the number of the message and of the fault.
    """
    draw = seeds.generator("tests-faults", protocol, others)

    def every(number: int, data: bytes, before: list[bytes]) -> Iterator[Fault]:
        yield from faults(data, before, draw)
        if number == 1:
            yield huge(data)

    play = PROTOCOLS[protocol](dealt, others)
    yield from walk(f"{protocol} with {others}", play, every, wanted)
