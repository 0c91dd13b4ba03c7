"""One connection to the hub's port: requests in turn, answered or forwarded by the rules."""

from __future__ import annotations

import logging
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import h11

from fusion.errors import FusionError
from fusion.link.rules import Refusal, Route, permit
from fusion.wire import canonical
from fusion.wire.limits import CHUNK_BYTES

if TYPE_CHECKING:
    from fusion.identity.members import Member
    from fusion.link.http import HttpStream
    from fusion.link.rules import FrontConfig, RosterFile
    from fusion.link.upstream import Upstream

_LOG: Final = logging.getLogger("banyan.front")
_JSON: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_FORWARDED: Final = frozenset({b"content-type", b"content-length", b"accept", b"user-agent"})
_FORWARDED_PREFIX: Final = b"flwr-"
_NOT_RETURNED: Final = frozenset({b"server", b"date", b"connection", b"transfer-encoding"})
_LINGER_BYTES: Final = 4 * 1024 * 1024
_OK: Final = 200
_TIMEOUT: Final = 408
_PULL: Final = b"/v1/fleet/pull-messages"
_PUSHES: Final = frozenset({b"/v1/fleet/push-messages", b"/v1/fleet/push-object"})


def _found_nothing(request: h11.Request, response: h11.Response) -> bool:
    """Whether a node asked for messages and there were none."""
    length = dict(response.headers).get(b"content-length")
    return request.target == _PULL and response.status_code == _OK and length == b"0"


class _Stalled(Exception):
    """The sender of a message does not go on with it."""


class _ConnectionLost(Exception):
    """An exchange that can't be answered any more."""


class Conversation:
    """What is said on one connection."""

    def __init__(
        self, config: FrontConfig, stream: HttpStream, roster: RosterFile, upstream: Upstream
    ) -> None:
        """Take a connection whose TLS is established."""
        self._config = config
        self._limits = config.limits
        self._stream = stream
        self._roster = roster
        self._upstream = upstream
        self._bodiless = False

    async def run(self, leaf: bytes | None, caller: str) -> None:
        """Answer requests until the caller is done, is refused, or takes too long.

        Args:
            leaf: The certificate that the connection showed (DER), if any.
            caller: Who it is, for the log.

        Raises:
            OSError: The connection is gone.
            TimeoutError: The caller did not take an answer.
        """
        try:
            while await self._exchange(leaf):
                pass
        except Refusal as refusal:
            _LOG.info("%s refused: %s", caller, refusal.rule)
            await self._refuse(refusal)
        except h11.ProtocolError:
            _LOG.info("%s refused: http", caller)
            await self._refuse(Refusal(400, "http", "This is not HTTP/1.1 as it is served here."))
        except _ConnectionLost:
            _LOG.warning("%s: the SuperLink broke off in the middle of an answer", caller)
        await self._stream.close()

    async def _exchange(self, leaf: bytes | None) -> bool:
        """One request and its answer; say whether there may be another."""
        try:
            # Not known yet whether the connection's owner is still a member: ask at each request.
            patience = self._limits.idle if self._member(leaf) else self._limits.stranger
            request = await self._stream.request(patience, self._limits.head)
        except TimeoutError:
            raise Refusal(_TIMEOUT, "time", "The request took too long.") from None
        if request is None:
            return False
        self._bodiless = request.method == b"HEAD"
        member = self._member(leaf)
        route, digest = permit(request, member, self._limits.body)
        if route is Route.FLEET:
            await self._forward(request)
            if request.target in _PUSHES:
                self._config.replies_bell.ring()
        elif route is Route.HAND_IN and member is not None:
            self._config.deliver(member.id, await self._body())
            await self._answer(canonical.encode({}))
        else:
            await self._skip_body()
            await self._answer(self._document(route, digest))
        return self._stream.reuse()

    def _member(self, leaf: bytes | None) -> Member | None:
        try:
            return self._roster.member(leaf)
        except (FusionError, OSError) as error:
            _LOG.error("the roster can't be used: %s", error)
            raise Refusal(503, "roster", "The hub's roster can't be used.") from None

    def _document(self, route: Route, digest: str) -> bytes:
        """Return what a document is now."""
        try:
            match route:
                case Route.TRUST:
                    return self._config.trust.read_bytes()
                case Route.ENROLMENT:
                    # The mark first: the roster read after it lists the member's keys.
                    (self._config.admitted / f"{digest}.admitted").stat()
                    roster = self._config.roster.read_text("utf-8")
                    return canonical.encode({"schema": "fusion.admission/2", "roster": roster})
                case Route.WITNESS:
                    return (self._config.witness / f"{digest}.json").read_bytes()
                case _:
                    return self._config.roster.read_bytes()
        except FileNotFoundError:
            if route is Route.WITNESS:
                raise Refusal(404, "witness", "Nothing is known of this log yet.") from None
            raise Refusal(404, "admission", "This request is not admitted yet.") from None
        except OSError as error:
            _LOG.error("a document can't be read: %s", error.strerror)
            raise Refusal(503, "document", "The hub can't read its own document.") from None

    async def _body(self) -> bytes:
        """Return a body whose length was found to be within its bound."""
        data = b""
        try:
            while not isinstance(
                event := await self._stream.event(self._limits.stall), h11.EndOfMessage
            ):
                data += bytes(event.data) if isinstance(event, h11.Data) else b""
        except TimeoutError:
            raise Refusal(_TIMEOUT, "time", "The request took too long.") from None
        return data

    async def _skip_body(self) -> None:
        """Reach the end of a request that was found to have no body."""
        while not isinstance(await self._stream.event(self._limits.head), h11.EndOfMessage):
            pass

    async def _answer(self, body: bytes, status: int = 200, *, close: bool = False) -> None:
        date = format_datetime(self._config.clock.now(), usegmt=True).encode()
        headers = [*_JSON, (b"date", date), (b"content-length", str(len(body)).encode())]
        if close:
            headers.append((b"connection", b"close"))
        content = [] if self._bodiless else [h11.Data(data=body)]
        head = h11.Response(status_code=status, headers=headers)
        await self._stream.send([head, *content, h11.EndOfMessage()], self._limits.stall)

    async def _refuse(self, refusal: Refusal) -> None:
        """Answer with the rule, and let the caller read it before the connection ends."""
        state = self._stream.state
        if state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        # Before the answer: after it, h11 says nothing more about the request.
        unread = refusal.status != _TIMEOUT and not self._ended()
        body = canonical.encode({"rule": refusal.rule, "message": refusal.message})
        await self._answer(body, refusal.status, close=True)
        if unread:
            await self._stream.discard(_LINGER_BYTES, self._limits.linger)

    def _ended(self) -> bool:
        """Whether all of the request has come."""
        try:
            return self._stream.is_complete()
        except h11.ProtocolError:
            return False

    async def _forward(self, request: h11.Request) -> None:
        """Pass a request on to the SuperLink, and its answer back."""
        try:
            upstream = await self._upstream.take()
        except (OSError, TimeoutError):
            raise Refusal(503, "superlink", "The SuperLink does not answer.") from None
        answering = False
        try:
            heard = self._config.requests_bell.rings()
            await self._pass_request(request, upstream)
            response = await self._response(upstream)
            if _found_nothing(request, response):
                # Kept until there may be something, so that nobody has to ask all the time.
                await self._config.requests_bell.wait_async(heard, self._limits.hold)
            answering = True
            await self._pass_response(response, upstream)
        except _Stalled:
            if answering:
                raise _ConnectionLost from None
            raise Refusal(_TIMEOUT, "time", "The request took too long.") from None
        except (h11.ProtocolError, OSError, TimeoutError) as error:
            if answering:
                raise _ConnectionLost from error
            if self._stream.state.their_state is h11.ERROR:
                raise  # it was the caller who broke the rules of HTTP
            raise Refusal(502, "superlink", "The SuperLink broke off.") from None
        finally:
            await self._upstream.put(upstream)

    async def _pass_request(self, request: h11.Request, upstream: HttpStream) -> None:
        headers = [(b"host", b"superlink.local")] + [
            (name, value)
            for name, value in request.headers
            if name in _FORWARDED or name.startswith(_FORWARDED_PREFIX)
        ]
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        await self._pump([head], self._stream, upstream, self._limits.stall)

    async def _response(self, upstream: HttpStream) -> h11.Response:
        event = await upstream.event(self._limits.answer)
        while isinstance(event, h11.InformationalResponse):
            event = await upstream.event(self._limits.answer)
        if not isinstance(event, h11.Response):
            raise h11.RemoteProtocolError("no response")
        return event

    async def _pass_response(self, response: h11.Response, upstream: HttpStream) -> None:
        headers = [(n, v) for n, v in response.headers if n not in _NOT_RETURNED]
        head = h11.Response(
            status_code=response.status_code, headers=headers, reason=response.reason
        )
        await self._pump([head], upstream, self._stream, self._limits.stall)

    @staticmethod
    async def _pump(
        events: list[h11.Event], source: HttpStream, sink: HttpStream, stall: float
    ) -> None:
        """Pass a message's body on in pieces; a small one leaves with its head."""
        size = 0
        while True:
            try:
                event = await source.event(stall)
            except TimeoutError:
                raise _Stalled from None
            if not isinstance(event, h11.Data | h11.EndOfMessage):
                raise h11.RemoteProtocolError("the connection was closed within a message")
            # Trailers could carry what heads may not.
            events.append(event if isinstance(event, h11.Data) else h11.EndOfMessage())
            size += len(event.data) if isinstance(event, h11.Data) else 0
            if isinstance(event, h11.EndOfMessage):
                await sink.send(events, stall)
                return
            if size >= CHUNK_BYTES:
                await sink.send(events, stall)
                events, size = [], 0
