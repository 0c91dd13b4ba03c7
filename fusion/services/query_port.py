"""Queries and Python jobs from node to node: gRPC within the TLS of the two.

The hub carries it and can't read it.

Who may call, and how many at a time: :mod:`fusion.services.peer_port`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

import grpc
import grpc.aio

from fusion.errors import EnvironmentUnfit, IsolationBusy
from fusion.services import engines
from fusion.services import python_messages as jobs
from fusion.services.peer_port import PeerPort
from fusion.services.query_messages import MAX_ASKED_BYTES, Refusal, Reply, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.engine_ports import QueryService
    from fusion.ports import Clock, Stop
    from fusion.services.homes import NodeHome

SERVICE: Final = "fusion.query.v1.Queries"
ASK: Final = f"/{SERVICE}/Ask"
PYTHON: Final = f"/{SERVICE}/Python"
_SILENT: Final = "This node answers no queries."
_BUSY: Final = Refusal.of(IsolationBusy("Too many queries wait at the owner's node."))


class OnFirstPolicy:
    """A node's service of queries, made when the node has a policy: at its start, or later."""

    def __init__(self, node: NodeHome, say: Callable[[str], None]) -> None:
        """Make nothing yet."""
        self._node, self._say = node, say
        self._lock = threading.Lock()
        self._service: QueryService | None = None
        self._failed = False

    def service(self) -> QueryService | None:
        """Return the service, made now if it can be for the first time; None if there is none.

        Where work can't be confined that is said once, and not tried again: a caller may ask as
        often as it likes.
        """
        with self._lock:
            if self._service is None and not self._failed and self._has_policy():
                try:
                    self._service = engines.queries().service(self._node, self._say)
                except EnvironmentUnfit as error:
                    self._failed = True
                    self._say(f"this node answers no queries: {error.message} {error.hint}")
            return self._service

    def _has_policy(self) -> bool:
        return any(self._node.path.glob("queries/*/policy.json"))

    def close(self) -> None:
        """End what is under way; none is made any more."""
        with self._lock:
            self._failed = True
            if self._service is not None:
                self._service.close()
                self._service = None


class QueryPort(PeerPort):
    """What a node serves its peers: queries, while it has a service that answers."""

    def __init__(
        self,
        node: NodeHome,
        service: Callable[[], QueryService | None],
        clock: Clock | None = None,
    ) -> None:
        """Take what gives the service; it is asked in a thread, at each call."""
        super().__init__(node, clock, "queries")
        self._service = service

    def handler(self) -> Any:  # noqa: ANN401 - gRPC has no types
        """Return what :meth:`fusion.services.node_link.Connection.serve` takes."""
        methods = {"Ask": self._ask, "Python": self._python}
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {name: grpc.unary_unary_rpc_method_handler(each) for name, each in methods.items()},
        )

    async def _ask(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        busy = to_bytes(Reply(refusal=_BUSY))
        work = partial(self._replied, "reply")
        return await self._served(
            work, request, context, most=MAX_ASKED_BYTES, busy=busy, silent=_SILENT
        )

    async def _python(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        most, busy = jobs.MAX_ASKED_BYTES, jobs.to_bytes(jobs.Reply(refusal=_BUSY))
        work = partial(self._replied, "reply_python")
        return await self._served(work, request, context, most=most, busy=busy, silent=_SILENT)

    def _replied(
        self, kind: Literal["reply", "reply_python"], caller: str, request: bytes, stop: Stop
    ) -> bytes | None:
        service = self._service()
        if service is None:
            return None
        reply = service.reply if kind == "reply" else service.reply_python
        return reply(caller, request, stop)


@contextmanager
def queries_served(node: NodeHome, say: Callable[[str], None]) -> Iterator[tuple[Any, ...]]:
    """Yield what a node serves its peers: queries, once a policy is attached and work is confined.

    A policy that is there makes the service before anything is served, so that the first query
    does not wait for it and the owner is told at once where work can't be confined.
    """
    first = OnFirstPolicy(node, say)
    first.service()
    port = QueryPort(node, first.service)
    try:
        yield (port.handler(),)
    finally:
        first.close()
        port.close()
