"""One owner's node that answers, for all tests of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import IsolationUnavailable
from sandbox import service_user
from sandbox.choice import choose
from tests.link.federation import serving
from tests.queries.world import make_world, serving_queries

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        "described",
        "likewise",
        "begun",
        "shelled",
        "jobs",
        "sums",
        "moving",
        "commands",
        *("agreeing", "budgeted", "noisy", "bounded", "agreed", "crowd", "costly", "revised"),
    )
    world = make_world(tmp_path_factory.mktemp("queries") / "world", names)
    with serving(world.hub, 1) as port, serving_queries(world, port.port) as found:
        yield found
