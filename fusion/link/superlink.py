"""Calls of Flower's fleet interface, passed on to the SuperLink on loopback.

A request is written anew from what was permitted (:func:`fusion.link.rules.permit_fleet`): path,
length, a few headers. Bodies pass through in pieces, either way.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import httpx

from fusion.link.channel import FRAME_BYTES
from fusion.link.rules import HEADER_PREFIX, PERMITTED, STATUS, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fusion.link.rules import FleetCall, PortLimits

HOST: Final = "127.0.0.1"
_CONNECTIONS: Final = 256
_IDLE_SECONDS: Final = 3.0
"""The SuperLink closes an idle connection after five; ours must not be used at that moment."""


class Unreachable(Exception):
    """The SuperLink does not answer."""


class SuperLinkProxy:
    """The SuperLink, over TLS that trusts its throw-away CA only."""

    def __init__(self, port: int, ca: Path, limits: PortLimits) -> None:
        """Prepare; connections are made when they are needed.

        Args:
            port: Of the SuperLink on loopback.
            ca: Certificate of its CA.
            limits: How long to wait.
        """
        self._client = httpx.AsyncClient(
            base_url=f"https://{HOST}:{port}",
            verify=ssl.create_default_context(cafile=str(ca)),
            timeout=httpx.Timeout(limits.answer, connect=5.0),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
            ),
            trust_env=False,
            follow_redirects=False,
        )

    async def pass_on(self, call: FleetCall, reader: Any, context: Any) -> None:
        """Ask, and answer with what the SuperLink answers.

        Args:
            call: What is asked.
            reader: Yields the body's bytes.
            context: Of the gRPC call that is answered.

        Raises:
            Unreachable: There is no answer, or it broke off.
            Refusal: The body is not as long as was said.
        """
        # A body in many pieces is not sent before this has come.
        await context.send_initial_metadata(((PERMITTED, "1"),))
        headers = {**call.headers, "content-length": str(call.length)}
        body = _Body(call.length, reader)
        request = self._client.build_request(
            "POST", f"/v1/fleet/{call.name}", headers=headers, content=body.pieces()
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            if body.refusal is not None:
                raise body.refusal from None
            raise Unreachable(type(error).__name__) from error
        try:
            fields = [(STATUS, str(response.status_code))]
            if (kind := response.headers.get("content-type")) is not None:
                fields.append((f"{HEADER_PREFIX}content-type", kind))
            context.set_trailing_metadata(tuple(fields))
            async for piece in response.aiter_raw(FRAME_BYTES):
                await context.write(piece)
        except httpx.HTTPError as error:
            raise Unreachable(type(error).__name__) from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class _Body:
    """A body of a length that was said before."""

    def __init__(self, length: int, reader: Any) -> None:
        self._left = length
        self._reader = reader
        self.refusal: Refusal | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._reader:
            self._left -= len(piece)
            if self._left < 0:
                break
            yield piece
        if self._left:
            self.refusal = Refusal("length", "The body is not as long as was said.")
            raise self.refusal
