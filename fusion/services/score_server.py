"""Single records for programs of this machine: HTTP at a Unix socket, with the file's permission.

::

    POST /v1/score   {"id": "..."}   ->  {"id", "score", "output", "reasons"} or {"id", "missing"}
    GET  /v1/model                   ->  {"model", "name"}

Each call is one question of one record, charged as any other. Who may connect to the socket may
ask: it is made for this account alone. Connections, requests and bodies are bounded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import EnvironmentUnfit, FusionError, InputInvalid
from fusion.services.score_rules import Ruled, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from fusion.ports import Stop
    from fusion.services.scoring import Scorer

_LOG: Final = logging.getLogger("banyan.scoring")
MAX_CONNECTIONS: Final = 32
MAX_AT_ONCE: Final = 8
"""Records that are scored at a time; who asks beyond is told to wait."""

MAX_BODY_BYTES: Final = 4096
MAX_SOCKET_BYTES: Final = 107
"""What the kernel takes for a socket's name."""

_MAX_READ_BYTES: Final = 64 * 1024
"""Of a body that is refused: read, so that its sender gets to the answer."""

_DIGITS: Final = 10
_IDLE_SECONDS: Final = 60.0
_STATUS: Final[dict[int, HTTPStatus]] = {
    2: HTTPStatus.BAD_REQUEST,
    4: HTTPStatus.FORBIDDEN,
    6: HTTPStatus.BAD_GATEWAY,
}


class ScoreServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The socket, and a thread for each connection."""

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, path: Path, scorer: Scorer, facts: Mapping[str, str]) -> None:
        """Make the socket, for this account alone.

        Args:
            path: Of the socket.
            scorer: Scores.
            facts: What ``/v1/model`` says.

        Raises:
            InputInvalid: The path is too long, or something else is there.
            EnvironmentUnfit: Another process serves it.
        """
        self.scorer, self.facts = scorer, facts
        self.at_once = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        _clear(path)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        except OSError as error:
            raise EnvironmentUnfit(
                f"{path} can't be made: {error.strerror}.",
                hint="Name one in a folder that is there and yours: --socket PATH",
            ) from error
        finally:
            os.umask(before)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - a socket
        """Give a connection a thread, unless there are too many."""
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - a socket
        """Say what ended a connection, without a text that may quote an identifier."""
        del request, client_address
        _LOG.warning("a connection at the socket ended: %s", type(sys.exception()).__name__)


class _Handler(BaseHTTPRequestHandler):
    """One connection; it may bring many requests."""

    server: ScoreServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "banyan", ""
    timeout = _IDLE_SECONDS
    wbufsize = -1

    def do_GET(self) -> None:
        """Say which model is served."""
        if self.path != "/v1/model":
            self._fail(HTTPStatus.NOT_FOUND, InputInvalid("There is POST /v1/score."))
            return
        self._answer(HTTPStatus.OK, dict(self.server.facts))

    def do_POST(self) -> None:
        """Score a record."""
        body = self._body()
        if body is None:
            return
        identifier = _identifier(body)
        if identifier is None:
            self._fail(HTTPStatus.BAD_REQUEST, InputInvalid('The body is {"id": "..."}.'))
            return
        if not self.server.at_once.acquire(blocking=False):
            self._fail(HTTPStatus.TOO_MANY_REQUESTS, refused(Ruled.BUSY))
            return
        try:
            row = self.server.scorer.score([identifier])[0]
            self._answer(HTTPStatus.OK, row.to_json())
        except FusionError as error:
            status = _STATUS.get(error.exit_code, HTTPStatus.INTERNAL_SERVER_ERROR)
            self._fail(status, error)
        finally:
            self.server.at_once.release()

    def _body(self) -> bytes | None:
        """Return the body of a call; None if it was refused."""
        length = self.headers.get("content-length", "")
        size = int(length) if length.isdigit() and len(length) < _DIGITS else 0
        body = self.rfile.read(min(size, _MAX_READ_BYTES))
        if self.path != "/v1/score":
            self._fail(HTTPStatus.NOT_FOUND, InputInvalid("There is POST /v1/score."))
        elif not 0 < size <= MAX_BODY_BYTES:
            self._fail(HTTPStatus.BAD_REQUEST, InputInvalid("The body is missing or too large."))
        else:
            return body
        return None

    def _fail(self, status: HTTPStatus, error: FusionError) -> None:
        # What follows on this connection may be a body that was not read.
        self.close_connection = True
        said = {"code": error.code, "message": error.message, "hint": error.hint}
        self._answer(status, {"error": said})

    def _answer(self, status: HTTPStatus, content: Mapping[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def address_string(self) -> str:
        """Return who calls: somebody of this machine."""
        return "local"

    def log_message(self, *_: object) -> None:
        """Log nothing: identifiers have no place in a log."""


def _identifier(body: bytes) -> str | None:
    """Return the identifier of a call; None if its body is something else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != {"id"}:
        return None
    return found["id"] if isinstance(found["id"], str) else None


def _clear(path: Path) -> None:
    """Remove the socket of a process that is gone.

    Raises:
        InputInvalid: The path is too long, or something else is there.
        EnvironmentUnfit: Another process serves it.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise InputInvalid(
            f"A socket's name has at most {MAX_SOCKET_BYTES} bytes.", hint="Name one with --socket."
        )
    if not path.exists():
        return
    if not path.is_socket():
        raise InputInvalid(f"{path} is no socket.", hint="Name another with --socket.")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as other:
        other.connect(str(path))
        raise EnvironmentUnfit(f"{path} is served already.", hint="Stop that one first.")
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def serving(path: Path, scorer: Scorer, facts: Mapping[str, str]) -> Iterator[ScoreServer]:
    """Serve a scorer at a socket for a while.

    Raises:
        InputInvalid: The path is too long, or something else is there.
        EnvironmentUnfit: Another process serves it.
    """
    server = ScoreServer(path, scorer, facts)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="score-socket"
    )
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        path.unlink(missing_ok=True)


def serve_until(
    path: Path,
    scorer: Scorer,
    facts: Mapping[str, str],
    stop: Stop,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve a scorer at a socket until ``stop``; ``ready`` is called when it is served.

    Raises:
        InputInvalid: The path is too long, or something else is there.
        EnvironmentUnfit: Another process serves it, or the socket can't be made.
    """
    with serving(path, scorer, facts):
        ready()
        while not stop.wait(0.2):
            pass
