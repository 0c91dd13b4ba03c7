"""One run of an approved job, from its permit to the table that may leave or is held."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from fusion.errors import GrantRefused, MessageInvalid
from fusion.grants.python_job import names_of
from fusion.services.python_messages import Table
from fusion.services.query_messages import Note
from fusion.wire import canonical
from fusion.wire.limits import MAX_DOCUMENT_BYTES, MEBI
from sandbox import disclosure, ledgers, python_people
from sandbox.disclosure import Rules
from sandbox.jobs import ENTRY, Job, check_answer
from sandbox.limits import Limits
from sandbox.members import of_pairs
from sandbox.python_job import REQUEST_SCHEMA
from sandbox.python_tables import base_of
from sandbox.runner import Held
from sandbox.sources import MAX_OVERLAPPING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.grants.permit import Permit
    from fusion.grants.python_job import Returns
    from fusion.ports import Stop
    from fusion.services.python_shelf import Shelved
    from sandbox.attached import Attached
    from sandbox.history.guard import History
    from sandbox.isolate import Isolation
    from sandbox.policy import Release
    from sandbox.process import Result
    from sandbox.python_people import People

MEMORY_BYTES: Final = 1024 * MEBI


class Ended(Protocol):
    """Told how a worker ended, for the owner alone."""

    def __call__(self, ending: str, code: int | None, seconds: float, printed: bytes) -> None:
        """Take how it ended, its exit code, its seconds, the end of its standard error."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs.

    Attributes:
        isolation: Confines the worker.
        history: What was released before.
        secret: Of the node.
        month: When it is run, for the refusals of a month.
    """

    isolation: Isolation
    history: History
    secret: bytes
    month: str


@dataclass(frozen=True, slots=True)
class Errand:
    """How a script is run.

    Attributes:
        seconds: After which the worker is killed.
        ended: Told how it ended.
        caller: On whose behalf.
        stop: Ends it.
    """

    seconds: float
    ended: Ended
    caller: str = ""
    stop: Stop | None = None


def execute(
    permit: Permit,
    shelved: Shelved,
    attached: Attached,
    inputs: Mapping[str, Path],
    place: Place,
    errand: Errand,
) -> Table:
    """Carry out what was permitted, once; return the table, which names no run yet.

    Args:
        permit: For this very job.
        shelved: The job.
        attached: The policy that holds, with its people.
        inputs: What the script reads.
        place: Where it runs.
        errand: How.

    Raises:
        GrantRefused: The permit is for something else, or was used.
        WorkFailed: The worker ended without a table; nothing of why may leave.
        IsolationBusy: There was no place for it in time.
        HistoryBroken: The history was changed.
        EnvironmentUnfit: The history can't be used.
        MessageInvalid: A set is of no cell.
    """
    job, request = shelved.job, permit.request
    asked = (request.action, request.output, request.party, request.dataset, request.code)
    wanted = ("query", "python", attached.owner, attached.dataset, job.digest)
    if asked != wanted or (request.assignee, request.study) != (job.assignee, job.digest):
        raise GrantRefused("A permit is for another job than this.")
    permit.spend()
    answer = run_script(
        place.isolation, shelved.script, job.returns, inputs, errand, people=attached.people
    )
    if job.returns.form == "table":
        return table_of(job.returns, answer, job.digest)
    base = base_of(attached.policy, job.returns, inputs)
    people = python_people.read_people(job.returns, answer, attached.people, base)
    held = Held(place.history, attached, job.assignee, place.month)
    # Before a value is looked at: what is decided here is on disk when it returns.
    selection = python_people.selection_of(
        job.returns, job.digest, attached.policy, None if base is None else base.table
    )  # fmt: skip
    members = of_pairs(people.pairs(), attached.people, MAX_OVERLAPPING)
    allowed = held.decide(selection, people.keys, members)
    out = {place for place, keys in enumerate(people.keys) if not allowed.get(keys, False)}
    rows = released(job.returns, people, attached.policy.release,
                    ledgers.noise_secret(place.secret), out)  # fmt: skip
    notes = [Note(message=message, hint=hint) for message, hint in list(held.notes)[:100]]
    return _table(job.returns, rows, job.digest, notes).model_copy(update={"numbers": held.numbers})


def run_script(
    isolation: Isolation,
    script: str,
    returns: Returns,
    inputs: Mapping[str, Path],
    errand: Errand,
    *,
    people: int,
) -> bytes:
    """Run a script in one confined worker; return its answer, of which nothing is believed.

    Args:
        isolation: Where.
        script: Python source.
        returns: What it is declared to return.
        inputs: Files, by the names that the script uses.
        errand: How.
        people: How many there are at most.

    Raises:
        InputInvalid: An input that can't be.
        IsolationBusy: No place in time.
        WorkFailed: It has no answer; details are for the owner.
    """
    declared: dict[str, Any] | None = None
    most = MAX_DOCUMENT_BYTES
    if returns.form == "people":
        most = max(python_people.answer_bytes(returns, people), 1024)
        declared = {
            "keys": {each.name: list(each.categories) for each in python_people.stated(returns)},
            "values": [each.name for each in python_people.measured(returns)],
        }
    request = {"schema": REQUEST_SCHEMA, "script": script, "people": declared}
    limits = Limits(
        wall_seconds=errand.seconds,
        cpu_seconds=2 * errand.seconds + 1,
        memory_bytes=MEMORY_BYTES,
        output_bytes=min(most, 256 * MEBI),
    )

    def told(result: Result) -> None:
        errand.ended(result.ending, result.code, result.seconds, result.log)

    return isolation.run(
        ENTRY,
        canonical.encode(request),
        inputs,
        limits,
        caller=errand.caller,
        stop=errand.stop,
        wait_seconds=errand.seconds,
        ended=told,
    )


def table_of(returns: Returns, answer: bytes, job: str) -> Table:
    """Return the table that an answer is, checked against its declaration and rounded.

    Raises:
        WorkCrashed: It is not what is declared.
    """
    declared = Job(script="", columns=returns.columns, max_rows=returns.max_rows)
    table = check_answer(declared, answer)
    columns = [table.column(each.name).to_pylist() for each in returns.columns]
    rows = [tuple(map(_cell, row)) for row in zip(*columns, strict=True)]
    return _table(returns, rows, job, [])


def released(
    returns: Returns, people: People, release: Release, secret: bytes, withheld: set[int]
) -> list[tuple[Any, ...]]:
    """Return the rows that leave of rows about people, by the rules of a policy."""
    cells = python_people.cells_of(returns, people, secret)
    left = [cell for place, cell in enumerate(cells) if place not in withheld]
    return disclosure.release(python_people.core_of(returns), left, Rules(release, secret))


def _table(returns: Returns, rows: list[tuple[Any, ...]], job: str, notes: list[Note]) -> Table:
    if len(rows) > returns.max_rows:
        raise MessageInvalid(
            "A table has more rows than are declared.", hint="Declare as many: max_rows."
        )
    names = names_of(returns)
    blank = f"p-{'0' * 32}"
    return Table(run=blank, job=job, columns=names, rows=[list(row) for row in rows], notes=notes)


def named(table: Table, run: str) -> Table:
    """Return a table under the name of its run."""
    return table.model_copy(update={"run": run})


def _cell(value: Any) -> Any:  # noqa: ANN401 - a cell
    return value.isoformat() if isinstance(value, dt.date) else value
