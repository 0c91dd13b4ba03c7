"""An owner's verdict on a Python job: its signed word that this job may run, or may not.

The verdict is for one job by its digest, for one organisation, until a moment, for so many runs.
Whether it holds is decided from it alone, by what runs and by who audits. A grant is needed as
well: the verdict says that the code was read, the grant who may use the data.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fusion.errors import PythonRefused, VerificationFailed
from fusion.grants.document import Digest, Moment, Name, Organisation, moment_of
from fusion.wire import canonical, envelope
from fusion.wire.documents import Document, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from fusion.grants.python_job import PythonJob

TYPE: Final = "application/vnd.fusion.python-verdict/1+json"
MAX_VERDICT_BYTES: Final = 16 * 1024
MAX_RUNS: Final = 1_000_000

RULES: Final[Mapping[str, tuple[str, str]]] = {
    "P-01": (
        "No such job of yours is known here.",
        "Submit it: fusion python submit. A changed script is another job.",
    ),
    "P-02": (
        "The job waits for the owner's review.",
        "Run it once it is approved.",
    ),
    "P-03": (
        "The owner has refused the job.",
        "Change the script, and submit it again: that is another job.",
    ),
    "P-04": (
        "The approval of the job is over.",
        "Ask the owner to approve it again.",
    ),
    "P-05": (
        "As many runs as were approved are used up.",
        "Ask the owner to approve it again.",
    ),
    "P-06": (
        "The data or its policy is another than the job was approved for.",
        "Submit the script again: that is another job.",
    ),
    "P-07": (
        "Too many jobs of this organisation wait for review.",
        "Wait until the owner has reviewed some.",
    ),
    "P-08": (
        "What the job reads or returns does not fit the policy.",
        "Read columns that the grant lists, and return no more rows than the policy lets go.",
    ),
    "P-09": (
        "The owner does not release this table.",
        "What was charged stays charged. Ask the owner why.",
    ),
    "P-10": (
        "There is no table of yours under this name.",
        "fusion python history shows the runs of this node.",
    ),
    "P-11": (
        "The policy asks for differential privacy, which tables of scripts do not have.",
        "Ask the owner to approve the job with tables that are checked.",
    ),
    "P-12": (
        "The tables are in a database; scripts are run over files.",
        "Ask the owner for a dataset with a copy of the tables in files.",
    ),
}
"""Why a job is not taken, not run or not handed out: decided from documents, never from data."""


class Verdict(Document):
    """The whole document.

    Attributes:
        verdict: What the owner says.
        owner: Who says it.
        assignee: Who may run it.
        dataset: The owner's name of it.
        job: Digest of the job.
        script: SHA-256 of the script's bytes.
        returns: Digest of what it reads and returns.
        policy: Digest of the policy.
        revision: Of the policy, with the tables of then.
        release: ``automatic``: what the node makes of people leaves by the policy's rules.
            ``checked``: the owner looks at each table first.
        runs: How many may be begun under it.
        not_after: Up to, not including, when.
        id: Random; the same word again is another verdict.
        at: When it was signed.
        why: Of a refusal, for the analyst.
    """

    schema_: Literal["fusion.python-verdict/1"] = Field(
        default="fusion.python-verdict/1", alias="schema"
    )
    verdict: Literal["approved", "refused"]
    owner: Organisation
    assignee: Organisation
    dataset: Name
    job: Digest
    script: Digest
    returns: Digest
    policy: Digest
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    release: Literal["automatic", "checked"]
    runs: Annotated[int, Field(ge=0, le=MAX_RUNS)]
    not_after: Moment
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    at: Moment
    why: Annotated[str, Field(max_length=500)] = ""

    @property
    def approved(self) -> bool:
        """Whether the job may run."""
        return self.verdict == "approved"


def broken_rules(verdict: Verdict) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of every rule between fields that a verdict breaks."""
    if verdict.approved != bool(verdict.runs):
        yield ("runs",), "What is approved has runs, and what is refused has none."
    if verdict.approved == bool(verdict.why) or not verdict.why.isprintable():
        yield ("why",), "A refusal says why, in printable characters, and an approval does not."


def sign_verdict(verdict: Verdict, key: envelope.Signing) -> bytes:
    """Return a verdict in an envelope, signed by its owner.

    Raises:
        VerificationFailed: It breaks a rule.
    """
    for path, message in broken_rules(verdict):
        raise VerificationFailed(f"A verdict on a job can't be: {path[0]}: {message}")
    return envelope.sign(verdict.document(), TYPE, key, verdict.owner)


def open_verdict(data: bytes, owner: str, key: envelope.Verifying) -> Verdict:
    """Verify that a verdict is signed by an owner, and return it.

    Raises:
        UnknownOrganisation: Signed by another.
        SignatureInvalid: The signature does not verify.
        VerificationFailed: It says that it is another's.
        MessageInvalid: Not a verdict that keeps every rule.
    """
    _, payload = envelope.open_signed(data, TYPE, {owner: key}, MAX_VERDICT_BYTES)
    content = canonical.encode(payload)
    verdict = read(content, Verdict, "verdict on a job", MAX_VERDICT_BYTES, broken_rules)
    if verdict.owner != owner:
        raise VerificationFailed("A verdict on a job is signed by another than it says.")
    return verdict


def check_about(verdict: Verdict, job: PythonJob) -> None:
    """Return if a verdict is about a job.

    Raises:
        VerificationFailed: It is about another.
    """
    said = (
        verdict.job, verdict.owner, verdict.assignee, verdict.dataset, verdict.script,
        verdict.returns, verdict.policy, verdict.revision,
    )  # fmt: skip
    is_now = (
        job.digest, job.owner, job.assignee, job.dataset, job.script,
        job.returns.digest, job.policy, job.revision,
    )  # fmt: skip
    if said != is_now or (verdict.release == "automatic" and job.returns.form != "people"):
        raise VerificationFailed("A verdict is about another job than it is kept with.")


def check_allows(verdict: Verdict | None, begun: int, now: datetime) -> Verdict:
    """Return a verdict under which one more run may begin.

    Args:
        verdict: The newest on the job, verified; None if there is none.
        begun: Runs that were begun under it.
        now: The time.

    Raises:
        PythonRefused: None may; the code says why.
    """
    if verdict is None:
        raise refusal("P-02")
    if not verdict.approved:
        raise refusal("P-03", verdict.why)
    if now.astimezone(UTC) >= moment_of(verdict.not_after):
        raise refusal("P-04")
    if begun >= verdict.runs:
        raise refusal("P-05")
    return verdict


def refusal(code: str, detail: str = "") -> PythonRefused:
    """Return the refusal by a rule.

    Args:
        code: Of the rule.
        detail: What it is about; never anything of the data.
    """
    message, hint = RULES[code]
    return PythonRefused(f"{message} {detail}".strip(), hint=hint, code=code)
