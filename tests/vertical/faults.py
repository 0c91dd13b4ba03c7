"""Faults at any message of a vertical run: what may arrive instead of it, and how that ends.

Machines talk in one process, in a fixed order. Before a message is delivered the process forks: the
child delivers something else, goes on to the end, and says how it ended. So each case begins in the
state that its message meets, whatever that is made of, has its own time and memory, and leaves
nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import struct
import time
import traceback
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.protocols.vertical.judging import JudgingFeature, JudgingLabel
from federated.protocols.vertical.messages import MAX_MESSAGE_BYTES, Kind, decode, encode
from federated.protocols.vertical.trees import Growth
from fusion.errors import FusionError
from tests.vertical.parties import Run as Trees
from tests.vertical.parties import make
from tests.vertical.test_linear import NAMES, Linear
from tests.vertical.test_linear_encrypted import Encrypted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federated.protocols.vertical.messages import Array, Message, Outgoing
    from tests.keys import Dealt

SECONDS = 60.0
"""For one case, on a machine that does other things as well."""
MEMORY = 3 << 30
"""That a case may take beyond what there was."""
ROWS = 60


@dataclass
class Play:
    """All machines of a run and what is under way between them.

    Attributes:
        machines: By name.
        waiting: Sender and message, in the order in which they are delivered.
        heard: What was delivered: sender, receiver, bytes.
    """

    machines: dict[str, Any]
    waiting: deque[tuple[str, Outgoing]]
    heard: list[tuple[str, str, bytes]] = field(default_factory=list)

    def deliver(self, sender: str, to: str, data: bytes) -> None:
        """Have a machine take a message."""
        self.heard.append((sender, to, data))
        answers = self.machines[to].receive(sender, data)
        self.waiting.extend((to, each) for each in answers)

    def next(self) -> tuple[str, Outgoing]:
        """Take what is to be delivered next."""
        return self.waiting.popleft()

    def finish(self) -> None:
        """Deliver until nothing is under way."""
        while self.waiting:
            sender, out = self.next()
            self.deliver(sender, out.to, out.data)

    @property
    def done(self) -> bool:
        """Whether every machine has ended well."""
        return all(machine.done for machine in self.machines.values())


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


PROTOCOLS: dict[str, Callable[[Dealt, int], Play]] = {
    "boosting-dealer": lambda _, others: _trees("dealer", others, None),
    "boosting-paillier": lambda dealt, others: _trees("paillier", others, dealt),
    "logistic-dealer": lambda _, others: _linear("logistic", others),
    "linear-dealer": lambda _, others: _linear("linear", others),
    "poisson-dealer": lambda _, others: _linear("poisson", others),
    "logistic-paillier": lambda dealt, others: _encrypted("logistic", others, dealt),
    "linear-paillier": lambda dealt, others: _encrypted("linear", others, dealt),
    "poisson-paillier": lambda dealt, others: _encrypted("poisson", others, dealt),
    "judging": lambda _, others: _judging(others),
}

# ------------------------------------------------------------------------------ faults

Fault = tuple[str, list[bytes]]
"""What is done to a message, and what is delivered in its place."""


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


# ------------------------------------------------------------------------------ cases


@dataclass(frozen=True)
class Case:
    """How a case ended.

    Attributes:
        name: Protocol, parties, message and fault.
        ended: ``refused``, ``done``, ``waits``; or what must not be: ``raised``, ``hangs``,
            ``killed``.
        what: The error.
    """

    name: str
    ended: str
    what: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it must not be."""
        return self.ended in {"raised", "hangs", "killed"}


def _end_of(play: Play, sender: str, to: str, given: list[bytes]) -> tuple[str, str]:
    try:
        for data in given:
            play.deliver(sender, to, data)
        play.finish()
    except FusionError as error:
        if error.code == FusionError.code:
            return "raised", f"an error without a name: {error}"
        return "refused", f"{type(error).__name__}: {error.message}"
    except BaseException as error:  # noqa: BLE001 - what is looked for
        *_, last = traceback.extract_tb(error.__traceback__)
        return "raised", f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
    return ("done", "") if play.done else ("waits", "")


def forked(name: str, act: Callable[[], tuple[str, str]], seconds: float = SECONDS) -> Case:
    """Do something in a process of its own, which has so much time and memory."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12: there are other threads
        child = os.fork()
    if not child:
        try:
            os.close(read)
            pages = Path("/proc/self/statm").read_text("ascii").split()[0]
            held = int(pages) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
            os.write(write, json.dumps(act()).encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    until, found = time.monotonic() + seconds, b""
    try:
        while select.select([read], [], [], max(0.0, until - time.monotonic()))[0]:
            data = os.read(read, 4096)
            if not data:
                break
            found += data
        else:
            os.kill(child, signal.SIGKILL)
            return Case(name, "hangs")
    finally:
        os.close(read)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
    if not found:
        return Case(name, "killed")
    ended, what = json.loads(found)
    return Case(name, ended, what)


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
    play = PROTOCOLS[protocol](dealt, others)
    draw = seeds.generator("tests-faults", protocol, others)
    number = 0
    while play.waiting:
        sender, out = play.next()
        own = [data for who, to, data in play.heard if (who, to) == (sender, out.to)]
        strange = [data for who, to, data in play.heard if (who, to) != (sender, out.to)]
        every = list(faults(out.data, [*own[-1:], *own[:1], *strange[-1:]], draw))
        if number == 1:
            every.append(huge(out.data))
        for place, (what, given) in enumerate(every):
            if wanted(number, place):
                name = f"{protocol} with {others}, message {number} ({sender} to {out.to}), {what}"
                yield forked(name, partial(_end_of, play, sender, out.to, given))
        play.deliver(sender, out.to, out.data)
        number += 1
    assert play.done, "undisturbed, it has to end well"
