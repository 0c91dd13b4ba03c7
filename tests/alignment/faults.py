"""Faults at any message of an alignment: what may come in its place (``tests/faulting.py``).

Of two parties with every outcome, of rings, and of a list against a published set with what is
attached to it. However a case ends, what was released is looked at: nobody has more records than
are common, what a carrier does changes no result, both of two that learn have the same, and whoever
has failed has nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from federated import seeds
from federated.protocols.vertical.messages import Outgoing
from fusion.alignment import messages
from fusion.alignment.asking import Asker, SetReader
from fusion.alignment.published import Evaluator, PublishedSet
from fusion.alignment.ring import Member
from fusion.alignment.session import Session
from fusion.alignment.talkers import MemberTalker, SessionTalker
from fusion.alignment.terms import field_of
from fusion.alignment.values import SetTerms
from fusion.errors import FusionError
from fusion.wire import canonical
from tests.alignment.parties import BANK, GOV, masker, terms
from tests.crypto.test_ristretto import BAD
from tests.faulting import LATER, Play, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from fusion.services.talker import Talker
    from tests.faulting import Case, Fault

RING = ("a.example", "b.example", "c.example", "d.example", "e.example")
LISTS = [[f"k{at}" for at in range(n, n + 7)] for n in range(5)]
"""One party's keys after the other's: what all have of the first n is what the last lets."""
HONEST = frozenset({"", "lost", "twice", LATER})
"""Faults of a carrier: what comes is what was sent, if it comes."""
NO_POINTS = {
    f"{place} item is {fault}, {number}": (at, bytes.fromhex(point))
    for fault, points in BAD.items()
    for number, point in enumerate(points)
    for place, at in (("the first", 0), ("the last", -1))
}
"""What may stand in place of a point: of whatever list, nothing comes of it."""


class Talking:
    """A party of an alignment as a machine: says what it may, and takes what comes."""

    def __init__(self, party: Session | Member) -> None:
        """Take a party that has begun."""
        self.party = party
        self.talker: Talker = (
            SessionTalker(party) if isinstance(party, Session) else MemberTalker(party)
        )
        self._said = dict.fromkeys(sorted(self.talker.peers), 0)

    def says(self) -> list[Outgoing]:
        """Return what may leave by now and has not left."""
        found = []
        for peer, said in self._said.items():
            for number in range(said, self.talker.ready(peer)):
                found.append(Outgoing(peer, self.talker.message(peer, number)))
                self._said[peer] = number + 1
        return found

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a message; return what may leave now."""
        self.talker.take(sender, data)
        return self.says()

    @property
    def done(self) -> bool:
        """Whether everything was taken."""
        return self.talker.over


class Owner:
    """The owner of a published set: it is asked for its parts, then for its evaluations."""

    def __init__(self, published: PublishedSet) -> None:
        """Take the set."""
        self.published = published
        self._evaluator = Evaluator(published, GOV, masker)
        self.answered = 0

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Return the answer to a part of a question."""
        answer = self._evaluator.take(data)
        self.answered += 1
        return [Outgoing(sender, answer)]

    @property
    def done(self) -> bool:
        """Whether it has answered anything."""
        return self.answered > 0


class Asking:
    """Who asks: takes the set, then asks for its own list part after part."""

    def __init__(self, agreed: SetTerms, keys: list[str]) -> None:
        """Take the own list."""
        self._reader, self._keys = SetReader(agreed), keys
        self.asker: Asker | None = None

    def receive(self, sender: str, data: bytes) -> list[Outgoing]:
        """Take a part of the set, or an answer; return the next part of the question."""
        if self.asker is None:
            self._reader.take(data)
            if not self._reader.complete:
                return []
            self.asker = Asker(self._reader, GOV, self._keys, masker)
        else:
            self.asker.take(data)
        at = self.asker.taken
        return [Outgoing(sender, self.asker.message(at))] if at < self.asker.parts else []

    @property
    def done(self) -> bool:
        """Whether every answer was taken."""
        return self.asker is not None and self.asker.taken == self.asker.parts


def _first(machines: dict[str, Talking]) -> deque[tuple[str, Outgoing]]:
    return deque((name, out) for name, each in machines.items() for out in each.says())


def _two(outcome: str) -> Play:
    agreed = terms(outcome)
    keys = dict(zip((GOV, BANK), LISTS, strict=False))
    machines = {n: Talking(Session.begin(agreed, n, keys[n], masker)) for n in keys}
    return Play(dict(machines), _first(machines))


def _ring(outcome: str, count: int) -> Play:
    agreed = terms(outcome, parties=RING[:count])
    keys = dict(zip(RING[:count], LISTS, strict=False))
    machines = {n: Talking(Member.begin(agreed, n, keys[n], masker)) for n in keys}
    return Play(dict(machines), _first(machines))


def _published(payload: int) -> Play:
    agreed = SetTerms(
        field=field_of("federation", "epoch-1", "ID", "text"), owner=BANK, set_size=100, asked=20,
        chunk=4, payload=payload,
    )  # fmt: skip
    values = [key.encode() for key in LISTS[1]] if payload else None
    made = PublishedSet.make(agreed, LISTS[1], masker, values)
    first = deque((BANK, Outgoing(GOV, made.message(at))) for at in range(made.parts))
    machines: dict[str, Any] = {BANK: Owner(made), GOV: Asking(agreed, LISTS[0])}
    return Play(machines, first)


PROTOCOLS: dict[str, Callable[[], Play]] = {
    **{f"two, {outcome}": lambda o=outcome: _two(o) for outcome in ("one", "both", "size")},  # type: ignore[misc]
    **{
        f"{count} parties, {outcome}": lambda c=count, o=outcome: _ring(o, c)  # type: ignore[misc]
        for count in (3, 4, 5)
        for outcome in ("one", "size")
    },
    "published": lambda: _published(0),
    "published with what is attached": lambda: _published(6),
}

# ------------------------------------------------------------------------------ what is released


Released = frozenset[str] | int | None
"""Keys, or their number; None for nothing."""


def check(play: Play, what: str) -> None:
    """Hold what parties have to what they may have.

    Raises:
        AssertionError: More records than are common, or two that have learned different things, or
            a result of a party that has not taken everything.
    """
    common = frozenset(LISTS[0]).intersection(*LISTS[: len(play.machines)])
    every: set[Released] = set()
    for name, keys in zip(_names(play), LISTS, strict=False):
        machine = play.machines[name]
        found = _outcome(machine, keys, attached=what in HONEST)
        assert machine.done or found is None, f"{name} has a part of the result"
        if found is None:
            continue
        assert what not in NO_POINTS, f"{name} has taken what is no point"
        count = found if isinstance(found, int) else len(found)
        right = count == len(common) if isinstance(found, int) else found == common
        assert right or what not in HONEST, found
        # Answers are not proved, and the claim says so: one in another order exchanges a record for
        # another, and hides as many as it adds; one list in another's place leaves that one out.
        assert count <= len(common) or (name in RING and "earlier one" in what), found
        every.add(found)
    assert len(every) < 2, every


def _names(play: Play) -> tuple[str, ...]:
    return (GOV, BANK) if GOV in play.machines else RING[: len(play.machines)]


def _outcome(machine: Any, keys: list[str], *, attached: bool) -> Released:  # noqa: ANN401
    """Return what a party has; what is attached to its records has to be their own."""
    try:
        if isinstance(machine, Talking):
            found = machine.party.outcome()
            if found is None or found.keys is None:
                return None if found is None else found.size
            return frozenset(keys[at] for at in found.keys)
        if isinstance(machine, Asking) and machine.asker is not None:
            values = machine.asker.outcome()
            for at, value in values.items():
                assert value in {b"", keys[at].encode()} or not attached, "another record's"
            return frozenset(keys[at] for at in values)
    except FusionError:
        pass
    return None


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
    yield "twice", [data, data]
    yield "empty", [b""]
    yield "half", [data[: size // 2]]
    yield "short", [data[:-1]]
    yield "long", [data + b"\0"]
    yield "random", [draw.bytes(size)]
    yield "huge", [data + bytes(messages.MAX_MESSAGE_BYTES)]
    yield "a head that is longer than it", [b"\xff\xff" + data[2:]]
    for number, old in enumerate(before):
        yield f"an earlier one, {number}", [old]
    for bit in draw.integers(0, 8 * size, 8).tolist():
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", [bytes(flipped)]
    for name, changed in _heads(data, before):
        yield name, [changed]
    for name, changed in _bodies(data, before, draw):
        yield name, [changed]


def _taken_apart(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:2], "big")
    head: Any = canonical.decode(data[2 : 2 + length], messages.MAX_HEAD_BYTES)
    return head, data[2 + length :]


def _put_together(head: dict[str, Any], body: bytes) -> bytes:
    said = canonical.encode(head)
    return len(said).to_bytes(2, "big") + said + body


_OTHERS: dict[type, tuple[Any, ...]] = {
    int: (0, 1, 2, 4, 7, 8, 64, 1000, 1001, 2**31, 2**53 - 1, -1, "4", None, True),
    str: ("", "x", "0" * 64, GOV, BANK, *RING[:3], "done", "masked", "list", "hello", 1, None),
}


def _heads(data: bytes, before: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the message with other heads: a field less, one more, another value, another's head."""
    head, body = _taken_apart(data)
    for key, value in head.items():
        yield f"without {key}", _put_together({k: v for k, v in head.items() if k != key}, body)
        for other in _OTHERS[type(value)]:
            if other != value or type(other) is not type(value):
                yield f"{key} {other!r}", _put_together({**head, key: other}, body)
    yield "with one more", _put_together({**head, "more": 1}, body)
    for number, old in enumerate(before):
        yield (
            f"under the head of an earlier one, {number}",
            _put_together(_taken_apart(old)[0], body),
        )
        numbered = {**_taken_apart(old)[0], "number": head["number"]}
        yield f"an earlier one as this, {number}", _put_together(numbered, _taken_apart(old)[1])


def _bodies(
    data: bytes, before: list[bytes], draw: np.random.Generator
) -> Iterator[tuple[str, bytes]]:
    """Yield the message with other items."""
    head, body = _taken_apart(data)
    if not body:
        yield "with an item", _put_together(head, bytes(32))
        return
    width = len(body) // head["count"]
    items = [body[at : at + width] for at in range(0, len(body), width)]
    zero, ones = bytes(width), b"\xff" * width
    bad = bytes.fromhex(BAD["no point"][2])[:width].ljust(width, b"\0")
    point = draw.bytes(width)
    changed = {
        "random": [draw.bytes(width) for _ in items],
        "random and sorted": sorted(draw.bytes(width) for _ in items),
        "all zero": [zero] * len(items),
        "one zero": sorted([zero, *items[1:]]),
        "one no point": sorted([bad, *items[1:]]),
        "one of all ones": sorted([*items[:-1], ones]),
        "one random": sorted([point, *items[1:]]),
        "the first twice": [items[0], *items[:-1]],
        "all the first": [items[0]] * len(items),
        "backwards": items[::-1],
        "the first two exchanged": [*items[1::-1], *items[2:]],
    }
    for name, found in changed.items():
        yield name, _put_together(head, b"".join(found))
    for name, (at, bad) in NO_POINTS.items() if width == messages.POINT else ():
        # Sorted, as most lists have to be: it would be refused for its order else.
        yield (
            name,
            _put_together(head, b"".join(sorted([*(items[1:] if not at else items[:-1]), bad]))),
        )
    yield "without items", _put_together(head, b"")
    for fewer in {1, len(items) - 1} - {0, len(items)}:
        less = b"".join(items[:fewer])
        yield f"with {fewer} of its items", _put_together({**head, "count": fewer}, less)
    one_more = _put_together({**head, "count": len(items) + 1}, b"".join([*items, items[-1]]))
    yield "with one item more", one_more
    for number, old in enumerate(before):
        other = _taken_apart(old)[1]
        if len(other) == len(body) and other != body:
            yield f"with the items of an earlier one, {number}", _put_together(head, other)


def cases(protocol: str, wanted: Callable[[int, int], bool] = lambda *_: True) -> Iterator[Case]:
    """Run an alignment once, and every fault at its messages; yield how each case ended.

    Args:
        protocol: One of :data:`PROTOCOLS`.
        wanted: Told the number of the message and of the fault.
    """
    draw = seeds.generator("tests-alignment-faults", protocol)

    def every(_: int, data: bytes, before: list[bytes]) -> Iterator[Fault]:
        return faults(data, before, draw)

    yield from walk(protocol, PROTOCOLS[protocol](), every, wanted, check)
