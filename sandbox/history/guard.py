"""The history as a node uses it: decide, write, and only then let numbers be made and leave.

:meth:`History.release` holds the file's write lock while it decides, so that two analysts of a
group can't both be served from the room that is left for one. A crash after the decision is written
leaves it in force: asked again, the same cells are answered, at no further charge. Several requests
are decided in their order in one transaction (:meth:`History.release_all`), or in several where
others would wait for long: a crash leaves the first so many of their decisions, or none.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import HistoryBroken, InputInvalid
from fusion.wire import canonical
from sandbox.history import records
from sandbox.history.charges import bring
from sandbox.history.decide import Rules, decide
from sandbox.history.epoch import Cohort, Decided, Epoch, party_of, unanswered
from sandbox.history.joining import joined
from sandbox.history.meter import Meter, meter_of
from sandbox.history.replay import Open, replay
from sandbox.history.request import Status, epoch_of
from sandbox.history.state import State
from sandbox.history.store import Event, Store
from sandbox.history.thresholds import Draws, Policy

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sandbox.history.joining import Table
    from sandbox.history.predicates import Definitions
    from sandbox.history.request import Decision, Request, Scope
    from sandbox.history.state import Cell

    Answer = Callable[[tuple[tuple[int, ...], ...]], tuple[str, ...]]
    """Called with groups of cells (numbers in the request), returns one released text for each."""

    Answers = Callable[[int, tuple[tuple[int, ...], ...]], tuple[str, ...]]
    """The same for one of several requests, whose place among them comes first."""

MAX_VALUE: Final = 400
"""Characters of a released value."""

_SNAPSHOT: Final = 16
_HELD_SECONDS: Final = 5.0
"""After which the write lock is let go between two requests; others wait for it for 30 s."""

_TOLERANCE: Final = 1e-9
_OPEN_LEDGERS: Final = 4
"""Ledgers that stay in memory; each takes 10 bytes and its columns for every entity."""


@dataclass(frozen=True, slots=True)
class Release:
    """What the analyst may see.

    Attributes:
        query: Its name in the group, ``Q-17``; empty if nothing new was decided.
        decision: About each cell.
        values: The released text of each cell; None if it is withheld.
    """

    query: str
    decision: Decision
    values: tuple[str | None, ...]


class _Undone(Exception):
    """Takes back what was written in a rehearsal."""


class History:
    """The ledgers of one node."""

    def __init__(self, path: Path, secret: bytes, policy: Policy | None = None) -> None:
        """Open or make the file.

        Args:
            path: The file.
            secret: 32 bytes that only the node has; the same for the life of the file.
            policy: Bounds; the defaults where none is given.

        Raises:
            fusion.errors.EnvironmentUnfit: It can't be opened.
            InputInvalid: The secret has another length.
        """
        Draws(secret, "", 0)
        self.policy = policy or Policy()
        self._secret = secret
        self._store = Store(path, secret)
        self._ledgers: dict[str, Open] = {}
        self._turn = threading.RLock()
        self._within: sqlite3.Connection | None = None
        """The transaction of a rehearsal; seen by the thread that has the turn alone."""

    def close(self) -> None:
        """Let go of the file until it is used again."""
        self._store.close()

    def heads(self) -> dict[str, tuple[int, str]]:
        """Return events and last link of each ledger, for a log that others witness."""
        return self._store.heads()

    def release(
        self, request: Request, definitions: Definitions, cohort: Cohort, answer: Answer
    ) -> Release:
        """Decide, write, then answer.

        Args:
            request: The table.
            definitions: Declared attributes; the same for all of an epoch.
            cohort: The frozen cohort; the same for all of an epoch.
            answer: Makes released texts for groups of cells, from values that the decision never
                saw; called after the decision is on disk, for cells without a text only.

        Raises:
            InputInvalid: The request is malformed or too long, or cohort or declaration are not
                those of the epoch.
            HistoryBroken: The file was changed.
            fusion.errors.EnvironmentUnfit: The file can't be used.
        """
        (release,) = self.release_all(
            [request], definitions, cohort, lambda _, groups: answer(groups)
        )
        return release

    def release_all(
        self,
        requests: Iterable[Request],
        definitions: Definitions,
        cohort: Cohort,
        answers: Answers,
    ) -> list[Release]:
        """Decide several requests in their order, each in view of those before it.

        Args:
            requests: All of one scope and month. They are taken one by one, so that not all of
                their sets have to be in memory at once. If taking one fails, those before it may
                have been decided; none is answered.
            definitions: As for :meth:`release`.
            cohort: As for :meth:`release`.
            answers: As for :meth:`release`; called once every decision is on disk.

        Raises:
            InputInvalid: As :meth:`release`, or scopes or months differ.
            HistoryBroken: The file was changed.
            fusion.errors.EnvironmentUnfit: The file can't be used.
        """
        rest = iter(requests)
        first = next(rest, None)
        if first is None:
            return []
        first.check(cohort.entities)
        epoch = Epoch(first.scope, first.month, definitions, cohort)
        with self._turn:
            try:
                decided = self._decided(chain([first], rest), epoch)
                values = self._answered(decided, epoch, answers)
            except BaseException:
                # Memory may be ahead of the file: a commit failed. It is read anew.
                self._ledgers.pop(epoch.text, None)
                raise
        return [
            Release(each.query, each.decision, own)
            for each, own in zip(decided, values, strict=True)
        ]

    @contextmanager
    def rehearsal(self, scope: Scope) -> Iterator[None]:
        """Decide within as if for good; afterwards nothing of it was decided, or is on disk.

        Others wait meanwhile. What a rehearsal shows of sets may not leave uncounted.

        Args:
            scope: Of all requests within.

        Raises:
            fusion.errors.EnvironmentUnfit: The file can't be used.
        """
        with self._turn, suppress(_Undone), self._store.transaction() as connection:
            # Memory goes ahead of the file: a copy of it does, as to read the file anew takes long.
            before = None
            if self._store.opening(connection, scope.text()) is not None:
                before = self._caught_up(connection, scope.text())
                self._ledgers[scope.text()] = before.fork()
            self._within = connection
            try:
                yield
            finally:
                self._within = None
                self._ledgers.pop(scope.text(), None)
                if before is not None:
                    self._ledgers[scope.text()] = before
            raise _Undone

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self._within is not None:
            yield self._within
            return
        with self._store.transaction() as connection:
            yield connection

    def refusals_left(self, scope: Scope, month: str) -> int:
        """Return how many more tables with a collision a group may be refused in a month."""
        epoch_of("flow", month)
        with self._store.reading() as connection:
            return max(
                0, self.policy.refusals - self._store.charged(connection, party_of(scope), month)
            )

    def released(self, scope: Scope) -> Mapping[tuple[str, str], Cell]:
        """Return what a ledger has released, by key of the cell and measure; nothing if it is none.

        Raises:
            HistoryBroken: It was changed.
        """
        with self._turn, self._store.reading() as connection:
            if self._store.opening(connection, scope.text()) is None:
                return {}
            return dict(self._caught_up(connection, scope.text()).state.released)

    def carry(
        self,
        before: Sequence[Scope],
        scope: Scope,
        month: str,
        definitions: Definitions,
        cohort: Cohort,
    ) -> None:
        """Begin an epoch of a stock with everything that the last one released still counted.

        The unknowns are the same people's: what was released of them stays. Their numbers stay
        too, newcomers have the numbers after (:mod:`sandbox.history.cohorts`). Earlier results are
        counted, not given again. Ledgers of several groups become one, with all their refusals.

        Args:
            before: The ledgers of the last epoch.
            scope: The next; the same owner, dataset and family.
            month: When it begins.
            definitions: Declared attributes of the next.
            cohort: Of the next; no fewer entities.

        Raises:
            InputInvalid: They are not two epochs of one ledger, or the next has begun; or what
                several ledgers released would, in one, single somebody out.
            HistoryBroken: The file was changed.
        """
        epoch = Epoch(scope, month, definitions, cohort)
        epochs = {each.epoch for each in before}
        same = all(
            each != scope and scope == replace(each, epoch=scope.epoch, group=scope.group)
            for each in before
        )
        if not same or len(epochs) != 1 or scope.epoch in epochs:
            raise InputInvalid("A history is carried to another epoch of the same ledger.")
        with self._turn, self._store.transaction() as connection:
            if self._store.opening(connection, epoch.text) is not None:
                raise InputInvalid("The epoch that a history is carried to has begun.")
            link = self._store.append(
                connection, epoch.text, epoch.event(0, "open", 0, epoch.body), b""
            )
            released = [self._released(connection, each, cohort.entities) for each in before]
            together = joined(released, cohort.entities, self.policy)
            for number, (query, measure, addition) in enumerate(together, start=1):
                carried = epoch.event(number, "carried", query, *records.encode(measure, addition))
                link = self._store.append(connection, epoch.text, carried, link)
            former = [party_of(each) for each in before]
            bring(self._store, connection, epoch.text, epoch.party, former, link)

    def _released(
        self, connection: sqlite3.Connection, scope: Scope, entities: int
    ) -> Iterator[Table]:
        """Yield query, measure and addition of every table, over a cohort that may have grown."""
        old = self._caught_up(connection, scope.text()).state.leverage.entities
        if entities < old:
            raise InputInvalid("A cohort has fewer entities than the one before it.")
        newcomers = np.full(entities - old, -1, dtype=np.int32)
        m = 0
        for event in self._store.events(connection, scope.text(), 0, b""):
            if event.kind not in {"carried", "table"} or not event.rows:
                continue
            measure, addition = records.decode(event.body, event.codes, event.rows, old, m)
            m += len(addition.rows)
            codes = np.concatenate([addition.codes, newcomers])
            yield event.query, measure, replace(addition, codes=codes, settled=())

    def _decided(self, requests: Iterator[Request], epoch: Epoch) -> list[Decided]:
        """Return the decisions, on disk, each with its query's name if there was one to write."""
        made: list[Decided] = []
        for request in requests:
            with self._transaction() as connection:
                some = self._some_decided(connection, chain([request], requests), epoch)
            # From here on it is on disk, whatever happens to this process.
            made += some
        return made

    def _some_decided(
        self, connection: sqlite3.Connection, requests: Iterator[Request], epoch: Epoch
    ) -> list[Decided]:
        """Decide and write as many as there are, or as others may be kept waiting for."""
        made: list[Decided] = []
        began = time.monotonic()
        ledger = self._opened(connection, epoch)
        rules = Rules(self.policy, ledger.draws, epoch.definitions)
        refused = self._store.charged(connection, epoch.party, epoch.month)
        query = self._store.queries(connection, epoch.party)
        for request in requests:
            if (request.scope.text(), request.month) != (epoch.text, epoch.month):
                raise InputInvalid("Requests that are decided together have one scope and month.")
            decision, addition = decide(ledger.state, request, rules, refused)
            if addition is None:
                made.append(Decided("", request.measure, decision))
            else:
                query, refused = query + 1, refused + decision.charged
                packed = records.encode(request.measure, addition)
                event = epoch.event(
                    ledger.events, "table", query, *packed, charged=decision.charged
                )
                self._written(connection, epoch, ledger, event)
                # Memory is ahead of the file until the commit; if that fails, it is let go.
                ledger.absorb(event, request.measure, addition)
                made.append(Decided(f"Q-{query}", request.measure, decision))
            if time.monotonic() - began > _HELD_SECONDS:
                break
        rows, h = ledger.state.leverage.known()
        known = ledger.numbers.get(rows, 0)
        if known - ledger.kept >= _SNAPSHOT:
            self._store.keep(connection, epoch.text, known, h)
            ledger.kept = known
        return made

    def _written(
        self, connection: sqlite3.Connection, epoch: Epoch, ledger: Open, event: Event
    ) -> None:
        ledger.link = self._store.append(connection, epoch.text, event, ledger.link)
        ledger.events += 1

    def _answered(
        self, decided: list[Decided], epoch: Epoch, answers: Answers
    ) -> list[tuple[str | None, ...]]:
        """Return each cell's text, from the file or made now and written before it is returned."""
        known = self._ledgers[epoch.text].values
        made: dict[tuple[str, str], str] = {}
        by_request: list[dict[tuple[str, str], str]] = []
        for place, each in enumerate(decided):
            groups = unanswered(each, known, made)
            if groups:
                texts = answers(place, tuple(tuple(cells) for cells in groups.values()))
                if len(texts) != len(groups) or any(len(text) > MAX_VALUE for text in texts):
                    raise InputInvalid("Released values are too many, too few or too long.")
                own = {(key, each.measure): text for key, text in zip(groups, texts, strict=True)}
                by_request.append(own)
                made |= own
        if made:
            known = self._kept_values(by_request, epoch)
        return [
            tuple(
                None
                if outcome.status is Status.WITHHELD
                else known.get((outcome.source, each.measure))
                for outcome in each.decision.outcomes
            )
            for each in decided
        ]

    def _kept_values(
        self, made: list[dict[tuple[str, str], str]], epoch: Epoch
    ) -> dict[tuple[str, str], str]:
        """Write what was answered, an event a request, and return all that is known."""
        with self._transaction() as connection:
            ledger = self._opened(connection, epoch)
            query = self._store.queries(connection, epoch.party)
            for own in made:
                # Another process may have answered the same cells since.
                fresh = {name: text for name, text in own.items() if name not in ledger.values}
                measure = next(iter(own))[1]
                texts = {key: text for (key, _), text in fresh.items()}
                body = canonical.encode({"measure": measure, "values": texts})
                event = epoch.event(ledger.events, "values", query, body)
                self._written(connection, epoch, ledger, event)
                ledger.values.update(fresh)
        return ledger.values

    def _opened(self, connection: sqlite3.Connection, epoch: Epoch) -> Open:
        """Return the ledger as it is on disk now; make it if this is the first request."""
        scope, body = epoch.text, epoch.body
        found = self._store.opening(connection, scope)
        if found is None:
            self._store.append(connection, scope, epoch.event(0, "open", 0, body), b"")
        elif found != body:
            raise InputInvalid(
                "Cohort or declared attributes are not those that the epoch began with.",
                hint="They can change with the next epoch.",
            )
        return self._caught_up(connection, scope)

    def _caught_up(self, connection: sqlite3.Connection, scope: str) -> Open:
        """Read what was written since; a ledger that fails half-way is read anew next time."""
        ledger = self._ledgers.pop(scope, None)
        # Nothing is kept of a state that is ahead of the file: its writer's commit failed.
        first = 0 if ledger is None else ledger.events
        before = b"" if ledger is None else ledger.link
        kept = None
        for event in self._store.events(connection, scope, first, before):
            if event.kind == "open":
                entities = int(canonical.decode(event.body)["entities"])
                ledger = Open(State(entities), self._draws(scope, entities))
                kept = self._store.kept(connection, scope, entities)
            elif ledger is None:
                raise HistoryBroken("A history does not begin with its cohort.")
            else:
                replay(ledger, event, kept)
            ledger.events, ledger.link = event.number + 1, event.link
        if ledger is None:
            raise HistoryBroken("A history has no events.")
        self._ledgers[scope] = ledger
        while len(self._ledgers) > _OPEN_LEDGERS:
            del self._ledgers[next(iter(self._ledgers))]
        return ledger

    def _draws(self, scope: str, entities: int) -> Draws:
        # Groups share the draws of a cohort: a set has one threshold at this owner.
        owner, dataset, _, _, epoch = canonical.decode(scope.encode())
        shared = canonical.encode([owner, dataset, epoch]).decode()
        return Draws(self._secret, shared, entities)

    def meter(self, scope: Scope) -> Meter:
        """Return how full a ledger is.

        Raises:
            HistoryBroken: There is none, or it was changed.
        """
        with self._turn, self._store.reading() as connection:
            leverage = self._caught_up(connection, scope.text()).state.leverage
        return meter_of(leverage, self.policy)

    def opened(self, scope: Scope) -> tuple[State, Draws]:
        """Return a ledger as it is now, for a look that changes nothing.

        Raises:
            HistoryBroken: There is none, or it was changed.
        """
        with self._turn, self._store.reading() as connection:
            ledger = self._caught_up(connection, scope.text())
            return ledger.state, ledger.draws

    def known(self, scope: Scope) -> dict[tuple[str, str], str]:
        """Return what was answered in a ledger, by key of the cell and measure.

        Raises:
            HistoryBroken: There is none, or it was changed.
        """
        with self._turn, self._store.reading() as connection:
            return dict(self._caught_up(connection, scope.text()).values)

    def verify(self) -> int:
        """Rebuild every ledger from its tables alone and compare; return how many there are.

        Raises:
            HistoryBroken: The chain, the factor or the leverages of one are not what its tables
                give.
        """
        with self._turn, self._store.reading() as connection:
            scopes = self._store.scopes(connection)
            for scope in scopes:
                self._ledgers.pop(scope, None)
                leverage = self._caught_up(connection, scope).state.leverage
                problem = leverage.problem(_TOLERANCE)
                if problem:
                    raise HistoryBroken(f"A history does not follow from its tables: {problem}.")
        return len(scopes)
