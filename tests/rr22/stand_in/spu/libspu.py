"""As much of ``spu.libspu`` as :mod:`sandbox.rr22.inside` calls: a link over TCP."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace


class Desc:
    """Where the parties of a link are."""

    def __init__(self) -> None:
        self.parties: list[str] = []
        self.recv_timeout_ms = self.http_timeout_ms = 30_000
        self.connect_retry_times, self.connect_retry_interval_ms = 10, 1000

    def add_party(self, name: str, address: str) -> None:
        del name
        self.parties.append(address)


class Context:
    """A link: each side connects to the other, and what it sends goes that way."""

    def __init__(self, desc: Desc, rank: int) -> None:
        self.rank = rank
        ports = [int(each.rpartition(":")[2]) for each in desc.parties]
        listening = socket.create_server(("127.0.0.1", ports[rank]))
        for _ in range(desc.connect_retry_times):
            try:
                self.out = socket.create_connection(("127.0.0.1", ports[1 - rank]))
                self.out.sendall(b"!")
                break
            except OSError:
                time.sleep(desc.connect_retry_interval_ms / 1000)
        while True:
            self.came, _ = listening.accept()
            if self.came.recv(1, socket.MSG_PEEK):  # else somebody who only looked
                break

    def barrier(self) -> None:
        """Return once the other is here too."""
        self._exactly(1)
        self.out.sendall(b"b")
        self._exactly(1)

    def exchange(self, data: bytes) -> bytes:
        """Send all of what one has, and take all of what the other has."""
        self.out.sendall(len(data).to_bytes(8, "big"))
        size = int.from_bytes(self._exactly(8), "big")
        if self.rank:
            self.out.sendall(data)
            return self._exactly(size)
        found = self._exactly(size)
        self.out.sendall(data)
        return found

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = self.came.recv(min(size - len(found), 1 << 16))
            if not data:
                raise RuntimeError("the other side is gone")
            found += data
        return bytes(found)

    def stop_link(self) -> None:
        self.out.close()


link = SimpleNamespace(Desc=Desc, create_brpc=Context)
