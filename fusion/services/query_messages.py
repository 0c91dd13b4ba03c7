"""What an analyst's node asks an owner's, and what it answers: closed, strict, of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from fusion.errors import FusionError, MessageInvalid, PartyFailed, QueryRefused
from fusion.services.query_description import Described
from fusion.services.query_description import Part as _Part
from fusion.wire import canonical
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ASKED_BYTES: Final = 64 * 1024
MAX_REPLY_BYTES: Final = 3 * MEBI
MAX_STATEMENT: Final = 8_000
MAX_ROWS: Final = 100_000
MAX_SECONDS: Final = 300
MAX_RHO: Final = 2**53 - 1

Cell = str | int | float | bool | None
_Text = Annotated[str, Field(max_length=2000)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Code = Annotated[str, Field(pattern=r"^[A-Z]-\d{2,3}$")]


class Asked(_Part):
    """A query, or the question what is left of the budget, or what may be asked about.

    Attributes:
        kind: Which of the three.
        dataset: The owner's name of it.
        statement: SQL; empty in what is no query.
        purpose: What for, as grants name it; empty in what is no query.
        rows: The most rows that may come back; they are charged.
        seconds: After which the asker waits no longer.
        rho_micro: What it may spend of a privacy budget, in millionths of rho; None is what the
            policy says.
    """

    schema_: Literal["fusion.query/1"] = Field(default="fusion.query/1", alias="schema")
    kind: Literal["query", "budget", "describe"]
    dataset: Annotated[str, Field(min_length=1, max_length=63)]
    statement: Annotated[str, Field(max_length=MAX_STATEMENT)] = ""
    purpose: Annotated[str, Field(max_length=200)] = ""
    rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 1
    seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 60
    rho_micro: Annotated[int, Field(ge=1, le=MAX_RHO)] | None = None


class Note(_Part):
    """What was held back in view of earlier results, and what to do."""

    message: _Text
    hint: _Text


class Accuracy(_Part):
    """How much noise is in a column, under differential privacy.

    Attributes:
        column: Its name.
        of: The sum that the noise is on.
        sd: Standard deviation of that noise, in the sum's own units.
        itself: Whether the column is that sum; else it is made of it.
    """

    column: Annotated[str, Field(max_length=200)]
    of: Literal["count", "entities", "sum", "squares"]
    sd: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    itself: bool


Numbers = Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=10_000)]


class Table(_Part):
    """A released table.

    Attributes:
        job: Names the query in the owner's log.
        policy: Digest of the policy that it was answered by.
        columns: Names.
        rows: Released values alone.
        notes: What was held back, and of which columns the bin was computed with.
        numbers: Of what was decided for it, counted for the dataset and the asking organisation,
            with those that pool with it: notes beside later tables name these.
        rho_micro: What it spent of a privacy budget, in millionths of rho; 0 without one.
        noise: How accurate its columns are, under differential privacy.
        again: Whether it was released before, and cost no rho this time.
    """

    job: Annotated[str, Field(pattern=r"^q-[0-9a-f]{32}$")]
    policy: _Digest
    columns: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=2000)]
    rows: Annotated[list[list[Cell]], Field(max_length=MAX_ROWS)]
    notes: Annotated[list[Note], Field(max_length=100)]
    numbers: Numbers = Field(default_factory=list)
    rho_micro: Annotated[int, Field(ge=0, le=MAX_RHO)] = 0
    noise: Annotated[list[Accuracy], Field(max_length=1000)] = Field(default_factory=list)
    again: bool = False


class Refusal(_Part):
    """A rule said no, or the query failed.

    Attributes:
        code: Of the rule.
        exit_code: What a command ends with.
        message: The rule in words.
        hint: What would pass.
        start: The character of the statement that it is about, if it is about one.
    """

    code: _Code
    exit_code: Annotated[int, Field(ge=1, le=6)]
    message: _Text
    hint: _Text
    start: Annotated[int, Field(ge=0, le=MAX_STATEMENT)] | None = None

    @classmethod
    def of(cls, error: FusionError) -> Refusal:
        """Return what leaves of an error: no note, no cause."""
        return cls(
            code=error.code,
            exit_code=error.exit_code,
            message=error.message[:2000],
            hint=error.hint[:2000],
            start=error.start if isinstance(error, QueryRefused) else None,
        )

    def error(self) -> PartyFailed:
        """Return it as an error at the asker's."""
        error = PartyFailed(self.message, code=self.code, exit_code=self.exit_code)
        error.hint, error.start = self.hint, self.start
        return error


class Privacy(_Part):
    """What is left of a privacy budget.

    Attributes:
        rho_micro: Under the grant, in millionths of rho.
        dataset_rho_micro: Of the dataset, under all grants together.
        epsilon_micro: What the first is as an epsilon, in millionths.
        dataset_epsilon_micro: What the second is.
        delta_exponent: At a delta of 10 to the minus this.
        usual_rho_micro: What a query spends that does not say.
    """

    rho_micro: Annotated[int, Field(ge=0, le=MAX_RHO)]
    dataset_rho_micro: Annotated[int, Field(ge=0, le=MAX_RHO)]
    epsilon_micro: Annotated[int, Field(ge=0)]
    dataset_epsilon_micro: Annotated[int, Field(ge=0)]
    delta_exponent: Annotated[int, Field(ge=1, le=30)]
    usual_rho_micro: Annotated[int, Field(ge=1, le=MAX_RHO)]


class Left(_Part):
    """What a grant has left for queries of a dataset.

    Attributes:
        grant: Its id.
        runs: Queries.
        rows: Of results.
        not_after: Until when it holds.
        late: Answers of this month that may still be late, under all grants of the organisation and
            of who pools with it; null where no policy is attached.
        refusals: Tables of this month that may still be refused in view of earlier results, of all
            datasets of the owner, for the organisation and who pools with it; then nothing new is
            released. Null without a history.
        privacy: Of a privacy budget.
    """

    grant: _Digest
    runs: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    not_after: Annotated[str, Field(max_length=32)]
    late: Annotated[int, Field(ge=0)] | None = None
    refusals: Annotated[int, Field(ge=0)] | None = None
    privacy: Privacy | None = None


class Reply(_Part):
    """One of the four."""

    schema_: Literal["fusion.query-reply/1"] = Field(default="fusion.query-reply/1", alias="schema")
    table: Table | None = None
    refusal: Refusal | None = None
    budget: Annotated[list[Left], Field(max_length=1000)] | None = None
    described: Described | None = None


_Message = TypeVar("_Message", Asked, Reply)


def to_bytes(message: Asked | Reply) -> bytes:
    """Return the canonical bytes of a message.

    Raises:
        MessageInvalid: It has no canonical form.
    """
    return canonical.encode(message.model_dump(by_alias=True))


def asked_of(data: bytes) -> Asked:
    """Read what is asked.

    Raises:
        MessageInvalid: Too large, or not of the closed form.
    """
    asked = _read(data, Asked, MAX_ASKED_BYTES)
    if asked.kind == "describe" and (asked.statement or asked.purpose):
        raise MessageInvalid("A description is asked for with nothing but the dataset.")
    return asked


def reply_of(data: bytes) -> Reply:
    """Read a reply.

    Raises:
        MessageInvalid: Too large, not of the closed form, or not exactly one of the four.
    """
    reply = _read(data, Reply, MAX_REPLY_BYTES)
    held = (reply.table, reply.refusal, reply.budget, reply.described)
    if sum(each is not None for each in held) != 1:
        raise MessageInvalid("A reply to a query is not one thing.")
    table = reply.table
    if table is not None and any(len(row) != len(table.columns) for row in table.rows):
        raise MessageInvalid("A row of a reply has not as many cells as the table has columns.")
    return reply


def _read(data: bytes, kind: type[_Message], most: int) -> _Message:
    document: Mapping[str, Any] = canonical.decode(data, most)
    try:
        return kind.model_validate(document)
    except ValidationError:
        raise MessageInvalid("A message about a query is not well formed.") from None
