"""Bells wake who waits, and the port holds an empty answer until one rings: nobody has to poll."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fusion.link.bell import Bell
from fusion.link.rules import FrontLimits
from tests.link.federation import (
    Received,
    admit,
    client,
    fleet_key,
    make_hub,
    make_node,
    serving,
    superlink,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusion.link.front import Front
    from fusion.services.homes import HubHome, NodeHome
    from tests.link.federation import StandIn

LONG = 600.0
"""Longer than a test may take: whoever waits so long fails it."""


# -------------------------------------------------------------------- the bell


def test_every_ring_counts_whoever_rang(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    assert Bell(path).rings() == 0
    assert not path.exists()
    bells = [Bell(path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: bells[number % 4].ring(), range(100)))
    code = "import pathlib, sys; from fusion.link.bell import Bell; Bell(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", f"{code}.ring()", str(path)], check=True)
    assert Bell(path).rings() == 101
    assert path.stat().st_mode & 0o777 == 0o600


def _wait(bell: Bell, heard: int, seconds: float) -> int:
    return bell.wait(heard, seconds)


def _wait_async(bell: Bell, heard: int, seconds: float) -> int:
    return asyncio.run(bell.wait_async(heard, seconds))


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_who_waits_is_woken(tmp_path: Path, wait: Callable[[Bell, int, float], int]) -> None:
    bell = Bell(tmp_path / "bell")
    for heard in range(3):
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(wait, bell, heard, LONG) for _ in range(3)]
            Bell(tmp_path / "bell").ring()
            assert [future.result(60) for future in waiting] == [heard + 1] * 3


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_a_ring_before_the_waiting_is_not_lost(
    tmp_path: Path, wait: Callable[[Bell, int, float], int]
) -> None:
    bell = Bell(tmp_path / "bell")
    bell.ring()
    bell.ring()
    assert wait(bell, 0, LONG) == 2


@pytest.mark.parametrize("wait", [_wait, _wait_async])
def test_nobody_waits_longer_than_asked_for(
    tmp_path: Path, wait: Callable[[Bell, int, float], int]
) -> None:
    bell = Bell(tmp_path / "bell")
    assert wait(bell, 0, 0.0) == 0
    bell.ring()
    assert wait(bell, 1, 0.05) == 1


# -------------------------------------------------------------------- the port's hold


@dataclass(frozen=True, slots=True)
class Held:
    """A port that would hold an empty answer for longer than any test lasts."""

    hub: HubHome
    node: NodeHome
    superlink: StandIn
    front: Front

    @property
    def bell(self) -> Bell:
        return Bell(self.hub.requests_bell)

    @property
    def replies(self) -> int:
        return Bell(self.hub.replies_bell).rings()

    def post(self, path: str, body: bytes, org: str = "a.example") -> tuple[int, bytes]:
        """Ask as the member; the client waits 10 s for an answer, as a test does."""
        with client(self.front, self.node) as member:
            answer = member.post(path, content=body, headers=fleet_key(self.hub, org))
        return answer.status_code, answer.content


PULL, PUSH = "/v1/fleet/pull-messages", "/v1/fleet/push-messages"


def _make(path: Path) -> tuple[HubHome, NodeHome]:
    hub = make_hub(path / "hub")
    node = admit(hub, make_node(hub, path / "a", "a.example"))
    admit(hub, make_node(hub, path / "b", "b.example"))
    return hub, node


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """A federation whose port holds for long."""
    hub, node = _make(tmp_path_factory.mktemp("held"))
    limits = FrontLimits(linger=0.2, hold=LONG)
    with superlink(hub) as stand_in, serving(hub, stand_in.port, limits) as front:
        yield Held(hub, node, stand_in, front)


def test_an_empty_pull_is_answered_when_the_bell_rings(held: Held) -> None:
    asked = len(held.superlink.requests)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(held.post, PULL, b"")
        while len(held.superlink.requests) == asked:
            time.sleep(0.01)
        time.sleep(0.3)
        assert not answer.done()
        held.bell.ring()
        assert answer.result(30) == (200, b"")


def test_a_ring_while_the_superlink_answers_is_not_lost(held: Held) -> None:
    class Ringing(list[Received]):
        """The bell rings when the SuperLink has looked and found nothing."""

        def append(self, received: Received) -> None:
            super().append(received)
            held.bell.ring()

    before = held.superlink.requests
    held.superlink.requests = Ringing(before)
    try:
        assert held.post(PULL, b"") == (200, b"")
    finally:
        held.superlink.requests = before


@pytest.mark.parametrize(
    ("path", "body"), [(PULL, b"messages"), ("/v1/fleet/send-node-heartbeat", b"")]
)
def test_nothing_else_is_held(held: Held, path: str, body: bytes) -> None:
    assert held.post(path, body) == (200, body)


def test_other_members_and_calls_are_served_meanwhile(held: Held) -> None:
    asked = len(held.superlink.requests)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(held.post, PULL, b"") for _ in range(2)]
        while len(held.superlink.requests) < asked + 2:
            time.sleep(0.01)
        assert held.post("/v1/fleet/get-run", b"run") == (200, b"run")
        assert not any(future.done() for future in waiting)
        held.bell.ring()
        assert [future.result(30) for future in waiting] == [(200, b"")] * 2


@pytest.mark.parametrize("path", [PUSH, "/v1/fleet/push-object"])
def test_a_push_rings_for_the_run(held: Held, path: str) -> None:
    before = held.replies
    assert held.post(path, b"reply") == (200, b"reply")
    assert Bell(held.hub.replies_bell).wait(before, LONG) == before + 1


def test_nothing_else_rings_for_the_run(held: Held) -> None:
    before = held.replies
    assert held.post("/v1/fleet/get-run", b"run") == (200, b"run")
    assert held.post(PULL, b"messages") == (200, b"messages")
    assert held.post(PUSH, b"under another's key", "b.example")[0] == 403
    # Whatever these would have rung came before this one.
    assert held.post(PUSH, b"reply") == (200, b"reply")
    assert Bell(held.hub.replies_bell).wait(before, LONG) == before + 1


def test_without_a_ring_the_hold_ends_by_itself(tmp_path: Path) -> None:
    hub, node = _make(tmp_path)
    limits = FrontLimits(hold=0.2)
    with superlink(hub) as stand_in, serving(hub, stand_in.port, limits) as front:
        assert Held(hub, node, stand_in, front).post(PULL, b"") == (200, b"")
    assert Bell(hub.requests_bell).rings() == 0


def test_a_port_that_stops_does_not_wait_for_those_it_holds(tmp_path: Path) -> None:
    hub, node = _make(tmp_path)
    failed: list[bool] = []
    with superlink(hub) as stand_in:
        with serving(hub, stand_in.port, FrontLimits(hold=LONG)) as front:

            def pull() -> None:
                try:
                    Held(hub, node, stand_in, front).post(PULL, b"")
                except OSError:
                    failed.append(False)
                except Exception as error:  # noqa: BLE001 - whatever the client calls it
                    failed.append("httpx" in type(error).__module__)

            thread = threading.Thread(target=pull)
            thread.start()
            while not stand_in.requests:
                time.sleep(0.01)
        thread.join(30)
    assert failed == [True]
