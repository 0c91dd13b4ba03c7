"""What a node keeps of each alignment that it takes part in.

::

    HOME/alignments/JOB/study.json     the agreed sections, canonical
    HOME/alignments/JOB/order.json     the operator's order
    HOME/alignments/JOB/state.json     how far it is; written last, so that it begins a job
    HOME/alignments/JOB/report.json    what was found in the own column; for its owner alone
    HOME/alignments/JOB/rows.json      which rows are common, where this party learns that
    HOME/alignments/JOB/session.sealed while it is under way: what it goes on from after a crash
    HOME/alignments/JOB/outcome.sealed what was learned, until it is logged
    HOME/alignments/JOB/stop           its operator asks for its end
    HOME/alignments/runs/PEER/JOB.json an earlier run with a peer, JOB.sketch its set (see
                                       :func:`fusion.alignment.controls.sketch`)
    HOME/alignments/secret             what keys the sketches
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fusion.alignment import controls
from fusion.alignment.controls import Run
from fusion.alignment.study import AlignmentStudy
from fusion.crypto import rng
from fusion.errors import FusionError, InputInvalid, MessageInvalid
from fusion.grants.order import MAX_ORDER_BYTES
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.query_messages import Refusal
from fusion.wire.documents import Document, read

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from fusion.alignment.controls import Limits
    from fusion.alignment.session import Outcome
    from fusion.services.homes import NodeHome

_JOB: Final = re.compile(r"align-[0-9a-f]{12}")
_SECRET_BYTES: Final = 32
_MAX_STATE_BYTES: Final = 64 * 1024
_MAX_OUTCOME_BYTES: Final = 1 << 30
"""As many places as a set may have items; the file is this node's own."""
OVER: Final = ("done", "failed")

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$")]


class State(Document):
    """How far a job is at one party; what its operator is shown.

    Attributes:
        job: The job.
        operator: Who ordered it.
        status: Of the job, at this party.
        records: Keys of the own set, once they are counted.
        took: Messages taken.
        gave: Messages that others have taken.
        common: Common records, where this party learned their number.
        refusal: Why it failed.
    """

    schema_: Literal["fusion.align-state/1"] = Field(default="fusion.align-state/1", alias="schema")
    job: Annotated[str, Field(pattern=r"^(align|job)-[0-9a-f]{12}$")]
    operator: Name
    status: Literal["asked", "running", "done", "failed"]
    records: Count | None = None
    took: Count = 0
    gave: Count = 0
    common: Count | None = None
    refusal: Refusal | None = None


class _Kept(Document):
    """An earlier run, but for its sketch."""

    schema_: Literal["fusion.align-run/1"] = Field(default="fusion.align-run/1", alias="schema")
    job: Annotated[str, Field(pattern=r"^(align|job)-[0-9a-f]{12}$")]
    field: Annotated[str, Field(min_length=1, max_length=200)]
    own: Count
    peer: Count
    commitment: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Learned(Document):
    """What a party learned.

    Attributes:
        size: Common records; None if it learned nothing.
        keys: Places of the common ones among the own keys; None if it learned their number alone.
    """

    schema_: Literal["fusion.align-outcome/1"] = Field(
        default="fusion.align-outcome/1", alias="schema"
    )
    size: Count | None = None
    keys: tuple[Count, ...] | None = None

    @classmethod
    def of(cls, outcome: Outcome | None) -> Learned:
        """Return it of a session's outcome."""
        return cls() if outcome is None else cls(size=outcome.size, keys=outcome.keys)

    @property
    def what(self) -> str:
        """In a word, as the log says it."""
        if self.size is None:
            return "nothing"
        return "size" if self.keys is None else "records"


def job_of(order: str) -> str:
    """Return the job that the order of an id starts."""
    return f"align-{order[:12]}"


class Job:
    """One job's folder."""

    def __init__(self, node: NodeHome, name: str) -> None:
        """Name it; it need not exist.

        Raises:
            InputInvalid: The text can't be a job's identifier.
        """
        if not _JOB.fullmatch(name):
            raise InputInvalid(f"{name[:80]!r} is no alignment.")
        self.name: Final = name
        self._node = node
        self.path: Final = node.path / "alignments" / name

    @property
    def exists(self) -> bool:
        """Whether there is such a job here."""
        return (self.path / "state.json").exists()

    def make(self, study: AlignmentStudy, order: bytes) -> None:
        """Begin a job that was ordered; one that is there stays as it is."""
        make_folder(self.path)
        if not self.exists:
            write_atomic(self.path / "study.json", study.canonical())
            write_atomic(self.path / "order.json", order)
            self.keep(State(job=self.name, operator=study.study.operator, status="asked"))

    @property
    def study(self) -> AlignmentStudy:
        """What was agreed on."""
        return AlignmentStudy.from_canonical(read_file(self.path / "study.json"))

    @property
    def order(self) -> bytes:
        """The operator's order."""
        data = read_file(self.path / "order.json")
        if len(data) > MAX_ORDER_BYTES:
            raise MessageInvalid("An order is too large.")
        return data

    @property
    def state(self) -> State:
        """How far it is."""
        data = read_file(self.path / "state.json")
        return read(data, State, "state of a job", _MAX_STATE_BYTES, lambda _: ())

    def keep(self, state: State) -> None:
        """Remember how far it is."""
        write_atomic(self.path / "state.json", state.canonical())

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the job."""
        write_atomic(self.path / name, data)

    # ------------------------------------------------------------------ the session

    def keep_session(self, key: bytes, order: bytes, sealed: bytes) -> None:
        """Keep a session's sealed state.

        Args:
            key: Opens the state; sealed to this node.
            order: Digest of the keys in order; kept with the key.
            sealed: The state.
        """
        boxed = self._node.sealing_key.public.seal(key + order, self._context)
        self.write("session.sealed", len(boxed).to_bytes(4, "big") + boxed + sealed)

    def session(self) -> tuple[bytes, bytes, bytes] | None:
        """Return key, order and sealed state of the session, if one was kept.

        Raises:
            SealBroken: It was changed, or sealed to a key that is gone.
        """
        path = self.path / "session.sealed"
        if not path.exists():
            return None
        data = read_file(path)
        end = 4 + int.from_bytes(data[:4], "big")
        plain = self._node.open_sealed(data[4:end], self._context)
        return plain[:_SECRET_BYTES], plain[_SECRET_BYTES:], data[end:]

    @property
    def _context(self) -> bytes:
        return b"banyan alignment session/" + self.name.encode()

    def keep_outcome(self, learned: Learned) -> None:
        """Keep what was learned, sealed, before the peer hears that everything has come."""
        data = self._node.sealing_key.public.seal(learned.canonical(), self._context)
        self.write("outcome.sealed", data)

    def outcome(self) -> Learned | None:
        """Return what was learned, if that was kept.

        Raises:
            SealBroken: It was changed, or sealed to a key that is gone.
        """
        path = self.path / "outcome.sealed"
        if not path.exists():
            return None
        data = self._node.open_sealed(read_file(path), self._context)
        return read(data, Learned, "kept outcome", _MAX_OUTCOME_BYTES, lambda _: ())

    def drop_session(self) -> None:
        """Forget the session: the job is over."""
        for name in ("session.sealed", "outcome.sealed"):
            (self.path / name).unlink(missing_ok=True)

    # ------------------------------------------------------------------ its end

    def ask_to_stop(self) -> None:
        """Ask whoever runs it to end it."""
        if self.exists and self.state.status not in OVER:
            self.write("stop", b"")

    @property
    def stopping(self) -> bool:
        """Whether its end was asked for."""
        return (self.path / "stop").exists()

    def failed(self, error: FusionError) -> None:
        """Remember why it failed."""
        state = self.state
        if state.status not in OVER:
            refusal = Refusal.of(error)
            self.keep(state.model_copy(update={"status": "failed", "refusal": refusal}))
        self.drop_session()


def jobs(node: NodeHome, besides: Collection[str] = ()) -> list[Job]:
    """Return every job of a node, but for some."""
    names = [path.name for path in (node.path / "alignments").glob("align-*")]
    found = [Job(node, name) for name in names if _JOB.fullmatch(name) and name not in besides]
    return sorted((job for job in found if job.exists), key=lambda job: job.name)


# ------------------------------------------------------------------------------ earlier runs


def secret_of(node: NodeHome) -> bytes:
    """Return what keys a node's sketches; made when it is first asked for."""
    path = make_folder(node.path / "alignments") / "secret"
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
        kept = read(read_file(path), _Kept, "run", _MAX_STATE_BYTES, lambda _: ())
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


def table_changed() -> InputInvalid:
    """Return what is raised where a job goes on over another table than it was begun with."""
    return InputInvalid(
        "The table has changed since the alignment was begun.", hint="Order it again."
    )


def sketch_of(node: NodeHome, peer: str, job: str) -> bytes | None:
    """Return the sketch with which a job with a peer was begun, if it was."""
    path = _folder(node, peer) / f"{job}.sketch"
    return read_file(path) if path.exists() else None


def forget(node: NodeHome, peer: str, job: str) -> None:
    """Forget a run of which nothing has left."""
    for suffix in (".json", ".sketch"):
        (_folder(node, peer) / f"{job}{suffix}").unlink(missing_ok=True)


def _folder(node: NodeHome, peer: str) -> Path:
    return node.path / "alignments" / "runs" / peer
