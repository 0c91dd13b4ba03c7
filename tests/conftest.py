"""The conditions every test runs under: offline, quiet, repeatable.

A test that tries to reach a host other than this machine fails here, whatever library it came
through; so does every Python process that a test starts (``tests/offline/sitecustomize.py``), and
the session ends with an error if one tried.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.offline.sitecustomize import WATCH, host_of, is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.keys import Dealt

# Inherited by every process a test starts.
os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    NO_COLOR="1",
    PYTHONPATH=os.pathsep.join(
        [str(Path(__file__).parent / "offline"), os.environ.get("PYTHONPATH", "")]
    ).rstrip(os.pathsep),
)
# Hundreds of processes are started: one compiles, the others load (`./dev` says so, too).
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Numpy's linear algebra here has one thread: the workers share the cores already, and threads that
# wait for each other cost a quarter of the history's tests. Processes that tests start have theirs.
with pytest.MonkeyPatch.context() as _patch:
    _patch.setenv("OPENBLAS_NUM_THREADS", "1")
    importlib.import_module("numpy")

# Of this process and its children: pytest's workers each have their own.
os.environ[WATCH] = tempfile.mkdtemp(prefix="banyan-watch-")

# The same examples on every run: a failure on one machine is a failure on all.
hypothesis.settings.register_profile(
    "banyan", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("banyan")


def _refuse_outside_hosts(
    event: str,
    arguments: tuple[object, ...],
    # Hooks are asked to the very end, when a module's own names are gone.
    host_of: Callable[[str, tuple[object, ...]], tuple[object] | None] = host_of,
    is_local: Callable[[object], bool] = is_local,
) -> None:
    """Audit hook: raise where a test's process leaves this machine."""
    found = host_of(event, arguments)
    if found is not None and not is_local(found[0]):
        message = f"a test tried to reach {found[0]!r}; tests are offline"
        raise PermissionError(message)


sys.addaudithook(_refuse_outside_hosts)


_LONGEST = ("test_deployment.py", "test_deploy_page.py", "test_readme.py", "test_demo.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes longest first, so that no worker ends alone with it."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        rank = _LONGEST.index(item.path.name) if item.path.name in _LONGEST else len(_LONGEST)
        return item.path.parent.name != "deployment", rank

    items.sort(key=place)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave out what was collected when the collector looks for what nobody needs any more.

    A worker has all tests in memory: to look through them took a tenth of its time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def watch() -> Path:
    """The folder in which the processes that tests start note whom they reach."""
    return Path(os.environ[WATCH])


@pytest.fixture(scope="session", autouse=True)
def _nobody_left_this_machine(watch: Path) -> Iterator[None]:
    yield
    outside = watch / "outside"
    found = outside.read_text("utf-8") if outside.exists() else ""
    shutil.rmtree(watch, ignore_errors=True)
    assert not found, f"processes tried to reach other hosts:\n{found}"


@pytest.fixture(scope="session")
def dealt() -> Dealt:
    """A threshold key with its shares."""
    from tests.keys import deal_for_tests  # noqa: PLC0415 - imports numpy, for which see above

    return deal_for_tests()
