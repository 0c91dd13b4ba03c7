"""Questions from node to node over the real port: answered, refused, repaired, charged, logged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from fusion.errors import PartyFailed, PartyUnreachable
from fusion.grants import signing
from fusion.ledger import entry as entries
from fusion.ledger.entry import decode
from fusion.ledger.verify import Expectations
from fusion.services import engines, grants, querying
from fusion.services.audit import audit_whole
from fusion.services.clock import SystemClock, timestamp
from fusion.services.homes import NodeHome
from fusion.services.ledger import Book
from fusion.services.node_link import Connection
from fusion.services.query_messages import Asked, to_bytes
from fusion.services.query_port import ASK, OnFirstPolicy, queries_served
from sandbox import runner
from sandbox.attached import attached, check_frozen, plain_tables
from sandbox.service import _request
from sandbox.sources.files import Files
from sandbox.timing import Watch
from tests.link.federation import at_port, serving
from tests.link.wire import hub_process, tapped
from tests.queries.interrupts import interrupted
from tests.queries.python_world import OWN_CELLS, Jobs
from tests.queries.world import (
    BY_REGION,
    IN_TIME,
    OTHER,
    OWNER,
    POLICY,
    PURPOSE,
    make_world,
    serving_queries,
    write_people,
)

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.query_description import Described
    from tests.queries.world import Up

TOTAL = "select count(*) as n from persons"
EVERYBODY = [[1200]]
_NEVER = threading.Event()


def test_answered_refused_with_a_repair_and_answered_after_it(up: Up) -> None:
    up.world.grant(rows=100)
    table = up.ask(f"{BY_REGION} order by region", rows=4)
    assert table.columns == ["region", "n", "mean"]
    assert [row[:2] for row in table.rows] == [
        [name, 300] for name in ("east", "north", "south", "west")
    ]
    assert table.notes == []
    # Too many rows for the grant: the refusal says what would pass.
    beyond = up.refused(BY_REGION, rows=200)
    assert (beyond.code, beyond.exit_code) == ("G-33", 4)
    assert "96" in beyond.hint
    assert len(up.ask(f"{BY_REGION} order by region", rows=96).rows) == 4
    # A row of data, which the policy lets nobody see.
    rows = up.refused("select income from persons")
    assert (rows.code, rows.exit_code) == ("Q-06", 4)
    assert "averages" in rows.hint


def test_without_a_grant_nothing_is_looked_at(up: Up) -> None:
    for statement in (TOTAL, "select income from persons", "drop table persons", "nonsense"):
        refused = up.refused(statement, connection=up.other)
        assert (refused.code, refused.exit_code) == ("G-00", 4)


def test_another_purpose_is_refused(up: Up) -> None:
    up.world.grant(rows=100)
    assert up.refused(TOTAL, purpose="dpv:Marketing").code == "G-16"


def test_refusals_do_not_fill_the_log(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    up.world.grant(rows=100)
    home = NodeHome.open(up.world.owner.path)

    def logged() -> int:
        with Book(home) as book:
            return len(book.bundle().entries)

    before = logged()
    for purpose in (f"dpv:Made{n}" for n in range(4)):
        assert up.refused(TOTAL, purpose=purpose).code == "G-16"
    # Another question is another entry, until they are many: of nobody with a grant alike.
    assert logged() - before == 4
    monkeypatch.setattr("fusion.services.grant_evidence.MAX_REFUSALS", 0)
    before = logged()
    for n in range(4):
        assert up.refused(TOTAL, purpose=f"dpv:More{n}").code == "G-16"
        asked = up.refused(TOTAL, purpose=f"dpv:More{n}", rows=n + 1, connection=up.other)
        assert asked.code == "G-00"
    assert logged() == before


def test_without_a_policy_nothing_is_answered(up: Up) -> None:
    for dataset in ("bare", "nowhere", "..", "a/b"):
        refused = up.refused(TOTAL, dataset=dataset)
        assert (refused.code, refused.message) == (
            "Q-20",
            "This dataset has no policy, so nothing of it is answered.",
        )


def test_what_differs_by_few_from_an_earlier_result_is_held_back(up: Up) -> None:
    up.world.grant("differing")
    where = "select avg(income) as mean from persons where region = 'north'"
    assert up.ask(where, dataset="differing").rows[0][0] is not None
    # Five people are 20 years old there.
    less = up.ask(f"{where} and age <> 20", dataset="differing")
    assert less.rows == [[None]]
    assert "earlier result" in less.notes[0].message
    # The same condition within the measure is no way around.
    within = "select avg(case when region = 'north' and age <> 20 then income end) from persons"
    assert up.ask(within, dataset="differing").rows == [[None]]
    weighed = up.refused("select sum(income * age) from persons", dataset="differing")
    assert weighed.code == "Q-19"
    # A total follows from its groups by definition, and in other words it is the same.
    assert len(up.ask(BY_REGION, dataset="differing").rows) == 4
    assert up.ask(TOTAL, dataset="differing").rows == EVERYBODY
    again = "select avg(income) from persons where 'north' = region and age between 0 and 120"
    assert up.ask(again, dataset="differing").rows[0][0] is not None


def test_a_budget_is_never_overspent_by_eight_analysts(up: Up) -> None:
    grant = up.world.grant("scarce", runs=3)

    def ask(_: int) -> str:
        try:
            return str(up.ask(TOTAL, dataset="scarce", rows=1).rows)
        except PartyFailed as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(ask, range(8)))
    assert found == ["G-31"] * 5 + [str(EVERYBODY)] * 3
    (left,) = querying.budget(up.analyst, f"{OWNER}/scarce")
    assert (left.grant, left.runs, left.rows) == (grant, 0, 997)


def test_a_revocation_holds_at_once(up: Up) -> None:
    grant = up.world.grant("ended")
    assert up.ask(TOTAL, dataset="ended").rows == EVERYBODY
    grants.revoke(up.world.owner, grant, "no longer needed")
    # For the very next question, whatever was verified before.
    assert up.refused(TOTAL, dataset="ended").code == "G-02"
    assert querying.budget(up.analyst, f"{OWNER}/ended") == []


def test_a_refusal_is_logged_after_the_revocation_that_it_follows_from(up: Up) -> None:
    """A crash left the file of a revocation without an entry: it is logged before the refusal."""
    grant = up.world.grant("unsaid")
    owner = up.world.owner
    kept = grants.folder_of(owner).get(grant)
    key, at = owner.statement_key, timestamp(SystemClock().now())
    data = signing.revoke(kept.signed, owner.config.id, key, reason="no longer needed", now=at)
    grants.folder_of(owner).keep_revocation(data)
    assert up.refused(TOTAL, dataset="unsaid").code == "G-02"
    with Book(owner) as book:
        audit_whole(book.bundle(), Expectations(witnessed=False), ())


def test_a_query_under_way_ends_within_a_second_of_the_revocation(up: Up) -> None:
    grant = up.world.grant("leaving")
    found = attached(up.world.owner, "leaving")
    assert found is not None
    asked = Asked(kind="query", dataset="leaving", purpose=PURPOSE)
    request = _request("bank", asked, "q-2", found, found.columns, None)
    permit = up.service._desk.admit(request)
    watch = Watch(up.service._desk, permit, threading.Event(), 60, threading.Event())
    assert not watch.wait(0.3)
    grants.revoke(up.world.owner, grant, "no longer needed")
    assert watch.wait(60)
    assert watch.refused is not None
    assert watch.refused.code == "G-02"


def test_who_goes_away_ends_the_query(up: Up) -> None:
    up.world.grant("leaving", title="Another")
    asked = Asked(kind="query", dataset="leaving", purpose=PURPOSE, statement=TOTAL)
    call = up.analyst.channel(OWNER).unary_unary(ASK)

    async def ask() -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call(to_bytes(asked), timeout=0.2)

    up.analyst.link.run(ask())
    assert _over(up)


def _over(up: Up) -> bool:
    """Wait until nothing is under way."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not up.queries._under_way and not up.service._under_way.get("bank", 0):
            return True
        time.sleep(0.02)
    return False


def test_whatever_goes_wrong_has_one_text_and_costs_a_run(up: Up) -> None:
    up.world.grant("broken")
    (table,) = (up.world.owner.path / "queries/broken").glob("r1/tables.arrays")
    whole = table.read_bytes()
    assert up.ask(TOTAL, dataset="broken").rows == EVERYBODY
    said: set[tuple[object, ...]] = set()
    for bad in (b"\xff\xfe", whole.replace(b"persons", b"parsons")):
        table.write_bytes(bad)
        failed = up.refused(TOTAL, dataset="broken")
        said.add((failed.code, failed.exit_code, failed.message, failed.hint))
    table.unlink()
    failed = up.refused(TOTAL, dataset="broken")
    said.add((failed.code, failed.exit_code, failed.message, failed.hint))
    assert len(said) == 1
    assert failed.code == "F-010"
    table.write_bytes(whole)
    (left,) = querying.budget(up.analyst, f"{OWNER}/broken")
    # Where the table was not there at all, nothing was permitted yet.
    assert left.runs == 17


def test_data_is_frozen_and_the_next_revision_counts_what_was_released(up: Up) -> None:
    up.world.grant("frozen")
    where = "select count(*) as n from persons where region = 'east'"
    assert up.ask(where, dataset="frozen").rows == [[300]]
    (source,) = {up.world.owner.config.data["frozen"]}
    lines = source.read_text("utf-8").splitlines()
    # Two people of the east have left.
    gone = {line for line in lines if line.startswith(("4,", "5,"))}
    source.write_text("\n".join(line for line in lines if line not in gone) + "\n", "utf-8")
    try:
        # Asked again, the same.
        assert up.ask(where, dataset="frozen").rows == [[300]]
        queries = engines.queries()
        found = queries.attach_policy(up.world.owner, IN_TIME, "policy.yaml", "frozen", None)
        assert found["revision"] == 2
        after = up.ask(where, dataset="frozen")
        assert after.rows == [[None]]
        assert after.notes
    finally:
        source.write_text("\n".join(lines) + "\n", "utf-8")


def test_a_frozen_table_that_was_changed_is_not_used(up: Up) -> None:
    up.world.grant("changed")
    for name in ("persons.csv", "tables.duckdb", "tables.arrays"):
        (table,) = (up.world.owner.path / "queries/changed").glob(f"r1/{name}")
        whole = table.read_bytes()
        table.write_bytes(whole.replace(b"north", b"south", 1))
        assert up.refused(TOTAL, dataset="changed").code == "F-010"
        assert any(f"{name} is not what was signed" in line for line in up.said)
        table.write_bytes(whole)


def test_what_is_nearer_to_0_than_its_step_is_missing_with_a_note(up: Up) -> None:
    up.world.grant("near")
    sql = "select corr(income, abs(income - 34000)) as r, var_pop(income - income) as v "
    table = up.ask(f"{sql} from persons", dataset="near")
    assert table.rows == [[None, 0]]
    (note,) = [note for note in table.notes if "nearer to 0" in note.message]
    assert note.message.startswith("Where corr is missing")
    assert note.hint


def test_a_revision_without_a_store_is_answered_from_the_plain_tables(up: Up) -> None:
    found = attached(up.world.owner, "persons")
    assert found is not None
    assert found.store is not None
    assert plain_tables(found)["persons"].read_text("utf-8").startswith("person_id,sex,")
    older = replace(found, store=None, store_digest="", coded=frozenset())
    check_frozen(older)
    for statement in (
        BY_REGION,
        "select count(*) as n, sum(income) as s from persons where sex = 'F'",
        "select count(*) filter (where age > 40) as n, avg(income) from persons",
    ):
        sides = []
        for each in (found, older):
            prepared = runner.prepare(statement, each, bytes(32))
            source = Files(each, up.service._isolation)
            sides.append(runner.executed(prepared, source, "bank", _NEVER, 30))
        stored, plain = sides
        # Cells come in no order.
        assert [sorted(rows, key=str) for rows in stored.rows] == [
            sorted(rows, key=str) for rows in plain.rows
        ]
        assert stored.cells == plain.cells
        for one, other in zip(stored.members, plain.members, strict=True):
            assert one.codes is not None
            assert other.codes is not None
            assert one.codes.tolist() == other.codes.tolist()


def test_the_log_has_digests_and_no_text(up: Up) -> None:
    up.world.grant("longer", runs=30)
    assert up.refused(TOTAL, dataset="longer", connection=up.other).code == "G-00"
    statement = "select count(*) as marker_of_a_statement from persons"
    table = up.ask(statement, dataset="longer")
    home = NodeHome.open(up.world.owner.path)
    with Book(home) as book:
        bundle = book.bundle()
    found = [decode(data) for data in bundle.entries]
    answered = [each for each in found if isinstance(each, entries.QueryAnswered)]
    assert answered[-1].policy == table.policy
    assert b"marker_of_a_statement" not in b"".join(bundle.entries)
    assert b"marker_of_a_statement" not in b"".join(bundle.attachments.values())
    charged = {e.reservation for e in found if isinstance(e, entries.BudgetMoved)}
    assert {each.reservation for each in answered} <= charged
    assert len(hashlib.sha256(b"").hexdigest()) == len(answered[-1].result)
    # The rules between entries hold, charges and answers among them.
    audit_whole(bundle, Expectations(witnessed=False), ())


def test_the_hub_sees_neither_statement_nor_result(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    world.grant()
    statement = "select 'marker-of-a-result' as a, count(*) as marker_of_a_statement from persons"
    with (
        hub_process(world.hub.path) as process,
        tapped(process.port) as tap,
        serving_queries(world, tap.port) as up,
    ):
        assert up.ask(statement).rows == [["marker-of-a-result", 1200]]
        # Nor a script.
        Jobs(up, "persons").submit(f"{OWN_CELLS}# marker_of_a_statement in a comment\n")
        for marker in (b"marker_of_a_statement", b"marker-of-a-result"):
            assert not process.memory_has(marker)
            assert marker not in bytes(tap.seen)


def described(up: Up, dataset: str, connection: Connection | None = None) -> Described:
    """Ask what may be asked about."""
    return querying.describe(connection or up.analyst, f"{OWNER}/{dataset}")


def test_who_has_a_grant_is_told_what_it_may_ask_about(up: Up) -> None:
    part = {"schema_digest": up.world.attached["schema_digest"], "id": "described"}
    up.world.grant("described", dataset={**part, "columns": ["person_id", "region", "income"]})
    told = described(up, "described")
    (table,) = told.tables
    assert [each.name for each in table.columns] == ["income", "person_id", "region"]
    assert (table.entity, told.k, told.base, told.mode) == ("person_id", 10, 5, "sdc")
    assert (table.columns[0].low, table.columns[0].high) == (0, 200_000)
    assert table.columns[2].values == ["north", "south", "east", "west"]
    assert told.policy == up.ask(TOTAL, dataset="described").policy
    # Another grant, more columns.
    up.world.grant("described", title="Another", dataset={**part, "columns": ["age"]})
    assert len(described(up, "described").tables[0].columns) == 4


def test_who_has_no_grant_that_holds_is_told_nothing(up: Up) -> None:
    up.world.grant("likewise", not_after="2021-01-01T00:00:00Z")
    revoked = up.world.grant("likewise", title="Another")
    grants.revoke(up.world.owner, revoked, "no longer needed")
    document = up.world.document("likewise", title="Unsigned")
    grants.propose(up.world.owner, json.dumps(document), "grant.yaml")
    said = set()
    for connection, dataset in (
        (up.analyst, "likewise"),
        (up.other, "likewise"),
        (up.analyst, "nowhere"),
        (up.analyst, ".."),
    ):
        with pytest.raises(PartyFailed) as refused:
            described(up, dataset, connection)
        said.add((refused.value.code, refused.value.message.replace(dataset, "X")))
    assert len(said) == 1
    assert said.pop()[0] == "G-00"


def test_a_description_does_not_depend_on_the_data(up: Up, tmp_path: Path) -> None:
    before = (up.world.grant("begun"), described(up, "begun"))[1]
    table = tmp_path / "persons.csv"
    write_people(table, 7)
    engines.queries().attach_policy(up.world.owner, IN_TIME, "policy.yaml", "begun", tmp_path)
    assert described(up, "begun") == before
    # Not even on whether the tables can still be read.
    (frozen,) = (up.world.owner.path / "queries/begun").glob("r2/persons.csv")
    frozen.write_bytes(b"")
    assert described(up, "begun") == before


@pytest.mark.soak
def test_an_interrupt_ends_the_query_at_the_owners_node(up: Up) -> None:
    up.world.grant("leaving", title="One more")
    with interrupted(up, answered=False) as held:
        with pytest.raises(KeyboardInterrupt):
            up.ask(TOTAL, dataset="leaving")
        assert held.told.wait(60)
    assert _over(up)
    # It may be charged, so that it is remembered.
    assert querying.history(up.world.analyst)[-1]["outcome"] == "interrupted"
    # The connection is as good as before.
    assert up.ask(TOTAL, dataset="leaving").rows == EVERYBODY


def test_a_node_that_is_up_answers_once_its_first_policy_is_attached(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", ())
    said: list[str] = []
    with serving(world.hub, 1) as port:
        owner, analyst = (at_port(each, port.port) for each in (world.owner, world.analyst))
        with (
            queries_served(owner, said.append) as handlers,
            Connection(owner) as served,
            Connection(analyst) as asks,
        ):
            served.serve(said.append, handlers)
            assert served.link.wait_attached(60)
            with pytest.raises(PartyUnreachable, match="answers no queries"):
                querying.budget(asks, f"{OWNER}/typed")
            world.attached = engines.queries().attach_policy(
                world.owner, POLICY, "policy.yaml", "typed", None
            )
            world.grant("typed")
            table = querying.query(
                asks, analyst, f"{OWNER}/typed", TOTAL, purpose=PURPOSE, rows=1, seconds=60
            )
    assert table.rows == EVERYBODY
    assert len([line for line in said if "late answers" not in line]) == 1
    assert "query permitted" in said[0]


def test_where_nothing_confines_work_queries_are_not_served(up: Up) -> None:
    if os.geteuid() != 0:
        pytest.skip("as an ordinary user the account of workers is not looked at")
    owner = up.world.owner
    config = owner.config.model_copy(update={"worker_user": "no-such-account"})
    said: list[str] = []
    first = OnFirstPolicy(NodeHome(owner.path, config), said.append)
    assert (first.service(), first.service()) == (None, None)
    # Said once, whoever asks how often.
    assert len(said) == 1
    assert "answers no queries" in said[0]


def test_a_node_that_answers_no_queries_says_so(up: Up) -> None:
    with serving(up.world.hub, 1) as port:
        owner, analyst = (at_port(each, port.port) for each in (up.world.owner, up.world.other))
        with Connection(owner) as served, Connection(analyst) as asks:
            served.serve(up.said.append)
            assert served.link.wait_attached(60)
            with pytest.raises(PartyUnreachable, match="answers no queries"):
                querying.query(
                    asks, analyst, f"{OWNER}/persons", TOTAL, purpose=PURPOSE, rows=1, seconds=60
                )
    assert querying.history(up.world.other)[-1]["outcome"] == "failed"
    assert up.world.other.config.id == OTHER
