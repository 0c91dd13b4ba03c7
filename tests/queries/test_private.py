"""Mode ``dp`` from node to node: charged before it runs, and never given back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import PartyFailed
from fusion.services import engines, querying
from fusion.services.query_messages import Asked
from fusion.services.storage import open_rho
from fusion.stores.rho import Rho
from sandbox.attached import attached
from sandbox.private.answering import answer_name, prepare_private
from tests.queries.world import BY_REGION, OWNER, POLICY, PURPOSE

if TYPE_CHECKING:
    from tests.queries.world import Up

BUDGET = "budget: {grant_rho_micro: 60000, dataset_rho_micro: 100000}\n"
PRIVATE = POLICY.replace("tables:\n", f"mode: dp\n{BUDGET}tables:\n", 1)
NOISY = {"outputs": ["table"], "rows": 100_000, "epsilon_micro": 5_000_000, "runs": 500}
COUNT = "select count(*) as n from persons"


def private(up: Up, dataset: str, text: str = PRIVATE, **changes: Any) -> str:
    """Attach a policy of mode dp to a dataset, and grant questions about it."""
    engines.queries().attach_policy(up.world.owner, text, "policy.yaml", dataset, None)
    permissions = {"query": {**NOISY, **changes}}
    return up.world.grant(dataset, permissions=permissions)


def test_a_noisy_table_with_its_accuracy_and_price(up: Up) -> None:
    grant = private(up, "noisy")
    table = up.ask(f"{BY_REGION} order by region", dataset="noisy", rho_micro=20_000)
    assert [row[0] for row in table.rows] == ["east", "north", "south", "west"]
    # Each has 300 people; a sigma of 5, of which 20 do not happen.
    assert all(abs(int(str(row[1])) - 300) < 100 for row in table.rows)
    assert table.rho_micro == 20_000
    found = {(each.column, each.of): each.sd for each in table.noise}
    # count(*), the average's count and its sum: a third of 0.02 each.
    assert found["n", "count"] == pytest.approx((1 / (2 * 0.02 / 3)) ** 0.5)
    assert found["mean", "sum"] == pytest.approx(100_000 * found["n", "count"])
    (left,) = querying.budget(up.analyst, f"{OWNER}/noisy")
    assert left.privacy is not None
    assert (left.privacy.rho_micro, left.privacy.dataset_rho_micro) == (40_000, 80_000)
    assert 0 < left.privacy.epsilon_micro < left.privacy.dataset_epsilon_micro
    # The same question, the same answer, for nothing; with another price it is another question.
    again = up.ask(f"{BY_REGION} order by region", dataset="noisy", rho_micro=20_000)
    assert (again.rows, again.again, again.job == table.job) == (table.rows, True, False)
    assert open_rho(up.world.owner).used("noisy", grant) == Rho(grant=20_000, dataset=20_000)
    assert up.ask(COUNT, dataset="noisy").rho_micro == 600
    assert open_rho(up.world.owner).used("noisy", grant).grant == 20_600
    # What does not reach is refused with what would, and costs neither rho nor a run.
    runs = querying.budget(up.analyst, f"{OWNER}/noisy")[0].runs
    refused = up.refused(COUNT, dataset="noisy", rho_micro=39_401)
    assert (refused.code, refused.exit_code) == ("Q-23", 4)
    assert "--rho-micro 39400" in refused.hint
    assert querying.budget(up.analyst, f"{OWNER}/noisy")[0].runs == runs
    assert up.ask(COUNT, dataset="noisy", rho_micro=39_400).rho_micro == 39_400
    fresh = "select count(*) as n from persons where age > 30"
    assert "Nothing is left" in up.refused(fresh, dataset="noisy").hint
    assert up.ask(COUNT, dataset="noisy").again
    # Another grant has a budget of its own, and the dataset's is one for all.
    other = up.world.grant("noisy", permissions={"query": NOISY}, title="Another")
    assert "--rho-micro 40000" in up.refused(fresh, dataset="noisy", rho_micro=40_001).hint
    # It pays, whichever of the two is read first.
    assert up.ask(fresh, dataset="noisy", rho_micro=30_000).rho_micro == 30_000
    assert open_rho(up.world.owner).used("noisy", other) == Rho(grant=30_000, dataset=90_000)


def test_rules_are_looked_at_before_anything_is_charged(up: Up) -> None:
    grant = private(up, "bounded")
    for statement, code in [
        ("select median(income) from persons", "Q-21"),
        ("select income from persons", "Q-06"),
        ("select age, sex, region, count(*) as n, income from persons group by 1", "Q-09"),
        (f"{BY_REGION}", "Q-16"),
    ]:
        assert up.refused(statement, dataset="bounded", rows=3).code == code
    assert up.refused(COUNT, dataset="bounded", connection=up.other).code == "G-00"
    assert open_rho(up.world.owner).used("bounded", grant).dataset == 0
    (left,) = querying.budget(up.analyst, f"{OWNER}/bounded")
    assert left.runs == 500
    # A policy without such a budget has none to spend.
    assert up.refused(COUNT, dataset="persons", rho_micro=5).code in {"Q-24", "G-00"}


def test_the_epsilon_of_a_grant_holds(up: Up) -> None:
    """A tenth of epsilon at a delta of 1e-9 is a rho of some 1.2e-4, below the policy's cap."""
    private(up, "agreed", epsilon_micro=100_000)
    (left,) = querying.budget(up.analyst, f"{OWNER}/agreed")
    assert left.privacy is not None
    assert 90 < left.privacy.rho_micro < 200
    assert left.privacy.epsilon_micro <= 100_000
    assert up.refused(COUNT, dataset="agreed").code == "Q-23"
    assert up.ask(COUNT, dataset="agreed", rho_micro=left.privacy.rho_micro).rho_micro > 90


def test_eight_analysts_at_once_spend_what_there_is(up: Up) -> None:
    grant = private(up, "crowd")

    def ask(number: int) -> str:
        try:
            statement = f"select count(*) as n from persons where age > {number}"
            return str(up.ask(statement, dataset="crowd", rho_micro=25_000).rho_micro)
        except PartyFailed as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(ask, range(8)))
    assert found == ["25000"] * 2 + ["Q-23"] * 6
    assert open_rho(up.world.owner).used("crowd", grant).grant == 50_000


def test_what_goes_wrong_after_the_charge_costs_the_asker(up: Up) -> None:
    grant = private(up, "costly")
    assert up.ask(COUNT, dataset="costly", rho_micro=1000).rows
    (table,) = (up.world.owner.path / "queries/costly").glob("r1/persons.csv")
    whole = table.read_bytes()
    table.write_bytes(b"\xff\xfe")
    failed = up.refused("select sum(income) as s from persons", dataset="costly", rho_micro=2000)
    table.write_bytes(whole)
    assert failed.code == "F-010"
    assert open_rho(up.world.owner).used("costly", grant).grant == 3000
    # What has been released is still there, and what has not is not.
    assert up.ask(COUNT, dataset="costly", rho_micro=1000).again
    found = attached(up.world.owner, "costly")
    assert found is not None
    asked = Asked(
        kind="query", dataset="costly", statement="select sum(income) as s from persons",
        purpose=PURPOSE, rho_micro=2000,
    )  # fmt: skip
    prepared = prepare_private(asked, found, up.service._secret, "duckdb")
    assert open_rho(up.world.owner).answer(answer_name(prepared, "bank")) is None
    assert not up.ask(asked.statement, dataset="costly", rho_micro=2000).again


def test_a_new_revision_has_what_is_left_of_the_old_one(up: Up) -> None:
    grant = private(up, "revised")
    first = up.ask(COUNT, dataset="revised", rho_micro=5000)
    # The same policy and tables are no other revision.
    engines.queries().attach_policy(up.world.owner, PRIVATE, "policy.yaml", "revised", None)
    assert up.ask(COUNT, dataset="revised", rho_micro=5000).again
    changed = PRIVATE.replace("title: People", "title: Many people")
    engines.queries().attach_policy(up.world.owner, changed, "policy.yaml", "revised", None)
    # Its tables could be others: an answer of theirs costs.
    second = up.ask(COUNT, dataset="revised", rho_micro=5000)
    assert (first.again, second.again) == (False, False)
    assert open_rho(up.world.owner).used("revised", grant) == Rho(grant=10_000, dataset=10_000)
