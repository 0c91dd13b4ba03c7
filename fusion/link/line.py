"""One pair of a job: what one side has for the other, over as many connections as it takes.

Between two worlds: a thread takes and makes messages, an event loop carries frames. All that both
touch is behind one lock. A message that was taken is not asked for again; one that was sent and not
taken goes again on the next connection. No more is read from the other side than is taken: then
HTTP/2 makes it wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from fusion.errors import ConversationBroken, MessageInvalid, PartyFailed
from fusion.link import talk
from fusion.link.talk import Alive, Failed, Hello, Over, Part, Taken, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.link.rings import Rings
    from fusion.ports import Clock

ALIVE_SECONDS: Final = 2.0
LINGER_SECONDS: Final = 5.0
"""For the other side to say that it is over as well."""
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Received and not taken, or made and not sent; beyond it one message at a time."""
_EACH_BYTES: Final = 1024
"""What a message counts beside its bytes: any number of empty ones would fit else."""


class Stream(Protocol):
    """A connection as a line uses it."""

    async def read(self) -> bytes | None:
        """Return the next frame; None at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a frame; waits where the other side does not read."""
        ...


class Line:
    """This side of one pair.

    Attributes:
        peer: The other side.
        sent: Bytes of messages that were sent, those sent again counted again.
        came: Bytes of messages that were received.
        reason: Why there is no connection, as far as is known; for people.
    """

    def __init__(
        self,
        peer: str,
        bell: Rings,
        clock: Clock,
        taken: int,
        alive: float = ALIVE_SECONDS,
        idle: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begin without a connection.

        Args:
            peer: The other side.
            bell: Is rung when there is something to do for who takes and makes.
            clock: For how long the other side has been silent.
            taken: Messages of the other side that were taken before.
            alive: Seconds without anything to say after which this side says that it is there.
            idle: Returns for how many seconds nobody but the other side has worked on the job.
        """
        self.peer: Final = peer
        self.sent = self.came = 0
        self.reason = ""
        self._bell, self._clock, self._alive, self._idle = bell, clock, alive, idle
        self._lock = threading.Lock()
        self._taken = self._received = taken
        self._inbox: deque[bytes] = deque()
        self._waiting = 0  # bytes in it
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._to_send = 0  # bytes in it
        self._parts: deque[Part] = deque()
        self._next: int | None = None  # number of the next message to make; None: not connected
        self._acked = self._forgotten = self._made = self._most_acked = 0
        self._given: int | None = None  # most messages that the other side can have whole
        self._heard = self._worked = clock.monotonic()
        self._blocked = False
        self._peer_over = self._peer_failed = False
        self._failure: Exception | None = None
        self._last: Failed | Over | None = None
        self._said_last = False
        self._connection = 0
        self._said: Hello | None = None  # on the newest of them
        self._drop: Callable[[], object] = lambda: None
        self._wake: Callable[[], None] = lambda: None

    # ------------------------------------------------------------- for who takes and makes

    def received(self) -> bytes | None:
        """Return the oldest message that is not taken yet, and leave it."""
        with self._lock:
            return self._inbox[0] if self._inbox else None

    def took(self, count: int) -> None:
        """Say that the oldest message was taken, and how many were by now."""
        with self._lock:
            self._waiting -= len(self._inbox.popleft()) + _EACH_BYTES
            self._taken = count
            self._wake()

    def wanted(self) -> int | None:
        """Return the number of the next message to make; None if none can be sent now."""
        with self._lock:
            full = self._to_send >= MAX_WAITING_BYTES
            return None if self._last is not None or full else self._next

    def send(self, number: int, data: bytes) -> None:
        """Have a message sent, unless another one is wanted by now."""
        with self._lock:
            self._made = max(self._made, number + 1)
            if number == self._next:
                self._outbox.append((number, data))
                self._to_send += len(data)
                self._next += 1
                self._wake()

    def acknowledged(self) -> int:
        """Return how many messages the other side has taken, as it last said."""
        with self._lock:
            return self._acked

    def most_acknowledged(self) -> int:
        """Return the same, as it ever said: who is put back takes again, which is no progress."""
        with self._lock:
            return self._most_acked

    def was_made(self, number: int) -> bool:
        """Return whether a message was made before: to make it again is no progress."""
        with self._lock:
            return number < self._made

    def given(self) -> int:
        """Return how many messages the other side can have: as it first said, or as were sent.

        It may begin with more than was sent from here: of an earlier process of this side.
        """
        with self._lock:
            return self._given or 0

    def forgot(self, below: int) -> None:
        """Say that messages below a number can't be made again."""
        with self._lock:
            self._forgotten = max(self._forgotten, below)

    @property
    def peer_over(self) -> bool:
        """Whether the other side has said that it is over."""
        with self._lock:
            return self._peer_over

    @property
    def failure(self) -> Exception | None:
        """What went wrong for good, if anything did."""
        with self._lock:
            return self._failure

    @property
    def flushed(self) -> bool:
        """Whether the other side needs nothing more: it is over, or was told the end."""
        with self._lock:
            told = self._said_last and self._next is None and isinstance(self._last, Failed)
            return self._peer_over or self._peer_failed or told

    @property
    def owes_last(self) -> bool:
        """Whether the other side, which is over, waits to hear that this one is.

        The connection broke under this side's last word: the other will linger for it.
        """
        with self._lock:
            return self._peer_over and self._last is not None and not self._said_last

    def silent(self) -> float:
        """Return for how many seconds nothing was heard, though somebody listened."""
        with self._lock:
            if self._peer_over or self._blocked:
                return 0.0
            return self._clock.monotonic() - self._heard

    def idle(self) -> float:
        """Return for how many seconds nobody behind this line has worked, as it was told."""
        with self._lock:
            return self._clock.monotonic() - self._worked

    def excuse(self, seconds: float) -> None:
        """Do not count seconds in which this side itself stood still."""
        with self._lock:
            # What came meanwhile is not of the future.
            now = self._clock.monotonic()
            self._heard = min(self._heard + seconds, now)
            self._worked = min(self._worked + seconds, now)

    def end(self, last: Failed | Over) -> None:
        """Say the last word as soon as there is a connection; nothing is made after it."""
        with self._lock:
            if self._last is None:
                self._last = last
                if isinstance(last, Failed):
                    self._outbox.clear()
                    self._parts.clear()
            self._wake()

    def broke(self, what: str) -> None:
        """Note that the other side broke a rule: the talk ends with it."""
        with self._lock:
            self._break(what)

    def told(self, last: Failed) -> None:
        """Note that the other side has ended without success."""
        with self._lock:
            self._fail(last)
            self._bell.ring()

    def drop(self) -> None:
        """Give up the connection there is, if there is one."""
        with self._lock:
            self._drop()

    @property
    def counts(self) -> tuple[int, int]:
        """Messages of the other side taken here, and of this side taken there."""
        with self._lock:
            return self._taken, self._acked

    # ---------------------------------------------------------------- for who carries

    def begin(self, job: str, attempt: int) -> Hello:
        """Take the place of the connection before; return this side's first frame."""
        with self._lock:
            self._drop()
            self._connection += 1
            self._next = None
            self._outbox.clear()
            self._parts.clear()
            self._to_send = 0
            said = Hello(job=job, attempt=attempt, taken=self._taken, next=self._received)
            self._said = said
            return said

    async def carry(self, stream: Stream, theirs: Hello, said: Hello) -> None:
        """Exchange frames after both hellos, until either side ends or the connection breaks.

        Args:
            stream: The connection.
            theirs: The other side's first frame.
            said: This side's, of :meth:`begin`.
        """
        loop, awake, task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(awake.set)

        def drop() -> None:
            if task is not None:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(task.cancel)

        me = self._resume(theirs, said, wake, drop)
        if me is None:
            return
        tasks = [
            asyncio.ensure_future(self._listen(stream, me)),
            asyncio.ensure_future(self._speak(stream, said.taken, awake)),
        ]
        try:
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if rest:
                await asyncio.wait(rest, timeout=LINGER_SECONDS if self._saying_last() else 0)
            for each in done:
                each.result()
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with self._lock:
                if self._connection == me:
                    self._next, self._drop, self._wake = None, lambda: None, lambda: None
            self._bell.ring()

    def _saying_last(self) -> bool:
        with self._lock:
            return self._last is not None or self._peer_over or self._failure is not None

    def _resume(
        self, theirs: Hello, said: Hello, wake: Callable[[], None], drop: Callable[[], object]
    ) -> int | None:
        """Go on from both hellos; return the number of the connection, None if it is not used."""
        with self._lock:
            if said is not self._said:  # another one was begun meanwhile
                return None
            self._heard = self._clock.monotonic()
            if theirs.next < theirs.taken or theirs.taken < self._forgotten:
                self._break("asks for messages that it has taken")
                return None
            if self._given is not None and theirs.next > self._given:
                self._break("says that it has what it was not sent")
                return None
            self._given = theirs.next if self._given is None else self._given
            self.reason = ""
            self._next = theirs.next
            self._acknowledge(theirs.taken)
            self._wake, self._drop = wake, drop
            return self._connection

    def _acknowledge(self, count: int) -> None:
        """Note what the other side has taken; the lock is held."""
        self._acked, self._most_acked = count, max(count, self._most_acked)
        self._bell.ring()

    def _break(self, what: str) -> None:
        """Note that the other side broke a rule; the lock is held."""
        if self._failure is None:
            self._failure = ConversationBroken(f"{self.peer} {what}.", party=self.peer)
        self._bell.ring()

    async def _listen(self, stream: Stream, me: int) -> None:
        buffer = bytearray()
        while (data := await stream.read()) is not None:
            try:
                frame = talk.from_bytes(data)
            except MessageInvalid:
                frame = Unknown()
            with self._lock:
                if self._connection != me:
                    return
                self._heard = self._clock.monotonic()
                self._hear(frame, buffer)
                if self._failure is not None or self._peer_over:
                    self._bell.ring()
                    return
            await self._room()

    async def _room(self) -> None:
        """Wait until what was received is taken: meanwhile the other side can't be heard."""
        while self._waiting >= MAX_WAITING_BYTES:
            with self._lock:
                self._blocked = self._waiting >= MAX_WAITING_BYTES
            await asyncio.sleep(0.02)
        with self._lock:
            if self._blocked:
                self._blocked, self._heard = False, self._clock.monotonic()

    def _hear(self, frame: talk.Frame, buffer: bytearray) -> None:
        match frame:
            case Part():
                self._hear_part(frame, buffer)
            case Taken(count=count):
                if not self._acked < count <= (self._given or 0):
                    self._break("acknowledges what it was not sent, or has before")
                else:
                    if count > self._most_acked:
                        self._worked = self._heard
                    self._acknowledge(count)
            case Alive(idle=idle):
                self._worked = max(self._worked, self._clock.monotonic() - idle / 1000)
            case Over():
                self._peer_over = True
            case Failed():
                self._fail(frame)
            case _:
                self._break("says what a conversation does not have")

    def _fail(self, last: Failed) -> None:
        self._peer_failed = True
        said = f"{self.peer} ended the job: {last.reason or last.code}"
        self._failure = PartyFailed(said, code=last.code, exit_code=last.exit_code, party=self.peer)

    def _hear_part(self, part: Part, buffer: bytearray) -> None:
        if part.number != self._received or part.first != len(buffer):
            self._break("sends a message out of its order")
            return
        self._worked = self._heard
        buffer += part.data
        if len(buffer) < part.total:
            if not part.data:
                self._break("sends an empty part of a message")
            return
        self._inbox.append(bytes(buffer))
        self._waiting += len(buffer) + _EACH_BYTES
        self.came += len(buffer)
        self._received += 1
        buffer.clear()
        self._bell.ring()

    async def _speak(self, stream: Stream, said: int, awake: asyncio.Event) -> None:
        while True:
            awake.clear()
            with self._lock:
                frame = self._to_say(said)
            if frame is None:
                try:
                    async with asyncio.timeout(self._alive):
                        await awake.wait()
                    continue
                except TimeoutError:
                    frame = Alive(max(0, min(int(1000 * self._idle()), talk.MAX_IDLE)))
            await stream.write(talk.to_bytes(frame))
            match frame:
                case Part():  # a large message on a slow way is no standstill
                    with self._lock:
                        self._worked = self._clock.monotonic()
                case Taken(count=count):
                    said = count
                case Over() | Failed():
                    with self._lock:
                        self._said_last = True
                    self._bell.ring()
                    return
                case _:
                    pass

    def _to_say(self, said: int) -> talk.Frame | None:
        """Return the next frame; the lock is held."""
        if isinstance(self._last, Failed):
            return self._last
        if self._taken != said:
            return Taken(self._taken)
        if not self._parts and self._outbox:
            number, data = self._outbox.popleft()
            self._parts.extend(talk.parts(number, data))
        if self._parts:
            part = self._parts.popleft()
            self.sent += len(part.data)
            self._to_send -= len(part.data)
            if not self._parts:
                self._given = max(part.number + 1, self._given or 0)
                self._bell.ring()
            return part
        return self._last
