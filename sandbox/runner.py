"""A permitted query, from its permit to what may leave: run confined, held against the history.

The decision about cells is made from sets, and on disk, before a value is released. Whatever goes
wrong while data is at hand has one text (:class:`fusion.errors.QueryFailed`); the owner's log has
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto.hashing import hexdigest
from fusion.errors import GrantRefused, MessageInvalid, QueryRefused
from fusion.services.query_messages import MAX_REPLY_BYTES
from sandbox import ledgers, post
from sandbox.disclosure import Rules
from sandbox.history.explain import explain, number
from sandbox.history.request import Outcome, Reason, Request, Status
from sandbox.query import compile_statement, finish_rows
from sandbox.refusals import RefusedOnData, refusal
from sandbox.selection import definitions_of, select
from sandbox.sources import MAX_CELLS, MAX_OVERLAPPING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from fusion.grants.permit import Permit
    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from sandbox.disclosure import Cell
    from sandbox.history.guard import History
    from sandbox.members import Members, Numbers
    from sandbox.query import Answer, Compiled
    from sandbox.relations import Relation
    from sandbox.selection import Selection
    from sandbox.sources import Found, Source

    Keys = tuple[Any, ...]
    Decided = list[list[tuple[Selection, dict[Keys, bool]]]]

MAX_SELECTIONS: Final = 24
_CELL_BYTES: Final = 1300
"""No cell is longer in a reply: 200 characters of six bytes, and what is between two."""

_TOO_LARGE: Final = "Ask for more rows (--rows), or group by fewer or coarser properties."
_NOT_COUNTED: Final = "None of it is counted as an earlier result."
_CHARGED: Final = (
    "The query and the rows that were asked for stay charged, and one late answer of the month is"
    " used up, since how many rows there are tells of the data."
)
_SHOWN: Final = frozenset({Status.SERVED, Status.CACHED})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that the policy answers, before anything is run.

    Attributes:
        attached: The policy that holds, with its tables.
        compiled: The statement.
        selections: For each core, whom it selects.
        statement_digest: SHA-256 of the statement.
        study: Names statement, policy and revision, for the permit.
    """

    attached: Attached
    compiled: Compiled
    selections: tuple[tuple[Selection, ...], ...]
    statement_digest: str
    study: str

    def columns(self) -> tuple[str, ...]:
        """Return what the statement reads, as grants name it: keys of its tables among it."""
        policy, found = self.attached.policy, set[str]()
        for core in self.compiled.cores:
            found |= _columns(core.rows)
        tables = {name for query in self.compiled.asked.queries for name in query.tables}
        for name in tables:
            entity = policy.tables[name].entity
            found |= {f"{name}.{entity}"} if entity is not None else set()
        own = {each for each in found if not policy.tables[each.partition(".")[0]].public}
        return tuple(sorted(self.attached.named(each) for each in own))


def _columns(relation: Relation) -> set[str]:
    """Return every ``table.column`` that a relation reads."""
    if relation.table is not None:
        return set()
    exprs = [*relation.where, *relation.having, *(relation.group or ())]
    exprs += [each.value for each in relation.outputs]
    exprs += [each for source in relation.sources for each in source.on]
    found = {name for expr in exprs for part in expr.parts() for name in part.columns}
    for below in relation.below():
        found |= _columns(below)
    return found


def prepare(
    statement: str, attached: Attached, secret: bytes, dialect: Name = "duckdb"
) -> Prepared:
    """Analyse and compile a statement.

    Args:
        statement: SQL.
        attached: The policy, with its tables.
        secret: Of the node.
        dialect: Of the source that will be asked.

    Raises:
        QueryRefused: The policy does not answer it, or the history can't follow it.
    """
    compiled = compile_statement(
        statement,
        attached.policy,
        dialect=dialect,
        secret=ledgers.noise_secret(secret),
        coded=None if attached.store is None else attached.coded,
        public=attached.public,
    )
    selections = tuple(select(core, attached.policy) for core in compiled.cores)
    if sum(map(len, selections)) > MAX_SELECTIONS:
        raise refusal("Q-02")
    named = statement_digest(statement)
    study = hexdigest(
        "banyan/queries/study/v1",
        named.encode(),
        attached.policy.digest.encode(),
        str(attached.revision).encode(),
    )
    return Prepared(attached, compiled, selections, named, study)


def statement_digest(statement: str) -> str:
    """Return what the log calls a statement."""
    return hexdigest("banyan/queries/statement/v1", statement.encode())


@dataclass(slots=True)
class Released:
    """What may leave.

    Attributes:
        answer: The table.
        notes: What was held back in view of earlier results, and what was read at its bin: message
            and hint of each.
        numbers: Of what was decided for it, in the group's ledger: later notes name these.
    """

    answer: Answer
    notes: list[tuple[str, str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


def run(  # noqa: PLR0913 - each is part of the run
    permit: Permit,
    prepared: Prepared,
    source: Source,
    history: History,
    *,
    secret: bytes,
    month: str,
    stop: Stop,
    seconds: float,
    fits: Callable[[Released], None] = lambda _: None,
) -> Released:
    """Carry out what was permitted, once.

    Args:
        permit: For this very query.
        prepared: The query.
        source: What computes on the tables.
        history: What was released before.
        secret: Of the node.
        month: When it is asked, for the refusals of a month.
        stop: Ends it.
        seconds: After which it is ended.
        fits: Raises RefusedOnData if something else than rows is too large to leave.

    Raises:
        GrantRefused: The permit is for something else, or was used.
        RefusedOnData: There are more rows than were asked for; the history has nothing of it.
        WorkFailed: The source ended without an answer; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        MessageInvalid: The source answered something else.
        QueryFailed: The rest of the statement failed.
        HistoryBroken: The history was changed.
        EnvironmentUnfit: The history can't be used.
    """
    attached, request = prepared.attached, permit.request
    asked = (request.action, request.party, request.dataset, request.study, request.output)
    if asked != ("query", attached.owner, attached.dataset, prepared.study, "table"):
        raise GrantRefused("A permit is for another query than this.")
    permit.spend()
    held = Held(history, attached, request.assignee, month)
    found = executed(prepared, source, request.assignee, stop, seconds)
    return _released(prepared, found, held, secret, request.rows, fits)


def executed(prepared: Prepared, source: Source, caller: str, stop: Stop, seconds: float) -> Found:
    """Have a statement's cores and sets computed.

    Raises:
        WorkFailed: It ended without an answer; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        MessageInvalid: The answer is of another shape.
    """
    selections = [own for each in prepared.selections for own in each]
    return source.run(prepared.compiled, selections, caller=caller, stop=stop, seconds=seconds)


def _released(
    prepared: Prepared,
    found: Found,
    held: Held,
    secret: bytes,
    most: int | None,
    fits: Callable[[Released], None] = lambda _: None,
) -> Released:
    if not _may_be_too_large(prepared, found, most):
        # Before a value is looked at: what is decided here is on disk when it returns.
        answer = _finished(prepared, found, held.decide_all(prepared, found), secret, most)
        return _with_notes(answer, held, prepared)
    # Only what leaves is to be in the history, so that whether it can is seen before: from what
    # would be decided. The lock is not held while the rest of the statement runs, which an analyst
    # can make slow.
    tried = held.anew()
    with tried.rehearsal():
        decided = tried.decide_all(prepared, found)
    answer = _finished(prepared, found, decided, secret, most)
    fits(_with_notes(answer, tried, prepared))
    now = held.decide_all(prepared, found)
    if now != decided:  # another query of the group came between
        try:
            answer = _finished(prepared, found, now, secret, most)
        except RefusedOnData as error:
            raise too_large(error.message, kept=True) from None
    return _with_notes(answer, held, prepared)


def _with_notes(answer: Answer, held: Held, prepared: Prepared) -> Released:
    return Released(answer, [*held.notes, *prepared.compiled.notes, *answer.notes], held.numbers)


def _may_be_too_large(prepared: Prepared, found: Found, most: int | None) -> bool:
    """Return whether a result could be refused for its size, whatever of its cells is released."""
    compiled = prepared.compiled
    sizes = [
        (leaf, max(1, len(own))) for leaf, own in zip(compiled.leaves, found.rows, strict=True)
    ]
    rows = post.most_rows(compiled.plan.result, sizes)
    limit = (
        compiled.policy.release.rows if most is None else min(compiled.policy.release.rows, most)
    )
    cells = rows * (1 + len(compiled.plan.result.outputs))
    return rows > limit or cells * _CELL_BYTES > MAX_REPLY_BYTES


def _finished(
    prepared: Prepared, found: Found, decided: Decided, secret: bytes, most: int | None
) -> Answer:
    """Return the table that leaves.

    Raises:
        RefusedOnData: It has more rows than were asked for.
        QueryFailed: It could not be computed.
    """

    def withheld(core: int, these: Sequence[Cell]) -> set[int]:
        return {
            place
            for place, cell in enumerate(these)
            if not all(
                allowed.get(tuple(cell.keys[key] for key in selection.kept), False)
                for selection, allowed in decided[core]
            )
        }

    rules = Rules(prepared.attached.policy.release, ledgers.noise_secret(secret))
    try:
        return finish_rows(prepared.compiled, found.rows, rules, withheld, most)
    except QueryRefused as error:
        raise too_large(error.message) from None


def too_large(message: str, *, kept: bool = False) -> RefusedOnData:
    """Return the refusal of a result that has more rows, or bytes, than may leave.

    Args:
        message: The rule.
        kept: Whether the history has it as released.
    """
    hint = f"{_TOO_LARGE} {_CHARGED}" if kept else f"{_TOO_LARGE} {_NOT_COUNTED} {_CHARGED}"
    return RefusedOnData(message, hint=hint, code="Q-16")


class Held:
    """Decides about tables of sets, and keeps what is to be said of it."""

    def __init__(self, history: History, attached: Attached, organisation: str, month: str) -> None:
        """Take the history of what an organisation, and who pools with it, was given."""
        self._history = history
        self._attached = attached
        self._organisation = organisation
        self._scope = ledgers.scope_of(attached, organisation)
        self._definitions = definitions_of(attached.policy)
        self._cohort = ledgers.cohort_of(attached)
        self._month = month
        self.notes: dict[tuple[str, str], None] = {}
        self.numbers: list[int] = []

    def anew(self) -> Held:
        """Return the same with nothing said."""
        return Held(self._history, self._attached, self._organisation, self._month)

    def rehearsal(self) -> AbstractContextManager[None]:
        """Decide without effect, as :meth:`History.rehearsal` says."""
        return self._history.rehearsal(self._scope)

    def decide_all(self, prepared: Prepared, found: Found) -> Decided:
        """Return, for each core and each of its selections, which cells may be released."""
        parts = zip(found.cells, found.members, strict=True)
        return [
            [(selection, self.decide(selection, *next(parts))) for selection in each]
            for each in prepared.selections
        ]

    def decide(self, selection: Selection, cells: list[Keys], members: Members) -> dict[Keys, bool]:
        """Return of each cell whether it may be released."""
        if not cells:
            return {}
        if len(cells) > MAX_CELLS:
            self._note(Reason.CELLS)
            return {}
        # By definition, not by data: that nobody is in two cells would be an answer. Tables with
        # more rows of somebody than are declared are taken cell by cell all the same.
        if members.codes is not None and not selection.overlapping:
            if int(members.codes.max()) >= len(cells):
                raise MessageInvalid("A set is of no cell.")
            (release,) = self._asked(selection, iter([(cells, members.codes)]))
            return dict(zip(cells, release, strict=True))
        # Somebody can be in several cells: each is a table of its own, the largest first.
        asked: list[Keys] = []

        def alone() -> Iterator[tuple[list[Keys], Numbers]]:
            for place, codes in members.each(MAX_OVERLAPPING):
                if place >= len(cells):
                    raise MessageInvalid("A set is of no cell.")
                asked.append(cells[place])
                yield [cells[place]], codes

        outcomes = self._asked(selection, alone())
        found = {keys: shown for keys, (shown,) in zip(asked, outcomes, strict=True)}
        if len(found) < len(cells):
            self._note(Reason.CELLS)
        return found

    def _asked(
        self, selection: Selection, tables: Iterator[tuple[list[Keys], Numbers]]
    ) -> list[list[bool]]:
        """Return of each table's cells whether they may be released; one after the other."""
        requests = (
            Request(
                scope=self._scope,
                month=self._month,
                measure=selection.measure,
                predicates=tuple(selection.predicate(keys) for keys in cells),
                codes=codes,
                # Rounding is no noise: it is the same for everybody who asks.
                noise=0.0,
                # A joined cell is not shown here, so that it must not be counted as released.
                merge=False,
            )
            for cells, codes in tables
        )
        # What is kept is that a cell was released; its value is made again from frozen tables.
        releases = self._history.release_all(
            requests,
            self._definitions,
            self._cohort,
            lambda _, groups: ("released",) * len(groups),
        )
        for release in releases:
            # Nothing that was too small alone has one: to be told a number tells no more than rows
            # and notes do.
            self.numbers += [int(number(release.query))] if release.query else []
            for outcome in release.decision.outcomes:
                self._say(outcome)
        return [
            [outcome.status in _SHOWN for outcome in release.decision.outcomes]
            for release in releases
        ]

    def _say(self, outcome: Outcome) -> None:
        # Small cells are left out without a word, as by the rules of release.
        if outcome.status not in _SHOWN and outcome.reason is not Reason.SMALL:
            self.notes[explain(replace(outcome, status=Status.WITHHELD))] = None

    def _note(self, reason: Reason) -> None:
        self.notes[explain(Outcome(Status.WITHHELD, reason))] = None
