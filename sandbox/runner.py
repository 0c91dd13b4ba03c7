"""A permitted query, from its permit to what may leave: run confined, held against the history.

The decision about cells is made from sets, and on disk, before a value is released. Whatever goes
wrong while data is at hand has one text (:class:`fusion.errors.QueryFailed`); the owner's log has
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto.hashing import hexdigest
from fusion.errors import GrantRefused, MessageInvalid
from fusion.wire.limits import MEBI
from sandbox import ledgers, sets
from sandbox.compile import codes_sql, core_sql
from sandbox.disclosure import Rules, cells_of
from sandbox.history.explain import explain
from sandbox.history.request import Outcome, Reason, Request, Status
from sandbox.limits import MAX_INPUTS, Limits
from sandbox.members import of_pairs
from sandbox.members import read as read_members
from sandbox.partials import Limits as EngineLimits
from sandbox.partials import ask, reply_of
from sandbox.query import compile_statement, finish_rows
from sandbox.refusals import refusal
from sandbox.scans import Steps
from sandbox.selection import definitions_of, select
from sandbox.store import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fusion.grants.permit import Permit
    from fusion.ports import Stop
    from sandbox.attached import Attached
    from sandbox.disclosure import Cell
    from sandbox.history.guard import History
    from sandbox.isolate import Isolation
    from sandbox.members import Members
    from sandbox.partials import Rows
    from sandbox.query import Answer, Compiled
    from sandbox.relations import Relation
    from sandbox.selection import Selection

    Keys = tuple[Any, ...]
    RunIn = Callable[[str, bytes, Mapping[str, Path]], bytes]

ENTRY: Final = "sandbox.sets:execute"
STORE_ENTRY: Final = "sandbox.storing:execute"
MAX_SELECTIONS: Final = 24
MAX_OVERLAPPING: Final = 200
"""Cells of a table in which one person can be in several: each is decided on its own."""

_MAX_CELLS: Final = 1000
ENGINE: Final = EngineLimits(memory_mb=1024, threads=2)
_MEMORY_BYTES: Final = 3072 * MEBI
_OUTPUT_BYTES: Final = 256 * MEBI
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


def prepare(statement: str, attached: Attached, secret: bytes) -> Prepared:
    """Analyse and compile a statement.

    Raises:
        QueryRefused: The policy does not answer it, or the history can't follow it.
    """
    compiled = compile_statement(
        statement,
        attached.policy,
        secret=ledgers.noise_secret(secret),
        limits=ENGINE,
        coded=None if attached.store is None else attached.coded,
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
        notes: What was held back in view of earlier results: message and hint of each.
    """

    answer: Answer
    notes: list[tuple[str, str]] = field(default_factory=list)


def run(
    permit: Permit,
    prepared: Prepared,
    isolation: Isolation,
    history: History,
    *,
    secret: bytes,
    month: str,
    stop: Stop,
    seconds: float,
) -> Released:
    """Carry out what was permitted, once.

    Args:
        permit: For this very query.
        prepared: The query.
        isolation: Where it runs.
        history: What was released before.
        secret: Of the node.
        month: When it is asked, for the refusals of a month.
        stop: Ends it.
        seconds: After which the worker is killed.

    Raises:
        GrantRefused: The permit is for something else, or was used.
        QueryRefused: There are more rows than were asked for.
        WorkFailed: The worker ended without an answer; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        MessageInvalid: The worker answered something else.
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
    found = executed(prepared, isolation, request.assignee, stop, seconds)
    return _released(prepared, found, held, secret, request.rows)


def _released(
    prepared: Prepared, found: Found, held: Held, secret: bytes, most: int | None
) -> Released:
    # Before a value is looked at: what is decided here is on disk when it returns.
    decided = held.decide_all(prepared, found)

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
    answer = finish_rows(prepared.compiled, found.rows, rules, withheld, most)
    return Released(answer, list(held.notes))


@dataclass(frozen=True, slots=True)
class Found:
    """What a worker found, of the shape that was asked for.

    Attributes:
        rows: Of each query of the statement.
        cells: Kept keys of each cell, for each selection.
        members: Who is in which of them.
    """

    rows: list[Rows]
    cells: list[list[Keys]]
    members: list[Members]


def executed(
    prepared: Prepared, isolation: Isolation, caller: str, stop: Stop, seconds: float
) -> Found:
    """Run cores and sets in one worker.

    Raises:
        WorkFailed: The worker ended without an answer; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        MessageInvalid: The worker answered something else.
    """
    attached, compiled = prepared.attached, prepared.compiled
    selections = [own for each in prepared.selections for own in each]
    limits = Limits(
        wall_seconds=seconds,
        cpu_seconds=2 * seconds + 1,
        memory_bytes=_MEMORY_BYTES,
        output_bytes=_OUTPUT_BYTES,
    )

    def run_in(entry: str, asked: bytes, inputs: Mapping[str, Path]) -> bytes:
        return isolation.run(
            entry, asked, inputs, limits, caller=caller, stop=stop, wait_seconds=seconds
        )

    if attached.store is not None and compiled.stored:
        return _over_store(prepared, selections, attached.store, run_in)
    cells = [core_sql(own.core, attached.policy, "duckdb") for own in selections]
    codes = [codes_sql(own.core, attached.policy, "duckdb") for own in selections]
    whole = ask((*compiled.asked.queries, *cells), ENGINE)
    tables = sorted({name for query in whole.queries for name in query.tables})
    # All of them where they fit: a worker that waits is one for any query of the dataset.
    few = len(attached.inputs) > MAX_INPUTS
    wanted = {
        name: path
        for name, path in attached.inputs.items()
        if not few or name in {*tables, sets.COHORT}
    }
    asked = sets.request_bytes(whole.request, tables, codes, ENGINE)
    reply, pairs = sets.read(run_in(ENTRY, asked, wanted), len(codes), attached.people)
    members = [of_pairs(each, attached.people, MAX_OVERLAPPING) for each in pairs]
    rows = reply_of(reply, whole)
    own = len(compiled.asked.queries)
    shown = [
        [cell.keys for cell in cells_of(selection.core, query, these)]
        for selection, query, these in zip(selections, cells, rows[own:], strict=True)
    ]
    return Found(rows[:own], shown, members)


def _over_store(
    prepared: Prepared, selections: Sequence[Selection], store: Path, run_in: RunIn
) -> Found:
    """Run cores and sets over a store, in one pass where they are of the same rows."""
    attached, compiled = prepared.attached, prepared.compiled
    steps = Steps(attached.policy, attached.coded, attached.people)
    own = steps.statement(compiled)
    sets_of = [steps.members(each.core) for each in selections]
    asked = steps.asked(ENGINE, cells=_MAX_CELLS, members=MAX_OVERLAPPING)
    data = run_in(STORE_ENTRY, asked.request, {STORE: store})
    told = steps.with_members()
    reply, members = read_members(data, len(told), attached.people)
    rows = reply_of(reply, asked)
    shown = [
        [cell.keys for cell in cells_of(steps.core_at(place), asked.queries[place], rows[place])]
        for place in sets_of
    ]
    of = dict(zip(told, members, strict=True))
    return Found([rows[place] for place in own], shown, [of[place] for place in sets_of])


class Held:
    """Decides about tables of sets, and keeps what is to be said of it."""

    def __init__(self, history: History, attached: Attached, group: str, month: str) -> None:
        """Take the history of what a group was given of a dataset."""
        self._history = history
        self._attached = attached
        self._scope = ledgers.scope_of(attached, group)
        self._definitions = definitions_of(attached.policy)
        self._cohort = ledgers.cohort_of(attached)
        self._month = month
        self.notes: dict[tuple[str, str], None] = {}

    def decide_all(
        self, prepared: Prepared, found: Found
    ) -> list[list[tuple[Selection, dict[Keys, bool]]]]:
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
        if len(cells) > _MAX_CELLS:
            self._note(Reason.CELLS)
            return {}
        # By definition, not by data: that nobody is in two cells would be an answer. Tables with
        # more rows of somebody than are declared are taken cell by cell all the same.
        if members.codes is not None and not selection.overlapping:
            if int(members.codes.max()) >= len(cells):
                raise MessageInvalid("A set is of no cell.")
            outcomes = self._asked(selection, cells, members.codes)
            return dict(zip(cells, outcomes, strict=True))
        # Somebody can be in several cells: each is a table of its own, the largest first.
        found: dict[Keys, bool] = {}
        for place, codes in members.each(MAX_OVERLAPPING):
            if place >= len(cells):
                raise MessageInvalid("A set is of no cell.")
            (found[cells[place]],) = self._asked(selection, [cells[place]], codes)
        if len(found) < len(cells):
            self._note(Reason.CELLS)
        return found

    def _asked(self, selection: Selection, cells: list[Keys], codes: Any) -> list[bool]:  # noqa: ANN401 - an array
        request = Request(
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
        # What is kept is that a cell was released; its value is made again from frozen tables.
        release = self._history.release(
            request, self._definitions, self._cohort, lambda groups: ("released",) * len(groups)
        )
        for outcome in release.decision.outcomes:
            self._say(outcome)
        return [outcome.status in _SHOWN for outcome in release.decision.outcomes]

    def _say(self, outcome: Outcome) -> None:
        # Small cells are left out without a word, as by the rules of release.
        if outcome.status not in _SHOWN and outcome.reason is not Reason.SMALL:
            self.notes[explain(replace(outcome, status=Status.WITHHELD))] = None

    def _note(self, reason: Reason) -> None:
        self.notes[explain(Outcome(Status.WITHHELD, reason))] = None
