"""The descriptor of a dataset: what others may know of it, and never a value of its data.

A closed, versioned document, signed by its owner (:mod:`fusion.catalogue.signing`). Every field is
on ``docs/catalogue.md``. Unknown fields are refused; epsilon is in millionths. What it says comes
from the owner's declaration and from the schema of the file; of the rows themselves it tells the
order of magnitude of their number and nothing else.

Levels are those of GB/T 43697-2024: core, important and general data, the latter in the four grades
that the standard offers for it. A dataset is at least as sensitive as each of its columns.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator  # noqa: TC003 - a return type that tests look at
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from fusion.errors import InputInvalid
from fusion.types import OrgId, org_id
from fusion.wire import canonical
from fusion.wire.documents import Document, Part, read

SCHEMA: Final = "fusion.dataset/1"
MAX_DESCRIPTOR_BYTES: Final = 256 * 1024
MAX_COLUMNS: Final = 1000
MAX_CELLS: Final = 1000
"""Most categories, or bins, that a column may have."""
MAX_INTEGER: Final = 2**53 - 1
MAX_VALUE: Final = 10**12

Level = Literal["general-1", "general-2", "general-3", "general-4", "important", "core"]
LEVELS: Final[tuple[Level, ...]] = (
    "general-1", "general-2", "general-3", "general-4", "important", "core",
)  # fmt: skip
"""Least sensitive first."""
Entity = Literal["person", "enterprise", "household", "place", "matter"]
STANDARD_SCHEMES: Final[dict[str, str]] = {
    "person": "gb11643",
    "enterprise": "gb32100",
    "place": "gbt2260",
}
"""The one scheme of identifiers for entities that have a national one."""
Type = Literal["number", "text", "time", "other", "cell"]
"""As :mod:`fusion.connectors.schemas` tells them; ``cell`` is a column of a CSV file."""
Action = Literal["train", "align", "query", "score", "mock"]
Period = Literal[
    "continuous", "daily", "weekly", "monthly", "quarterly", "annual", "irregular", "never"
]
Rows = Literal[
    "under 1000",
    "1000 to 9999",
    "10000 to 99999",
    "100000 to 999999",
    "1000000 to 9999999",
    "10000000 or more",
]
ROWS: Final[tuple[Rows, ...]] = (
    "under 1000",
    "1000 to 9999",
    "10000 to 99999",
    "100000 to 999999",
    "1000000 to 9999999",
    "10000000 or more",
)
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?")
KeyPath = tuple[str | int, ...]
Rule = tuple[KeyPath, str]


def _organisation(text: str) -> str:
    try:
        return org_id(text)
    except InputInvalid as error:
        raise ValueError(error.message) from None


def _moment(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        message = "control characters are not allowed"
        raise ValueError(message)
    return text


DATASET_ID: Final = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
DatasetId = Annotated[str, Field(pattern=DATASET_ID)]
Organisation = Annotated[OrgId, AfterValidator(_organisation)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_moment)
]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_day)]
Scheme = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
Value = Annotated[int, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
Bins = Annotated[int, Field(ge=1, le=MAX_CELLS)]
Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Micro = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Label(Part):
    """The same words in Chinese and English."""

    zh: Text
    en: Text


class Range(Part):
    """Numbers from ``min`` to ``max``, as the owner declares them; not taken from the data."""

    kind: Literal["range"]
    min: Value
    max: Value
    decimals: Annotated[int, Field(ge=0, le=6)] = 0
    bins: Bins = 16


class Categories(Part):
    """One of these words."""

    kind: Literal["categories"]
    values: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_CELLS)]


class Dates(Part):
    """Days from ``first`` to ``last``."""

    kind: Literal["dates"]
    first: Day
    last: Day
    bins: Bins = 12


Domain = Annotated[Range | Categories | Dates, Field(discriminator="kind")]


class Key(Part):
    """What a column identifies, and how: tables join on equal entity and scheme."""

    entity: Entity
    scheme: Scheme


class Column(Part):
    """One column."""

    name: Name
    type: Type
    level: Level
    nullable: bool = True
    title: Label | None = None
    unit: Text | None = None
    key: Key | None = None
    domain: Domain | None = None


class MockBudget(Part):
    """The most that made-up samples of the dataset may ever cost."""

    epsilon_micro: Micro = 1_000_000
    runs: Annotated[int, Field(ge=1, le=10_000)] = 10
    rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000


class Descriptor(Document):
    """The whole document."""

    schema_: Literal["fusion.dataset/1"] = Field(alias="schema")
    id: DatasetId
    owner: Organisation
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    issued: Moment
    withdrawn: bool = False
    title: Label
    description: Label | None = None
    level: Level
    update_period: Period
    actions: Annotated[tuple[Action, ...], Field(max_length=5)]
    rows: Rows
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MAX_COLUMNS)]
    schema_digest: Digest
    mock: MockBudget = MockBudget()

    @property
    def name(self) -> str:
        """Owner and dataset: unique in a federation."""
        return f"{self.owner}/{self.id}"

    @property
    def keys(self) -> tuple[Column, ...]:
        """The columns that identify something."""
        return tuple(column for column in self.columns if column.key is not None)


def descriptor_of(data: bytes) -> Descriptor:
    """Read the bytes that were signed.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or not a descriptor that keeps every rule.
    """
    return read(data, Descriptor, "descriptor", MAX_DESCRIPTOR_BYTES, broken_rules)


def schema_digest(columns: dict[str, str]) -> str:
    """Return what names the schema of a table: its columns' names and types, in no order.

    Args:
        columns: Name to type of every column that the table has.
    """
    return hashlib.sha256(canonical.encode({"columns": columns})).hexdigest()


def rows_bucket(rows: int) -> Rows:
    """Return the order of magnitude of a number of rows."""
    return ROWS[min(max(len(str(rows)) - 3, 0), len(ROWS) - 1)]


def more_sensitive(one: Level, other: Level) -> bool:
    """Return whether the first level is above the second."""
    return LEVELS.index(one) > LEVELS.index(other)


def broken_rules(found: Descriptor) -> Iterator[Rule]:
    """Yield path and message of every rule between fields that a descriptor breaks."""
    names = [column.name for column in found.columns]
    for index, column in enumerate(found.columns):
        if names.index(column.name) != index:
            yield ("columns", index), f"{column.name!r} is listed twice."
        for path, message in column_rules(column, found.level):
            yield ("columns", index, *path), message
    if len(set(found.actions)) != len(found.actions):
        yield ("actions",), "An action is listed twice."
    yield from level_rules(found.level, found.actions)
    if found.schema_digest != schema_digest({c.name: c.type for c in found.columns}):
        yield ("schema_digest",), "It is not that of the columns."


def level_rules(level: Level, actions: tuple[Action, ...]) -> Iterator[Rule]:
    """Yield what a level forbids."""
    if level == "core" and actions:
        yield ("actions",), "Core data may be used for nothing here: list no action."
    if level == "important" and "mock" in actions:
        yield ("actions",), "Of important data no sample is made up: leave `mock` out."


def column_rules(column: Column, level: Level) -> Iterator[Rule]:
    """Yield path and message of every rule that one column breaks."""
    if more_sensitive(column.level, level):
        yield ("level",), f"{column.level} is above the dataset's {level}; raise that."
    if column.key is not None:
        yield from _key_rules(column, column.key)
    if column.domain is not None:
        for message in _domain_rules(column.type, column.domain):
            yield ("domain",), message


def _domain_rules(kind: Type, domain: Range | Categories | Dates) -> Iterator[str]:
    match domain:
        case Range(min=low, max=high, decimals=digits, bins=bins):
            if low > high or bins > (high - low) * 10**digits + 1:
                yield "It has fewer values than bins, or ends before it begins."
            if kind in {"text", "time", "other"}:
                yield f"A column of type {kind} has no range of numbers."
        case Dates(first=first, last=last, bins=bins):
            days = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
            if days < bins:
                yield "It has fewer days than bins, or ends before it begins."
            if kind in {"number", "other"}:
                yield f"A column of type {kind} has no days."
        case Categories(values=values):
            yield from _category_rules(kind, values)


def _category_rules(kind: Type, values: tuple[str, ...]) -> Iterator[str]:
    if len(set(values)) != len(values):
        yield "A category is listed twice."
    if kind in {"time", "other"}:
        yield f"A column of type {kind} has no categories."
    if kind == "number" and not all(_NUMBER.fullmatch(word) for word in values):
        yield "The categories of a column of numbers are numbers."


def _key_rules(column: Column, key: Key) -> Iterator[Rule]:
    wanted = STANDARD_SCHEMES.get(key.entity)
    if wanted is not None and key.scheme != wanted:
        yield ("key", "scheme"), f"A {key.entity} is identified by {wanted}."
    if wanted is None and key.scheme in STANDARD_SCHEMES.values():
        yield ("key", "scheme"), f"{key.scheme} identifies no {key.entity}."
    if column.type not in {"text", "cell"}:
        yield ("key",), "An identifier is text; a number loses zeros and letters."
    if column.domain is not None:
        yield ("domain",), "A column of identifiers has no domain: nobody may list them."
