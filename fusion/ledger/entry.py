"""What a log may say: a closed set of entries, each with exactly one sequence of bytes.

Entries hold digests and metadata, never data: every text is a short identifier, so that nobody can
hide a table in one. A reader refuses what it does not know; a new kind or field is a new version.
Kinds about grants and budgets are reserved here with their fields, for the gate that writes them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fusion.crypto.hashing import digest
from fusion.errors import MessageInvalid
from fusion.ledger.alignment_entries import SetAligned, SetCommitted
from fusion.ledger.fields import (
    Amount,
    Attempt,
    Code,
    Count,
    Digests,
    EntryBase,
    Hex,
    Job,
    Organisation,
    Organisations,
)
from fusion.ledger.vertical_entries import (
    AttemptBegun,
    PartTrained,
    RecordsAligned,
    VerticalAgreed,
    VerticalStarted,
)

MAX_ENTRY_BYTES: Final = 256 * 1024
"""Room for the digests of a thousand contributions, and their organisations."""


class OrganisationMade(EntryBase):
    """The first entry of every log: whose it is, and under which keys it is kept."""

    kind: Literal["organisation-made"] = "organisation-made"
    organisation: Organisation
    statement_key: Hex
    log_key: Hex
    witness_key: Hex


class RosterSeen(EntryBase):
    """From here on the roster of this epoch holds; ``digest`` is the SHA-256 of the document."""

    kind: Literal["roster-seen"] = "roster-seen"
    federation: Organisation
    epoch: Annotated[int, Field(ge=1, le=2**31 - 1)]
    digest: Hex


class LogSeen(EntryBase):
    """Another organisation's log, as this one knows it from here on."""

    kind: Literal["log-seen"] = "log-seen"
    organisation: Organisation
    log_key: Hex
    witness_key: Hex


class KeyImported(EntryBase):
    """A ceremony's key was imported, by the transcript its operator compared."""

    kind: Literal["key-imported"] = "key-imported"
    fingerprint: Hex
    transcript: Hex
    share: bool


class OrderTaken(EntryBase):
    """A node holds its operator's order for a job: who asked, for which study; once for an order.

    ``id`` names the order; ``order`` is the SHA-256 of the signed document, which a bundle carries.
    """

    kind: Literal["order-taken"] = "order-taken"
    job: Job
    study: Hex
    operator: Organisation
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    order: Hex


class StudyAgreed(EntryBase):
    """A node will take part in a job.

    ``order`` is that of the order-taken before it; empty where the study names no operator.
    """

    kind: Literal["study-agreed"] = "study-agreed"
    job: Job
    study: Hex
    key: Hex
    order: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class StudyRefused(EntryBase):
    """A node will not; ``code`` says why in general."""

    kind: Literal["study-refused"] = "study-refused"
    job: Job
    study: Hex
    code: Code


class JobStarted(EntryBase):
    """The hub began a job."""

    kind: Literal["job-started"] = "job-started"
    job: Job
    study: Hex
    key: Hex
    organisations: Organisations
    quorum: Count


class JobEnded(EntryBase):
    """A job is over; a node only learns whether it is done."""

    kind: Literal["job-ended"] = "job-ended"
    job: Job
    status: Literal["done", "failed", "stopped", "unfinished"]


class RoundContributed(EntryBase):
    """A node released its vector for one list."""

    kind: Literal["round-contributed"] = "round-contributed"
    job: Job
    round: Count
    attempt: Attempt
    manifest: Hex
    vector: Hex
    listing: Hex


class SumOpened(EntryBase):
    """A key holder opened the sum of exactly these contributions."""

    kind: Literal["sum-opened"] = "sum-opened"
    job: Job
    round: Count
    opening: Hex
    contributions: Digests


class RoundListed(EntryBase):
    """The hub closed the list of one attempt: a sum may be of these commitments and of no others.

    Logged before anything is released for the list, so that holders can be shown, by the time that
    they are to open it, that it is in a log that others have witnessed.
    """

    kind: Literal["round-listed"] = "round-listed"
    job: Job
    round: Count
    attempt: Attempt
    manifest: Hex
    listing: Hex
    opening: Hex
    contributors: Organisations
    commitments: Digests


class CheckpointSeen(EntryBase):
    """The checkpoint of another log on which this organisation relied when it opened a sum."""

    kind: Literal["checkpoint-seen"] = "checkpoint-seen"
    organisation: Organisation
    size: Amount
    root: Hex


class CheckpointStamped(EntryBase):
    """An outside authority stamped a checkpoint of this log with the time (RFC 3161).

    ``stamp`` is the SHA-256 of its response in base64, which a bundle carries.
    """

    kind: Literal["checkpoint-stamped"] = "checkpoint-stamped"
    size: Amount
    root: Hex
    stamp: Hex


class RoundSummed(EntryBase):
    """The hub is about to have a sum opened; contributors and contributions in one order."""

    kind: Literal["round-summed"] = "round-summed"
    job: Job
    round: Count
    attempt: Attempt
    manifest: Hex
    listing: Hex
    opening: Hex
    contributors: Organisations
    contributions: Digests


class ModelMade(EntryBase):
    """A job's finished model, by its digest."""

    kind: Literal["model-made"] = "model-made"
    job: Job
    model: Hex


class Released(EntryBase):
    """Something left the protected zone: a model, a result, a mock sample; by its digest."""

    kind: Literal["released"] = "released"
    job: Job
    output: Literal["model", "result", "scores", "mock"]
    digest: Hex


class GrantSeen(EntryBase):
    """A grant that this organisation knows, and who has signed it so far.

    ``document`` is the SHA-256 of the signed envelope, which a bundle carries.
    """

    kind: Literal["grant-seen"] = "grant-seen"
    grant: Hex
    document: Hex
    signers: Organisations


class GrantRevoked(EntryBase):
    """A grant that holds no longer; ``revocation`` is the SHA-256 of the signed word for it."""

    kind: Literal["grant-revoked"] = "grant-revoked"
    grant: Hex
    organisation: Organisation
    revocation: Hex


class Decided(EntryBase):
    """A request was measured against a grant; ``code`` is empty if there is a permit.

    ``request`` is the SHA-256 of the request, which a bundle carries; ``grant`` is empty where no
    grant is about it.
    """

    kind: Literal["decided"] = "decided"
    grant: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    request: Hex
    permit: bool
    code: Annotated[str, Field(pattern=r"^([A-Z]-\d{2,3})?$")]


class BudgetMoved(EntryBase):
    """An amount of a grant's budget was reserved, spent or given back.

    ``reservation`` is the SHA-256 of the name of the use that it is charged to.
    """

    kind: Literal["budget-moved"] = "budget-moved"
    grant: Hex
    action: Literal["train", "align", "query", "score", "mock"]
    budget: Literal["runs", "rows", "epsilon-millionths"]
    move: Literal["reserved", "committed", "released"]
    reservation: Hex
    amount: Amount


class QueryAnswered(EntryBase):
    """A restricted query's result is about to leave, after the history has counted it.

    ``reservation`` is that of its charge; ``statement``, ``policy`` and ``result`` are SHA-256
    digests. No text of the statement and no cell is in the log.
    """

    kind: Literal["query-answered"] = "query-answered"
    organisation: Organisation
    reservation: Hex
    statement: Hex
    policy: Hex
    result: Hex


class PythonSubmitted(EntryBase):
    """A member handed in a Python job, which waits for this owner's review.

    ``job`` is the digest of the job, which binds script, declaration, dataset and policy.
    """

    kind: Literal["python-submitted"] = "python-submitted"
    organisation: Organisation
    job: Hex
    script: Hex


class PythonJudged(EntryBase):
    """The owner approved or refused a Python job; the newest verdict holds.

    ``verdict`` is the SHA-256 of the signed document, which a bundle carries; ``checked`` says that
    the owner looks at each table before it leaves.
    """

    kind: Literal["python-judged"] = "python-judged"
    organisation: Organisation
    job: Hex
    verdict: Hex
    approved: bool
    checked: bool
    runs: Count


class PythonRun(EntryBase):
    """An approved Python job is about to run; ``reservation`` is that of its charge."""

    kind: Literal["python-run"] = "python-run"
    organisation: Organisation
    job: Hex
    verdict: Hex
    reservation: Hex


class PythonReleased(EntryBase):
    """The table of a run is about to leave; ``checked`` says that the owner looked at it first."""

    kind: Literal["python-released"] = "python-released"
    job: Hex
    reservation: Hex
    result: Hex
    checked: bool


class ModelKept(EntryBase):
    """A holder keeps its part of a joint model; ``part`` is the SHA-256 of its bytes.

    ``number`` is that of the version under its name.
    """

    kind: Literal["model-kept"] = "model-kept"
    job: Job
    study: Hex
    model: Hex
    part: Hex
    number: Annotated[int, Field(ge=1, le=2**31 - 1)]


class ModelRevoked(EntryBase):
    """A holder uses its part of a joint model no more."""

    kind: Literal["model-revoked"] = "model-revoked"
    model: Hex


class ModelRevocationHeard(EntryBase):
    """Another holder, named by its certificate, said to this one that it revoked the joint model.

    It signs nothing: this is the word of whoever keeps the log, and ``at`` when it heard it first.
    """

    kind: Literal["model-revocation-heard"] = "model-revocation-heard"
    model: Hex
    organisation: Organisation


class AnswersPublished(EntryBase):
    """A holder's answers for an epoch of its table are ready; nobody can read them by themselves.

    ``epoch`` is the digest of the set's terms, ``commitment`` that to its entries.
    """

    kind: Literal["answers-published"] = "answers-published"
    model: Hex
    epoch: Hex
    commitment: Hex
    records: Count


class ModelScored(EntryBase):
    """Records are about to be scored with a holder's part, for an organisation.

    ``reservation`` is that of the charge; which records, and how they score, no holder's log says.
    """

    kind: Literal["model-scored"] = "model-scored"
    model: Hex
    organisation: Organisation
    reservation: Hex
    records: Count


class ModelExported(EntryBase):
    """A holder wrote its part, or the card, to a file; ``digest`` is the SHA-256 of that."""

    kind: Literal["model-exported"] = "model-exported"
    model: Hex
    output: Literal["part", "card"]
    digest: Hex


Entry = (
    OrganisationMade | RosterSeen | LogSeen | KeyImported | OrderTaken | StudyAgreed | StudyRefused
    | JobStarted | JobEnded | RoundContributed | SumOpened | RoundListed | CheckpointSeen
    | RoundSummed | CheckpointStamped | ModelMade | Released | GrantSeen | GrantRevoked | Decided
    | BudgetMoved | QueryAnswered | PythonSubmitted | PythonJudged | PythonRun | PythonReleased
    | SetCommitted | SetAligned
    | VerticalAgreed | RecordsAligned | PartTrained | VerticalStarted | AttemptBegun
    | ModelKept | ModelRevoked | ModelRevocationHeard | AnswersPublished | ModelScored
    | ModelExported
)  # fmt: skip

_ADAPTER: Final[TypeAdapter[Entry]] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])
_DUMP: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def encode(entry: Entry) -> bytes:
    """Return an entry's bytes: canonical JSON (RFC 8785).

    All texts are ASCII and all numbers small integers, for which the standard library writes the
    same bytes as RFC 8785 asks for, in a fifth of the time.

    Raises:
        MessageInvalid: It is larger than an entry may be.
    """
    data = _DUMP(entry.model_dump()).encode()
    if len(data) > MAX_ENTRY_BYTES:
        raise MessageInvalid(f"An entry has {len(data)} bytes; {MAX_ENTRY_BYTES} is the limit.")
    return data


def decode(data: bytes) -> Entry:
    """Return the entry that has exactly these bytes.

    Raises:
        MessageInvalid: Too large, of no known kind or version, malformed, or not canonical.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise MessageInvalid(f"An entry has {len(data)} bytes; {MAX_ENTRY_BYTES} is the limit.")
    try:
        entry = _ADAPTER.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise MessageInvalid(f"This is no entry of a log: {where}: {first['type']}.") from None
    if _DUMP(entry.model_dump()).encode() != data:
        raise MessageInvalid("An entry of a log is not in canonical form (RFC 8785).")
    return entry


def moment_of(timestamp: str) -> datetime:
    """Return the moment that :func:`stamp` wrote."""
    return datetime.fromisoformat(timestamp)


def stamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC, to the millisecond, as entries have it."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def opening_digest(manifest: bytes, listing: bytes) -> bytes:
    """Return what names the opening of one list of one round, in logs and at the gate."""
    return digest("banyan/opening/v1", manifest, listing)


def fields(entry: Entry) -> dict[str, Any]:
    """Return what an entry says, without version, kind and time."""
    return {k: v for k, v in entry.model_dump().items() if k not in {"version", "kind", "at"}}
