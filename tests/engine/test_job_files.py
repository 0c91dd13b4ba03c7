"""Damaged files of a job at the hub: named, and no other job stands for it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from federated import seeds
from federated.engine import ENGINE
from federated.job_files import MAX_BYTES, Begun, Dealing, JobState, read_job_file
from federated.jobs import JobFolder, jobs_of
from federated.vertical.dealing import ask_to_deal, is_asked
from fusion.errors import EnvironmentUnfit
from tests.engine.test_vertical import world
from tests.engine.vertical_world import LABEL, OTHERS
from tests.vertical.studies import linear, study_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federated.cohort import Request
    from fusion.services.homes import HubHome
    from tests.engine.vertical_world import World

__all__ = ["world"]

TEXT = study_text(linear(epochs=1), OTHERS, label=LABEL)


def damaged(whole: bytes) -> Iterator[bytes]:
    """Yield what may be in a file in place of what was written."""
    draw = seeds.generator("tests-job-files", len(whole))
    yield from (whole[:length] for length in range(len(whole)))
    yield from (draw.bytes(length) for length in (1, 64, len(whole), 5000))
    yield from (b"null", b"[]", b"{}", b'"x"', b"1", b"NaN", b"[" * 20_000, b"\xff\xfe")
    yield whole + b" " * MAX_BYTES
    yield whole + whole
    content = json.loads(whole)
    others: tuple[Any, ...] = (None, -1, 2**70, 1.5, "x", "", [], {}, True)
    for key in content:
        for other in others:
            if other is not None or key in NEEDED:
                yield json.dumps({**content, key: other}).encode()
    yield from (json.dumps({k: v for k, v in content.items() if k != n}).encode() for n in NEEDED)
    yield json.dumps({**content, "more": 1}).encode()
    yield json.dumps({**content, "schema": "fusion.job/2"}).encode()


NEEDED = {"job", "kind", "status", "starts", "attempt", "rows", "step"}
FREE = {"origin", "operator", "message", "code"}
"""Keys with any text."""


def is_whole(whole: bytes, data: bytes) -> bool:
    """Whether something differs from what was written in no way that matters."""
    try:
        found, content = json.loads(data), json.loads(whole)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or len(data) > MAX_BYTES:
        return False
    missing = {key for key in content if key not in found and key in NEEDED}
    # As text: in Python True is 1.
    changed = {k for k, v in found.items() if json.dumps(content.get(k)) != json.dumps(v)}
    texts = {key for key in changed if key in FREE and isinstance(found[key], str)}
    return not missing and changed == texts


def test_a_damaged_state_is_named_and_the_others_are_listed(hub: HubHome) -> None:
    """Cut off after each byte, random, of another version, too large, of other types."""
    good = JobFolder.create(hub.runs, TEXT)
    bad = JobFolder.create(hub.runs, TEXT, kind="vertical")
    bad.update(status="running", run=17, starts=1)
    whole, refused = (bad.path / "job.json").read_bytes(), 0
    for data in damaged(whole):
        (bad.path / "job.json").write_bytes(data)
        if is_whole(whole, data):
            assert bad.state()["job"] == bad.name
            continue
        refused += 1
        for act in (bad.state, lambda: bad.update(status="done")):
            with pytest.raises(EnvironmentUnfit, match=r"job\.json (is|has)") as error:
                act()
            assert str(bad.path) in error.value.message
            assert "the other jobs go on" in error.value.hint
        listed = {each["job"]: each["status"] for each in ENGINE.jobs(hub)}
        assert listed == {good.name: "queued", bad.name: "damaged"}
        assert ENGINE.ending(hub, bad.name, party="north") is None
    assert refused > len(whole)
    shutil.copy(good.path / "job.json", bad.path / "job.json")
    with pytest.raises(EnvironmentUnfit, match="that of another job"):
        bad.state()
    (bad.path / "job.json").unlink()
    (bad.path / "job.json").mkdir()
    with pytest.raises(EnvironmentUnfit, match="can't be read"):
        bad.state()


def test_a_state_from_before_it_had_a_version_is_read(hub: HubHome) -> None:
    job = JobFolder.create(hub.runs, TEXT)
    file = job.path / "job.json"
    content = json.loads(file.read_bytes())
    assert content.pop("schema") == "fusion.job/1"
    file.write_text(json.dumps(content), "utf-8")
    assert job.state() == content
    job.study.unlink()
    assert [each.name for each in jobs_of(hub.runs)] == [job.name]


@pytest.mark.parametrize("model", [Dealing, Begun])
def test_what_is_to_be_dealt_is_read_strictly(tmp_path: Path, model: Any) -> None:  # noqa: ANN401
    content = dict.fromkeys(model.model_fields, 3)
    whole, path, refused = json.dumps(content).encode(), tmp_path / "file.json", 0
    assert read_job_file(path, model) is None
    path.write_bytes(whole)
    found = read_job_file(path, model)
    assert found is not None
    assert found.model_dump() == content
    for data in damaged(whole):
        path.write_bytes(data)
        if is_whole(whole, data):
            continue
        refused += 1
        with pytest.raises(EnvironmentUnfit, match=r"file\.json (is|has)"):
            read_job_file(path, model)
    assert refused > len(whole)


def test_a_job_that_stands_keeps_no_other_from_its_dealer(world: World) -> None:
    """A damaged state, and damaged words of what is to be dealt, of two other jobs."""
    for name in world.nodes:
        world.grant(name)
    stands = [JobFolder.create(world.hub.runs, TEXT, kind="vertical") for _ in range(2)]
    (stands[0].path / "job.json").write_bytes(b"")
    stands[1].update(status="running")
    (stands[1].path / "dealing.json").write_bytes(b'{"attempt": 1, "ro')
    _, events = world.run(TEXT)
    assert events[-1]["status"] == "done", events[-1]


def test_a_run_whose_own_file_is_damaged_ends_by_its_name(world: World) -> None:
    for name in world.nodes:
        world.grant(name)
    job = world.job(TEXT)

    def damage(_: str, request: Request) -> None:
        if request.kind == "look":
            (job.path / "dealing.json").write_bytes(b"{")

    _, events = world.run("", before=damage, job=job)
    assert (events[-1]["status"], events[-1]["code"]) == ("failed", "F-300"), events[-1]
    assert f"{job.name}/dealing.json is not well formed" in events[-1]["message"]


def test_an_attempt_that_was_asked_for_is_known(hub: HubHome) -> None:
    job = JobFolder.create(hub.runs, TEXT, kind="vertical")
    assert not is_asked(job, 1)
    ask_to_deal(job, 1, 100, 0)
    assert is_asked(job, 1)
    assert not is_asked(job, 2)
    found = read_job_file(job.path / "dealing.json", Dealing)
    assert found == Dealing(attempt=1, rows=100, step=0)
    assert read_job_file(job.path / "job.json", JobState) is not None
