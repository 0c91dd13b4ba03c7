"""Child processes: their errors become ours, their logs are shown, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fusion.errors import PartyFailed, PartyUnreachable
from fusion.services import node
from fusion.services.processes import Children, is_up
from tests.link.federation import make_hub


def test_a_verb_that_ends_well_gives_its_output(tmp_path: Path) -> None:
    with Children(tmp_path, lambda _: None) as children:
        printed = children.finish([children.start("version", "--version")], seconds=60)
    assert printed[0].startswith("banyan-fusion ")


def test_a_child_does_not_take_the_callers_folder_and_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.setenv("FUSION_HOME", str(tmp_path / "of-the-caller"))
    words = ("hub", "init", tmp_path / "hub", "--address", "127.0.0.1:4711", "--no-passphrase")
    with Children(tmp_path / "logs", lambda _: None) as children:
        children.finish([children.start("hub-init", *words)], seconds=60)
    assert (tmp_path / "hub" / "hub.toml").exists()
    with Children(tmp_path / "logs", lambda _: None) as children:
        failing = children.start("status", "hub", "status")
        with pytest.raises(PartyFailed) as caught:
            children.finish([failing], seconds=60)
    assert "of-the-caller" not in caught.value.message


def test_a_verb_that_fails_gives_its_code_and_its_log(tmp_path: Path) -> None:
    said: list[str] = []
    with Children(tmp_path, said.append) as children:
        failing = children.start("status", "hub", "status", tmp_path / "nothing")
        with pytest.raises(PartyFailed, match="status: ") as caught:
            children.finish([failing], seconds=60)
    assert (caught.value.code, caught.value.exit_code) == ("F-200", 2)
    assert "F-200" in "".join(said)


def test_a_service_that_ends_is_noticed_while_others_are_waited_for(tmp_path: Path) -> None:
    with Children(tmp_path / "logs", lambda _: None) as children:
        children.start("service", "hub", "up", tmp_path / "nothing")
        with pytest.raises(PartyFailed, match="service"):
            children.wait_for([tmp_path / "never"], seconds=60)


def test_waiting_ends_with_the_names_of_those_who_are_not_ready(tmp_path: Path) -> None:
    with (
        Children(tmp_path / "logs", lambda _: None) as children,
        pytest.raises(PartyUnreachable, match="state"),
    ):
        children.wait_for([tmp_path / "state" / "ready.json"], seconds=0.1)


def test_is_up_believes_a_living_process_only(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    assert not is_up(ready)
    ready.write_text(json.dumps({"pid": os.getpid()}), "utf-8")
    assert is_up(ready)
    for text in ("", "{}", '{"pid": "x"}', "[]", '{"pid": -1}', '{"pid": 4194304999}'):
        ready.write_text(text, "utf-8")
        assert not is_up(ready)


_PARENT = """
import pathlib, sys, time
from fusion.services.processes import Children
with Children(pathlib.Path(sys.argv[1]), print) as children:
    child = children.start("node", "node", "up", pathlib.Path(sys.argv[2]))
    while "Asking again" not in child.tail():
        time.sleep(0.05)
    print(child.process.pid, flush=True)
    time.sleep(600)
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_children_of_a_killed_process_stop(tmp_path: Path) -> None:
    """A node that waits for its admission would wait for ever."""
    invitation = str(make_hub(tmp_path / "hub").invitation).replace(":0#", ":9#")
    node.init(tmp_path / "node", hub=invitation, org="north")
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "logs"), str(tmp_path / "node")],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _alive(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait(100)
    until = time.monotonic() + 100
    while _alive(child):
        assert time.monotonic() < until
        time.sleep(0.05)
