"""The policy: what an owner lets be asked of its tables, and how coarse the answers are.

A closed, versioned document (every field is on ``docs/policy.md``), signed by the owner as exact
bytes. What is not in it can't be asked: a table or a column that no policy names does not exist
for a query. Defaults are those of ACRO/SACRO (Green, Ritchie & Smith 2021; acro 1.0.2): threshold
10, dominance (2, 90 %), p % 10, ten degrees of freedom, rounding to 5. Budgets are integers, in
millionths. A policy never holds a value of the data it is about.
"""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - a return type that tests look at
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field

from fusion.wire import canonical, envelope
from fusion.wire.documents import Document, Part, read
from fusion.wire.study_fields import organisation
from sandbox.functions import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "fusion.policy/1"
TYPE: Final = "application/vnd.fusion.policy/1+json"
MAX_POLICY_BYTES: Final = 1024 * 1024
MAX_TABLES: Final = 200
MAX_COLUMNS: Final = 2000
MAX_VALUES: Final = 5000
MAX_MAGNITUDE: Final = 10**12
"""The largest bound a column may have, and the largest number a row may come to in a query."""

EVERYBODY: Final = "*"
"""In a pool: all who ask."""

KeyPath = tuple[str | int, ...]
Rule = tuple[KeyPath, str]


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


def _member(text: str) -> str:
    return text if text == EVERYBODY else organisation(text)


# Latin and Chinese: a table may have the names that its owner's country gives it.
Word = Annotated[
    str, Field(pattern=r"^[A-Za-z\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]{0,62}$", max_length=63)
]
Value = Annotated[str, Field(min_length=1, max_length=200)]
Bound = Annotated[int, Field(ge=-MAX_MAGNITUDE, le=MAX_MAGNITUDE)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$"), AfterValidator(_day)]
Micro = Annotated[int, Field(ge=1, le=2**53 - 1)]
Percent = Annotated[int, Field(ge=1, le=100)]
Pool = Annotated[tuple[Annotated[str, AfterValidator(_member)], ...], Field(max_length=100)]
Unit = Literal["day", "week", "month", "quarter", "year"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)


class Key(Part):
    """Names a person or a thing: joined and counted, never read, compared or shown."""

    class_: Literal["key"] = Field(alias="class")
    type: Literal["integer", "text"] = "integer"


class Dimension(Part):
    """A property to group and filter by; a value shows in a result where k entities share it."""

    class_: Literal["dimension"] = Field(alias="class")
    type: Literal["text", "integer", "boolean"] = "text"
    low: Bound | None = None
    high: Bound | None = None
    values: Annotated[tuple[Value, ...], Field(max_length=MAX_VALUES)] = ()
    complete: bool = False
    sensitive: bool = False


class Number(Part):
    """A measure: added up and averaged; a cell beyond its bounds is read as the bound.

    Attributes:
        low: Least value, in units.
        high: Greatest value, in units.
        decimals: Cells are rounded to these.
        bin: To what, in units, values are told: by quantiles, and where ``release.conditions``
            says so by all that is no sum of them. None: as they are, quantiles to a thousandth of
            the range.
        sensitive: Whether a history of releases protects it.
    """

    class_: Literal["number"] = Field(alias="class")
    low: Bound
    high: Bound
    decimals: Annotated[int, Field(ge=0, le=6)] = 0
    bin: Annotated[int, Field(ge=1, le=MAX_MAGNITUDE)] | None = None
    sensitive: bool = True


class Date(Part):
    """A day, grouped by no finer unit than ``finest``."""

    class_: Literal["date"] = Field(alias="class")
    low: Day = "1900-01-01"
    high: Day = "2100-12-31"
    finest: Unit = "month"
    sensitive: bool = False


class Public(Part):
    """A column of a public table."""

    class_: Literal["public"] = Field(alias="class")
    type: Literal["text", "integer", "number", "boolean", "date"] = "text"
    decimals: Annotated[int, Field(ge=0, le=6)] = 0
    low: Bound = -MAX_MAGNITUDE
    high: Bound = MAX_MAGNITUDE


Column = Annotated[Key | Dimension | Number | Date | Public, Field(discriminator="class_")]


class Table(Part):
    """A table: about entities, named by one column, or public.

    Attributes:
        entity: The column that names whom a row is about; none in a public table.
        public: Whether everybody may know all of it.
        rows: The most rows of one entity that count; what is above is cut off at this bound.
        columns: The columns that can be asked about.
    """

    entity: Word | None = None
    public: bool = False
    rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    columns: Annotated[dict[Word, Column], Field(min_length=1, max_length=MAX_COLUMNS)]


class Dominance(Part):
    """The (n, k) rule: the n largest contributors hold less than this share."""

    n: Annotated[int, Field(ge=1, le=2)] = 2
    percent: Percent = 90


class Quantiles(Part):
    """Which quantiles are answered; nearer to the ends stand single people."""

    low_percent: Annotated[int, Field(ge=1, le=50)] = 5
    high_percent: Annotated[int, Field(ge=50, le=99)] = 95
    rounding: Literal["bin", "none"] = "bin"


class Noise(Part):
    """Cell-key noise: the same entities get the same noise, however a question is phrased."""

    sd_milli: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Release(Part):
    """What is done to a result before it leaves.

    Attributes:
        k: Fewest entities behind anything that is shown.
        dominance: The (n, k) rule, or null.
        p_percent: The p % rule, or null.
        freedom: Fewest observations beyond the parameters of a statistic.
        base: Counts are rounded to multiples of this.
        sums: Whether sums and statistics are rounded to ``base`` largest contributions.
        conditions: Whether what conditions know of a number that states a ``bin`` is the bin.
        quantiles: Which are answered.
        noise: On counts and sums.
        rows: Most rows of a result.
    """

    k: Annotated[int, Field(ge=1, le=100_000)] = 10
    dominance: Dominance | None = Dominance()
    p_percent: Percent | None = 10
    freedom: Annotated[int, Field(ge=0, le=100_000)] = 10
    base: Annotated[int, Field(ge=1, le=1000)] = 5
    sums: Literal["largest", "none"] = "largest"
    conditions: Literal["bin", "exact"] = "bin"
    quantiles: Quantiles = Quantiles()
    noise: Noise = Noise()
    rows: Annotated[int, Field(ge=1, le=100_000)] = 10_000


class Budget(Part):
    """What mode ``dp`` may spend, as zCDP rho (Bun & Steinke 2016) in millionths.

    Attributes:
        grant_rho_micro: In all, under one grant.
        dataset_rho_micro: In all, under all grants together: colluding analysts add up.
        query_rho_micro: What a query spends unless it says; null is a hundredth of a grant's.
        contributions: The most cells of one table that one entity counts in.
        delta_exponent: Rho is told as the epsilon at a delta of 10 to the minus this.
    """

    grant_rho_micro: Micro
    dataset_rho_micro: Micro
    query_rho_micro: Micro | None = None
    contributions: Annotated[int, Field(ge=1, le=1000)] = 4
    delta_exponent: Annotated[int, Field(ge=5, le=12)] = 9

    @property
    def usual_rho_micro(self) -> int:
        """What a query spends that does not say."""
        return self.query_rho_micro or max(1, self.grant_rho_micro // 100)


class Time(Part):
    """When answers leave, so that time tells next to nothing (:mod:`sandbox.lateness`).

    Attributes:
        first_milliseconds: The first step; each is twice the one before, the last is 32 s.
        late: Steps that may end without an answer, for an organisation in a month.
    """

    first_milliseconds: Literal[250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000] = 250
    late: Annotated[int, Field(ge=1, le=100_000)] = 32


class Policy(Document):
    """The whole document.

    Attributes:
        schema_: Which version of the document.
        title: In the owner's words.
        mode: Statistical disclosure control, or differential privacy.
        tables: What can be asked about, by name.
        release: What is done to a result, mode ``sdc``.
        time: When answers leave, and how many may be late.
        budget: What results cost, mode ``dp``.
        functions: Which may be used; null is all.
        pools: Organisations that may put together what they are given (:mod:`sandbox.pools`).
    """

    schema_: Literal["fusion.policy/1"] = Field(alias="schema")
    title: Value
    mode: Literal["sdc", "dp"] = "sdc"
    tables: Annotated[dict[Word, Table], Field(min_length=1, max_length=MAX_TABLES)]
    release: Release = Release()
    time: Time = Time()
    budget: Budget | None = None
    functions: Annotated[tuple[Word, ...], Field(max_length=200)] | None = None
    pools: Annotated[tuple[Pool, ...], Field(max_length=100)] = ()

    def bin_of(self, what: Column) -> int:
        """Return what conditions may know of a column's values, in units; 0 is all of them.

        Under mode ``dp`` that is what noise is for.
        """
        if self.mode != "sdc" or self.release.conditions != "bin" or not isinstance(what, Number):
            return 0
        # A bin of one last decimal tells all there is.
        return 0 if what.bin is None or what.bin * 10**what.decimals == 1 else what.bin

    def named(self, full: str) -> str:
        """Return the name that grants have for ``table.column``: of one table, the column's."""
        return full.partition(".")[2] if len(self.tables) == 1 else full

    @property
    def single(self) -> frozenset[str]:
        """The tables with one row of each person."""
        return frozenset(
            name for name, each in self.tables.items() if each.entity and each.rows == 1
        )


def policy_of(data: bytes) -> Policy:
    """Read the bytes that were signed, by the same rules as a file.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or not a policy that keeps every rule.
    """
    return read(data, Policy, "policy", MAX_POLICY_BYTES, broken_rules)


def sign(policy: Policy, name: str, key: envelope.Signing) -> bytes:
    """Return the policy in an envelope, signed by its owner.

    Raises:
        MessageInvalid: It has no canonical form.
    """
    return envelope.sign(policy.document(), TYPE, key, name)


def open_policy(data: bytes, keys: Mapping[str, envelope.Verifying]) -> tuple[str, Policy]:
    """Verify a signed policy; return who signed it, and the policy.

    Raises:
        UnknownOrganisation: Signed by nobody of ``keys``.
        SignatureInvalid: The signature does not verify.
        MessageInvalid: Not a policy that keeps every rule.
    """
    name, payload = envelope.open_signed(data, TYPE, keys, 2 * MAX_POLICY_BYTES)
    return name, policy_of(canonical.encode(payload))


def broken_rules(policy: Policy) -> Iterator[Rule]:
    """Yield path and message of every rule between fields that a policy breaks."""
    if policy.mode == "dp" and policy.budget is None:
        yield ("mode",), "Mode `dp` needs a `budget`."
    if policy.budget is not None and policy.budget.usual_rho_micro > policy.budget.grant_rho_micro:
        yield ("budget", "query_rho_micro"), "A query spends no more than its grant has."
    for place, function in enumerate(policy.functions or ()):
        if function not in NAMES:
            yield ("functions", place), f"{function!r} is no function; docs/policy.md lists them."
    yield from _pool_rules(policy)
    lowered: set[str] = set()
    for name, table in policy.tables.items():
        if name.lower() in lowered:
            yield ("tables", name), "Two tables differ only in case."
        lowered.add(name.lower())
        yield from _table_rules(name, table)
    found = [table.columns.get(table.entity or "") for table in policy.tables.values()]
    kinds = {each.type for each in found if isinstance(each, Key)}
    if len(kinds) > 1:
        yield ("tables",), "The entity's key is of one type in all tables."


def _pool_rules(policy: Policy) -> Iterator[Rule]:
    seen: set[str] = set()
    for place, pool in enumerate(policy.pools):
        if EVERYBODY in pool and policy.pools != ((EVERYBODY,),):
            yield ("pools", place), 'Everybody is the only pool there is: [["*"]].'
        elif EVERYBODY not in pool and len(pool) < 2:
            yield ("pools", place), "A pool has two organisations or more."
        for each in pool:
            if each in seen:
                yield ("pools", place), f"{each} is in one pool, once."
            seen.add(each)


def _table_rules(name: str, table: Table) -> Iterator[Rule]:
    path: KeyPath = ("tables", name)
    if table.public == (table.entity is not None):
        yield path, "A table either names its `entity` or is `public`."
    if table.entity is not None and not isinstance(table.columns.get(table.entity), Key):
        yield (*path, "entity"), "The entity is a column of class `key`."
    if len({column.lower() for column in table.columns}) < len(table.columns):
        yield (*path, "columns"), "Two columns differ only in case."
    for column, what in table.columns.items():
        here = (*path, "columns", column)
        if isinstance(what, Public) != table.public:
            yield here, "A public table has columns of class `public`, and no other has."
        if isinstance(what, Number | Public) and what.low >= what.high:
            yield here, "`low` has to be below `high`."
        if isinstance(what, Dimension):
            yield from _dimension_rules(here, what)
        if isinstance(what, Date) and what.low >= what.high:
            yield here, "`low` has to be before `high`."


def _dimension_rules(here: KeyPath, what: Dimension) -> Iterator[Rule]:
    bounded = what.low is not None and what.high is not None
    if what.type == "integer" and (not bounded or (what.low or 0) >= (what.high or 0)):
        yield here, "A dimension of whole numbers has `low` below `high`."
    if what.type != "integer" and (what.low is not None or what.high is not None):
        yield here, "Only a dimension of whole numbers has bounds."
    if what.values and what.type != "text":
        yield here, "Only a dimension of texts lists its `values`."
    if what.complete and what.type == "text" and not what.values:
        yield here, "A dimension of texts that is `complete` lists its `values`."
