"""A client of the socket at which single records are scored."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Local(http.client.HTTPConnection):
    """HTTP at a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("local", timeout=150)
        self._path = path

    def connect(self) -> None:
        # Whoever makes a socket's file listens at it a moment later.
        until = time.monotonic() + 10
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(150)
            try:
                self.sock.connect(str(self._path))
            except ConnectionRefusedError:
                self.sock.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def call(self, verb: str, path: str, body: object = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else None
        self.request(verb, path, data)
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())
