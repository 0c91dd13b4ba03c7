"""The deployment as users run it: four nodes and a hub as processes, over TLS, and what goes wrong.

One deployment serves all tests of a module, in order; each brings it back to four nodes that are
up. The studies are small, the waits are for events and never for a time.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from federated.engine import ENGINE
from fusion.services.homes import HubHome
from tests.deployment.processes import Deployment
from tests.federation import NAMES, STUDY, write_table
from tests.vertical import studies as vertical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(300)]

ABSENT_SECONDS = 20.0
"""Deadline of a phase where somebody is away: waited for, and a slow machine needs some of it."""


def study_text(*, rounds: int = 3, deadline: float = 60.0) -> str:
    """Return the small study with other rounds and deadlines."""
    text = STUDY.replace("rounds = 2", f"rounds = {rounds}")
    head, tail = text.split("[deadlines]")
    _, columns = tail.split("[[columns]]", 1)
    limits = "".join(f"{p} = {deadline}\n" for p in ("setup", "train", "submit", "decrypt"))
    return f"{head}[deadlines]\n{limits}\n[[columns]]{columns}"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Four organisations with tables, admitted, with a 3-of-4 key, up."""
    folder = tmp_path_factory.mktemp("deployment")
    tables = {
        str(name): write_table(folder / f"{name}.csv", rows=200, seed=index)
        for index, name in enumerate(NAMES)
    }
    columns = vertical.tables(folder / "columns", ("east", "south"), label="north")
    more = {name: {"columns": path} for name, path in columns.items()}
    with Deployment(folder, list(tables), data=tables, more=more) as running:
        running.deal(threshold=3, bits=2048)
        yield running


class Watch:
    """Starts a study and watches its events."""

    def __init__(self, deployment: Deployment, text: str, job: str = "") -> None:
        path = deployment.folder / "study.toml"
        self.hub = HubHome.open(deployment.hub)
        if not job:
            path.write_text(text, "utf-8")
            job = deployment.json("train", path, "--hub", deployment.hub, "--detach")["job"]
        self.job = job
        self.events: list[dict[str, Any]] = []
        self._coming = ENGINE.follow(self.hub, self.job, stop=threading.Event())

    @classmethod
    def of(cls, deployment: Deployment, job: str) -> Watch:
        """Watch a study that was started elsewhere."""
        return cls(deployment, "", job)

    def until(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next event that matches."""
        for event in self._coming:
            self.events.append(event)
            if matches(event):
                return event
            if event["event"] == "end":
                break
        message = f"the run ended before that: {self.events[-3:]}"
        raise AssertionError(message)

    def round(self, number: int) -> dict[str, Any]:
        """Return a round's event."""
        return self.until(lambda e: e["event"] == "round" and e["round"] == number)

    def phase(self, number: int, phase: str) -> dict[str, Any]:
        """Return when a phase of a round begins."""
        return self.until(
            lambda e: e["event"] == "phase" and (e["round"], e["phase"]) == (number, phase)
        )

    def stop(self) -> None:
        """Stop the run: what was to be seen has been seen."""
        ENGINE.stop(self.hub, self.job)
        assert self.end()["status"] == "stopped"

    def end(self) -> dict[str, Any]:
        """Return the end."""
        return self.until(lambda e: e["event"] == "end")


def test_an_operator_orders_and_follows_from_its_own_node(deployment: Deployment) -> None:
    path = deployment.folder / "ordered.toml"
    text = study_text(rounds=2)
    path.write_text(text.replace("rounds = 2", 'rounds = 2\noperator = "east"'), "utf-8")
    for refused in (
        deployment.fusion("train", path, "--hub", deployment.hub, check=False),
        deployment.fusion("train", path, "--home", deployment.node("north"), check=False),
    ):
        assert refused.returncode in (2, 4)
        assert "operator" in refused.stderr
    found = deployment.json("train", path, "--home", deployment.node("east"))
    assert (found["status"], found["study"]) == ("done", "made-up")
    hub = HubHome.open(deployment.hub)
    result = ENGINE.result(hub, found["job"])
    assert found == {**result, **_SCHEMA}
    # It has run to its end with everybody, and there is a model.
    assert [len(event["contributors"]) for event in result["rounds"]] == [4] * 4
    assert result["metrics"][-1]["auc"] > 0.7
    model = json.loads((hub.runs / found["job"] / "model.json").read_text("utf-8"))
    assert model["kind"] == "logistic"


_SCHEMA = {"schema": "fusion.run/1"}


def test_a_node_reaches_another_through_the_hub(deployment: Deployment) -> None:
    found = deployment.json(
        "node", "ping", deployment.node("north"), "--to", "east", "--count", "3"
    )
    assert found["to"] == "east"
    assert len(found["milliseconds"]) == 3
    refused = deployment.fusion(
        "node", "ping", deployment.node("north"), "--to", "nobody", check=False
    )
    assert refused.returncode == 5
    assert "nobody" in refused.stderr


@pytest.mark.soak
def test_a_masked_study_runs_to_its_end(deployment: Deployment) -> None:
    text = study_text(rounds=1).replace("[deadlines]", "[aggregation]\nmasks = true\n\n[deadlines]")
    watch = Watch(deployment, text)
    assert watch.phase(1, "join")
    assert watch.end()["status"] == "done"
    result = ENGINE.result(watch.hub, watch.job)
    assert [len(event["contributors"]) for event in result["rounds"]] == [4] * 3
    assert result["metrics"][-1]["auc"] > 0.6


def test_a_second_start_of_what_is_up_is_refused_and_harms_nothing(deployment: Deployment) -> None:
    for kind, folder in (("hub", deployment.hub), ("node", deployment.node("north"))):
        second = deployment.fusion(kind, "up", folder, check=False)
        assert second.returncode == 3
        assert "is up already" in second.stderr
        assert deployment.json(kind, "status", folder)["up"]
    hub = HubHome.open(deployment.hub)
    events = ENGINE.follow(hub, ENGINE.ping(hub, 1), stop=threading.Event())
    assert [event["missing"] for event in events if event["event"] == "exchange"] == [[]]


@pytest.fixture(scope="module")
def long_run(deployment: Deployment) -> Watch:
    """One run that the next three tests disturb in turn, and the last of them ends."""
    watch = Watch(deployment, study_text(rounds=100, deadline=ABSENT_SECONDS))
    watch.round(1)
    return watch


def test_a_node_killed_in_mid_round_is_left_out_and_joins_again(
    deployment: Deployment, long_run: Watch
) -> None:
    long_run.phase(2, "train")
    deployment.kill("north")
    left_out = long_run.until(
        lambda e: e["event"] == "round" and e["round"] >= 2 and "north" not in e["contributors"]
    )
    assert [entry["organisation"] for entry in left_out["absent"]] == ["north"]
    assert left_out["absent"][0]["since"]
    assert len(left_out["contributors"]) == 3
    deployment.start("north")
    back = long_run.until(lambda e: e["event"] == "round" and "north" in e["contributors"])
    assert back["round"] > left_out["round"]
    # It was taken back by the worker that had left it out: a new worker would start with everyone.
    assert [event["event"] for event in long_run.events].count("start") == 1
    statuses = [e["status"] for e in long_run.events if e.get("organisation") == "north"]
    assert statuses == ["ready", "back"]
    assert f"{long_run.job} lost its worker" not in deployment.log("hub")


@pytest.mark.soak
def test_a_straggler_is_left_out_and_not_waited_for(
    deployment: Deployment, long_run: Watch
) -> None:
    deployment.signal("east", signal.SIGSTOP)
    late = long_run.until(lambda e: e["event"] == "round" and "east" not in e["contributors"])
    deployment.signal("east", signal.SIGCONT)
    assert "did not answer" in late["absent"][0]["reason"]
    # Once, and not in every phase of the round.
    assert late["seconds"]["total"] < 3 * ABSENT_SECONDS
    long_run.until(lambda e: e["event"] == "round" and "east" in e["contributors"])


def test_below_quorum_the_run_stops_with_exit_6_and_names_who_is_missing(
    deployment: Deployment, long_run: Watch
) -> None:
    for name in ("north", "east"):
        deployment.kill(name)
    end = long_run.end()
    assert end["exit_code"] == 6
    assert "north since 20" in end["message"]
    assert "east since 20" in end["message"]
    shown = deployment.fusion(
        "train", "--follow", long_run.job, "--hub", deployment.hub, check=False
    )
    assert shown.returncode == 6
    for name in ("north", "east"):
        deployment.start(name)
    deployment.wait_ready(["north", "east"])


@pytest.fixture(scope="module")
def disturbed(deployment: Deployment) -> Watch:
    """Another run that the next three tests disturb in turn, and the last of them sees end."""
    return Watch(deployment, study_text(rounds=6))


def test_a_node_told_to_stop_in_mid_task_finishes_it(
    deployment: Deployment, disturbed: Watch
) -> None:
    disturbed.phase(1, "train")
    assert deployment.terminate("south") == 0
    deployment.start("south")
    deployment.wait_ready(["south"])
    # The process that comes after it takes part again when it has been set up again.
    assert len(disturbed.round(1)["contributors"]) >= 3


def test_the_superlink_killed_in_mid_run_is_started_again_and_the_run_goes_on(
    deployment: Deployment, disturbed: Watch
) -> None:
    # The run has waited for the node, and has most of its rounds before it.
    disturbed.phase(2, "train")
    deployment.kill_child("hub", "flower-superlink")
    until = time.monotonic() + 100
    while "starting it again" not in deployment.log("hub") and time.monotonic() < until:
        time.sleep(0.1)
    assert "starting it again" in deployment.log("hub")
    assert len(disturbed.round(2)["contributors"]) >= 3


def test_the_hub_killed_and_started_again_goes_on(deployment: Deployment, disturbed: Watch) -> None:
    disturbed.phase(3, "train")
    before = len(disturbed.events)
    children = deployment.tree("hub")[1:]
    deployment.kill("hub")
    # What it started dies with it: nothing holds the port or the database.
    until = time.monotonic() + 60
    while any(_alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in children)
    deployment.start("hub")
    assert disturbed.end()["status"] == "done"
    result = ENGINE.result(disturbed.hub, disturbed.job)
    assert [event["round"] for event in result["rounds"]] == list(range(8))
    # By another worker, which goes on from the journal.
    assert [event["event"] for event in disturbed.events[before:]].count("start") == 1


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_bad_data_at_one_node_stops_the_run_and_names_it(
    deployment: Deployment, tmp_path: Path
) -> None:
    file = deployment.folder / "west.csv"
    good = file.read_text("utf-8")
    file.write_text(good.replace("desk", "moon", 1), "utf-8")
    try:
        path = tmp_path / "study.toml"
        path.write_text(study_text(), "utf-8")
        done = deployment.fusion("train", path, "--hub", deployment.hub, check=False)
    finally:
        file.write_text(good, "utf-8")
    assert done.returncode == 2
    assert "west" in done.stderr
    assert "moon" not in done.stderr
    assert "work" in done.stderr


def test_a_bundle_other_than_ours_is_refused_and_logged(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.run_foreign_bundle(tmp_path)
    until = time.monotonic() + 60
    while "its bundle is not the one installed here" not in deployment.log("north"):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert not list(deployment.node("north").rglob("*.fab"))


def test_nothing_contacts_another_host(deployment: Deployment, watch: Path) -> None:
    """Every Python process has been watched since it began; sockets of others are looked at now."""
    names = ["hub", *deployment.names]
    hub = HubHome.open(deployment.hub)
    events = ENGINE.follow(hub, ENGINE.ping(hub, 1), stop=threading.Event())
    assert [event["missing"] for event in events if event["event"] == "exchange"] == [[]]
    for name in names:
        assert deployment.peers(name) == {"127.0.0.1"}, name
    seen = (watch / "seen").read_text("utf-8")
    for program in ("hub up", "node up", "flower-superexec", "flwr-serverapp"):
        assert program in seen
    assert not (watch / "outside").exists()


def _vertical(model: str, patience: float) -> str:
    text = vertical.study_text(model, ("east", "south"), label="north", patience=patience)
    return text.replace('dataset = "people"', 'dataset = "columns"')


def _ordered(deployment: Deployment, text: str) -> Watch:
    """Order a vertical study at its operator's node, and watch it."""
    path = deployment.folder / "vertical.toml"
    path.write_text(text, "utf-8")
    found = deployment.json("train", path, "--home", deployment.node("north"), "--detach")
    return Watch.of(deployment, found["job"])


@pytest.mark.soak
def test_a_vertical_study_goes_on_when_a_party_is_killed(deployment: Deployment) -> None:
    watch = _ordered(deployment, _vertical(vertical.boosting("dealer", trees=60), 8.0))
    watch.until(lambda e: e["event"] == "step" and e["step"] >= 3)
    deployment.kill("east")
    deployment.start("east")
    again = watch.until(lambda e: e["event"] == "attempt" and e["number"] > 1)
    assert again["step"] >= 2
    assert watch.end()["status"] == "done", watch.events[-1]
    found = ENGINE.result(watch.hub, watch.job)
    assert found["quality"]["joint"]["test"] > found["quality"]["alone"]["test"]
    shown = deployment.json("model", "list", "--home", deployment.node("south"))
    assert found["model_kept"]["model"] in json.dumps(shown)
    # What parties say to each other is not in the hub's folder.
    assert not any(b"BnV1" in path.read_bytes() for path in deployment.hub.rglob("*.jsonl"))


@pytest.mark.soak
def test_a_vertical_party_that_is_frozen_is_named(deployment: Deployment) -> None:
    watch = _ordered(deployment, _vertical(vertical.linear(epochs=900), 3.0))
    watch.until(lambda e: e["event"] == "step")
    deployment.signal("south", signal.SIGSTOP)
    end = watch.end()
    deployment.signal("south", signal.SIGCONT)
    assert (end["status"], end["exit_code"], end["code"]) == ("failed", 6, "F-604")
    assert "south" in end["message"]


@pytest.mark.soak
def test_a_scorecard_is_trained_and_shown_by_each_party(deployment: Deployment) -> None:
    watch = _ordered(deployment, _vertical(vertical.scorecard(), 20.0))
    assert watch.end()["status"] == "done", watch.events[-1]
    joint = ENGINE.result(watch.hub, watch.job)["quality"]["joint"]
    assert joint["train"] > 0.8
    for name, columns in (("north", ["r0", "r1"]), ("south", ["s0", "s1", "sword"])):
        home = deployment.node(name)
        listed = deployment.json("model", "list", "--home", home)["models"]
        newest = max(listed, key=lambda each: each["made"])["name"]
        card = deployment.json("model", "card", newest, "--home", home)
        assert (card["kind"], [each["column"] for each in card["points"]]) == ("scorecard", columns)
        assert card["metrics"] == {} if name == "south" else card["metrics"]["joint"] == joint


@pytest.fixture
def stock(deployment: Deployment) -> Iterator[Deployment]:
    """The deployment with one node that serves through Flower's own SuperNode."""
    deployment.terminate("south")
    deployment.start("south", BANYAN_RUNTIME="stock")
    deployment.wait_ready(["south"])
    yield deployment
    deployment.terminate("south")
    deployment.start("south")
    deployment.wait_ready(["south"])


@pytest.mark.soak
def test_the_stock_supernode_serves_when_ours_can_not(stock: Deployment) -> None:
    assert "Flower's SuperNode" in stock.log("south")
    hub = HubHome.open(stock.hub)
    events = list(ENGINE.follow(hub, ENGINE.ping(hub, 1), stop=threading.Event()))
    assert [event["missing"] for event in events if event["event"] == "exchange"] == [[]]


@pytest.mark.soak
def test_a_study_runs_with_a_stock_supernode(stock: Deployment) -> None:
    watch = Watch(stock, study_text(rounds=1, deadline=100.0))
    assert watch.end()["status"] == "done"
    assert all("south" in event["contributors"] for event in watch.events if "purpose" in event)


@pytest.mark.soak
@pytest.mark.parametrize("backend", ["dealer", "paillier"])
def test_a_vertical_study_goes_on_when_the_hub_is_killed(
    deployment: Deployment, backend: str
) -> None:
    """With the hub its dealer is gone, and an attempt with it; talks between nodes heal."""
    trees = {"dealer": 200, "paillier": 12}[backend]
    watch = _ordered(deployment, _vertical(vertical.boosting(backend, trees=trees), 60.0))
    watch.until(lambda e: e["event"] == "step" and e["step"] >= 3)
    deployment.kill("hub")
    deployment.start("hub")
    assert watch.end()["status"] == "done", watch.events[-1]
    attempts = [event for event in watch.events if event["event"] == "attempt"]
    assert [each["number"] for each in attempts][:2] == ([1, 2] if backend == "dealer" else [1])
    assert all(each["step"] >= 2 for each in attempts[1:])
