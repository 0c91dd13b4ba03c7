"""Conversations: what parties of a job say to each other, carried until every one has it.

A job's own logic (:mod:`fusion.services.talker`) makes messages, numbered from 0 for each peer, and
takes those of its peers. A :class:`Talk` carries them (:mod:`fusion.link.line`): of two nodes the
one whose name is smaller dials, the hub is dialled always. A broken connection heals; a peer that
is silent for longer than the job's patience, says that it has failed, or breaks a rule ends the
talk here, and everybody else is told. See ``docs/adr/0028-conversations.md``.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from fusion.errors import (
    ConversationBroken,
    FusionError,
    InputInvalid,
    PartyFailed,
    PartySilent,
    PartyUnreachable,
    RunStopped,
    VerificationFailed,
)
from fusion.identity.members import AUTHORITY
from fusion.link.line import ALIVE_SECONDS, Line
from fusion.link.rings import Rings
from fusion.link.talk import MAX_REASON, Failed, Over
from fusion.services.clock import SystemClock
from fusion.services.outward import PEERS, outward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fusion.ports import Clock, Stop
    from fusion.services.talker import Talker

_LOG: Final = logging.getLogger("banyan.conversing")
_LOOK_SECONDS: Final = 0.2
_KEPT: Final = 1024
"""Talks that are over and still answer: a peer may not have heard the end."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a talk waits.

    Attributes:
        silence: Seconds without a word from a peer, not even that it is alive.
        standstill: Seconds in which no message was taken here or there, while none is worked on
            and no peer says that somebody works.
        longest: The same, whatever peers say: no step of a job takes longer.
        linger: Seconds for peers to hear that this side is over.
    """

    silence: float = 60.0
    standstill: float = 300.0
    longest: float = 3600.0
    linger: float = 5.0


def is_connection(error: BaseException) -> bool:
    """Return whether a talk ended because somebody could not be heard: another attempt may help."""
    if isinstance(error, PartyFailed):
        return error.exit_code == PartyUnreachable.exit_code
    return isinstance(error, PartyUnreachable)


class Talk:
    """One party's part in one attempt of a job. Made by :meth:`Conversations.open`.

    Attributes:
        works_elsewhere: Says whether something works for the talker that is not called from here:
            a process of its own. Whoever opens the talk sets it.
    """

    def __init__(
        self,
        me: str,
        key: tuple[str, int],
        talker: Talker,
        patience: Patience,
        check: Callable[[], None],
        clock: Clock,
    ) -> None:
        """Begin to take and make; :meth:`wait` has to be called."""
        self._me = me
        self.job, self.attempt = key
        self._talker, self._patience, self._check, self._clock = talker, patience, check, clock
        self._bell = Rings()
        self._busy = self._again = False
        self.works_elsewhere: Callable[[], bool] = lambda: False
        self._moved, self._acknowledged = clock.monotonic(), 0
        alive = min(ALIVE_SECONDS, patience.silence / 4, patience.standstill / 4)
        self.lines: Final[Mapping[str, Line]] = {
            peer: Line(
                peer, self._bell, clock, talker.taken(peer), alive, partial(self._idle, peer)
            )
            for peer in sorted(talker.peers)
        }
        self._ended = threading.Event()
        self._error: FusionError | None = None
        self._on_close: list[Callable[[], object]] = []
        self._worker = threading.Thread(target=self._work, name=f"talk {self.job}", daemon=True)
        self._worker.start()

    # ------------------------------------------------------------------ who waits

    def wait(self, stop: Stop) -> None:
        """Carry until every peer has what is for it and this party has everything.

        The permit is looked at several times a second. Whatever ends the talk, peers are told.

        Args:
            stop: Ends it.

        Raises:
            PartySilent: A peer was not heard for too long.
            PartyFailed: A peer has ended the job; its code is that of the peer.
            ConversationBroken: A peer said what a conversation does not have.
            RunStopped: ``stop`` was set.
            FusionError: What the talker or the check raised.
        """
        try:
            last = self._clock.monotonic()
            while not self._ended.wait(_LOOK_SECONDS):
                now = self._clock.monotonic()
                self._excuse(now - last - _LOOK_SECONDS)
                last = now
                try:
                    if stop.is_set():
                        raise RunStopped("The job was stopped here.")
                    self._check()
                    self._look()
                except FusionError as error:
                    self.fail(error)
            self._linger()
        except BaseException:
            self.fail(RunStopped("The job was ended here."))
            raise
        finally:
            self.close()
        if self._error is not None:
            raise self._error

    def _excuse(self, late: float) -> None:
        """A process that stood still has not heard its peers: that is not their silence."""
        if late > 1.0:
            self._moved = min(self._moved + late, self._clock.monotonic())
            for line in self.lines.values():
                line.excuse(late)

    def _look(self) -> None:
        # On a machine that was busy several may be too late to be heard: the one that is longest.
        line = max(self.lines.values(), key=Line.silent)
        if line.silent() > self._patience.silence:
            because = f": {line.reason}" if line.reason else ""
            raise PartySilent(
                f"{line.peer} was not heard for {self._patience.silence:g} seconds{because}.",
                party=line.peer,
                hint="Is its node up, and does it take part in the job?",
            )
        acknowledged = sum(line.most_acknowledged() for line in self.lines.values())
        if (self._busy and not self._again) or acknowledged > self._acknowledged:
            self._moved, self._acknowledged = self._clock.monotonic(), acknowledged
        quiet, patience = self._clock.monotonic() - self._moved, self._patience
        if quiet > patience.longest:
            raise self._standstill(patience.longest, "whatever they say that they do")
        if quiet > patience.standstill and self._idle() > patience.standstill:
            raise self._standstill(patience.standstill, "and nobody says that it works")

    def _standstill(self, seconds: float, what: str) -> PartySilent:
        waiting = [peer for peer, line in self.lines.items() if not line.peer_over] or ["nobody"]
        return PartySilent(
            f"Nothing has come for {seconds:g} seconds, {what}; waiting for {', '.join(waiting)}.",
            party=waiting[0] if waiting[0] in self.lines else "",
            hint="Its node is up: its own log may say what holds it up.",
        )

    def _idle(self, asking: str = "") -> float:
        """Return for how many seconds nobody has worked, as far as is known: see ADR 0040.

        Args:
            asking: The peer that is to be told: its own word is not said back to it.
        """
        if self._busy or self.works_elsewhere():
            return 0.0
        idle = [line.idle() for peer, line in self.lines.items() if peer != asking]
        return min([self._clock.monotonic() - self._moved, *idle])

    def _linger(self) -> None:
        until = self._clock.monotonic() + self._patience.linger
        if self._error is not None:
            until = self._clock.monotonic() + 1.0
        while not all(line.flushed for line in self.lines.values()):
            heard = self._bell.rings()
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            self._bell.wait(heard, min(left, _LOOK_SECONDS))

    def fail(self, error: FusionError) -> None:
        """End the talk, unless it has ended; peers are told."""
        if not self._ended.is_set():
            self._error = self._error or error
            last = _last_word(self._me, error)
            for line in self.lines.values():
                line.end(last)
            self._ended.set()
            self._bell.ring()

    def close(self) -> None:
        """Drop the connections; a talk that has not ended fails.

        One on which both sides have said their last word ends by itself: dropped, it could take
        this side's word with it.
        """
        self.fail(RunStopped("The job was ended here."))
        for line in self.lines.values():
            if not line.flushed:
                line.drop()
        while self._on_close:
            self._on_close.pop()()

    def join(self, seconds: float | None = None) -> bool:
        """Wait until the talker is not called any more; say whether that is so."""
        self._worker.join(seconds)
        return not self._worker.is_alive()

    def wake(self) -> None:
        """Have the talker asked again at once: what it works with has something new."""
        self._bell.ring()

    @property
    def ended(self) -> bool:
        """Whether nothing more is taken or made."""
        return self._ended.is_set()

    @property
    def last_word(self) -> Failed | Over | None:
        """How it ended, if it has, as peers are told."""
        if not self._ended.is_set():
            return None
        return Over() if self._error is None else _last_word(self._me, self._error)

    def closes(self, callback: Callable[[], object]) -> None:
        """Have something called when the talk is closed."""
        self._on_close.append(callback)

    def bytes(self) -> tuple[int, int]:
        """Return how many bytes of messages were sent and received."""
        lines = self.lines.values()
        return sum(line.sent for line in lines), sum(line.came for line in lines)

    # ------------------------------------------------------------------ who works

    def _work(self) -> None:
        try:
            while not self._ended.is_set():
                heard = self._bell.rings()
                moved = [self._move(line) for line in self.lines.values()]
                if not any(moved):
                    if self._complete():
                        for line in self.lines.values():
                            line.end(Over())
                        self._ended.set()
                        return
                    self._bell.wait(heard, _LOOK_SECONDS)
        except FusionError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - a thread's end: whoever waits has to hear of it
            _LOG.exception("a talk failed")
            failed = FusionError(f"The job failed here: {type(error).__name__}.")
            failed.__cause__ = error
            self.fail(failed)

    def _move(self, line: Line) -> bool:
        """Take a message, and make one; say whether there was any."""
        if line.failure is not None:
            raise line.failure
        moved = self._take(line)
        number = line.wanted()
        if number is not None and number < self._talker.ready(line.peer):
            # Who asks for the same again and again has this side busy, and nothing moves.
            self._again = line.was_made(number)
            self._busy = True
            line.send(number, self._talker.message(line.peer, number))
            moved, self._busy, self._again = True, False, False
        self._hold(line)
        if line.acknowledged():
            line.forgot(self._talker.forget(line.peer, line.acknowledged()))
        if line.peer_over and not moved and line.acknowledged() < self._talker.ready(line.peer):
            raise ConversationBroken(
                f"{line.peer} ended before it had taken everything.", party=line.peer
            )
        return moved

    def _hold(self, line: Line) -> None:
        """Hold a peer to what can have been made for it.

        Raises:
            ConversationBroken: It has said that it has more.
        """
        if line.given() > self._talker.most(line.peer):
            raise ConversationBroken(
                f"{line.peer} says that it has what was never made.", party=line.peer
            )

    def _take(self, line: Line) -> bool:
        data = line.received()
        if data is None:
            return False
        try:
            if not self._talker.wants(line.peer, data):
                return False
            self._busy = True  # not while it only looks: that it works is told
            self._talker.take(line.peer, data)
            self._busy = False
        except VerificationFailed as error:
            named = error.message.startswith(tuple(f"{peer}: " for peer in self.lines))
            if not named and line.peer not in error.message:
                error.message = f"{line.peer}: {error.message}"
            raise
        line.took(self._talker.taken(line.peer))
        self._moved = self._clock.monotonic()
        return True

    def _complete(self) -> bool:
        lines = self.lines.values()
        if not self._talker.over:
            if all(line.peer_over and line.received() is None for line in lines):
                who = min(self.lines)
                raise ConversationBroken(f"{who} ended before it had sent everything.", party=who)
            return False
        if any(line.acknowledged() < self._talker.ready(line.peer) for line in lines):
            return False
        for line in lines:  # by a hello since it was last held to it, as well
            self._hold(line)
        return True


def _last_word(me: str, error: FusionError) -> Failed:
    """Return what peers are told of an error: no more than its rule says to everybody."""
    error = outward(error, me, PEERS)
    text = error.message
    text = "".join(c if c.isprintable() else " " for c in text)[:MAX_REASON]
    code = error.code if len(error.code) in {4, 5} else FusionError.code
    return Failed(code=code, exit_code=error.exit_code, reason=text)


def _unless_flushed(line: Line, stop: Callable[[], object]) -> Callable[[], object]:
    return lambda: None if line.flushed else stop()


def dials(me: str, peer: str) -> bool:
    """Return whether this side of a pair dials: the smaller name does, the hub never does."""
    return peer == AUTHORITY or (me != AUTHORITY and me < peer)


@dataclass(frozen=True, slots=True)
class Ended:
    """What is left of a talk that is over: it still answers a peer that has not heard the end.

    Attributes:
        taken: Messages of that peer that were taken; None where that is not known any more.
        last: How it ended.
    """

    taken: int | None
    last: Failed | Over


class Ways(Protocol):
    """How a registry reaches others: :class:`fusion.services.talking.NodeWays`, or in memory."""

    def keep_talking(self, talk: Talk, line: Line) -> Callable[[], object]:
        """Dial the peer of a line whenever there is no connection; return what stops that."""
        ...


class Conversations:
    """The talks of one process; others find them here when they call."""

    def __init__(self, me: str, ways: Ways | None = None, clock: Clock | None = None) -> None:
        """Begin with none.

        Args:
            me: This party.
            ways: How to reach those that this side dials.
            clock: Time.
        """
        self.me: Final = me
        self._ways = ways
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._talks: dict[tuple[str, int, str], Talk] = {}
        self._kept: OrderedDict[tuple[str, int, str], Ended] = OrderedDict()

    def open(
        self,
        job: str,
        attempt: int,
        talker: Talker,
        *,
        patience: Patience,
        check: Callable[[], None],
    ) -> Talk:
        """Begin to talk about an attempt of a job; :meth:`Talk.wait` carries it to its end.

        Args:
            job: The job.
            attempt: Which attempt of it, from 1; all parties have to mean the same.
            talker: The party's own logic.
            patience: How long to wait.
            check: Raises a ``FusionError`` when the work may not go on; :meth:`Talk.wait` calls it.

        Raises:
            InputInvalid: The talker talks with nobody or with itself, this attempt is open, or no
                way leads to a peer that this side dials.
        """
        peers = talker.peers
        if not peers or self.me in peers:
            raise InputInvalid(f"{self.me} can't talk about {job} with itself alone.")
        if self._ways is None and (dialled := sorted(p for p in peers if dials(self.me, p))):
            raise InputInvalid(f"{self.me} has no way to {dialled[0]}.")
        with self._lock:
            if any((job, attempt, peer) in self._talks for peer in peers):
                raise InputInvalid(f"Attempt {attempt} of {job} is open already.")
            talk = Talk(self.me, (job, attempt), talker, patience, check, self._clock)
            for peer in peers:
                self._talks[job, attempt, peer] = talk
                self._kept.pop((job, attempt, peer), None)
        talk.closes(lambda: self._closed(talk))
        for peer, line in talk.lines.items():
            if self._ways is not None and dials(self.me, peer):
                talk.closes(_unless_flushed(line, self._ways.keep_talking(talk, line)))
        return talk

    def _closed(self, talk: Talk) -> None:
        last = talk.last_word or Over()
        with self._lock:
            for peer, line in talk.lines.items():
                key = (talk.job, talk.attempt, peer)
                if self._talks.pop(key, None) is not None:
                    self._kept[key] = Ended(line.counts[0], last)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def lost(self, job: str, attempt: int, peers: Iterable[str]) -> None:
        """Tell peers that an earlier process talked about an attempt, and took all with it.

        Begun anew, the talk would ask for messages that peers have forgotten, as one that breaks a
        rule does; told so, they end at once, and another attempt helps.

        Args:
            job: The job.
            attempt: The attempt.
            peers: With whom it was.
        """
        last = Failed(
            code=PartyUnreachable.code,
            exit_code=PartyUnreachable.exit_code,
            reason="it was started anew in the middle of the attempt",
        )
        with self._lock:
            for peer in peers:
                self._kept[job, attempt, peer] = Ended(None, last)

    def find(self, job: str, attempt: int, peer: str) -> Talk | Ended | None:
        """Return the talk that a peer means, open or over; None if there is none with it."""
        with self._lock:
            key = (job, attempt, peer)
            return self._talks.get(key) or self._kept.get(key)

    def close(self) -> None:
        """End all talks; peers are told."""
        with self._lock:
            talks = set(self._talks.values())
        for talk in talks:
            with suppress(FusionError):
                talk.close()
