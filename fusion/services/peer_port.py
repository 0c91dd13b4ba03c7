"""What a node's ports for other nodes have in common: who calls, how many, in which threads.

Who calls is judged at each call, by the certificate that the connection showed. Work is done in
threads of a bounded number; a caller who goes away ends its work.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from fusion.errors import FusionError
from fusion.identity.callers import caller
from fusion.link import peers
from fusion.link.callers import pem_to_der
from fusion.services.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ports import Clock, Stop
    from fusion.services.homes import NodeHome

    Work = Callable[[str, bytes, Stop], bytes | None]
    """Returns the answer to a caller's request; None where nothing answers."""

_LOG: Final = logging.getLogger("banyan.peers")
_THREADS: Final = 16
_MOST: Final = 64
_MOST_OF_ONE: Final = 12
"""Of one member; fewer than there are threads, so that some are left for the others."""


class PeerPort:
    """Judges callers and has their requests worked on."""

    def __init__(self, node: NodeHome, clock: Clock | None, threads: str) -> None:
        """Take the node; its threads get a name."""
        self._node = node
        self._clock = clock or SystemClock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=threads)
        self._under_way = 0
        self._of: Counter[str] = Counter()

    def close(self) -> None:
        """Wait for what is under way; the service was closed before, so that it ends."""
        self._pool.shutdown()

    async def _served(
        self,
        work: Work,
        request: bytes,
        context: Any,  # noqa: ANN401 - gRPC has no types
        *,
        most: int,
        busy: bytes,
        silent: str,
    ) -> bytes:
        """Return the answer to a request, or end the call.

        Args:
            work: Makes it, in a thread.
            request: Its bytes.
            context: Of the call.
            most: Bytes that a request may have.
            busy: The answer while too many are under way.
            silent: Why there is none, where nothing answers.
        """
        member = None
        try:
            certificate = pem_to_der(peers.certificate_of(context))
            member = caller(self._node.roster(), certificate, self._clock.now())
        except FusionError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, error.message)
        if member is None:
            raise AssertionError
        if len(request) > most:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "A request is too large.")
        if self._under_way >= _MOST or self._of[member.id] >= _MOST_OF_ONE:
            return busy
        gone = threading.Event()
        self._under_way += 1
        self._of[member.id] += 1
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, work, member.id, request, gone)
        # Counted until the work ends, not until nobody waits for it.
        future.add_done_callback(partial(self._ended, member.id))
        reply: bytes | None = None
        try:
            reply = await asyncio.shield(future)
        except asyncio.CancelledError:
            gone.set()
            raise
        except Exception:  # noqa: BLE001 - gRPC would say to the caller what may quote anything
            _LOG.exception("a question of %s was not answered", member.id)
            await context.abort(grpc.StatusCode.INTERNAL, "It failed; its own log says why.")
        if reply is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, silent)
            raise AssertionError
        return reply

    def _ended(self, member: str, _: object) -> None:
        self._under_way -= 1
        self._of[member] -= 1
