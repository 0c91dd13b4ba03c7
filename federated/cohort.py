"""The parties of a run as the hub sees them: ask all, wait for enough, until a deadline.

One port, two adapters: :class:`InProcessCohort` below, and
:class:`federated.runtime.grid.GridCohort` over Flower. Requests and replies are a head (JSON
values) and blobs (bytes), so that nothing on the way needs to understand them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.errors import FusionError
    from fusion.types import OrgId

Kind = Literal[
    "hello", "setup", "join", "contribute", "submit", "witness", "decrypt", "dispute", "close",
    "prepare", "begin", "look", "finish", "leave",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """What the hub asks of one party."""

    kind: Kind
    head: Mapping[str, Any] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes on the wire, without the transport's own."""
        return _size(self.head, self.blobs)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a party did not do what it was asked to; never a protected value.

    Attributes:
        code: The error's.
        message: What it says.
        exit_code: The error's.
        study_key: The key of the study that it is about; see :class:`fusion.errors.FusionError`.
    """

    code: str
    message: str
    exit_code: int
    study_key: str = ""

    @classmethod
    def of(cls, error: FusionError) -> Failure:
        """Take over what an error says."""
        return cls(error.code, str(error), error.exit_code, error.study_key)


@dataclass(frozen=True, slots=True)
class Reply:
    """What one party answered: a head and blobs, or a failure."""

    organisation: OrgId
    head: Mapping[str, Any] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def size(self) -> int:
        """Bytes on the wire, without the transport's own."""
        return _size(self.head, self.blobs)


def _size(head: Mapping[str, Any], blobs: Mapping[str, bytes]) -> int:
    return len(canonical.encode(dict(head))) + sum(len(blob) for blob in blobs.values())


Replies = dict["OrgId", Reply]


class Cohort(Protocol):
    """The parties of a run."""

    def ask(
        self,
        requests: Mapping[OrgId, Request],
        *,
        seconds: float,
        enough: Callable[[Replies], bool] | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Replies:
        """Send each request to its party and collect replies.

        Args:
            requests: What to ask of whom.
            seconds: Time after which whoever has not answered is left out.
            enough: Stops waiting early when it says so of the replies at hand.
            on_reply: Told of each reply as it comes.

        Returns:
            The replies, failures among them; a party that is missing did not answer in time.
        """
        ...

    def knock(self, organisations: Sequence[OrgId]) -> set[OrgId]:
        """Return which of these answer now; never waits."""
        ...


class Answering(Protocol):
    """Something that answers requests: a party."""

    def handle(self, request: Request) -> Reply:
        """Answer one request; a refusal is an answer as well."""
        ...


class InProcessCohort:
    """All parties in this process, asked one after the other: for simulation and tests."""

    def __init__(self, parties: Mapping[OrgId, Answering]) -> None:
        """Take the parties by name."""
        self._parties = dict(parties)

    def ask(
        self,
        requests: Mapping[OrgId, Request],
        *,
        seconds: float,  # noqa: ARG002 - nobody is late in a process that waits for each
        enough: Callable[[Replies], bool] | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Replies:
        """Ask each party in turn; one that raises :class:`TimeoutError` did not answer."""
        replies: Replies = {}
        for organisation, request in requests.items():
            if enough is not None and enough(replies):
                break
            try:
                reply = self._parties[organisation].handle(request)
            except TimeoutError:
                continue
            replies[organisation] = reply
            if on_reply is not None:
                on_reply(reply)
        return replies

    def knock(self, organisations: Sequence[OrgId]) -> set[OrgId]:
        """Return which of these answer a hello."""
        hello = Request("hello")
        return set(self.ask(dict.fromkeys(organisations, hello), seconds=0.0))
