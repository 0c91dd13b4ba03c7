"""What the front door needs from the engines, found through the entry point ``fusion.engines``.

Implemented in :mod:`federated` and :mod:`sandbox`, which import the core; the core imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fusion.ports import Event, Stop


Work = Literal["train", "align"]
"""What is ordered of a study: all of it, or that its records are aligned and nothing else."""


class IsolationDiagnosis(Protocol):
    """What the doctor needs from ``sandbox``, found through the entry point ``fusion.engines``."""

    def examine(self, account: str = ...) -> tuple[bool, str, str]:
        """Say whether untrusted work can be confined here, what was found, and what to install.

        Args:
            account: Whom workers run as where this process is root.
        """
        ...


class TrainingEngine(Protocol):
    """What the verbs need from ``federated``, found through the entry point ``fusion.engines``."""

    def hub_up(self, hub: Any, *, stop: Stop, say: Callable[[str], None]) -> int:  # noqa: ANN401 - a HubHome; services are above
        """Serve the federation until ``stop``; return the exit code."""
        ...

    def node_up(self, node: Any, *, stop: Stop, say: Callable[[str], None]) -> int:  # noqa: ANN401 - a NodeHome
        """Serve the hub's requests until ``stop``; return the exit code."""
        ...

    def train(
        self,
        hub: Any,  # noqa: ANN401 - a HubHome
        study_text: str,
        origin: str,
        order: bytes | None = None,
        work: Work = "train",
    ) -> str:
        """Check a study and its order, hand it to the running hub; return the job's identifier."""
        ...

    def order_terms(
        self, study_text: str, origin: str, work: Work = "train"
    ) -> tuple[str | None, str]:
        """Return who has to order a study, if it names an operator, and the study's digest."""
        ...

    def job_of(self, order: str) -> str:
        """Return the identifier of the job that the order of an id starts."""
        ...

    def look(
        self,
        hub: Any,  # noqa: ANN401 - a HubHome
        job: str,
        *,
        operator: str,
        start: int,
    ) -> tuple[str, list[dict[str, Any]], int] | None:
        """Return a job's status, some events and where to go on; None if it is another's."""
        ...

    def ending(self, hub: Any, job: str, *, party: str) -> str | None:  # noqa: ANN401 - a HubHome
        """Return how a job has ended, empty if it has not; None if a party takes no part in it."""
        ...

    def record(self, events: Sequence[Event]) -> dict[str, Any]:
        """Return the record of a run whose events came from elsewhere."""
        ...

    def check(self, study_text: str, origin: str) -> None:
        """Check a study by itself, without a federation."""
        ...

    def follow(
        self,
        hub: Any,  # noqa: ANN401 - a HubHome
        job: str,
        *,
        stop: Stop,
        on_quiet: Callable[[float], None] = ...,
    ) -> Iterator[Event]:
        """Yield the job's events, past and coming, up to its end.

        ``on_quiet`` is told, now and then, for how many seconds nothing has come.
        """
        ...

    def result(self, hub: Any, job: str) -> dict[str, Any]:  # noqa: ANN401 - a HubHome
        """Return the job's record so far."""
        ...

    def jobs(self, hub: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a HubHome
        """Return each job's ``job``, ``status`` and, if it has ended badly, ``message``."""
        ...

    def stop(self, hub: Any, job: str) -> None:  # noqa: ANN401 - a HubHome
        """Ask for a run to end before its next round."""
        ...

    def key_terms(self, study_text: str, origin: str) -> dict[str, Any]:
        """Return what a study asks of a key: ``bits``, ``threshold`` and ``holders``."""
        ...

    def simulate(
        self,
        study_text: str,
        origin: str,
        parties: Sequence[tuple[str, Path]],
        *,
        label: str | None,
        on_event: Callable[[Event], None],
    ) -> dict[str, Any]:
        """Run a study with all parties in this process; return its record, however it ended."""
        ...

    def try_vertical(self, asked: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
        """Run a vertical study with all parties in this process; return what it gave and took."""
        ...

    def baselines(
        self, study_text: str, tables: Mapping[str, Path], rounds_log: Path
    ) -> dict[str, Any]:
        """Compare a run with each party alone and with pooled data; all tables are at hand."""
        ...

    def vertical_baselines(
        self, study_text: str, tables: Mapping[str, Path]
    ) -> dict[str, dict[str, float | None]]:
        """Return what each party's columns alone give, where all tables are at hand."""
        ...

    def demo_files(self) -> Mapping[str, Any]:
        """Return ``{"study", "study-mlp": Path, "tables": {organisation: Path}}``."""
        ...


class QueryEngine(Protocol):
    """What the verbs need from ``sandbox``, found through the entry point ``fusion.engines``."""

    def policy_template(self) -> str:
        """Return a policy to begin with, as YAML."""
        ...

    def policy(self, text: str, origin: str) -> dict[str, Any]:
        """Check a policy; return its ``digest``, the ``policy`` as JSON and ``warnings``."""
        ...

    def try_policy(
        self,
        text: str,
        origin: str,
        statements: str,
        data: Path | None,
        *,
        execute: bool,
        source: str = "",
    ) -> dict[str, Any]:
        """Say of each statement whether the policy answers it; with ``execute`` what leaves."""
        ...

    def source_sql(self, text: str, origin: str, database: str, schema: str) -> str:
        """Return SQL that makes the roles of a database that a policy needs."""
        ...

    def attach_policy(
        self,
        node: Any,  # noqa: ANN401 - a NodeHome; services are above
        text: str,
        origin: str,
        dataset: str,
        data: Path | None,
        *,
        source: str = "",
        reader: str = "",
    ) -> dict[str, Any]:
        """Attach a policy to a dataset; return ``digest``, ``revision`` and what grants name."""
        ...

    def attached(self, node: Any, dataset: str) -> dict[str, Any] | None:  # noqa: ANN401 - a NodeHome
        """Return ``schema_digest`` and ``columns`` of a dataset with a policy, as grants name them.

        None if it has no policy.
        """
        ...

    def try_python(
        self,
        script: str,
        returns: Any,  # noqa: ANN401 - what a job returns; grants are above
        data: Path,
        *,
        person: str,
        seconds: int,
        account: str,
    ) -> dict[str, Any]:
        """Run a script over a folder of samples, confined; return its ``columns`` and ``rows``.

        ``log`` has what it printed, ``error``, ``code`` and ``hint`` why there is no table, and
        what to do about it.
        """
        ...

    def service(self, node: Any, say: Callable[[str], None]) -> QueryService:  # noqa: ANN401 - a NodeHome
        """Return what answers other organisations' queries at an owner's node."""
        ...


class QueryService(Protocol):
    """An owner's side of queries; safe to be called by many threads."""

    def reply(self, caller: str, asked: bytes, stop: Stop) -> bytes:
        """Answer a message of another organisation, whatever is in it.

        Args:
            caller: Who asks, as the connection has proved.
            asked: As :mod:`fusion.services.query_messages` has it.
            stop: Set when nobody waits for the answer any more.
        """
        ...

    def reply_python(self, caller: str, asked: bytes, stop: Stop) -> bytes:
        """Answer a message about Python jobs, as :meth:`reply` does one about queries.

        Args:
            caller: Who asks, as the connection has proved.
            asked: As :mod:`fusion.services.python_messages` has it.
            stop: Set when nobody waits for the answer any more.
        """
        ...

    def close(self) -> None:
        """Stop what runs."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """A record's score.

    Attributes:
        score: On the model's own scale: log odds, or what its target has; points of a scorecard.
        output: On the scale of the label: a probability, a mean; points of a scorecard.
        reasons: What raised the score most (of a scorecard: cost most points), the most first:
            a column of the label party, or other parties by their names; and how much.
    """

    score: float
    output: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Applicable:
    """A party's part of a model as those see it who do not know its form.

    Attributes:
        form: Its name.
        columns: What of the table it reads.
        words: Those among the columns that hold words.
        width: Bytes of an answer; 0 of the label party's part.
        summed: Whether answers are 64-bit integers of which the label party needs but the sum.
        parties: Feature parties, of the label party's part.
        part: The part itself, for the calls below.
        points: Of a scorecard: own columns (``column``) with ``bins``, each its ``values`` in words
            and its ``points``.
    """

    form: str
    columns: tuple[str, ...]
    words: frozenset[str]
    width: int
    summed: bool
    parties: tuple[str, ...]
    part: Any
    points: Sequence[Mapping[str, Any]] = ()


class ScoringEngine(Protocol):
    """What scoring needs from ``federated``, found through the entry point ``fusion.engines``."""

    def open(self, part: bytes) -> Applicable:
        """Read a party's part.

        Raises:
            fusion.errors.MessageInvalid: It is none.
        """
        ...

    def answers(self, part: Applicable, table: Mapping[str, Any], rows: Sequence[int]) -> bytes:
        """Return a feature party's answers for rows of its table, ``width`` bytes each.

        Raises:
            fusion.errors.DataInvalid: A column is of another type than in training.
        """
        ...

    def scores(
        self,
        part: Applicable,
        table: Mapping[str, Any],
        rows: Sequence[int],
        answers: Mapping[str, bytes],
    ) -> list[Scored]:
        """Return the scores of rows of the label party's table.

        Args:
            part: The label party's.
            table: Its columns.
            rows: Which of its rows.
            answers: Of each feature party for these rows, in their order.

        Raises:
            fusion.errors.DataInvalid: A column is of another type than in training.
            fusion.errors.MessageInvalid: They are not of the size due, or do not add up to a score.
        """
        ...


@dataclass(frozen=True, slots=True)
class Rr22Task:
    """What one party has RR22 do.

    Attributes:
        rank: 0 of the party that learns what is common, 1 of the other.
        peer: The other party, for messages.
        items: 16 bytes each, each once.
        most: Items that either set may have, as was agreed.
    """

    rank: int
    peer: str
    items: bytes
    most: int


class Rr22Process(Protocol):
    """RR22 at work for one party, confined; called by one thread at a time.

    What the two parties' processes say to each other is carried by whoever holds them.
    """

    def wait_ready(self) -> None:
        """Return once it has its library.

        Raises:
            fusion.errors.EnvironmentUnfit: It has not.
        """
        ...

    def begin(self, peer_items: int, wake: Callable[[], object]) -> None:
        """Have it begin.

        Args:
            peer_items: Of the peer's set.
            wake: Called, by any thread, whenever one of the two below has something new.
        """
        ...

    def collect(self) -> bytes:
        """Return what it has said to the peer's since, 1 MiB at most; empty if nothing.

        Raises:
            fusion.errors.AlignmentRefused: A-22: it has ended without a result.
        """
        ...

    def found(self) -> bytes | None:
        """Return the common items once it has them; empty for rank 1, None before.

        What it says to the peer's is to be carried on until that has its result, too.
        They come from an untrusted process.

        Raises:
            fusion.errors.AlignmentRefused: A-22: it has ended without a result.
        """
        ...

    def deliver(self, data: bytes) -> None:
        """Hand it what the peer's has said; waits while it is slow to take it.

        Raises:
            fusion.errors.AlignmentBroken: A-69: a link has nothing of the kind.
            fusion.errors.AlignmentRefused: A-22: it has ended without a result.
        """
        ...

    def close(self) -> None:
        """Kill it, if it still runs."""
        ...


class Rr22Engine(Protocol):
    """What alignments need from ``sandbox``, found through the entry point ``fusion.engines``."""

    def start(self, python: Path, task: Rr22Task, account: str) -> Rr22Process:
        """Start a process; it has to be closed.

        Args:
            python: The interpreter that has spu.
            task: What it is to do.
            account: Whom it runs as where this process is root.

        Raises:
            fusion.errors.IsolationUnavailable: Nothing here confines it.
            fusion.errors.EnvironmentUnfit: There is no such interpreter.
        """
        ...
