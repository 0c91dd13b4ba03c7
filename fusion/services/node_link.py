"""A node's connection, for as long as a verb or a node that serves needs it.

To the hub by its link, to other nodes by tunnels through the hub. A node that serves keeps it as it
should be: a leaf that gets old is replaced, a new roster is fetched when the hub rings.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import grpc.aio

from fusion.errors import FusionError, InputInvalid, PartyUnreachable
from fusion.identity import certificates
from fusion.identity.callers import caller
from fusion.identity.members import AUTHORITY
from fusion.link import peers
from fusion.link.callers import pem_to_der
from fusion.link.dial import Link
from fusion.link.tunnels import Tunnels
from fusion.services import catalogue, grant_exchange, talking
from fusion.services.catalogue import CATALOGUE
from fusion.services.clock import SystemClock
from fusion.services.conversing import Conversations
from fusion.services.dialling import identity_of
from fusion.services.enrolment import ROSTER, refresh_roster, rotation_granted
from fusion.services.grant_exchange import GRANTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fusion.link.dial import Identity
    from fusion.link.line import Line, Stream
    from fusion.ports import Clock
    from fusion.services.conversing import Talk
    from fusion.services.homes import NodeHome

_LOOK_SECONDS: Final = 0.25
_AGAIN_SECONDS: Final = 2.0
_LEAF_SECONDS: Final = 60.0
PING_SECONDS: Final = 30.0
_END_SECONDS: Final = 60.0


class Connection:
    """What a node has of its federation while it is connected."""

    def __init__(self, node: NodeHome, clock: Clock | None = None) -> None:
        """Prepare; nothing is connected yet."""
        self._node = node
        self._clock = clock or SystemClock()
        self._tunnels = Tunnels()
        self._server: Any = None
        self._channels: dict[str, Any] = {}
        self._dialling: set[asyncio.Task[Any]] = set()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        self.link: Final = Link(
            node.invitation.address, lambda: identity_of(node, self._clock), self._tunnels.pick_up
        )
        self._tunnels.use(self.link)
        self.conversations: Final = Conversations(node.config.id, self, self._clock)

    def serve(self, say: Callable[[str], None], handlers: tuple[Any, ...] = ()) -> None:
        """Stay attached to the hub and serve other nodes, until :meth:`close`.

        Args:
            say: Told what the owner should know.
            handlers: What other nodes may call, as gRPC takes it.
        """

        async def begin() -> None:
            talks = talking.handler(self.conversations, self._judge)
            served = (talks, *handlers)
            self._server = peers.server(self._tunnels.served, self._shown, self._judge, served)
            await self._server.start()

        self.link.run(begin())
        self.link.attach()
        self._keeper = threading.Thread(target=self._keep, args=(say,), name="keeper")
        self._keeper.start()

    def _shown(self) -> tuple[Identity, bytes]:
        roster = self._node.roster()
        return identity_of(self._node, self._clock), roster.authorities_pem()

    def _judge(self, certificate: bytes) -> str:
        return caller(self._node.roster(), pem_to_der(certificate), self._clock.now()).id

    def _keep(self, say: Callable[[str], None]) -> None:
        """Fetch what is new when the hub rings, and connect again when the leaf is another."""
        bells = {name: self.link.bell(name) for name in (ROSTER, GRANTS, CATALOGUE)}
        heard = dict.fromkeys(bells, -1)
        shown, next_look = identity_of(self._node, self._clock), self._clock.monotonic()
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                if self._clock.monotonic() >= next_look:
                    next_look = self._clock.monotonic() + _LEAF_SECONDS
                    now = identity_of(self._node, self._clock)
                    if now != shown:
                        shown = now
                        self.link.renew()
                for name, bell in bells.items():
                    if (rung := bell.rings()) != heard[name] and self.link.attached:
                        self._fetch(name, say)
                        heard[name] = rung
            except PartyUnreachable:
                self._stop.wait(_AGAIN_SECONDS)
            except (FusionError, OSError) as error:
                say(f"the connection to the hub: {error}")

    def _fetch(self, name: str, say: Callable[[str], None]) -> None:
        if name == GRANTS:
            grant_exchange.exchange(self._node, self.link, say)
            return
        if name == CATALOGUE:
            catalogue.fetch(self._node, self.link)
            return
        refresh_roster(self._node, self.link)
        if rotation_granted(self._node):
            say("other keys were granted: start the node again to use them")

    # ------------------------------------------------------------------ other nodes

    def channel(self, organisation: str) -> Any:  # noqa: ANN401 - gRPC has no types
        """Return a channel to another node, kept; its calls run in this link's loop.

        Raises:
            InputInvalid: It is this very node.
            UnknownOrganisation: The roster has no such member.
        """
        if organisation == self._node.config.id:
            raise InputInvalid(
                f"{organisation} is this node's own organisation, which asks itself nothing.",
                hint="Name another one: `fusion data list` shows whose data there are.",
            )
        if organisation not in self._channels:
            member = self._node.roster().member(organisation)
            self._channels[organisation] = self.link.run(
                self._dial(organisation, certificates.pem(certificates.from_der(member.ca)))
            )
        return self._channels[organisation]

    def unanswered(self, organisation: str, error: grpc.aio.AioRpcError) -> PartyUnreachable:
        """Return why a call on such a channel was not answered, and what to do about it."""
        return self._tunnels.unanswered(organisation, error)

    async def _dial(self, organisation: str, ca: bytes) -> Any:  # noqa: ANN401
        path = await self._tunnels.listen(organisation)
        identity = identity_of(self._node, self._clock)
        return peers.channel(path, identity, ca, certificates.node_host(organisation))

    def ping(self, organisation: str, data: bytes) -> float:
        """Send bytes to another node and back; return how long it took, in seconds.

        Raises:
            PartyUnreachable: It does not answer.
            UnknownOrganisation: The roster has no such member.
        """
        call = self.channel(organisation).unary_unary(f"/{peers.PEER_SERVICE}/{peers.PING}")

        async def ask() -> bytes:
            answer: bytes = await call(data, timeout=PING_SECONDS)
            return answer

        began = self._clock.monotonic()
        try:
            answer = self.link.run(ask(), PING_SECONDS + 1)
        except grpc.aio.AioRpcError as error:
            raise self.unanswered(organisation, error) from None
        if answer != data:
            raise PartyUnreachable(f"{organisation} answers something else than it was sent.")
        return self._clock.monotonic() - began

    # ------------------------------------------------------------------ conversations

    def keep_talking(self, talk: Talk, line: Line) -> Callable[[], object]:
        """Dial a line's peer whenever there is no connection; return what stops that."""

        async def dialling() -> None:
            task = asyncio.current_task()
            if task is None:
                raise AssertionError
            self._dialling.add(task)
            try:
                await talking.keep_dialling(talk, line, self._connected)
            finally:
                self._dialling.discard(task)

        return self.link.submit(dialling()).cancel

    @asynccontextmanager
    async def _connected(self, organisation: str) -> AsyncIterator[Stream]:
        """Yield a stream to the hub or to another node, on a channel of its own.

        Raises:
            UnknownOrganisation: The roster has no such member.
        """
        if organisation == AUTHORITY:
            async with talking.dialled(self.link.opened()) as stream:
                yield stream
            return
        member = await asyncio.to_thread(lambda: self._node.roster().member(organisation))
        ca = certificates.pem(certificates.from_der(member.ca))
        path = await self._tunnels.listen(organisation)
        identity = await asyncio.to_thread(identity_of, self._node, self._clock)
        channel = peers.channel(
            path, identity, ca, certificates.node_host(organisation), shared=False
        )
        try:
            async with talking.dialled(channel) as stream:
                yield stream
        finally:
            await channel.close(None)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """End everything; what others are being answered is dropped."""
        self._stop.set()
        if self._keeper is not None:
            self._keeper.join()
        self.conversations.close()
        self.link.run(self._end(), _END_SECONDS)
        self.link.close()

    async def _end(self) -> None:
        dialling = list(self._dialling)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close(None)
        if self._server is not None:
            await self._server.stop(None)
        await self._tunnels.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
