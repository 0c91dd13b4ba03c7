"""Frames and what a side may say; and two real bridges that carry TCP connections."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sandbox.rr22.bridge import HERE, Bridge
from sandbox.rr22.frames import (
    DATA,
    HEAD,
    ITEMS,
    LINK,
    LISTENS,
    MAX_PAYLOAD,
    MAX_STREAMS,
    OPEN,
    SHUT,
    Frame,
    FrameInvalid,
    LinkRules,
    Reader,
    frame,
    in_frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_frames_are_read_however_they_are_cut() -> None:
    data = frame(OPEN, stream=2) + frame(DATA, b"abc", 2) + frame(SHUT, stream=2)
    for step in (1, 3, HEAD, len(data)):
        reader, found = Reader(LINK), []
        for at in range(0, len(data), step):
            found += list(reader.take(data[at : at + step]))
        assert found == [Frame(OPEN, 2, b""), Frame(DATA, 2, b"abc"), Frame(SHUT, 2, b"")]
        assert reader.empty
    reader = Reader(LINK)
    assert list(reader.take(data[:-1]))[-1].kind == DATA
    assert not reader.empty


@pytest.mark.parametrize(
    "data", [b"x" + bytes(6), frame(ITEMS, bytes(16)), frame(DATA, bytes(MAX_PAYLOAD + 1))]
)
def test_what_is_no_frame_of_a_link_is_refused(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        list(Reader(LINK).take(data))


def test_an_array_of_items_is_cut_between_items() -> None:
    items = os.urandom(16 * 9000)
    parts = [
        each.payload
        for data in in_frames(ITEMS, items)
        for each in Reader(frozenset((ITEMS,))).take(data)
    ]
    assert b"".join(parts) == items
    assert all(len(part) % 16 == 0 for part in parts)


def _rules(most: int = 100) -> LinkRules:
    rules = LinkRules(1, most)
    rules.other_said(Frame(LISTENS, 0, b""))
    return rules


@pytest.mark.parametrize(
    "said",
    [
        [Frame(OPEN, 0, b"")],  # a number of the other side's
        [Frame(OPEN, 3, b"")],  # not the next
        [Frame(OPEN, 1, b"x")],
        [Frame(DATA, 1, b"x")],  # not open
        [Frame(OPEN, 1, b""), Frame(DATA, 1, b"")],
        [Frame(OPEN, 1, b""), Frame(DATA, 1, bytes(101))],  # more than is allowed in all
        [Frame(OPEN, 1, b""), Frame(SHUT, 1, b""), Frame(DATA, 1, b"x")],
        [Frame(OPEN, 1, b""), Frame(SHUT, 1, b"x")],
        [Frame(LISTENS, 0, b""), Frame(LISTENS, 0, b"")],
        [Frame(ITEMS, 0, bytes(16))],
        [Frame(OPEN, 2 * n + 1, b"") for n in range(MAX_STREAMS + 1)],
    ],
)
def test_what_a_side_may_not_say(said: list[Frame]) -> None:
    rules = _rules()
    for each in said[:-1]:
        rules.check(each)
    with pytest.raises(FrameInvalid):
        rules.check(said[-1])


def test_nobody_connects_before_the_other_listens() -> None:
    with pytest.raises(FrameInvalid):
        LinkRules(1, 100).check(Frame(OPEN, 1, b""))


def test_a_stream_of_the_other_side_may_be_answered() -> None:
    rules = _rules()
    rules.other_said(Frame(OPEN, 0, b""))
    rules.check(Frame(DATA, 0, b"x"))
    rules.check(Frame(SHUT, 0, b""))


# ------------------------------------------------------------------ bridges


class Side:
    """A bridge whose frames go to another's, through a queue."""

    def __init__(self, rank: int, port: int) -> None:
        self.came: queue.Queue[bytes] = queue.Queue()
        self.other: Side
        self.bridge = Bridge(rank, port, self._send)

    def _send(self, data: bytes) -> None:
        self.other.came.put(data)

    def serve(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        reader = Reader(LINK)
        with contextlib.suppress(OSError):
            while data := self.came.get():
                for each in reader.take(data):
                    self.bridge.take(each)


def _free() -> int:
    with socket.create_server((HERE, 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side, int]]:
    """Two bridges, and the port where the link of the second is to listen."""
    ports = _free(), _free()
    one, two = Side(0, ports[0]), Side(1, ports[1])
    one.other, two.other = two, one
    one.serve()
    two.serve()
    yield one, two, ports[1]
    for side in (one, two):
        side.bridge.close()
        side.came.put(b"")


def _echo(port: int) -> socket.socket:
    server = socket.create_server((HERE, port))

    def answer(caller: socket.socket) -> None:
        with caller, contextlib.suppress(OSError):  # a bridge that closes may reset it
            while data := caller.recv(1 << 16):
                caller.sendall(data[::-1] if len(data) < 10 else data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return server


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection((HERE, port), timeout=10)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_connections_are_carried_both_ways(sides: tuple[Side, Side, int]) -> None:
    one, _, port = sides
    with (
        _echo(port),
        _connected(one.bridge.port) as first,
        _connected(one.bridge.port) as second,
    ):
        second.sendall(b"second")
        first.sendall(b"first")
        assert first.recv(100) == b"tsrif"
        assert second.recv(100) == b"dnoces"
        data = os.urandom(1 << 20)
        threading.Thread(target=first.sendall, args=(data,)).start()
        came = b""
        while len(came) < len(data):
            came += first.recv(1 << 16)
        assert came == data
        first.shutdown(socket.SHUT_WR)
        assert first.recv(100) == b""


def test_who_connects_before_the_other_listens_is_refused(sides: tuple[Side, Side, int]) -> None:
    one, _, port = sides
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, one.bridge.port))
    with _echo(port), _connected(one.bridge.port) as found:
        found.sendall(b"now")
        assert found.recv(100) == b"won"
