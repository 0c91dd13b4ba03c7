"""A feature party's answers to other nodes: gRPC within the TLS of the two."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from fusion.services.models import keeps_models
from fusion.services.peer_port import PeerPort
from fusion.services.query_messages import Refusal
from fusion.services.score_messages import MAX_FRAME_BYTES, Reply, to_bytes
from fusion.services.score_rules import Ruled, refused
from fusion.services.score_service import ScoreService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.ports import Clock, Stop
    from fusion.services.homes import NodeHome

SERVICE: Final = "fusion.score.v1.Scores"
ASK: Final = f"/{SERVICE}/Ask"
_BUSY: Final = Refusal.of(refused(Ruled.BUSY))


class OnFirstModel:
    """A node's service of answers, made when the node keeps a model: at its start, or later."""

    def __init__(self, node: NodeHome, say: Callable[[str], None]) -> None:
        """Make nothing yet."""
        self._node, self._say = node, say
        self._lock = threading.Lock()
        self._service: ScoreService | None = None
        self._closed = False

    def service(self) -> ScoreService | None:
        """Return the service, made now if it is needed for the first time; else None."""
        with self._lock:
            if self._service is None and not self._closed and keeps_models(self._node):
                self._service = ScoreService(self._node, self._say)
            return self._service

    def close(self) -> None:
        """End what is under way; none is made any more."""
        with self._lock:
            self._closed = True
            if self._service is not None:
                self._service.close()
                self._service = None


class ScorePort(PeerPort):
    """What a node serves label parties of its models."""

    def __init__(
        self,
        node: NodeHome,
        service: Callable[[], ScoreService | None],
        clock: Clock | None = None,
    ) -> None:
        """Take what gives the service; it is asked in a thread, at each call."""
        super().__init__(node, clock, "scores")
        self._service = service

    def handler(self) -> Any:  # noqa: ANN401 - gRPC has no types
        """Return what :meth:`fusion.services.node_link.Connection.serve` takes."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Ask": grpc.unary_unary_rpc_method_handler(self._ask)}
        )

    async def _ask(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        return await self._served(
            self._replied,
            request,
            context,
            most=MAX_FRAME_BYTES,
            busy=to_bytes(Reply(refusal=_BUSY)),
            silent="This node keeps no model.",
        )

    def _replied(self, caller: str, request: bytes, stop: Stop) -> bytes | None:
        service = self._service()
        return None if service is None else service.reply(caller, request, stop)


@contextmanager
def scores_served(node: NodeHome, say: Callable[[str], None]) -> Iterator[tuple[Any, ...]]:
    """Yield what a node serves label parties, once it keeps a model."""
    first = OnFirstModel(node, say)
    port = ScorePort(node, first.service)
    try:
        yield (port.handler(),)
    finally:
        first.close()
        port.close()
