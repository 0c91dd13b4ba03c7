"""What somebody wants to do, as a grant is asked about it: closed, strict, without a value of data.

A data owner makes its own request out of what it was asked to do and of what it knows itself (its
schema, its name, the digest of the study); it never takes one over from the other side.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from fusion.grants.document import (
    MAX_COLUMNS,
    MAX_INTEGER,
    MAX_PARTIES,
    Action,
    Digest,
    ModelRef,
    Name,
    Organisation,
)
from fusion.wire import canonical
from fusion.wire.documents import Part

Asked = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Word = Annotated[str, Field(min_length=1, max_length=63)]
RUN_ACTIONS: Final = ("align", "train")
"""What is done in a run that a hub begins, and tells the end of."""


class Request(Part):
    """One use of one dataset at one party.

    Attributes:
        job: What is asked for, uniquely: what it costs is reserved under this name.
        assignee: Who operates.
        party: Whose data.
        action: What is done.
        dataset: With which table.
        columns: With which columns of it.
        needed: Columns among these that can't be left out, such as a label.
        schema_digest: Of the party's table as it is now.
        purpose: What for.
        model: Kind of model (train).
        k: Fewest contributors of a sum (train).
        rounds: Rounds of a run (train).
        epsilon_micro: Privacy loss in millionths (train, query, mock).
        membership_permille: Most that the model tells of who was trained on (train).
        label_leak_permille: Most that training tells a party of labels (train).
        smallest_leaf: Fewest rows that a weight rests on (train).
        rows: Rows that come out (query, score, mock).
        set_size: Size of the largest set (align).
        outcome: Who learns what (align).
        minimum_intersection: Fewest common records that are released (align).
        minimum_overlap_permille: Least share in common that is released, in thousandths (align).
        output: Kind of what comes out (query).
        code: Digest of a Python job (query with output python).
        model_names: What the model is called: its id, its study's digest, its name (score).
        grants: Ids of the only grants that may be decided under; empty for any.
        study: Digest of the study or the query, for the permit.
    """

    job: Word
    assignee: Organisation
    party: Organisation
    action: Action
    dataset: Name
    columns: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)]
    needed: Annotated[tuple[Name, ...], Field(max_length=MAX_COLUMNS)] = ()
    schema_digest: Digest
    purpose: Name
    model: Word | None = None
    k: Asked | None = None
    rounds: Asked | None = None
    epsilon_micro: Asked | None = None
    membership_permille: Asked | None = None
    label_leak_permille: Asked | None = None
    smallest_leaf: Asked | None = None
    rows: Asked | None = None
    set_size: Asked | None = None
    outcome: Word | None = None
    minimum_intersection: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    minimum_overlap_permille: Annotated[int, Field(ge=0, le=1000)] | None = None
    output: Word | None = None
    code: Digest | None = None
    model_names: Annotated[tuple[ModelRef, ...], Field(min_length=1, max_length=3)] | None = None
    grants: Annotated[tuple[Digest, ...], Field(max_length=MAX_PARTIES)] = ()
    study: Digest | None = None

    def canonical(self) -> bytes:
        """Return its bytes as a log names them (RFC 8785)."""
        return canonical.encode(self.document())

    def document(self) -> dict[str, Any]:
        """Return the request as JSON values, defaults stated."""
        return self.model_dump(mode="json")


def charge_name(request: Request) -> str:
    """Return under which name a request is charged: another study is another use."""
    return f"{request.action}/{request.job}/{request.study or ''}"


def run_of_charge(name: str) -> str | None:
    """Return the job that a charge is for, if it is one to align or to train; else None.

    Args:
        name: As :func:`charge_name` has it.
    """
    action, _, rest = name.partition("/")
    return rest.partition("/")[0] if action in RUN_ACTIONS else None
