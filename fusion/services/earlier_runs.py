"""What a node remembers of the sets that it has aligned, to hold the next run to.

::

    HOME/alignments/runs/PEER/JOB.json an earlier run with a peer, JOB.sketch its set (see
                                       :func:`fusion.alignment.controls.sketch`)
    HOME/alignments/secret             what keys the sketches
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fusion.alignment import controls
from fusion.alignment.controls import Run
from fusion.alignment.resuming import table_changed
from fusion.crypto import rng
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.wire.documents import Document, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.alignment.controls import Limits
    from fusion.services.homes import NodeHome

FOLDER: Final = "alignments"
_SECRET_BYTES: Final = 32
_MAX_RUN_BYTES: Final = 64 * 1024

_Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class _Kept(Document):
    """An earlier run, but for its sketch."""

    schema_: Literal["fusion.align-run/1"] = Field(default="fusion.align-run/1", alias="schema")
    job: Annotated[str, Field(pattern=r"^(align|job)-[0-9a-f]{12}$")]
    field: Annotated[str, Field(min_length=1, max_length=200)]
    own: _Count
    peer: _Count
    commitment: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


def secret_of(node: NodeHome) -> bytes:
    """Return what keys a node's sketches; made when it is first asked for."""
    path = make_folder(node.path / FOLDER) / "secret"
    with node.lock(".alignments.lock"):
        if not path.exists():
            write_atomic(path, rng.token(_SECRET_BYTES))
    return read_file(path)


def earlier(node: NodeHome, peer: str, *, besides: str) -> list[Run]:
    """Return the runs with a peer that a node remembers, but for one job's.

    Raises:
        MessageInvalid: A file was changed.
    """
    found = []
    for path in sorted(_folder(node, peer).glob("*.json")):
        kept = read(read_file(path), _Kept, "run", _MAX_RUN_BYTES, lambda _: ())
        if kept.job != besides:
            marks = read_file(path.with_suffix(".sketch"))
            found.append(Run(kept.job, kept.field, kept.own, kept.peer, kept.commitment, marks))
    return found


def remember(node: NodeHome, peer: str, run: Run) -> None:
    """Remember a run with a peer durably: before anything of it leaves, and when more is known."""
    folder = make_folder(_folder(node, peer))
    kept = _Kept(
        job=run.job, field=run.field, own=run.own, peer=run.peer, commitment=run.commitment
    )
    # The sketch first: a run without one would let any set pass.
    write_atomic(folder / f"{run.job}.sketch", run.sketch)
    write_atomic(folder / f"{run.job}.json", kept.canonical())


def hold_to_earlier(node: NodeHome, peers: Sequence[str], limits: Limits, run: Run) -> bool:
    """Hold the own set to earlier runs with peers, and remember this run with all of them.

    In one step: of two runs that begin at a time the second is held to the first. Called before
    anything leaves.

    Args:
        node: The party.
        peers: The others.
        limits: Of its grant.
        run: This run, as far as it is known; a job that was begun before is remembered as it is.

    Returns:
        Whether this job was begun before: something of it may have left.

    Raises:
        AlignmentRefused: A-15: no run is left. A-16: the set is too near an earlier one.
        InputInvalid: The job was begun with another set.
    """
    with node.lock(".alignments.lock"):
        begun = {peer: sketch_of(node, peer, run.job) for peer in peers}
        if any(marks not in {None, run.sketch} for marks in begun.values()):
            raise table_changed()
        for peer in peers:
            controls.before(limits, earlier(node, peer, besides=run.job), run.sketch)
        for peer, marks in begun.items():
            if marks is None:
                remember(node, peer, run)
    return any(marks is not None for marks in begun.values())


def was_committed(node: NodeHome, peer: str, job: str) -> bool:
    """Return whether the own set was masked for a job with a peer: a part of it may have left."""
    path = _folder(node, peer) / f"{job}.json"
    if not path.exists():
        return False
    return read(read_file(path), _Kept, "run", _MAX_RUN_BYTES, lambda _: ()).commitment != ""


def sketch_of(node: NodeHome, peer: str, job: str) -> bytes | None:
    """Return the sketch with which a job with a peer was begun, if it was."""
    path = _folder(node, peer) / f"{job}.sketch"
    return read_file(path) if path.exists() else None


def forget(node: NodeHome, peer: str, job: str) -> None:
    """Forget a run of which nothing has left."""
    for suffix in (".json", ".sketch"):
        (_folder(node, peer) / f"{job}{suffix}").unlink(missing_ok=True)


def _folder(node: NodeHome, peer: str) -> Path:
    return node.path / FOLDER / "runs" / peer
