"""What a refusal for size leaves behind, and what there is when a month's refusals are used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.services import engines, querying
from fusion.services.homes import NODE_FILE
from sandbox.attached import attached
from tests.link.federation import serving
from tests.queries import python_world
from tests.queries.python_world import Jobs
from tests.queries.world import (
    BY_REGION,
    IN_TIME,
    OWNER,
    make_world,
    serving_queries,
    write_people,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.services.query_messages import Left
    from tests.cli.test_app import Terminal
    from tests.queries.world import Up

NEAR = "select count(*) as n from persons where region = 'north' and age <> 20"


@pytest.fixture(scope="module")
def own(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:  # noqa: ARG001 - it skips
    """A node that nothing else is asked of: refusals are those of all datasets of an owner."""
    world = make_world(tmp_path_factory.mktemp("spent") / "world", ("filled", "spent"))
    with serving(world.hub, 1) as port, serving_queries(world, port.port) as found:
        yield found


def _left(up: Up, dataset: str) -> Left:
    (left,) = querying.budget(up.analyst, f"{OWNER}/{dataset}")
    return left


def _ledgers(up: Up, dataset: str) -> list[str]:
    found = attached(up.world.owner, dataset)
    assert found is not None
    return [scope for scope in up.service._history(found).heads() if f'"{dataset}"' in scope]


def test_what_was_refused_for_its_size_was_not_released(own: Up) -> None:
    up = own
    up.world.grant("filled")
    before, said = _left(up, "filled"), len(up.said)
    refused = up.refused(BY_REGION, dataset="filled", rows=2)
    assert (refused.code, refused.exit_code) == ("Q-16", 4)
    assert "more than 2 rows" in refused.message
    assert "stay charged" in refused.hint
    assert "late answer" in refused.hint
    # The run and its rows, and one of the events that tell of data; nothing is in the history.
    after = _left(up, "filled")
    assert (before.runs - after.runs, before.rows - after.rows) == (1, 2)
    # On a busy machine it may have missed steps before, each of which is an event of its own.
    missed = sum("was not ready after" in line for line in up.said[said:])
    assert (before.late or 0) - (after.late or 0) == 1 + missed
    assert any("had more rows than were asked for" in line for line in up.said)
    assert _ledgers(up, "filled") == []
    # What would collide with it is answered, as the first of all.
    near = up.ask(NEAR, dataset="filled")
    (number,) = near.numbers
    assert near.notes == []
    # A table that fits, of a statement that could have more rows than asked for, is the second.
    fits = up.ask(f"{BY_REGION} having count(*) > 290 order by region", dataset="filled", rows=4)
    assert fits.numbers == [number + 1]
    some = up.ask(
        "select age, count(*) as n from persons group by age having count(*) > 1000",
        dataset="filled",
        rows=1,
    )
    assert (some.rows, some.numbers) == ([], [number + 2])


def _jobs_when_refusals_are_used_up(jobs: Jobs, released: str) -> None:
    """What was released of people is given; of others nothing could be, and none is charged."""
    again = jobs.table(released)
    assert len(again.rows) == 4
    before = _left(jobs.up, "spent")
    for script in (f"{python_world.BY_REGION}# new\n", f"{python_world.OWN_CELLS}# new\n"):
        new = jobs.submit(script)
        assert jobs.refused(new).code == "P-02"  # a job is taken: it is run when it was reviewed
        jobs.approve(new)
        refused = jobs.refused(new)
        assert (refused.code, refused.exit_code) == ("Q-28", 4)
        assert jobs.runs(new) == []
    assert _left(jobs.up, "spent") == before
    # What a script makes of everybody is in no history: its owner looks at it.
    own = jobs.submit(python_world.TOTAL)
    jobs.approve(own, release="checked")
    assert jobs.held(own)


def test_when_refusals_are_used_up_what_was_released_is_still_given(
    own: Up, fusion: Terminal, tmp_path: Path
) -> None:
    up = own
    home = up.world.analyst.path
    settings = (home / NODE_FILE).read_text("utf-8")
    (home / NODE_FILE).write_text(settings.replace(':0"', f':{up.port}"'), "utf-8")
    python_world.grant(up, "spent", runs=60)
    given = up.ask(BY_REGION, dataset="spent").rows
    jobs = Jobs(up, "spent")
    released = jobs.submit(python_world.BY_REGION)
    jobs.approve(released, runs=9)
    assert len(jobs.table(released).rows) == 4
    assert 0 < (_left(up, "spent").refusals or 0) <= 5
    for age in range(20, 80):
        if not _left(up, "spent").refusals:
            break
        near = NEAR.replace("20", str(age)).replace("count(*)", "avg(income)")
        up.ask(near, dataset="spent")
    words = ("query", "budget", "--dataset", f"{OWNER}/spent", "--home", home)
    assert fusion.document(*words)["grants"][0]["refusals"] == 0
    assert fusion(*words) == 0
    assert "refusals" in fusion.out.splitlines()[0]
    # What was released is given. What can't be answered is refused, and not charged.
    assert up.ask(BY_REGION, dataset="spent").rows == given
    before = _left(up, "spent")
    for statement in (
        "select sex, avg(income) as mean from persons group by sex",
        "select avg(income) as mean from persons where age > 50",
        BY_REGION.replace("region", "sex"),
    ):
        refused = up.refused(statement, dataset="spent")
        assert (refused.code, refused.exit_code) == ("Q-28", 4)
    assert _left(up, "spent") == before
    _jobs_when_refusals_are_used_up(jobs, released)
    # What can only be seen with data at hand is charged, and says what is true.
    some = up.ask(f"{BY_REGION} order by 1 limit 3", dataset="spent", rows=3)
    assert len(some.rows) == 3
    # The same tables again: the same revision, in which what was released is given.
    queries, owner = engines.queries(), up.world.owner
    again = queries.attach_policy(owner, IN_TIME, "policy.yaml", "spent", None)
    assert (again["revision"], again["unchanged"]) == (1, True)
    assert up.ask(BY_REGION, dataset="spent").rows == given
    # Other tables: nothing of it can be given, which is said before anything is charged.
    write_people(tmp_path / "persons.csv", 1300)
    other = queries.attach_policy(owner, IN_TIME, "policy.yaml", "spent", tmp_path)
    assert (other["revision"], other["unchanged"]) == (2, False)
    before = _left(up, "spent")
    assert up.refused(BY_REGION, dataset="spent").code == "Q-28"
    assert _left(up, "spent") == before
