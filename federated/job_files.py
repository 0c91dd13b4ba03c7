"""What small files of a job's folder say, read strictly: whatever was done to them, no more.

The hub writes them whole and replaces them at once. One that is something else was damaged, or put
there by somebody: it stops its own job, by name, and neither the hub nor another job.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["training", "vertical", "alignment", "pings"]
Status = Literal["queued", "starting", "running", "done", "failed", "stopped"]
MAX_BYTES: Final = 64 * 1024
_MAX_NUMBER: Final = 2**64 - 1
_Number = Annotated[int, Field(ge=0, le=_MAX_NUMBER)]


class JobFile(BaseModel):
    """A file: closed, strict."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class JobState(JobFile):
    """``job.json``.

    Attributes:
        schema_: Version of the file; those of before have none.
        job: The job.
        kind: Of study, or of what else it does.
        status: Where it stands.
        starts: How often its worker was started.
        origin: What the study's file was called.
        operator: Who ordered it, if it was ordered.
        count: Of pings.
        run: Flower's number of its newest run.
        message: How it has ended.
        exit_code: Likewise.
        code: Of the error that has ended it.
    """

    schema_: Literal["fusion.job/1"] = Field(default="fusion.job/1", alias="schema")
    job: str
    kind: Kind
    status: Status
    starts: _Number
    origin: str | None = None
    operator: str | None = None
    count: _Number | None = None
    run: _Number | None = None
    message: str | None = None
    exit_code: int | None = None
    code: str | None = None


class Dealing(JobFile):
    """``dealing.json``: what is to be dealt.

    Attributes:
        attempt: For which attempt.
        rows: How many train.
        step: From which it begins.
    """

    attempt: Annotated[int, Field(ge=1, le=_MAX_NUMBER)]
    rows: _Number
    step: _Number


class Begun(JobFile):
    """``dealing-begun.json``: the newest attempt for which something was dealt."""

    attempt: Annotated[int, Field(ge=1, le=_MAX_NUMBER)]


_Bytes = Annotated[list[_Number], Field(min_length=2, max_length=2)]


class Sent(JobFile):
    """``sent.json``: bytes that parties of a joint run have sent, of aligning and of all else.

    Attributes:
        attempt: Which one is counted.
        now: In it, by organisation.
        before: In those before it.
    """

    attempt: _Number
    now: dict[str, _Bytes]
    before: dict[str, _Bytes]


_File = TypeVar("_File", bound=JobFile)


def read_job_file(path: Path, model: type[_File]) -> _File | None:
    """Return what a file says; None if there is none.

    Raises:
        EnvironmentUnfit: It can't be read, is too large, or says something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, f"can't be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise _damaged(path, f"has more than {MAX_BYTES} bytes")
    try:
        return model.model_validate(json.loads(data))
    except (ValueError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            where = ".".join(map(str, error.errors()[0]["loc"]))
        raise _damaged(path, f"is not well formed{f' ({where})' if where else ''}") from None


def _damaged(path: Path, why: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"{path} {why}.",
        hint=f"Put it back from a backup, or move {path.parent} away: the other jobs go on.",
    )
