"""An analyst's side of Python jobs: submit a script, run what was approved, collect its table.

::

    HOME/python/sent/DIGEST.json    a job that was submitted from here, to whom
    HOME/python/asked.jsonl         what was submitted and run, and what became of it; no result
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import grpc
import grpc.aio
from pydantic import Field, ValidationError

from fusion.errors import (
    FusionError,
    InputInvalid,
    MessageInvalid,
    PartyFailed,
    PartyUnreachable,
)
from fusion.grants.python_job import PythonJob, Returns, check_script, script_digest
from fusion.services import asked_before
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.python_messages import (
    Asked,
    Collect,
    Held,
    Reply,
    Run,
    Submission,
    Submitted,
    Table,
    reply_of,
    to_bytes,
)
from fusion.services.query_port import PYTHON
from fusion.services.querying import named
from fusion.types import OrgId
from fusion.wire.documents import Part

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome
    from fusion.services.node_link import Connection

_MARGIN_SECONDS: Final = 15
_SHORTEST: Final = 8


class Sent(Part):
    """A job that was submitted from here."""

    job: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    dataset: str
    purpose: str
    script: str
    note: str


def submit(
    connection: Connection,
    node: NodeHome,
    dataset: str,
    script: bytes,
    returns: Returns,
    *,
    purpose: str,
    note: str = "",
    clock: Clock | None = None,
) -> Submitted:
    """Hand a script in for review; nothing runs.

    Args:
        connection: Of this node.
        node: This node.
        dataset: ``OWNER/ID``.
        script: Its bytes.
        returns: What it reads and returns.
        purpose: What for, as the grant says.
        note: For the reviewer.
        clock: Time.

    Raises:
        InputInvalid: The dataset is not named, or the script can't be reviewed as it is.
        PartyFailed: The owner's node refuses; code and hint are its.
        PartyUnreachable: It does not answer, or takes no Python jobs.
        MessageInvalid: What it answers is not about this very script.
    """
    owner, name = named(dataset)
    text = check_script(script)
    try:
        sent = Submission(dataset=name, purpose=purpose, script=text, returns=returns, note=note)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InputInvalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    said = {"verb": "submit", "dataset": dataset}
    with _Kept(node, said, clock) as kept:
        reply = _exchange(connection, owner, Asked(submit=sent))
        if reply.submitted is None:
            raise MessageInvalid("A submission was answered with something else.")
        found = reply.submitted
        again = PythonJob(
            owner=OrgId(owner),
            assignee=OrgId(node.config.id),
            dataset=name,
            revision=found.revision,
            policy=found.policy,
            schema_digest=found.schema_digest,
            purpose=purpose,
            script=script_digest(text),
            returns=returns,
        )
        if again.digest != found.job:
            raise MessageInvalid(f"{owner} has taken something else than what was submitted.")
        kept.said |= {"outcome": found.state, "job": found.job}
    record = Sent(job=found.job, dataset=dataset, purpose=purpose, script=again.script, note=note)
    folder = make_folder(node.path / "python" / "sent")
    write_atomic(folder / f"{found.job}.json", json.dumps(record.model_dump()).encode())
    return found


def run(
    connection: Connection,
    node: NodeHome,
    digest: str,
    *,
    seconds: int,
    clock: Clock | None = None,
) -> Table | Held:
    """Run a job that was approved, under a grant; or take the table of one that was held.

    Raises:
        InputInvalid: The job was not submitted from here.
        PartyFailed: The owner's node refuses, or the work failed there; code and hint are its.
        PartyUnreachable: It does not answer.
        MessageInvalid: What it answers is not of the closed form.
    """
    sent = sent_job(node, digest)
    owner, name = named(sent.dataset)
    asked = Asked(run=Run(dataset=name, job=sent.job), seconds=seconds)
    return _table(connection, node, owner, asked, {"verb": "run", "dataset": sent.dataset,
                                                   "job": sent.job}, clock)  # fmt: skip


def collect(
    connection: Connection, node: NodeHome, run_name: str, *, clock: Clock | None = None
) -> Table | Held:
    """Take the table of a run that was begun from here.

    Raises:
        InputInvalid: No run of this name was begun from here.
        PartyFailed: The owner's node refuses.
        PartyUnreachable: It does not answer.
        MessageInvalid: What it answers is not of the closed form.
    """
    lines = [each for each in history(node) if each.get("run") == run_name]
    if not lines:
        raise InputInvalid(
            f"{run_name[:64]} names no run of this node.", hint="fusion python history shows them."
        )
    dataset, job = str(lines[-1]["dataset"]), str(lines[-1]["job"])
    owner, _ = named(dataset)
    said = {"verb": "collect", "dataset": dataset, "job": job}
    return _table(connection, node, owner, Asked(collect=Collect(run=run_name)), said, clock)


def sent_job(node: NodeHome, digest: str) -> Sent:
    """Return the job that was submitted from here whose digest is, or begins with, this.

    Raises:
        InputInvalid: There is none, or more than one.
    """
    usable = len(digest) >= _SHORTEST and digest.isalnum()
    paths = list((node.path / "python" / "sent").glob(f"{digest}*.json")) if usable else []
    if len(paths) != 1:
        raise InputInvalid(
            f"{digest[:64]} names no job that was submitted from here.",
            hint="fusion python history shows them; eight digits of a digest are enough.",
        )
    try:
        return Sent.model_validate_json(read_file(paths[0]))
    except ValidationError:
        raise InputInvalid(f"{paths[0]} is not what it was written as.") from None


def _table(
    connection: Connection,
    node: NodeHome,
    owner: str,
    asked: Asked,
    said: dict[str, Any],
    clock: Clock | None,
) -> Table | Held:
    with _Kept(node, said, clock) as kept:
        reply = _exchange(connection, owner, asked)
        found = reply.table or reply.held
        if found is None:
            raise MessageInvalid("A run was answered with something else than a table.")
        kept.said |= {"outcome": "answered" if reply.table else "held", "run": found.run}
        kept.said |= {"numbers": reply.table.numbers} if reply.table else {}
    return found


def _exchange(connection: Connection, owner: str, asked: Asked) -> Reply:
    call = connection.channel(owner).unary_unary(PYTHON)
    wait = asked.seconds + _MARGIN_SECONDS

    async def ask() -> bytes:
        answer: bytes = await call(to_bytes(asked), timeout=wait)
        return answer

    try:
        reply = reply_of(connection.link.run(ask(), wait + 1))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise PartyUnreachable(
                f"The node of {owner} takes no Python jobs.",
                hint="Its owner attaches a policy (fusion policy add) and starts it again.",
            ) from None
        raise connection.unanswered(owner, error) from None
    if reply.refusal is not None:
        raise reply.refusal.error()
    return reply


# ------------------------------------------------------------------------- what was asked


class _Kept:
    """Writes a line about an exchange, however it ends."""

    def __init__(self, node: NodeHome, said: dict[str, Any], clock: Clock | None) -> None:
        asked_before.check_can_keep(node, "python")
        now = timestamp((clock or SystemClock()).now())
        self._node = node
        self.said: dict[str, Any] = {"at": now, "job": "", "run": "", "code": "", **said}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FusionError):
            refused = isinstance(error, PartyFailed) and error.exit_code == 4
            outcome = "refused" if refused else "failed"
            self.said |= {"outcome": outcome, "code": error.code}
        elif error is not None:
            return
        asked_before.keep(self._node, "python", self.said)


def history(node: NodeHome) -> list[dict[str, Any]]:
    """Return what was submitted, run and collected from this node, oldest first.

    Raises:
        InputInvalid: The file was changed into something else.
    """
    return asked_before.history(node, "python")
