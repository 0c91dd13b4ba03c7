"""The grant: a closed, versioned document that says who may do what with which data, until when.

Two ways in, one set of rules: a file that a person wrote (:mod:`fusion.grants.reading`) and bytes
that were signed (:mod:`fusion.grants.signing`). Every field is on ``docs/grants.md``. Unknown
fields are refused; money is in hundredths of the currency, epsilon in millionths, so that no
number in a grant is a fraction. A grant never holds a value of the data it is about.
"""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - a return type that tests look at
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from fusion.errors import GrantInvalid, InputInvalid
from fusion.identity.members import AUTHORITY
from fusion.types import OrgId, org_id
from fusion.wire.documents import Document, Part, read

SCHEMA: Final = "fusion.grant/1"
MAX_GRANT_BYTES: Final = 256 * 1024
MAX_PARTIES: Final = 1000
MAX_COLUMNS: Final = 10_000
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that JSON carries exactly everywhere."""

KeyPath = tuple[str | int, ...]
Rule = tuple[KeyPath, str]
Action = Literal["train", "align", "query", "score", "mock"]
Role = Literal["owner", "operator", "authority"]
ModelRef = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|[a-z0-9][a-z0-9._-]{0,62})$")]
"""A model's id, a study's digest, or the name under which models are kept."""
ModelKind = Literal["logistic", "mlp", "boosting", "linear", "poisson", "scorecard"]
OutputKind = Literal["table", "statistic", "python"]
AlignOutcome = Literal["one", "both", "size"]
Purpose = Literal[
    "dpv:AcademicResearch",
    "dpv:CombatClimateChange",
    "dpv:CommercialResearch",
    "dpv:CounterMoneyLaundering",
    "dpv:CreditChecking",
    "dpv:FraudPreventionAndDetection",
    "dpv:IdentityVerification",
    "dpv:ImproveHealthcare",
    "dpv:ImprovePublicServices",
    "dpv:LegalCompliance",
    "dpv:NonCommercialResearch",
    "dpv:ProtectionOfPublicSecurity",
    "dpv:ProvideOfficialStatistics",
    "dpv:PublicBenefit",
    "dpv:PublicPolicyMaking",
    "dpv:ResearchAndDevelopment",
    "dpv:ScientificResearch",
    "dpv:ServiceProvision",
]
"""Purposes of the W3C Data Privacy Vocabulary; compared by name, no purpose contains another."""


def _organisation(text: str) -> str:
    try:
        return org_id(text)
    except InputInvalid as error:
        raise ValueError(error.message) from None


def _moment(text: str) -> str:
    moment_of(text)
    return text


def moment_of(text: str) -> datetime:
    """Return a time stamp of a grant as a moment in UTC.

    Raises:
        ValueError: There is no such moment, as on 30 February.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


Organisation = Annotated[OrgId, AfterValidator(_organisation)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_moment)
]
Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Micro = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Cents = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Permille = Annotated[int, Field(ge=1, le=1000)]
Columns = Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_COLUMNS)]


class Dataset(Part):
    """What the grant is about: one table of every assigner, under one name."""

    id: Name
    columns: Columns
    schema_digest: Digest


class Train(Part):
    """Joint training with the data.

    The last three limit what a vertical model may tell (:mod:`fusion.grants.leakage`).
    """

    models: Annotated[tuple[ModelKind, ...], Field(min_length=1, max_length=6)]
    k: Annotated[int, Field(ge=2, le=MAX_PARTIES)]
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    runs: Count
    epsilon_micro: Micro | None = None
    membership_permille: Permille | None = None
    label_leak_permille: Permille | None = None
    smallest_leaf: Count | None = None


class Align(Part):
    """Finding the records that several organisations have in common.

    ``minimum_difference`` is held by each owner, against what it remembers of earlier runs; all
    else is looked at in each request.
    """

    set_size: Count
    outcomes: Annotated[tuple[AlignOutcome, ...], Field(min_length=1, max_length=3)]
    minimum_intersection: Count
    minimum_overlap_permille: Annotated[int, Field(ge=0, le=1000)] = 0
    minimum_difference: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 10
    runs: Count


class Query(Part):
    """Restricted queries and jobs that return one table.

    With the output ``python`` runs what the owner has approved (:mod:`fusion.grants.approval`);
    where ``code`` lists jobs, these alone.
    """

    outputs: Annotated[tuple[OutputKind, ...], Field(min_length=1, max_length=3)]
    rows: Count
    epsilon_micro: Micro
    runs: Count
    code: Annotated[tuple[Digest, ...], Field(max_length=100)] = ()


class Score(Part):
    """Applying a model to the data.

    Where ``only_models`` lists models, these alone: a model by its id, all that a study gave by the
    study's digest, or all of a name.
    """

    rows: Count
    runs: Count
    only_models: Annotated[tuple[ModelRef, ...], Field(max_length=100)] = ()


class Mock(Part):
    """A made-up sample with the shape of the data."""

    rows: Count
    epsilon_micro: Micro
    runs: Count


class Permissions(Part):
    """What may be done; an action that is not there may not be done."""

    train: Train | None = None
    align: Align | None = None
    query: Query | None = None
    score: Score | None = None
    mock: Mock | None = None


class Fee(Part):
    """What may be asked for: nothing in the public interest, up to a ceiling in industry."""

    kind: Literal["public-interest", "industrial"]
    currency: Literal["CNY", "EUR", "USD"] = "CNY"
    ceiling_cents: Cents = 0


class Delete(Part):
    """Results are deleted by a moment."""

    kind: Literal["delete"]
    by: Moment


class Pay(Part):
    """An amount is paid by a moment."""

    kind: Literal["pay"]
    by: Moment
    cents: Count


class Attribute(Part):
    """Whoever shows a result names the source in these words."""

    kind: Literal["attribute"]
    text: Name


Duty = Annotated[Delete | Pay | Attribute, Field(discriminator="kind")]


class Signer(Part):
    """Who has to sign, and as what."""

    role: Role
    organisation: Organisation


class Grant(Document):
    """The whole document."""

    schema_: Literal["fusion.grant/1"] = Field(alias="schema")
    title: Name
    assigners: Annotated[tuple[Organisation, ...], Field(min_length=1, max_length=MAX_PARTIES)]
    assignee: Organisation
    dataset: Dataset
    permissions: Permissions
    purpose: Purpose
    fee: Fee
    product: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,64}$")] | None = None
    not_before: Moment
    not_after: Moment
    duties: Annotated[tuple[Duty, ...], Field(max_length=16)] = ()
    signers: Annotated[tuple[Signer, ...], Field(min_length=1, max_length=2 * MAX_PARTIES)]
    replaces: Digest | None = None

    @property
    def id(self) -> str:
        """The digest, by which a grant is named."""
        return self.digest

    @property
    def required(self) -> frozenset[str]:
        """Who has to sign; an organisation in two roles signs once."""
        return frozenset(signer.organisation for signer in self.signers)

    def permission(self, action: str) -> Train | Align | Query | Score | Mock | None:
        """Return what is permitted of an action, if anything."""
        if action not in Permissions.model_fields:
            return None
        found: Train | Align | Query | Score | Mock | None = getattr(self.permissions, action)
        return found


def grant_of(data: bytes) -> Grant:
    """Read the bytes that were signed, by the same rules as a file.

    Raises:
        MessageInvalid: Too large, not canonical JSON, or not a grant that keeps every rule.
    """
    return read(data, Grant, "grant", MAX_GRANT_BYTES, broken_rules)


def checked(grant: Grant) -> Grant:
    """Return a grant that was put together in the program, held to the rules between fields.

    Raises:
        GrantInvalid: It breaks one.
    """
    for path, message in broken_rules(grant):
        raise GrantInvalid(f"{'.'.join(map(str, path))}: {message}")
    return grant


def broken_rules(grant: Grant) -> Iterator[Rule]:
    """Yield path and message of every rule between fields that a grant breaks."""
    yield from _party_rules(grant)
    yield from _signer_rules(grant)
    if moment_of(grant.not_before) >= moment_of(grant.not_after):
        yield ("not_after",), "A grant has to end after it begins."
    yield from _repeated(("dataset", "columns"), grant.dataset.columns)
    yield from _permission_rules(grant.permissions)
    yield from _money_rules(grant)


def _party_rules(grant: Grant) -> Iterator[Rule]:
    yield from _repeated(("assigners",), grant.assigners)
    for path, organisation in (
        *((("assigners", index), name) for index, name in enumerate(grant.assigners)),
        (("assignee",), grant.assignee),
    ):
        if organisation == AUTHORITY:
            yield path, f"{AUTHORITY!r} is the authority, which neither owns data nor operates."


def _signer_rules(grant: Grant) -> Iterator[Rule]:
    yield from _repeated(("signers",), [f"{s.role} {s.organisation}" for s in grant.signers])
    by_role: dict[str, set[str]] = {"owner": set(), "operator": set(), "authority": set()}
    for signer in grant.signers:
        by_role[signer.role].add(signer.organisation)
    if by_role["owner"] != set(grant.assigners):
        yield ("signers",), "Every assigner, and nobody else, signs as owner."
    if by_role["operator"] != {grant.assignee}:
        yield ("signers",), "The assignee, and nobody else, signs as operator."
    if by_role["authority"] - {AUTHORITY}:
        yield ("signers",), f"Only {AUTHORITY!r} signs as authority."


def _permission_rules(permissions: Permissions) -> Iterator[Rule]:
    if all(getattr(permissions, action) is None for action in Permissions.model_fields):
        yield ("permissions",), "A grant that permits nothing is none."
    if permissions.train is not None:
        yield from _repeated(("permissions", "train", "models"), permissions.train.models)
    if permissions.align is not None:
        yield from _repeated(("permissions", "align", "outcomes"), permissions.align.outcomes)
    if permissions.score is not None:
        path = ("permissions", "score", "only_models")
        yield from _repeated(path, permissions.score.only_models)
    query = permissions.query
    if query is not None:
        yield from _repeated(("permissions", "query", "outputs"), query.outputs)
        yield from _repeated(("permissions", "query", "code"), query.code)
        if query.code and "python" not in query.outputs:
            yield (
                ("permissions", "query", "code"),
                "Code is listed with the output `python`, and with no other.",
            )


def _money_rules(grant: Grant) -> Iterator[Rule]:
    free = grant.fee.kind == "public-interest"
    if free and grant.fee.ceiling_cents:
        yield ("fee", "ceiling_cents"), "Use in the public interest is free."
    if not free and not grant.fee.ceiling_cents:
        yield ("fee", "ceiling_cents"), "An industrial use states the most that may be asked."
    due = sum(duty.cents for duty in grant.duties if isinstance(duty, Pay))
    if due > grant.fee.ceiling_cents:
        yield ("duties",), f"What has to be paid ({due}) is more than the ceiling of the fee."


def _repeated(path: KeyPath, items: tuple[str, ...] | list[str]) -> Iterator[Rule]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item in seen:
            yield (*path, index), f"{item!r} is listed twice."
        seen.add(item)
