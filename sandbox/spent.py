"""What is still answered when the refusals of a month are used up, seen before anything is charged.

Then nothing new is released, whatever is asked. A statement none of whose cells can be one that
was released is refused at once, from counters and from what its group was given: no data is at
hand. One that might be is run, for its cells are known only then. So it is with a Python job whose
cells the history counts; tables that scripts make themselves are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import ledgers
from sandbox.history.predicates import key_of
from sandbox.python_people import selection_of
from sandbox.python_tables import base_table
from sandbox.refusals import refusal
from sandbox.selection import OTHER, definitions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fusion.grants.python_job import PythonJob
    from sandbox.attached import Attached
    from sandbox.history.guard import History
    from sandbox.history.predicates import Definitions
    from sandbox.history.state import Cell
    from sandbox.runner import Prepared
    from sandbox.selection import Selection


def check_refusals(prepared: Prepared, history: History, organisation: str, month: str) -> None:
    """Refuse a statement that can have no answer this month.

    Args:
        prepared: The statement.
        history: What was released and refused before.
        organisation: Who asks.
        month: When.

    Raises:
        QueryRefused: Its group has no refusal left, and none of what it asks for was released.
        HistoryBroken: The history was changed.
        EnvironmentUnfit: It can't be used.
    """
    scope = ledgers.scope_of(prepared.attached, organisation)
    public = any(leaf.public is not None for leaf in prepared.compiled.leaves)
    if public or not prepared.selections or history.refusals_left(scope, month):
        return
    released = history.released(scope)
    definitions = definitions_of(prepared.attached.policy)
    for own in prepared.selections:
        if all(_may_be_known(each, released, definitions) for each in own):
            return
    raise refusal("Q-28")


def check_refusals_of_job(job: PythonJob, attached: Attached, history: History, month: str) -> None:
    """Refuse a run of a Python job that can have no answer this month.

    Args:
        job: What would be run.
        attached: The policy that holds.
        history: What was released and refused before.
        month: When.

    Raises:
        QueryRefused: Its group has no refusal left, and none of its cells was released.
        HistoryBroken: The history was changed.
        EnvironmentUnfit: It can't be used.
    """
    scope = ledgers.scope_of(attached, job.assignee)
    if job.returns.form == "table" or history.refusals_left(scope, month):
        return
    policy = attached.policy
    own = selection_of(job.returns, job.digest, policy, base_table(policy, job.returns))
    if not _may_be_known(own, history.released(scope), definitions_of(policy)):
        raise refusal("Q-28")


def _may_be_known(
    selection: Selection, released: Mapping[tuple[str, str], Cell], definitions: Definitions
) -> bool:
    """Return whether a cell of a selection can be among those that were released."""
    if not selection.kept:
        key = key_of(definitions.form(selection.predicate(())))
        return (key, selection.measure) in released
    keys = selection.declared_keys()
    about = {each.attribute for each in selection.conditions}
    for (_, measure), cell in released.items():
        named = {name for box in cell.form for name, _ in box} - {OTHER}
        if measure == selection.measure and (keys is None or named <= keys | about):
            return True
    return False
