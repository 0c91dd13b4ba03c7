"""Scoring between processes as users run them: killed, started anew, revoked; nothing hangs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.services import engines
from fusion.services.homes import NodeHome
from fusion.services.models import find_model, keep_part
from tests.deployment.processes import Deployment
from tests.deployment.revoking import check_stops_within_a_second
from tests.models.local import Local
from tests.models.world import (
    FIRST,
    LABEL,
    Served,
    facts,
    identifier,
    shared,
    write_table,
)
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.soak, pytest.mark.deployment, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def model() -> trained.Trained:
    return trained.boosting((LABEL, FIRST), [2, 2])


@pytest.fixture(scope="module")
def running(
    model: trained.Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("processes")
    data = {}
    for name, table in zip(model.names, model.tables, strict=True):
        data[name] = folder / f"{name}.csv"
        write_table(data[name], table, range(400))
    with Deployment(folder / "all", list(model.names), data=data) as found:
        nodes = {name: NodeHome.open(found.node(name)) for name in model.names}
        of, engine = shared(model.parts, kind="boosting"), engines.scoring()
        for name, part in model.parts.items():
            known = facts(
                of, name,
                columns=engine.open(part).columns,
                schema_digest=schema_digest(read_schema(data[name])),
            )  # fmt: skip
            keep_part(nodes[name], known, part)
        kept = find_model(nodes[LABEL], "credit")
        # Of the tests' world no more than its grants: connections are those of the processes.
        nothing: Any = None
        world = Served(model, nodes, of, kept, nothing, {}, {})
        grant = folder / "grant.json"
        grant.write_text(json.dumps(world.document(FIRST, 1000, 100_000)))
        signed = folder / "signed.json"
        found.fusion("grant", "propose", grant, "--home", found.node(FIRST), "--out", signed)
        found.fusion("grant", "sign", signed, "--home", found.node(LABEL))
        yield found


@pytest.fixture(scope="module")
def served(running: Deployment) -> Iterator[Path]:
    path = running.folder.parent / "s.sock"
    words = ["score", "serve", "--model", "credit", "--socket", str(path)]
    home = ["--home", str(running.node(LABEL))]
    with (running.logs / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fusion.cli", *words, *home], stdout=log, stderr=log
        )
    waited(path.exists)
    yield path
    process.terminate()
    assert process.wait(60) == 0


def waited(true: Callable[[], bool], seconds: float = 120) -> float:
    """Wait until something is so; return for how long."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


def call(path: Path, row: int = 1) -> tuple[int, Any]:
    with contextlib.closing(Local(path)) as local:
        return local.call("POST", "/v1/score", {"id": identifier(row)})


def test_a_file_is_scored_as_in_training(
    running: Deployment, served: Path, model: trained.Trained
) -> None:
    ids = running.folder / "ids.csv"
    ids.write_text("\n".join(["id", *map(identifier, range(400)), "nobody"]) + "\n")
    home = ("--home", running.node(LABEL))
    found = running.json("score", "--model", "credit", "--ids", ids, *home)
    assert (found["rows"], found["scored"]) == (401, 400)
    for row, wanted in zip(found["scores"], model.scores, strict=False):
        assert abs(row["score"] - wanted) < 1e-6
    status, said = call(served)
    assert status == 200
    assert abs(said["score"] - model.scores[1]) < 1e-6


@pytest.mark.parametrize("who", [FIRST, "hub"])
def test_who_is_killed_is_named_and_found_again(
    running: Deployment, served: Path, who: str
) -> None:
    running.kill(who)
    began = time.monotonic()
    status, said = call(served)
    assert time.monotonic() - began < 70
    assert status == 502
    named = "The hub does not answer" if who == "hub" else FIRST
    assert named in said["error"]["message"]
    running.start(who)
    running.wait_ready([who])
    waited(lambda: call(served)[0] == 200)


def test_nothing_comes_after_a_revocation(running: Deployment, served: Path) -> None:
    home = running.node(FIRST)
    assert call(served)[0] == 200
    listed = running.json("grant", "list", "--home", home)["grants"]
    grant = next(each["id"] for each in listed if FIRST in each["grant"]["assigners"])
    check_stops_within_a_second(home, grant, lambda: call(served))
