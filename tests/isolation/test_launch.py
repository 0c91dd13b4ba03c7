"""What happens before a worker: nobody stays root, nobody is started half-way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import choice, landlock, launch, service_user
from tests.docs.sources import ROOT

SHOW = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"


def plan(**changes: object) -> dict[str, object]:
    root = os.geteuid() == 0
    found: dict[str, object] = {
        "parent": os.getpid(),
        "user": 65534 if root else None,
        "group": 65534 if root else None,
        "covers": {},
        "scratch": None,
        "command": ["/bin/sh", "-c", "id -u; grep -h -E '^(Cap|NoNew)' /proc/self/status"],
        "environment": {"PATH": "/usr/bin:/bin"},
    }
    return found | changes


def launched(**changes: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan(**changes))],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_what_it_executes_has_no_privilege_and_gets_none() -> None:
    done = launched()
    assert done.returncode == 0, done.stderr
    uid, *lines = done.stdout.splitlines()
    assert uid != "0"
    found = dict(line.split(":\t") for line in lines)
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    if os.geteuid() == 0:
        assert int(found["CapBnd"], 16) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"user": 0, "group": 0},
        {"user": 65534, "group": 0},
        {"parent": 1 if os.getpid() != 1 else 2},
        {"user": None, "group": None} if os.geteuid() == 0 else {"user": 65534, "group": 65534},
    ],
)
def test_what_can_not_be_done_is_the_end(changes: dict[str, object]) -> None:
    done = launched(**changes)
    assert done.returncode == launch.FAILED
    assert done.stdout == ""
    assert done.stderr.startswith("launch: ")


def test_a_cover_lets_another_user_pass_and_changes_nothing_here(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root covers folders")
    closed = tmp_path / "closed"
    (closed / "a").mkdir(parents=True)
    (closed / "a/file").write_text("reached", "ascii")
    (closed / "b").write_text("not needed", "ascii")
    closed.chmod(0o700)
    user = (65534, 65534)
    needed = closed / "a"
    covers = service_user.covers([needed], user)
    command = ["/bin/sh", "-c", f"cat {needed}/file; cat {closed}/b"]
    done = launched(covers=covers, command=command)
    assert done.stdout == "reached"
    assert "No such file" in done.stderr
    assert sorted(path.name for path in closed.iterdir()) == ["a", "b"]
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text("utf-8")


def test_landlock_is_not_trusted_with_threads_that_it_does_not_hold() -> None:
    if landlock.version() < landlock.NEEDED:
        pytest.skip(f"Landlock's interface is {landlock.version()} here; {choice.INSTALL}")
    text = (
        "import threading, time; from sandbox import landlock\n"
        "threading.Thread(target=time.sleep, args=(1,)).start(); landlock.restrict([], [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "threads were started before" in done.stderr


def test_root_runs_workers_as_nobody_else_as_itself() -> None:
    found = service_user.resolve(service_user.DEFAULT)
    if os.geteuid() == 0:
        assert found is not None
        assert 0 not in found
    else:
        assert found is None
