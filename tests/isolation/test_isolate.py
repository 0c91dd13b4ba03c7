"""One piece of work in a worker: its answer, its limits, and what is told of it to whom."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import (
    InputInvalid,
    IsolationUnavailable,
    WorkCancelled,
    WorkCrashed,
    WorkFailed,
    WorkOutOfMemory,
    WorkOutputTooLarge,
    WorkTimedOut,
)
from fusion.wire import canonical
from sandbox import choice
from sandbox.entries import check_entry
from sandbox.isolate import OWNER_LOG, Isolation, Settings
from sandbox.limits import KILL_SECONDS, Limits
from tests.isolation.host import end_of, worker_uid, workers

if TYPE_CHECKING:
    from tests.isolation.conftest import Scene

PROBE = "sandbox.probe:execute"
PYTHON = "sandbox.python_job:execute"
SHORT = Limits(wall_seconds=1.0, cpu_seconds=5, memory_bytes=256 << 20, output_bytes=100_000)
ROOMY = replace(SHORT, wall_seconds=60)
"""Where another limit is met, or none: the time is that of a loaded machine."""
LONG = Limits(wall_seconds=60, memory_bytes=256 << 20)
TRIES = 5
"""A moment in which the machine did something else is not the node's: a fault comes each time."""


def script(text: str) -> bytes:
    return canonical.encode({"schema": "banyan.python-request/1", "script": text})


def failure(
    isolation: Isolation, text: str, limits: Limits = SHORT, inputs: dict[str, Path] | None = None
) -> WorkFailed:
    with pytest.raises(WorkFailed) as found:
        isolation.run(PYTHON, script(text), inputs or {}, limits)
    return found.value


def _until_stopped(isolation: Isolation, inputs: dict[str, Path], stop: threading.Event) -> None:
    with pytest.raises(WorkCancelled):
        isolation.run(PYTHON, script("import time; time.sleep(600)"), inputs, LONG, stop=stop)


def test_a_worker_reads_its_inputs_and_every_door_is_shut(
    isolation: Isolation, scene: Scene
) -> None:
    told = canonical.decode(isolation.run(PROBE, b"what is there", scene.inputs, LONG))
    assert told["open"] == []
    assert len(told["shut"]) > 30
    assert told["echo"] == "what is there"
    sizes = {name: path.stat().st_size for name, path in scene.inputs.items()}
    assert told["inputs"] == sizes


def test_a_worker_is_not_root(isolation: Isolation, scene: Scene) -> None:
    stop = threading.Event()
    work = threading.Thread(target=_until_stopped, args=(isolation, scene.inputs, stop))
    work.start()
    end = time.monotonic() + 60
    users: set[str] = set()
    while not users and time.monotonic() < end:
        for pid in workers():
            # One that ends meanwhile is looked at no further; another one comes.
            with contextlib.suppress(OSError):
                # The one line that changes user comes before it is a worker: looked for first.
                if b"launch.py" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    status = Path(f"/proc/{pid}/status").read_text("ascii")
                    users |= set(status.split("Uid:")[1].splitlines()[0].split())
    stop.set()
    work.join()
    assert users == {str(worker_uid())}
    assert "0" not in users


def test_a_worker_is_used_once(isolation: Isolation) -> None:
    text = "import sys, banyan; banyan.result({'n': [getattr(sys, 'mark', 0)]}); sys.mark = 1"
    answers = {isolation.run(PYTHON, script(text), {}, LONG) for _ in range(3)}
    assert answers == {b'{"columns":{"n":[0]},"schema":"banyan.python-answer/1"}'}


def test_the_wall_limit_kills(isolation: Isolation) -> None:
    for left in reversed(range(TRIES)):
        error = failure(isolation, "import time\nwhile True: time.sleep(10)")
        assert isinstance(error, WorkTimedOut)
        # From the request until it was gone, as the node's log has it.
        found = re.search(r"after ([\d.]+) s", error.details)
        assert found is not None
        assert SHORT.wall_seconds <= float(found[1])
        if float(found[1]) <= SHORT.wall_seconds + KILL_SECONDS:
            break
        assert left, found[1]
    isolation.close()
    assert not end_of(workers(), 60)


def test_memory_is_bounded_and_the_next_request_is_served(
    isolation: Isolation, scene: Scene
) -> None:
    most, stop = [0], threading.Event()
    seen = scene.inputs["data"].with_name("seen")
    seen.touch(mode=0o644)

    def watch() -> None:
        while not stop.wait(0.005):
            for pid in workers():
                try:
                    resident = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
                except OSError:
                    continue
                most[0] = max(most[0], resident * 4096)
            if most[0] > 64 << 20:
                seen.write_text("yes", "ascii")

    watcher = threading.Thread(target=watch)
    watcher.start()
    limits = Limits(wall_seconds=60, cpu_seconds=60, memory_bytes=128 << 20)
    # It stays at its limit until it was seen there.
    place = seen if isolation.kind == "landlock" else f"/in/{seen.name}"
    text = (
        "import time\nx = []\ntry:\n    while True: x.append(bytearray(1 << 20))\n"
        f"except MemoryError:\n    x.pop()\n    while not open('{place}').read():\n"
        "        time.sleep(0.05)\n    raise"
    )
    try:
        error = failure(isolation, text, limits, {"seen": seen})
    finally:
        stop.set()
        watcher.join()
        seen.unlink()
    assert isinstance(error, WorkOutOfMemory)
    assert (64 << 20) < most[0] < (128 << 20) + (256 << 20)
    assert canonical.decode(isolation.run(PROBE, b"", {}, LONG))["open"] == []


def test_processor_time_is_bounded(isolation: Isolation) -> None:
    # It crashes, and is not timed out, however little of the processor it gets.
    limits = Limits(wall_seconds=100, cpu_seconds=1)
    assert isinstance(failure(isolation, "while True: pass", limits), WorkCrashed)


def test_an_answer_is_bounded(isolation: Isolation) -> None:
    text = "import banyan; banyan.result({'n': list(range(100_000))})"
    assert isinstance(failure(isolation, text, ROOMY), WorkOutputTooLarge)


def test_cancelling_ends_the_worker(isolation: Isolation) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    # Cancelled, and not timed out.
    with pytest.raises(WorkCancelled):
        isolation.run(PYTHON, script("import time; time.sleep(600)"), {}, LONG, stop=stop)


def test_who_asked_is_told_the_same_whatever_happened(
    isolation: Isolation, caplog: pytest.LogCaptureFixture
) -> None:
    texts = (
        "raise ValueError('row 17: 4711')",
        "import os; os._exit(17)",
        "import os; os.abort()",
        "import sys; sys.exit(3)",
        "import banyan; banyan.result({'n': list(range(100_000))})",
        "raise MemoryError",
    )
    with caplog.at_level("WARNING", OWNER_LOG.name):
        errors = [failure(isolation, text, ROOMY) for text in texts]
    assert len({str(error) for error in errors}) == 1
    assert {error.outward().code for error in errors} == {"F-020"}
    assert not any(error.outward().details for error in errors)
    assert "row 17: 4711" in errors[0].details
    assert "row 17: 4711" in caplog.text
    assert "exit code 17" in errors[1].details or "exit code" in errors[1].details


def test_a_file_that_was_replaced_is_read_anew(isolation: Isolation, tmp_path: Path) -> None:
    folder = Path(tmp_path)
    for parent in (folder, *folder.parents[:2]):
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):  # noqa: S108 - not ours
            parent.chmod(0o755)
    file, next_one = folder / "table.csv", folder / "next.csv"
    for path, text in ((file, "a\n1\n"), (next_one, "a\n1\n2\n3\n")):
        path.write_text(text, "ascii")
        path.chmod(0o644)
    first = canonical.decode(isolation.run(PROBE, b"", {"t": file}, LONG))
    next_one.replace(file)
    second = canonical.decode(isolation.run(PROBE, b"", {"t": file}, LONG))
    assert (first["inputs"], second["inputs"]) == ({"t": 4}, {"t": 8})


@pytest.mark.parametrize("entry", ["os:system", "sandbox.probe:_fork", "", "sandbox.worker:main"])
def test_a_function_that_is_not_on_the_list_is_refused(entry: str) -> None:
    with pytest.raises(InputInvalid):
        check_entry(entry)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 65, ".hidden"])
def test_a_name_of_an_input_is_a_plain_one(isolation: Isolation, scene: Scene, name: str) -> None:
    with pytest.raises(InputInvalid):
        isolation.run(PROBE, b"", {name: scene.inputs["data"]}, LONG)


def test_an_input_that_workers_can_not_read_is_refused(
    isolation: Isolation, tmp_path: Path
) -> None:
    file = tmp_path / "secret.csv"
    with pytest.raises(InputInvalid, match="not there"):
        isolation.run(PROBE, b"", {"a": file}, LONG)
    file.write_text("a\n1\n", "ascii")
    file.chmod(0)
    with pytest.raises(InputInvalid, match="can't be read"):
        isolation.run(PROBE, b"", {"a": file}, LONG)
    with pytest.raises(InputInvalid, match="not a file"):
        isolation.run(PROBE, b"", {"a": tmp_path}, LONG)


def test_nothing_runs_where_nothing_confines() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has to become somebody else")
    with pytest.raises(IsolationUnavailable) as found:
        Isolation.open(Settings(service_user="no-such-account"))
    assert "no-such-account" in found.value.message
    with pytest.raises(IsolationUnavailable, match="root"):
        Isolation.open(Settings(service_user="root"))
    with pytest.raises(IsolationUnavailable) as found:
        choice.choose(None, "root")
    assert all(f"{kind}: " in found.value.message for kind in choice.KINDS)
    assert "apt-get install bubblewrap" in found.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        {"wall_seconds": 0},
        {"wall_seconds": float("nan")},
        {"memory_bytes": -1},
        {"threads": 10_000},
        {"output_bytes": 1 << 40},
        {"scratch_bytes": -1},
    ],
)
def test_a_limit_has_to_bound(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputInvalid):
        Limits(**wrong)
