"""What comes of an alignment: for its owner in the node's folder, for the operator sealed.

::

    HOME/alignments/JOB/report.json    what was found in the own column; for its owner alone
    HOME/alignments/JOB/rows.json      which rows are common, where this party learned that

The operator is told how many records a party has and, if the party learned that, how many are
common: signed by the party, so that nobody on the way can say another number, and sealed to the
operator, so that nobody on the way reads it.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from fusion.errors import InputInvalid, MessageInvalid
from fusion.services.earlier_runs import FOLDER
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.wire import canonical, envelope
from fusion.wire.documents import Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fusion.alignment.session import Outcome
    from fusion.crypto.sealing import SealingPublicKey
    from fusion.identity.roster import Roster
    from fusion.services.homes import NodeHome

TYPE: Final = "application/vnd.fusion.align-told/1+json"
KEPT: Final = 50
"""Alignments whose report and rows stay in a node's folder: the newest."""
_TOLD_BYTES: Final = 2048
"""What is sealed always has so many bytes: the hub sees the length, which would tell magnitudes."""
MAX_TOLD_BYTES: Final = 4096
_JOB: Final = re.compile(r"(align|job)-[0-9a-f]{12}")
_Organisation = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$")]
_Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Told(Document):
    """What a party tells the operator.

    Attributes:
        job: The alignment.
        organisation: Who tells.
        operator: Whom.
        records: Keys of the own set.
        common: Common records; None if this party did not learn their number.
    """

    schema_: Literal["fusion.align-told/1"] = Field(default="fusion.align-told/1", alias="schema")
    job: Annotated[str, Field(pattern=r"^job-[0-9a-f]{12}$")]
    organisation: _Organisation
    operator: _Organisation
    records: _Count
    common: _Count | None = None


def tell(node: NodeHome, told: Told, operator: SealingPublicKey) -> bytes:
    """Return what a party tells, signed by it and sealed to the operator; always as many bytes.

    Raises:
        KeyRefused: Nothing can be sealed to the operator's key.
    """
    signed = envelope.sign(
        told.model_dump(mode="json", by_alias=True, exclude_none=True),
        TYPE, node.statement_key, told.organisation,
    )  # fmt: skip
    # Every told fits: names have 63 characters, numbers 16.
    return operator.seal(signed.ljust(_TOLD_BYTES), _context(told.job))


def open_told(node: NodeHome, roster: Roster, job: str, organisation: str, sealed: bytes) -> Told:
    """Return what a party told, at the operator's node.

    Raises:
        SealBroken: It was sealed to somebody else, or changed.
        SignatureInvalid: The party did not sign it.
        MessageInvalid: It is about another alignment, or not well formed.
    """
    if len(sealed) > MAX_TOLD_BYTES:
        raise MessageInvalid("What a party told is too large.")
    signed = node.open_sealed(sealed, _context(job)).rstrip(b" ")
    member = roster.member(organisation)
    _, payload = envelope.open_signed(signed, TYPE, {organisation: member.statement_key})
    try:
        told = Told.model_validate(payload)
    except ValidationError:
        raise MessageInvalid(f"What {organisation} told is not well formed.") from None
    if (told.job, told.organisation, told.operator) != (job, organisation, node.config.id):
        raise MessageInvalid(f"{organisation} tells of another alignment.")
    return told


def _bytes(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        raise MessageInvalid("What a party told is not well formed.") from None


def _context(job: str) -> bytes:
    return f"banyan alignment, what a party told/{job}".encode()


def sizes_of(node: NodeHome, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an alignment that has ended came to, as its operator is shown it.

    Args:
        node: The operator's.
        record: Of the run, as its engine makes it.

    Returns:
        ``job``, ``outcome``, ``protocol``, ``attempts`` (how many), ``common``, ``parties``
        (``organisation``, ``records``) and ``report`` of the own column, where the operator is a
        party.

    Raises:
        FusionError: As :func:`open_told`.
    """
    job, roster = str(record.get("job")), node.roster()
    told = {
        str(each["organisation"]): open_told(
            node, roster, job, str(each["organisation"]), _bytes(each["told"])
        )
        for each in record.get("told", [])
    }
    learned = [each.common for each in told.values() if each.common is not None]
    return {
        "job": job,
        "outcome": record.get("outcome"),
        "protocol": record.get("protocol"),
        "attempts": len(record.get("attempts", [])),
        "common": learned[0] if learned else None,
        "parties": [
            {"organisation": name, "records": told[name].records if name in told else None}
            for name in record.get("organisations", [])
        ],
        "report": report_of(node, job),
    }


# ------------------------------------------------------------------------------ for the owner


def keep_report(node: NodeHome, job: str, report: Mapping[str, Any]) -> None:
    """Write what was found in the own column."""
    write_atomic(_folder(node, job) / "report.json", canonical.encode(dict(report)))


def keep_rows(node: NodeHome, job: str, rows: Sequence[int]) -> None:
    """Write which rows of the own table are common, from 0."""
    document = {"schema": "fusion.align-rows/1", "rows": list(rows)}
    write_atomic(_folder(node, job) / "rows.json", canonical.encode(document))


def report_of(node: NodeHome, job: str) -> dict[str, Any] | None:
    """Return what was found in the own column, if this node was a party."""
    path = path_of(node, job) / "report.json"
    if not path.exists():
        return None
    found: dict[str, Any] = canonical.decode(read_file(path))
    return found


def path_of(node: NodeHome, job: str) -> Path:
    """Return where a party's files of an alignment are; they need not be there.

    Raises:
        InputInvalid: The text can't be a job's identifier.
    """
    if not _JOB.fullmatch(job):
        raise InputInvalid(f"{job[:80]!r} is no alignment.")
    return node.path / FOLDER / job


def _folder(node: NodeHome, job: str) -> Path:
    make_folder(node.path / FOLDER)
    return make_folder(path_of(node, job))


def prune(node: NodeHome) -> None:
    """Remove the files of all alignments but the newest :data:`KEPT`."""
    there = [
        path
        for path in (node.path / FOLDER).glob("*")
        if path.is_dir() and _JOB.fullmatch(path.name)
    ]
    for path in sorted(there, key=lambda each: each.stat().st_mtime_ns)[: -KEPT or None]:
        shutil.rmtree(path, ignore_errors=True)


def what(outcome: Outcome | None) -> Literal["nothing", "size", "records"]:
    """Return in a word what was learned, as the log says it."""
    if outcome is None:
        return "nothing"
    return "size" if outcome.keys is None else "records"
