"""What a Python job is: a script, what it reads, and the one table that it may return.

Closed documents. The digest of a job names script, declaration, dataset, policy, who runs it and
what for: with any of them changed it is another job (``docs/python.md``).
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator  # noqa: TC003 - a return type that tests look at
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from fusion.errors import InputInvalid, MessageInvalid
from fusion.grants.document import (  # pydantic reads the annotations
    Digest,  # noqa: TC001
    Name,  # noqa: TC001
    Organisation,  # noqa: TC001
)
from fusion.wire.documents import Document, Part, read
from fusion.wire.plain_yaml import Written, explained

MAX_SCRIPT_BYTES: Final = 256 * 1024
MAX_JOB_BYTES: Final = 1024 * 1024
MAX_ROWS: Final = 10_000
MAX_COLUMNS: Final = 64
MAX_CATEGORIES: Final = 1_000
MAX_CELLS: Final = 1_000
"""Rows that the node makes of people: as many as the history decides on at once."""

MAX_UNITS: Final = 10**11
"""The largest bound of a measure, in units of its last decimal: sums stay below 2**63."""

PERSON: Final = "person"
"""The column by which a script says whom a row is about."""

_HEADER: Final = re.compile(r"(?m)^# /// banyan$\s((?:^#(?:| .*)$\s)+)^# ///$")
# Nothing that a reviewer's screen would not show as it is (CVE-2021-42574 among it).
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    # Fillers, which are letters of identifiers; joiners, variation selectors and tags.
    "\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def _seen(text: str) -> str:
    """Return a name that the owner's screen shows as it is."""
    if _HIDDEN.search(text) or not text.isprintable():
        raise ValueError("a name has characters that are seen")
    return text


_Word = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_seen)]
_Named = Annotated[
    str, Field(pattern=r"^[A-Za-z\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]{0,62}$", max_length=63)
]
Kind = Literal["integer", "number", "boolean", "category", "date"]


class Column(Part):
    """A column that a job may return.

    Attributes:
        name: Its name.
        kind: Of its values; a null is always one. A category is one of ``categories``: free text
            could carry rows.
        step: Integers are rounded to multiples of it, half to even.
        digits: Significant decimal digits that numbers are rounded to.
        categories: All values that a category may have.
        of: Of people: the dimension, ``table.column``, from which the node takes the key itself.
            Cells are then those of a query by it, everybody of the table is in one, and the script
            has no say in that.
    """

    name: _Word
    kind: Kind
    step: Annotated[int, Field(ge=1, le=10**9)] = 5
    digits: Annotated[int, Field(ge=1, le=6)] = 3
    categories: Annotated[tuple[_Word, ...], Field(max_length=MAX_CATEGORIES)] = ()
    of: Annotated[str, Field(pattern=r"^[^\s.]{1,63}\.[^\s.]{1,63}$")] | None = None

    @model_validator(mode="after")
    def _categories_belong_to_categories(self) -> Self:
        named = self.kind == "category" and self.of is None
        if named != bool(self.categories):
            raise ValueError("a category names its values or its dimension, and nothing else does")
        return self


class Measure(Part):
    """What the node computes of the people in a cell.

    Attributes:
        name: Of the column, in the script's rows and in the table.
        statistic: How many there are, or sum or mean of what the script says of each.
        low: What is below is read as this; not of ``people``.
        high: What is above is read as this; not of ``people``.
        decimals: That are kept of each value.
    """

    name: _Word
    statistic: Literal["people", "sum", "mean"]
    low: int | None = None
    high: int | None = None
    decimals: Annotated[int, Field(ge=0, le=6)] = 0


class Returns(Document):
    """What a job reads and returns.

    Attributes:
        form: ``people``: rows of which each is about one person, of whom the node makes a table by
            the policy's rules. ``table``: the table itself, which a person has to look at.
        reads: Columns of each table that the script sees, beside the people's numbers.
        columns: Of the table, exactly these, in this order; of people: the keys of cells.
        measures: Of people: what is computed for each cell.
        max_rows: Of the table; as many are charged.
    """

    schema_: Literal["fusion.python-returns/1"] = Field(
        default="fusion.python-returns/1", alias="schema"
    )
    form: Literal["people", "table"]
    reads: Annotated[
        dict[_Named, Annotated[tuple[_Named, ...], Field(max_length=2000)]],
        Field(min_length=1, max_length=60),
    ]
    columns: Annotated[tuple[Column, ...], Field(max_length=MAX_COLUMNS)] = ()
    measures: Annotated[tuple[Measure, ...], Field(max_length=MAX_COLUMNS)] = ()
    max_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 1_000


class PythonJob(Document):
    """Everything that an approval is for.

    Attributes:
        owner: Whose data.
        assignee: Who runs it.
        dataset: The owner's name of it.
        revision: Of its policy, with the tables of then.
        policy: Digest of the policy.
        schema_digest: Of the tables, as grants name it.
        purpose: What for, as grants name it.
        script: SHA-256 of the script's bytes.
        returns: What it reads and returns.
    """

    schema_: Literal["fusion.python-job/1"] = Field(default="fusion.python-job/1", alias="schema")
    owner: Organisation
    assignee: Organisation
    dataset: Name
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    policy: Digest
    schema_digest: Digest
    purpose: Name
    script: Digest
    returns: Returns


def script_digest(script: str) -> str:
    """Return the SHA-256 of a script's bytes."""
    return hashlib.sha256(script.encode()).hexdigest()


def check_script(data: bytes) -> str:
    """Return a script that a reviewer's screen shows as it is.

    Raises:
        InputInvalid: Too long, empty, not UTF-8, or with characters that are not seen.
    """
    if not 0 < len(data) <= MAX_SCRIPT_BYTES:
        raise InputInvalid(f"A script has 1 to {MAX_SCRIPT_BYTES} bytes; this has {len(data)}.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputInvalid("A script is UTF-8 text.") from None
    found = _HIDDEN.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise InputInvalid(
            f"Line {line} of the script has a character that is not seen: U+{ord(found[0]):04X}.",
            hint="Write lines that end in LF, and escapes such as \\u200b in texts.",
        )
    return text


def job_of(data: bytes) -> PythonJob:
    """Read the bytes of a job.

    Raises:
        MessageInvalid: Too large, not canonical, or not a job that keeps every rule.
    """
    return read(data, PythonJob, "Python job", MAX_JOB_BYTES, lambda job: broken_rules(job.returns))


def check_returns(returns: Returns) -> Returns:
    """Return a declaration, held to the rules between its fields.

    Raises:
        MessageInvalid: It breaks one.
    """
    for path, message in broken_rules(returns):
        where = ".".join(map(str, path))
        raise MessageInvalid(f"What a job returns is not well declared: {where}: {message}")
    return returns


def names_of(returns: Returns) -> list[str]:
    """Return the columns of the table, in their order."""
    return [each.name for each in returns.columns] + [each.name for each in returns.measures]


def broken_rules(returns: Returns) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of every rule between fields that a declaration breaks."""
    names = names_of(returns)
    if len(set(names)) != len(names) or PERSON in names:
        yield ("columns",), f"Each column has a name of its own, and none is {PERSON!r}."
    if returns.form == "table":
        if not returns.columns or returns.measures:
            yield ("columns",), "A table has columns and no measures."
        if any(each.of for each in returns.columns):
            yield ("columns",), "Only keys of cells of people are of a dimension."
        return
    if not returns.measures:
        yield ("measures",), "Of people at least one thing is measured."
    if returns.max_rows > MAX_CELLS:
        yield ("max_rows",), f"Of people there are at most {MAX_CELLS} cells."
    for place, column in enumerate(returns.columns):
        whole = column.kind == "integer" and column.of is not None
        if column.kind not in {"category", "boolean"} and not whole:
            yield ("columns", place), "The key of a cell is a category or a boolean."
    yield from _key_rules(returns)
    for place, measure in enumerate(returns.measures):
        yield from _measure_rules(place, measure)


def _key_rules(returns: Returns) -> Iterator[tuple[tuple[str | int, ...], str]]:
    named = [each.of for each in returns.columns if each.of is not None]
    if named and len(named) < len(returns.columns):
        yield ("columns",), "Either all keys are of dimensions, or the script has all of them."
    if len({each.partition(".")[0] for each in named}) > 1:
        yield ("columns",), "All keys are dimensions of one table."
    for each in named:
        table, _, column = each.partition(".")
        if column not in returns.reads.get(table, ()):
            yield ("reads",), f"What a key is of is read: {each}."


def keyed_by(returns: Returns) -> str | None:
    """Return the table whose people are in the cells, all of them; None if the script says who is.

    Without keys that is the one table that is read.
    """
    if returns.columns:
        named = returns.columns[0].of
        return None if named is None else named.partition(".")[0]
    return next(iter(returns.reads)) if len(returns.reads) == 1 else None


def _measure_rules(place: int, measure: Measure) -> Iterator[tuple[tuple[str | int, ...], str]]:
    low, high = measure.low, measure.high
    if measure.statistic == "people":
        if low is not None or high is not None or measure.decimals:
            yield ("measures", place), "People are counted: there are no bounds or decimals."
    elif low is None or high is None or low >= high:
        yield ("measures", place), "A sum or a mean has `low` below `high`."
    elif max(abs(low), abs(high)) * 10**measure.decimals > MAX_UNITS:
        yield ("measures", place), f"Bounds have at most {MAX_UNITS} units of the last decimal."


def parse_returns(text: str, origin: str) -> Returns:
    """Read a declaration that a person wrote, as YAML.

    Raises:
        InputInvalid: It is not plain YAML, or breaks a rule; names the line.
    """
    written = Written(origin, InputInvalid)
    returns = written.read(Returns, text)
    for path, message in broken_rules(returns):
        raise written.fail(path, message)
    return returns


def header_of(script: str, origin: str) -> Returns:
    """Read the declaration at the head of a script: TOML in comments, as PEP 723 has it.

    Raises:
        InputInvalid: There is none, or it breaks a rule.
    """
    found = _HEADER.findall(script)
    if len(found) != 1:
        raise InputInvalid(
            f"{origin} has {len(found)} blocks `# /// banyan`; one says what the job returns.",
            hint="Write it as docs/python.md shows, or name a file: --returns FILE.yaml",
        )
    text = "".join(line[2:] if line.startswith("# ") else line[1:]
                   for line in found[0].splitlines(keepends=True))  # fmt: skip
    said: Any = None
    try:
        said = tomllib.loads(text)
        returns = Returns.model_validate_json(json.dumps(said))
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise InputInvalid(f"{origin}: its block is not TOML: {error}") from None
    except ValidationError as error:
        path, message, hint = explained(Returns, error, said)
        where = f"{'.'.join(map(str, path[:-1]))}: " if path[:-1] else ""
        raise InputInvalid(f"{origin}: its block: {where}{message}", hint=hint) from None
    for path, message in broken_rules(returns):
        raise InputInvalid(f"{origin}: its block: {'.'.join(map(str, path))}: {message}")
    return returns
