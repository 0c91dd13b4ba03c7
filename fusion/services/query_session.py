"""An analyst's session: questions of one dataset over a connection that is made again when lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from fusion.errors import PartyUnreachable
from fusion.services import querying
from fusion.services.addressing import addresses, dataset_of, with_tables
from fusion.services.files import make_folder
from fusion.services.node_link import Connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.services.homes import NodeHome
    from fusion.services.query_description import Described
    from fusion.services.query_messages import Left, Table

MAX_HISTORY_BYTES: Final = 1 << 20
_Answer = TypeVar("_Answer")


class Questions(Protocol):
    """What a shell asks of; everything can raise what :mod:`fusion.services.querying` does."""

    def query(self, statement: str, rows: int, rho_micro: int | None = None) -> Table:
        """Ask; an interrupt tells the owner's node, and the query ends there.

        Args:
            statement: One SELECT.
            rows: Most rows, which are charged.
            rho_micro: What to spend of a privacy budget; None is what the policy says.
        """
        ...

    def budget(self) -> list[Left]:
        """Return what the grants have left."""
        ...

    def describe(self) -> Described:
        """Return what may be asked about."""
        ...

    def history(self) -> list[dict[str, Any]]:
        """Return what was asked from this node, oldest first."""
        ...


class Session:
    """:class:`Questions` of a dataset at its owner's node."""

    def __init__(self, node: NodeHome, dataset: str, purpose: str, seconds: int) -> None:
        """Prepare; the connection is made with the first question.

        Args:
            node: Who asks.
            dataset: ``OWNER/ID``.
            purpose: What for, as the grant says.
            seconds: For how long to wait for an answer.

        Raises:
            InputInvalid: The dataset is not of that form.
        """
        querying.named(dataset)
        self._node = node
        self._dataset, self._purpose, self._seconds = dataset, purpose, seconds
        self._connection: Connection | None = None

    def query(self, statement: str, rows: int, rho_micro: int | None = None) -> Table:
        """Ask a question; it may name the dataset, as :mod:`fusion.services.addressing` says."""
        found = addresses(statement)
        dataset_of(found, self._dataset)
        own = with_tables(statement, found, self.describe)
        return self._with(
            lambda connection: querying.query(
                connection,
                self._node,
                self._dataset,
                own,
                purpose=self._purpose,
                rows=rows,
                seconds=self._seconds,
                rho_micro=rho_micro,
            )
        )

    def budget(self) -> list[Left]:
        """Return what the grants have left."""
        return self._with(lambda connection: querying.budget(connection, self._dataset))

    def describe(self) -> Described:
        """Return what may be asked about."""
        return self._with(lambda connection: querying.describe(connection, self._dataset))

    def history(self) -> list[dict[str, Any]]:
        """Return what was asked from this node, oldest first."""
        return querying.history(self._node)

    def _with(self, ask: Callable[[Connection], _Answer]) -> _Answer:
        if self._connection is None:
            self._connection = Connection(self._node)
        try:
            return ask(self._connection)
        except PartyUnreachable:
            # The next question begins anew, with the leaf of then.
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def typed_file(node: NodeHome) -> Path:
    """Return the file of what was typed into shells at a node, for its owner's eyes alone.

    It is made if it is not there, and cut to its newer half when it has grown large.
    """
    path = make_folder(node.path / "queries") / "typed.history"
    path.touch(0o600)
    path.chmod(0o600)
    with node.lock(".queries.lock"):
        data = path.read_bytes()
        if len(data) > MAX_HISTORY_BYTES:
            # An entry begins with a line `# time` (prompt_toolkit's FileHistory).
            half = data[-MAX_HISTORY_BYTES // 2 :]
            path.write_bytes(half[half.find(b"\n# ") + 1 :])
    return path
