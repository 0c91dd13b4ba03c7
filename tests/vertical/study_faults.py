"""A whole study in one process, and faults at any message that its parties send.

A party sends through a network in memory. At the n-th message of one party to another the
connection is cut, the message is something else, its sender stands still, or is gone for good.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from federated import seeds
from federated.vertical.keeping import PART
from federated.vertical.work import DEALER
from fusion.link import talk
from fusion.link.talk import Part, Taken
from tests.conversing.network import Cut, Frozen, network
from tests.vertical.studies import Run, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

What = Literal["cut", "unacknowledged", "random", "empty", "earlier", "short", "gone", "frozen"]
HEALS: Final = ("cut", "unacknowledged")
LIES: Final = ("random", "empty", "earlier", "short")
ENDS: Final = ("gone", "frozen")
EVERY: Final[tuple[What, ...]] = (*HEALS, *LIES, *ENDS)

PATIENCE: Final = 60.0
"""Nobody is silent for so long by chance; whose fault it is to be so is made to have been."""
ATTEMPTS: Final = 6
ROWS: Final = 120


@dataclass(frozen=True)
class Fault:
    """What happens to which message.

    Attributes:
        sender: Of whom.
        peer: To whom.
        number: Which of those that it sends to it, from 0.
        what: What happens.
    """

    sender: str
    peer: str
    number: int
    what: What

    def __str__(self) -> str:
        return f"{self.what} at message {self.number} of {self.sender} to {self.peer}"


@dataclass
class Faulty:
    """The network's fault: counts messages, and does one thing to one of them.

    Attributes:
        fault: What to do; None to count.
        sent: Messages by sender and receiver.
        happened: Whether it was done.
    """

    fault: Fault | None = None
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    happened: bool = False
    _before: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, sender: str, peer: str, data: bytes) -> bytes:
        with self._lock:
            return self._done(sender, peer, data)

    def _done(self, sender: str, peer: str, data: bytes) -> bytes:
        fault = self.fault
        if fault is None or self.happened:
            self._count(sender, peer, data)
            return data if fault is None else self._after(fault, sender, peer, data)
        if fault.what == "unacknowledged":
            frame = talk.from_bytes(data) if data[:1] == b"T" else None
            back = (sender, peer) == (fault.peer, fault.sender)
            if back and isinstance(frame, Taken) and frame.count > fault.number:
                self.happened = True
                raise Cut
            return data
        place = self._count(sender, peer, data)
        if place != fault.number or (sender, peer) != (fault.sender, fault.peer):
            return data
        self.happened = True
        if fault.what in ("cut", "gone"):
            raise Cut
        if fault.what == "frozen":
            raise Frozen
        frame = talk.from_bytes(data)
        assert isinstance(frame, Part)
        lie = self._lie(fault, frame.data)
        return talk.to_bytes(Part(frame.number, len(lie), 0, lie))

    @staticmethod
    def _after(fault: Fault, sender: str, peer: str, data: bytes) -> bytes:
        if fault.what == "gone" and fault.sender in (sender, peer):
            raise Cut
        if fault.what == "frozen" and sender == fault.sender:
            raise Frozen
        return data

    def _count(self, sender: str, peer: str, data: bytes) -> int | None:
        """Return the number of a message, at its first part; None for other frames."""
        if data[:1] != b"P":
            return None
        frame = talk.from_bytes(data)
        assert isinstance(frame, Part)
        assert len(frame.data) == frame.total, "messages here are of one part"
        number = self.sent[sender, peer]
        self.sent[sender, peer] += 1
        if self.fault is None or number != self.fault.number:
            self._before[sender, peer] = frame.data
        return number

    def _lie(self, fault: Fault, data: bytes) -> bytes:
        if fault.what == "empty":
            return b""
        if fault.what == "short":
            return data[: len(data) // 2]
        if fault.what == "earlier":
            other = self._before.get((fault.sender, fault.peer), b"")
            return other if other != data else data + data
        return seeds.generator("tests-study-faults", fault.number).bytes(len(data))


@dataclass(frozen=True)
class Undisturbed:
    """A run without a fault.

    Attributes:
        sent: Messages by sender and receiver.
        parts: SHA-256 of each party's part.
    """

    sent: dict[tuple[str, str], int]
    parts: dict[str, str]

    def faults(self) -> Iterator[Fault]:
        """Yield every fault at every message."""
        for (sender, peer), count in sorted(self.sent.items()):
            for number in range(count):
                for what in EVERY:
                    yield Fault(sender, peer, number, what)


def parts_of(run: Run) -> dict[str, str]:
    """Return the digest of each party's part."""
    return {name: hashlib.sha256(job.part or b"").hexdigest() for name, job in run.jobs.items()}


def undisturbed(folder: Path, model: str, names: tuple[str, ...]) -> Undisturbed:
    """Run a study without a fault."""
    faulty = Faulty()
    with network(faulty) as net:
        run = Run(folder, study_text(model, names, patience=PATIENCE), net, rows=ROWS)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        return Undisturbed(dict(faulty.sent), parts_of(run))


def with_fault(folder: Path, model: str, names: tuple[str, ...], fault: Fault) -> Run | None:
    """Run a study with a fault to its end; return it, or None if the fault was never due.

    Raises:
        AssertionError: It did not end, ended without a name, or left something behind.
    """
    kind = "cut" if fault.what in HEALS else "lies" if fault.what in LIES else "ends"
    faulty = Faulty(fault)
    with network(faulty) as net:
        text = study_text(model, names, patience=PATIENCE)
        run = Run(folder, text, net, rows=ROWS)
        if kind == "ends":
            run.while_waiting = partial(_lost, run, faulty)
        run.begin(1)
        states = run.finish()
        if not faulty.happened:
            assert set(states.values()) == {"done"}, run.standings()
            return None
        if kind == "cut":
            assert set(states.values()) == {"done"}, run.standings()
        elif kind == "lies":
            _named(run, fault)
        else:
            _resumes(run, faulty)
        return run


def _lost(run: Run, faulty: Faulty) -> None:
    """Have nobody hear a party, once it is frozen or gone; nobody reaches one that is gone."""
    fault = faulty.fault
    if not faulty.happened or fault is None:
        return
    run.unheard(fault.sender)
    if fault.what == "gone":
        run.network.registries.pop(fault.sender, None)
        run.alone(fault.sender)


def _named(run: Run, fault: Fault) -> None:
    """Check that a lie has ended the run for good, with a name, and that nobody has a model."""
    failures = {n: s["failure"] for n, s in run.standings().items() if s["failure"]}
    for each in failures.values():
        assert each["code"] != "F-000", (fault, failures)
    if fault.peer == DEALER:
        # The parties hear of a dealer's end; at its last message all of them have everything.
        assert failures or set(run.states().values()) == {"done"}, fault
        return
    failure = failures.get(fault.peer)
    assert failure is not None, (fault, run.standings())
    assert failure["kind"] != "again", (fault, failures)
    assert fault.sender in failure["message"], (fault, failure)
    assert not all(PART in party.keeping.names() for party in run.parties.values())


def _resumes(run: Run, faulty: Faulty) -> None:
    """Check that parties end by name, and that later attempts end well."""
    fault = faulty.fault
    assert fault is not None
    states = run.states()
    assert not set(states.values()) & {"aligning", "training"}
    for name, each in run.standings().items():
        if each["failure"] is not None:
            failure = each["failure"]
            assert failure["kind"] != "final", (fault, name, failure)
            assert failure["code"] != "F-000", (fault, name, failure)
    faulty.fault = None
    run.while_waiting = lambda: None
    if fault.sender == DEALER:
        run.hub = run.network.join(DEALER)
    else:
        run.jobs[fault.sender].end()
        run.again(fault.sender)
    for attempt in range(2, 2 + ATTEMPTS):
        marks = run.marks()
        run.begin(attempt, marks[-1] if marks else None)
        if set(run.finish().values()) == {"done"}:
            return
        kinds = {s["failure"]["kind"] for s in run.standings().values() if s["failure"]}
        assert "final" not in kinds, (fault, run.standings())
    raise AssertionError((fault, run.standings()))
