"""The node's loop: what waits for what, what goes on meanwhile, how it ends; and its fallback."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from flwr.supercore.inflatable import inflatable_utils
from flwr.supernode.fleet_http_client import FleetHttpClient

from federated.client_app import app_for
from federated.cohort import Reply, Request
from federated.runtime.fleet import FleetNode, Pace, Served
from federated.runtime.node import RUNTIME_VARIABLE, serve_node
from fusion.link.rings import Rings
from fusion.services.clock import SystemClock
from fusion.types import OrgId
from tests.link.federation import admit, make_hub, make_node
from tests.runtime.fleet import OURS, MemoryFleet
from tests.strategy.grid import with_task_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NORTH = OrgId("north")
LONG = 100.0


@pytest.fixture(autouse=True)
def _task_identity() -> Iterator[None]:
    yield from with_task_identity()


class Tasks:
    """A party that does what a test says for each task, and keeps what began and ended when."""

    def __init__(self, do: Callable[[str], None]) -> None:
        self._do = do
        self._lock = threading.Lock()
        self.log: list[str] = []
        self.most = 0
        self._running = 0

    def handle(self, request: Request) -> Reply:
        name = str(request.head["task"])
        with self._lock:
            self.log.append(f"begin {name}")
            self._running += 1
            self.most = max(self.most, self._running)
        self._do(name)
        with self._lock:
            self._running -= 1
            self.log.append(f"end {name}")
        return Reply(NORTH, {"task": name})


class Running:
    """A node in a thread of this process."""

    def __init__(self, tasks: Tasks, pace: Pace) -> None:
        self.fleet = MemoryFleet()
        self.stop = threading.Event()
        self.notes: list[str] = []
        self.bell = Rings()
        self._node = FleetNode(
            self.fleet,
            app_for(tasks, NORTH),
            Served(public_key=b"key", bundle_digest=OURS),
            bell=self.bell,
            stop=self.stop,
            clock=SystemClock(),
            note=self.notes.append,
            pace=pace,
        )
        self.thread = threading.Thread(target=lambda: self._node.serve(lambda: None))

    def send(self, run: int, task: str) -> None:
        self.fleet.send(run, Request("submit", {"task": task}))

    def answered(self, count: int) -> list[str]:
        """Wait for so many replies; return which tasks they are of."""
        with self.fleet.changed:
            come = self.fleet.changed.wait_for(lambda: len(self.fleet.replies) >= count, LONG)
        assert come, self.fleet.log
        return [
            reply.head.get("task", "")
            for _, reply in self.fleet.replies
            if isinstance(reply, Reply)
        ]


@contextmanager
def running(tasks: Tasks, **pace: float) -> Iterator[Running]:
    node = Running(tasks, Pace(**{"idle": 0.005, **pace}))  # type: ignore[arg-type]
    node.thread.start()
    try:
        yield node
    finally:
        node.stop.set()
        node.thread.join(LONG)
        assert not node.thread.is_alive()


def test_tasks_of_one_run_wait_for_each_other_and_other_runs_do_not() -> None:
    other = threading.Event()

    def do(task: str) -> None:
        if task == "1a":
            # Ends only once the other run's task is under way, which came in after 1b.
            assert other.wait(LONG)
        if task == "2a":
            other.set()

    tasks = Tasks(do)
    with running(tasks) as node:
        for run, task in ((1, "1a"), (1, "1b"), (2, "2a")):
            node.send(run, task)
        assert sorted(node.answered(3)) == ["1a", "1b", "2a"]
    assert tasks.log.index("end 1a") < tasks.log.index("begin 1b")
    assert tasks.log.index("begin 2a") < tasks.log.index("end 1a")


@pytest.mark.parametrize("workers", [1, 2])
def test_as_many_runs_as_there_are_workers_are_served_at_a_time(workers: int) -> None:
    together = threading.Barrier(workers)

    def do(_: str) -> None:
        together.wait(LONG)

    tasks = Tasks(do)
    with running(tasks, workers=workers) as node:
        for run in range(1, 5):
            node.send(run, f"run {run}")
        node.answered(4)
    assert tasks.most == workers


def test_during_a_long_task_the_node_stays_online_and_serves_others() -> None:
    enough = threading.Event()

    def do(task: str) -> None:
        if task == "long":
            assert enough.wait(LONG)

    tasks = Tasks(do)
    with running(tasks, heartbeat=0.02) as node:
        node.send(1, "long")
        with node.fleet.changed:
            before = node.fleet.beats
            assert node.fleet.changed.wait_for(lambda: node.fleet.beats > before + 3, LONG)
        node.send(2, "short")
        assert node.answered(1) == ["short"]
        enough.set()
        assert node.answered(2) == ["short", "long"]


def test_a_request_that_is_never_uploaded_holds_up_no_later_one_and_no_stop() -> None:
    tasks = Tasks(lambda _: None)
    with running(tasks) as node:
        node.fleet.send(1, Request("submit", {"task": "half"}), uploaded=False)
        node.fleet.wait("object")
        node.send(1, "again")
        assert node.answered(1) == ["again"]
    assert tasks.log == ["begin again", "end again"]
    assert any("dropped" in note for note in node.notes)


def test_told_to_stop_in_mid_task_it_answers_first() -> None:
    begun, enough = threading.Event(), threading.Event()

    def do(_: str) -> None:
        begun.set()
        assert enough.wait(LONG)

    with running(Tasks(do)) as node:
        node.send(1, "task")
        assert begun.wait(LONG)
        node.stop.set()
        enough.set()
        node.fleet.wait("close")
    assert node.fleet.log[-3:] == ["reply", "deactivate", "close"]


def test_an_error_in_one_task_does_not_stop_the_next() -> None:
    def do(task: str) -> None:
        if task == "bad":
            raise ZeroDivisionError

    with running(Tasks(do)) as node:
        node.send(1, "bad")
        node.send(1, "good")
        assert node.answered(2) == ["", "good"]
    first, second = (reply for _, reply in node.fleet.replies)
    assert isinstance(first, Reply)
    assert first.failure is not None
    assert isinstance(second, Reply)
    assert second.head == {"task": "good"}


def test_a_run_with_another_bundle_is_refused_unread() -> None:
    tasks = Tasks(lambda _: None)
    with running(tasks) as node:
        node.fleet.bundles[1] = "1" * 64
        node.send(1, "foreign")
        node.answered(1)
    assert tasks.log == []
    assert "object" not in node.fleet.log
    assert node.fleet.replies[0][1] == "The run's bundle is not the one installed at this node."
    assert any("refused: its bundle" in note for note in node.notes)


# -------------------------------------------------------------------- when Flower has changed


class Reached(Exception):
    """The stock SuperNode was about to be started."""


def _gone(change: pytest.MonkeyPatch) -> None:
    change.delattr(FleetHttpClient, "PullMessages")


def _other_parameters(change: pytest.MonkeyPatch) -> None:
    change.setattr(inflatable_utils, "push_objects", lambda _everything: None)


def _asked_for(change: pytest.MonkeyPatch) -> None:
    change.setenv(RUNTIME_VARIABLE, "stock")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _gone,
            "Flower has changed: flwr.supernode.fleet_http_client:FleetHttpClient.PullMessages",
        ),
        (_other_parameters, "Flower has changed: flwr.supercore.inflatable.inflatable_utils:push_"),
        (_asked_for, ""),
    ],
)
def test_a_flower_that_is_not_as_needed_is_named_and_its_supernode_serves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    said: str,
) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "node", "north"))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("serving through Flower's SuperNode"):
            raise Reached

    change(monkeypatch)
    with pytest.raises(Reached):
        serve_node(node, stop=threading.Event(), say=say)
    assert len(lines) == (2 if said else 1)
    assert lines[0].startswith(said or "serving through")
    assert not node.ready.exists()


def test_a_flower_as_needed_is_served_by_the_own_loop(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "hub")
    node = admit(hub, make_node(hub, tmp_path / "node", "north"))
    stop = threading.Event()
    stop.set()
    lines: list[str] = []
    serve_node(node, stop=stop, say=lines.append)
    assert lines == [f"north is up and serves {node.config.hub_url}"]


def test_a_node_that_rests_is_woken_by_the_bell() -> None:
    with running(Tasks(lambda _: None), idle=10 * LONG) as node:
        for count in range(1, 4):
            node.send(1, f"task {count}")
            node.bell.ring()
            assert node.answered(count)[-1] == f"task {count}"
