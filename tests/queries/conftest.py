"""One owner's node that answers, for all tests of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import IsolationUnavailable
from fusion.services.homes import NODE_FILE
from sandbox import service_user
from sandbox.choice import choose
from sandbox.history.guard import History
from sandbox.history.thresholds import Policy
from sandbox.ledgers import secret_of
from tests.cli.test_app import Terminal
from tests.link.federation import serving
from tests.queries.world import make_world, serving_queries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.queries.world import Up


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A node that answers; every test has a dataset of its own, with a grant where it needs one."""
    try:
        choose(None, service_user.DEFAULT)
    except IsolationUnavailable as error:
        pytest.skip(f"nothing confines work here: {error}")
    names = (
        "persons",
        "differing",
        "near",
        "scarce",
        "ended",
        "broken",
        "longer",
        "frozen",
        "permitted",
        "leaving",
        "changed",
        "endless",
        "told",
        "numbered",
        "addressed",
        "described",
        "likewise",
        "begun",
        "shelled",
        "jobs",
        "sums",
        "rarer",
        "moving",
        "commands",
        *("agreeing", "budgeted", "noisy", "bounded", "agreed", "crowd", "costly", "revised"),
        "belated",
        "unsaid",
        "given-up",
        "anothers",
        "waning",
    )
    world = make_world(tmp_path_factory.mktemp("queries") / "world", names)
    with serving(world.hub, 1) as port, serving_queries(world, port.port) as found:
        # Refusals are those of all datasets of an owner: five a month are few for so many tests.
        secret, file = secret_of(world.owner), world.owner.path / "queries" / "history.sqlite"
        found.service._histories[10] = History(file, secret, Policy(k=10, h_max=0.1, refusals=1000))
        yield found


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """The command line, run here."""
    return Terminal(capsys)


@pytest.fixture
def home(up: Up) -> Path:
    """The analyst's folder, in which the hub's port is what it came to be."""
    path = up.world.analyst.path
    text = (path / NODE_FILE).read_text("utf-8")
    (path / NODE_FILE).write_text(text.replace(':0"', f':{up.port}"'), "utf-8")
    return path
