"""A forwarder on a node's loopback, for Flower's stock SuperNode.

The stock SuperNode speaks HTTP over TLS and knows no other way. This takes its requests on
127.0.0.1, under a certificate made for the purpose, and asks the hub over the node's link. The
hub's rules apply as to any member.
"""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from fusion.errors import EnvironmentUnfit, HubRefused, PartyUnreachable
from fusion.link.rules import is_passed_on
from fusion.wire.limits import MAX_BODY_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.link.dial import Link

HOST: Final = "127.0.0.1"
_PATH: Final = "/v1/fleet/"
_LOG: Final = logging.getLogger("banyan.forward")
_IDLE_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardConfig:
    """From where to where.

    Attributes:
        certificate: For the loopback side; the SuperNode trusts its CA.
        key: Its private key.
        link: The node's connection to the hub.
        port: On loopback; 0 leaves it to the system.
    """

    certificate: Path
    key: Path
    link: Link
    port: int = 0


class Forwarder:
    """Runs in threads of its own between :meth:`start` and :meth:`stop`."""

    def __init__(self, config: ForwardConfig) -> None:
        """Prepare; nothing is bound yet.

        Raises:
            EnvironmentUnfit: The loopback side's certificate can't be used.
        """
        self._config = config
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._tls.load_cert_chain(str(config.certificate), str(config.key))
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentUnfit("The forwarder's certificate can't be used.") from error
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = config.port

    def start(self) -> None:
        """Listen; return when connections are accepted.

        Raises:
            EnvironmentUnfit: The port is taken.
        """
        link = self._config.link

        class Handler(_Handler):
            hub = link

        try:
            server = ThreadingHTTPServer((HOST, self._config.port), Handler)
        except OSError as error:
            raise EnvironmentUnfit(
                f"Port {self._config.port} on loopback can't be opened: {error.strerror}."
            ) from error
        server.daemon_threads = True
        # The handshake is the handler's first read, in its own thread.
        server.socket = self._tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = int(server.server_address[1])
        self._server = server
        self._thread = threading.Thread(
            target=lambda: server.serve_forever(_POLL_SECONDS), name="forward"
        )
        self._thread.start()

    def stop(self) -> None:
        """End; connections are dropped."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if self._thread is not None:
            self._thread.join()
        self._server, self._thread = None, None


class _Handler(BaseHTTPRequestHandler):
    """One connection of the SuperNode."""

    hub: Link
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    wbufsize = -1

    def do_POST(self) -> None:
        """Ask the hub, and answer as it does."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.send_error(411)
            return
        headers = {k.lower(): v for k, v in self.headers.items() if is_passed_on(k.lower())}
        body = self.rfile.read(int(length))
        try:
            status, kind, answer = self.hub.fleet(self.path.removeprefix(_PATH), headers, body)
        except HubRefused as error:
            status, kind, answer = 403, "text/plain", error.message.encode()
        except PartyUnreachable as error:
            status, kind, answer = 503, "text/plain", error.message.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say it where the rest is said."""
        _LOG.debug(format, *args)
