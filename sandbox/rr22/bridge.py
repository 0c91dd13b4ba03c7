"""Carries the TCP connections of a link between two processes that have no network in common.

Each process has a loopback of its own. What its link connects to there is this bridge, which says
so in frames (:mod:`sandbox.rr22.frames`) and is told in frames what comes back; where the other's
bridge says that a connection opened, this one connects to the own link. It refuses connections
until the other's link listens, as a network would: taken earlier, what a link sends to find out
whether the other is there comes late, and twice. Threads with blocking
sockets: a link has two or three connections. Standard library alone, of Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Callable, Dict  # noqa: UP035 - of Python 3.9

from sandbox.rr22.frames import DATA, LISTENS, MAX_STREAMS, OPEN, SHUT, Frame, frame

HERE = "127.0.0.1"
_PIECE = 32_768
_PATIENCE = 30.0
"""Seconds for the own link to listen."""
_AGAIN = 0.05


class Bridge:
    """One end."""

    def __init__(self, rank: int, own_port: int, send: Callable[[bytes], None]) -> None:
        """Take the port where the other's link will seem to be.

        Args:
            rank: Of this side: 0 or 1.
            own_port: Where the own link listens, or will.
            send: Sends a frame to the other end; called by several threads, one at a time.
        """
        self._rank, self._own_port, self._send = rank, own_port, send
        self._lock = threading.Lock()
        self._sockets: Dict[int, socket.socket] = {}  # noqa: UP006 - as above
        self._opened = 0
        self._closed = False
        self._listening = socket.socket()
        self._listening.bind((HERE, 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._announce, daemon=True).start()

    def close(self) -> None:
        """Listen no longer, and drop every connection."""
        with self._lock:
            self._closed = True
            left = [self._listening, *self._sockets.values()]
            self._sockets.clear()
        for each in left:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def take(self, each: Frame) -> None:
        """Take a frame of the other end; what comes for a connection that is gone is dropped."""
        if each.kind == LISTENS:
            self._listening.listen()
            threading.Thread(target=self._accept, daemon=True).start()
            return
        if each.kind == OPEN:
            connected = self._connected()
            with self._lock:
                self._sockets[each.stream] = connected
            self._begin(each.stream, connected)
            return
        found = self._sockets.get(each.stream)
        if found is None:
            return
        with contextlib.suppress(OSError):
            if each.kind == DATA:
                found.sendall(each.payload)
            else:
                found.shutdown(socket.SHUT_WR)

    def _announce(self) -> None:
        with contextlib.suppress(OSError):  # a link that does not listen ends by itself
            self._connected().close()
            self._say(frame(LISTENS))

    def _connected(self) -> socket.socket:
        """Return a connection to the own link, which may not listen yet."""
        end = time.monotonic() + _PATIENCE
        while True:
            found = None
            with contextlib.suppress(OSError):
                found = socket.create_connection((HERE, self._own_port))
            if found is not None and found.getsockname() != found.getpeername():
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return found
            if found is not None:
                found.close()  # with itself: the port was free, and became its own
            if time.monotonic() > end or self._closed:
                raise OSError("the link does not listen")
            time.sleep(_AGAIN)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while self._opened < MAX_STREAMS:
                accepted, _ = self._listening.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = 2 * self._opened + self._rank
                self._opened += 1
                with self._lock:
                    self._sockets[stream] = accepted
                    self._send(frame(OPEN, stream=stream))
                self._begin(stream, accepted)

    def _begin(self, stream: int, source: socket.socket) -> None:
        threading.Thread(target=self._pump, args=(stream, source), daemon=True).start()

    def _pump(self, stream: int, source: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                self._say(frame(DATA, data, stream))
        self._say(frame(SHUT, stream=stream))

    def _say(self, data: bytes) -> None:
        with self._lock:
            self._send(data)
