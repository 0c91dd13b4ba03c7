"""``fusion align --study`` as an operator meets it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from federated.jobs import OPEN, jobs_of
from fusion.cli import align
from fusion.errors import InputInvalid
from fusion.services.files import write_atomic
from tests.aligning.world import BANK, COMMON, GOV, KEYS, study_text
from tests.cli.test_app import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.aligning.world import World


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@contextlib.contextmanager
def working(world: World) -> Iterator[None]:
    """Somebody at the hub does the jobs that are queued, as its supervisor would have done."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for job in jobs_of(world.hub.runs):
                if job.state()["status"] in OPEN:
                    world.work(job)

    write_atomic(world.hub.ready, b'{"pid": %d}' % os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        world.hub.ready.unlink()


def test_an_operator_aligns_and_sees_sizes(world: World, tmp_path: Path, fusion: Terminal) -> None:
    file, home = tmp_path / "study.toml", world.nodes[BANK].path
    file.write_text(study_text(), "utf-8")
    words = ("align", "--study", file, "--home", home)
    with world.serving(BANK, GOV), working(world):
        found = fusion.document(*words)
        assert found["schema"] == "fusion.align/1"
        assert found["common"] == COMMON
        assert found["protocol"] == "masking"
        assert found["report"]["keys"] == len(KEYS[BANK])
        assert [party["records"] for party in found["parties"]] == [60, 70]
        report = tmp_path / "report.html"
        assert fusion(*words, "--report", report) == 0
        assert f"records of {GOV}" in fusion.out
        assert f"common                   {COMMON}" in fusion.out
        assert "attempt  1 begins" in fusion.err
        assert f"told     {GOV}" in fusion.err
        shown = fusion.out + fusion.err + report.read_text("utf-8")
        assert not any(key in shown for key in KEYS[BANK])
        assert "Alignment: people" in shown
        assert "masking twice" in shown
        # Ordered and left alone, it is followed later; the hub has it among its jobs.
        job = fusion.document(*words, "--detach")["job"]
        assert fusion.document("align", "--follow", job, "--home", home)["common"] == COMMON
        states = fusion.document("hub", "status", world.hub.path)["jobs"]
        assert {"job": job, "status": "done"}.items() <= states[-1].items()
        # At the hub nobody is shown a size.
        words_at_hub = ("train", "--follow", job, "--hub", world.hub.path, "--report", report)
        assert fusion(*words_at_hub) == 0
        assert "Alignment: people" in report.read_text("utf-8")
        assert f"{BANK}, {GOV}" in fusion.out
        assert str(COMMON) not in fusion.out.replace(job, "")
        file.write_text(study_text(minimum_intersection=COMMON + 1), "utf-8")
        assert fusion(*words) == 4
        assert "A-14" in fusion.err
        file.write_text(study_text().replace("set_size", "size"), "utf-8")
        assert fusion(*words) == 2
        assert "study.toml:14" in fusion.err
    assert fusion("align", "--home", home) == 2
    assert "--study" in fusion.err


def test_an_operator_stops_its_own_run_and_no_other(
    world: World, tmp_path: Path, fusion: Terminal
) -> None:
    file, home = tmp_path / "study.toml", world.nodes[BANK].path
    file.write_text(study_text(patience=40.0), "utf-8")
    with world.serving(BANK), working(world):
        # The registry is away: the operator does not wait for it.
        job = fusion.document("align", "--study", file, "--home", home, "--detach")["job"]
        assert fusion("align", "--stop", job, "--home", world.nodes[GOV].path) == 6
        assert f"no run that {GOV} ordered" in fusion.err
        assert fusion("align", "--stop", job, "--home", home) == 1
        assert "stopped" in fusion.err
        # It has ended: that is said, and how, as whoever follows it is told.
        assert fusion("train", "--stop", job, "--home", home) == 1
        assert f"{job} has ended already, as stopped" in fusion.err
        assert "F-602" not in fusion.err
        assert "None" not in fusion.out
        assert fusion("train", "--stop", job, "--hub", world.hub.path) == 1
        assert f"{job} has ended already, as stopped" in fusion.err
        assert "ended already" in fusion.err
        assert fusion("align", "--stop", "job", "--home", home) == 2


def test_sizes_are_shown_though_the_report_can_not_be_written_and_of_alignments_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = world.nodes[BANK]
    with world.serving(BANK, GOV):
        found = world.work(world.job(study_text()))
    # It could be written when the run began.
    align._end(node, found, tmp_path / "gone" / "report.html", as_json=True)
    shown = capsys.readouterr()
    assert f'"common": {COMMON}' in shown.out
    assert "report is not there" in shown.err
    with pytest.raises(InputInvalid, match="no alignment"):
        align._end(node, {**found, "kind": "vertical"}, None, as_json=False)
    assert capsys.readouterr().out == ""
