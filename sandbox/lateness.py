"""When answers leave: at the end of a step that was fixed before data was at hand, or late.

Steps end 0.25, 0.5, 1, ... 32 s after work began (the policy says which is the first), and a step's
end is the only moment at which anybody looks whether the answer is there. Where a statement begins
follows from the policy and from what was late before. A step that ends without an answer is an
*event*: on disk, told to the owner, and counted against what the policy lets an organisation, or a
pool of them, have in a month. A failure with data at hand is one, too, and
so is a result of more rows than were asked for. As long as there is none,
time tells nothing; so of any number of people, each there or not by a fair coin, at most as many
more than half are guessed right as there may be events (``docs/claims/queries.md``,
``docs/adr/0033-time.md``).

- A statement is answered, from its first event on and until the month is over, at the step that it
  came to; so is every statement of its shape, which is what is left without its literals.
- Each quarter of a month's events makes the least step of all statements twice as long.
- A query may have no more events than are left, and keeps them from others while it is under way.
- Who stops waiting, or said for how long to wait, is heard at the end of a step alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from fusion.crypto.hashing import hexdigest
from fusion.errors import IsolationBusy, QueryFailed
from fusion.stores.lateness import Asker
from sandbox.pools import others_of
from sandbox.refusals import RefusedOnData, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from fusion.ports import Clock, Stop
    from fusion.stores.lateness import SqlLateness
    from sandbox.policy import Policy, Time

LAST_MILLISECONDS: Final = 32_000
"""The last step: work that is not done at its end is ended."""

QUARTERS: Final = 4
_GRACE_SECONDS: Final = 10.0
_LITERALS: Final = frozenset({TokenType.NUMBER, TokenType.STRING})


def asker_of(dataset: str, policy: Policy, organisation: str) -> Asker:
    """Return with whom an organisation's events are counted under a policy."""
    return Asker(dataset=dataset, party=organisation, others=others_of(policy, organisation))


def shape_of(statement: str) -> str:
    """Name a statement without its literals: what is asked again with another value has one name.

    A list of literals counts as one, upper and lower case are the same.
    """
    try:
        tokens = sqlglot.tokenize(statement, read="duckdb")
    except (SqlglotError, RecursionError, ValueError):
        return hexdigest("banyan/queries/shape/v1", b"", statement.encode())
    words: list[str] = []
    for token in tokens:
        word = "?" if token.token_type in _LITERALS else token.text.lower()
        if word == "?" and words[-2:] == ["?", ","]:
            words.pop()
        else:
            words.append(word)
    return hexdigest("banyan/queries/shape/v1", *(word.encode() for word in words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query, as far as its time goes.

    Attributes:
        job: Names it.
        caller: Who asks.
        asker: Who asks, and with whom its events are counted.
        shape: Of its statement (:func:`shape_of`).
        seconds: For how long it is waited for.
        time: What the policy says.
    """

    job: str
    caller: str
    asker: Asker
    shape: str
    seconds: float
    time: Time


class Lateness:
    """Gives each query its steps, and counts events; safe to be called by many threads."""

    def __init__(self, store: SqlLateness, clock: Clock, say: Callable[[str], None]) -> None:
        """Take what remembers, time, and what tells the owner."""
        self._store = store
        self._clock = clock
        self._say = say
        self._lock = threading.Lock()
        self._kept: Counter[tuple[str, str]] = Counter()

    def left(self, asker: Asker, time: Time) -> int:
        """Return how many events of this month are left."""
        used, _ = self._store.known(asker, self._clock.now().strftime("%Y-%m"), "")
        return max(0, time.late - used)

    @contextmanager
    def course(self, question: Question) -> Iterator[Course]:
        """Give a query its steps, and keep the events that it may have until its end.

        Raises:
            QueryRefused: No event of the month is left, or it is waited for too shortly (Q-25, 26).
            IsolationBusy: Queries that are under way keep all events that are left.
        """
        month = self._clock.now().strftime("%Y-%m")
        asker = question.asker
        with self._lock:
            used, remembered = self._store.known(asker, month, question.shape)
            most = question.time.late
            if used >= most:
                raise refusal("Q-25")
            kept = sum(many for whose, many in self._kept.items() if asker.counts(*whose))
            left = most - used - kept
            if left < 1:
                raise IsolationBusy("Too many queries are under way for the late answers left.")
            first = least_step(question.time, used)
            steps = _steps(max(first, remembered), question.seconds)[:left]
            self._kept[asker.dataset, asker.party] += len(steps)
        try:
            yield Course(self, question, month, steps, self._clock)
        finally:
            with self._lock:
                self._kept[asker.dataset, asker.party] -= len(steps)

    def count(self, question: Question, month: str, step: int, *, ended: str = "") -> None:
        """Write down that a step ended without an answer, and tell the owner.

        Args:
            question: Of which query.
            month: Of its beginning.
            step: In milliseconds.
            ended: How it ended, if with something that a longer step would not mend.
        """
        after = step if ended else min(2 * step, LAST_MILLISECONDS)
        key, asker = f"{question.job}:{step}", question.asker
        with self._lock:
            try:
                self._store.late(key, asker, month, question.shape, after)
                used, _ = self._store.known(asker, month, question.shape)
            except BaseException:
                # It happened, on disk or not: kept from others until this process ends.
                self._kept[asker.dataset, asker.party] += 1
                raise
        how = ended or f"was not ready after {step / 1000:g} s"
        self._say(
            f"{question.job} of {question.caller} {how}: {used} of"
            f" {question.time.late} late answers of {month} on {question.asker.dataset}"
            " (time.late and time.first_milliseconds in its policy)"
        )


def least_step(time: Time, used: int) -> int:
    """Return the shortest step that any statement is answered at, in milliseconds.

    Args:
        time: What the policy says.
        used: Events of the month.
    """
    return min(time.first_milliseconds << (QUARTERS * used // time.late), LAST_MILLISECONDS)


def _steps(first: int, seconds: float) -> list[int]:
    if first > 1000 * seconds:
        raise refusal("Q-26", f"It leaves after {first / 1000:g} s.")
    steps = [first]
    while 2 * steps[-1] <= min(1000 * seconds, LAST_MILLISECONDS):
        steps.append(2 * steps[-1])
    return steps


def _ended(error: BaseException | None) -> str:
    """Return how work ended, if that tells of data."""
    if isinstance(error, QueryFailed):
        return "failed"
    return "had more rows than were asked for" if isinstance(error, RefusedOnData) else ""


class Course:
    """The steps of one query.

    Attributes:
        most_seconds: After which its work ends by itself, should :attr:`over` not be heeded.
        over: Set when its work is to end.
    """

    def __init__(
        self, late: Lateness, question: Question, month: str, steps: list[int], clock: Clock
    ) -> None:
        """Begin to count when :meth:`begin` is called."""
        self.most_seconds = steps[-1] / 1000 + _GRACE_SECONDS
        self.over = threading.Event()
        self._late, self._question, self._month = late, question, month
        self._steps, self._clock = steps, clock
        self._began = clock.monotonic()

    def begin(self) -> None:
        """Say that data is at hand from now on."""
        self._began = self._clock.monotonic()

    def answer(self, work: Future[bytes], stop: Stop, closing: Stop) -> bytes:
        """Return what work comes to, or raise what it raises, at the end of a step.

        Args:
            work: Under way; what it raises may leave. QueryFailed and RefusedOnData are events:
                data made them.
            stop: Says that nobody waits.
            closing: Says that the node goes down.

        Raises:
            QueryFailed: It was not done in time.
            fusion.errors.EnvironmentUnfit: An event could not be written.

        Whatever is raised, :attr:`over` is set, for the work to end.
        """
        try:
            for step in self._steps:
                rest = self._began + step / 1000 - self._clock.monotonic()
                if closing.wait(max(0.0, rest)):
                    break
                if work.done():
                    ended = _ended(work.exception())
                    if ended:
                        self._late.count(self._question, self._month, step, ended=ended)
                    return work.result()
                self._late.count(self._question, self._month, step)
                if stop.is_set():
                    break
        except BaseException:
            # An event that can't be written, too: nobody waits for the work any more.
            self.over.set()
            raise
        self.over.set()
        raise QueryFailed
