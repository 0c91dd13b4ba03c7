"""What an analyst's node says to an owner's about Python jobs, and hears: closed and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from fusion.errors import MessageInvalid
from fusion.grants.python_job import MAX_ROWS, MAX_SCRIPT_BYTES, Returns
from fusion.services.query_messages import MAX_SECONDS, Cell, Note, Numbers, Refusal
from fusion.wire import canonical
from fusion.wire.documents import Part
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ASKED_BYTES: Final = 2 * MEBI
MAX_REPLY_BYTES: Final = 3 * MEBI
MAX_NOTE: Final = 1000
RUN_ID: Final = r"^p-[0-9a-f]{32}$"

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Dataset = Annotated[str, Field(min_length=1, max_length=63)]


class Submission(Part):
    """A script with what it returns, for the owner to review."""

    dataset: _Dataset
    purpose: Annotated[str, Field(min_length=1, max_length=200)]
    script: Annotated[str, Field(min_length=1, max_length=MAX_SCRIPT_BYTES)]
    returns: Returns
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


class Run(Part):
    """A run of a job that was approved, or the table of one that was released since."""

    dataset: _Dataset
    job: _Digest


class Collect(Part):
    """The table of a run, once more or at last."""

    run: Annotated[str, Field(pattern=RUN_ID)]


class Asked(Part):
    """One of the three, and for how many seconds the asker waits."""

    schema_: Literal["fusion.python/1"] = Field(default="fusion.python/1", alias="schema")
    submit: Submission | None = None
    run: Run | None = None
    collect: Collect | None = None
    seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 60


class Submitted(Part):
    """The job as the owner's node knows it, which the analyst's makes again from what it sent."""

    job: _Digest
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    policy: _Digest
    schema_digest: _Digest
    state: Literal["waiting", "approved", "refused"]


class Table(Part):
    """A table that was released.

    Attributes:
        run: Names the run.
        job: Digest of the job.
        columns: Names.
        rows: Released values alone.
        notes: What was held back.
        numbers: By which notes beside later tables name it, as those of a query.
    """

    run: Annotated[str, Field(pattern=RUN_ID)]
    job: _Digest
    columns: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
    rows: Annotated[list[list[Cell]], Field(max_length=MAX_ROWS)]
    notes: Annotated[list[Note], Field(max_length=100)]
    numbers: Numbers = Field(default_factory=list)


class Held(Part):
    """The run is done; its owner looks at the table."""

    run: Annotated[str, Field(pattern=RUN_ID)]


class Reply(Part):
    """One of the four."""

    schema_: Literal["fusion.python-reply/1"] = Field(
        default="fusion.python-reply/1", alias="schema"
    )
    submitted: Submitted | None = None
    table: Table | None = None
    held: Held | None = None
    refusal: Refusal | None = None


_Message = TypeVar("_Message", Asked, Reply)


def to_bytes(message: Asked | Reply) -> bytes:
    """Return the canonical bytes of a message.

    Raises:
        MessageInvalid: It has no canonical form.
    """
    return canonical.encode(message.model_dump(mode="json", by_alias=True))


def asked_of(data: bytes) -> Asked:
    """Read what is asked.

    Raises:
        MessageInvalid: Too large, not of the closed form, or not exactly one thing.
    """
    asked = _read(data, Asked, MAX_ASKED_BYTES)
    _check_one(asked.submit, asked.run, asked.collect)
    return asked


def reply_of(data: bytes) -> Reply:
    """Read a reply.

    Raises:
        MessageInvalid: Too large, not of the closed form, or not exactly one thing.
    """
    reply = _read(data, Reply, MAX_REPLY_BYTES)
    _check_one(reply.submitted, reply.table, reply.held, reply.refusal)
    table = reply.table
    if table is not None and any(len(row) != len(table.columns) for row in table.rows):
        raise MessageInvalid("A row of a reply has not as many cells as the table has columns.")
    return reply


def _check_one(*parts: object) -> None:
    if sum(each is not None for each in parts) != 1:
        raise MessageInvalid("A message about a Python job is not one thing.")


def _read(data: bytes, kind: type[_Message], most: int) -> _Message:
    document: Mapping[str, Any] = canonical.decode(data, most)
    try:
        # As JSON, in which a list is a list and a tuple too.
        return kind.model_validate_json(canonical.encode(document))
    except ValidationError:
        raise MessageInvalid("A message about a Python job is not well formed.") from None
