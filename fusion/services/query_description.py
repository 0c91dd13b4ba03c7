"""What an analyst's node is told about a dataset's policy: names, classes, bounds, functions.

All of it is the owner's own text. Nothing of it is read from the data or depends on it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Part of a message about queries: strict, closed, frozen; an error never quotes the input."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )


Name = Annotated[
    str, Field(pattern=r"^[A-Za-z\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]{0,62}$", max_length=63)
]
Bound = (
    Annotated[int, Field(ge=-(10**12), le=10**12)]
    | Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
)


class ColumnDescribed(Part):
    """A column that may be asked about.

    Attributes:
        name: Its name.
        class_: What it is for, as the policy says.
        type: Of its values.
        low: Least value that counts, if it is bounded; what is below is read as this.
        high: Greatest value that counts, likewise.
        bin: Of a number that conditions and quantiles know to multiples of this alone: in units.
        finest: Of a date, the finest unit to group by.
        values: Of a dimension that everybody has: all its values. Else empty.
    """

    name: Name
    class_: Annotated[Literal["key", "dimension", "number", "date", "public"], Field(alias="class")]
    type: Literal["text", "integer", "number", "boolean", "date"]
    low: Bound | None = None
    high: Bound | None = None
    bin: Annotated[int, Field(ge=1, le=10**12)] | None = None
    finest: Literal["day", "week", "month", "quarter", "year"] | None = None
    values: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=5000)
    ] = []


class TableDescribed(Part):
    """A table that may be asked about.

    Attributes:
        name: Its name.
        entity: The key that names whom a row is about; none of a public table.
        columns: Those that the caller's grants name; of a public table all.
    """

    name: Name
    entity: Name | None
    columns: Annotated[list[ColumnDescribed], Field(min_length=1, max_length=2000)]


class Described(Part):
    """What may be asked of a dataset.

    Attributes:
        policy: Digest of the policy.
        mode: By which kind of rules results are released.
        k: Fewest entities behind anything that is shown.
        base: Counts are rounded to multiples of this.
        functions: Those that are answered.
        tables: Those with a column that the caller may ask about.
    """

    policy: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    mode: Literal["sdc", "dp"]
    k: Annotated[int, Field(ge=1, le=100_000)]
    base: Annotated[int, Field(ge=1, le=1000)]
    functions: Annotated[list[Name], Field(max_length=200)]
    tables: Annotated[list[TableDescribed], Field(max_length=200)]
