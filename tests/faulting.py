"""Faults at any message of a protocol: what may arrive instead of it, and how that ends.

Machines talk in one process, in a fixed order. Before a message is delivered the process forks: the
child delivers something else, goes on to the end, and says how it ended. So each case begins in the
state that its message meets, whatever that is made of, has its own time and memory, and leaves
nothing behind. What may come in place of a message is the protocol's own:
``tests/vertical/faults.py``, ``tests/alignment/faults.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federated.protocols.vertical.messages import Outgoing

SECONDS = 60.0
"""For one case, on a machine that does other things as well."""
MEMORY = 3 << 30
"""That a case may take beyond what there was."""

Fault = tuple[str, list[bytes]]
"""What is done to a message, and what is delivered in its place."""


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

    def following(self, sender: str, to: str) -> Outgoing | None:
        """Return the next message of a sender to a receiver that waits, if there is one."""
        return next((out for who, out in self.waiting if (who, out.to) == (sender, to)), None)

    def skip(self, following: Outgoing) -> None:
        """Do not deliver a message that waits."""
        self.waiting = deque(each for each in self.waiting if each[1] is not following)

    @property
    def done(self) -> bool:
        """Whether every machine has ended well."""
        return all(machine.done for machine in self.machines.values())


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


LATER = "after the next"


def _end_of(
    play: Play,
    sender: str,
    to: str,
    given: list[bytes],
    what: str,
    check: Callable[[Play, str], None],
) -> tuple[str, str]:
    following = play.following(sender, to)
    if what == LATER and following is not None:
        play.skip(following)
    try:
        try:
            for data in given:
                play.deliver(sender, to, data)
            play.finish()
        finally:
            check(play, what)
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


def walk(
    name: str,
    play: Play,
    faults: Callable[[int, bytes, list[bytes]], Iterator[Fault]],
    wanted: Callable[[int, int], bool] = lambda *_: True,
    check: Callable[[Play, str], None] = lambda *_: None,
) -> Iterator[Case]:
    """Run a protocol once, and every fault at its messages; yield how each case ended.

    Args:
        name: Of the protocol.
        play: Its machines, before the first message.
        faults: Yields what may come in place of a message: told its number, the message, and
            earlier ones, of the same sender first.
        wanted: Told the number of the message and of the fault.
        check: Told the machines and the fault after a case, however it ended; raises
            ``AssertionError`` if what was released is not what may be.
    """
    number = 0
    while play.waiting:
        sender, out = play.next()
        own = [data for who, to, data in play.heard if (who, to) == (sender, out.to)]
        strange = [data for who, to, data in play.heard if (who, to) != (sender, out.to)]
        every = list(faults(number, out.data, [*own[-1:], *own[:1], *strange[-1:]]))
        following = play.following(sender, out.to)
        if following is not None:
            every.append((LATER, [following.data, out.data]))
        for place, (what, given) in enumerate(every):
            if wanted(number, place):
                told = f"{name}, message {number} ({sender} to {out.to}), {what}"
                act = partial(_end_of, play, sender, out.to, given, what, check)
                yield forked(told, act)
        play.deliver(sender, out.to, out.data)
        number += 1
    assert play.done, "undisturbed, it has to end well"
    check(play, "")
