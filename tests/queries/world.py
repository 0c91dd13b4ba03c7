"""An owner with a dataset and a policy, an analyst with a grant; a hub between them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.errors import PartyFailed
from fusion.services import engines, grants, querying
from fusion.services import node as node_service
from fusion.services.node_link import Connection
from fusion.services.query_port import QueryPort
from sandbox.attached import attached
from tests.link.federation import admit, at_port, make_hub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fusion.services.homes import HubHome, NodeHome
    from fusion.services.query_messages import Table
    from sandbox.service import Service

OWNER, ANALYST, OTHER = "tax", "bank", "press"
PURPOSE = "dpv:PublicBenefit"
REGIONS = ("north", "south", "east", "west")
POLICY = """\
schema: fusion.policy/1
title: People and their income
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      sex: {class: dimension, values: [F, M], complete: true}
      region: {class: dimension, values: [north, south, east, west], complete: true}
      age: {class: dimension, type: integer, low: 0, high: 120, complete: true}
      income: {class: number, low: 0, high: 200000}
"""
IN_TIME = f"{POLICY}time: {{late: 100000}}\n"
"""The same, for a node that is on a machine with others: as many answers as come may be late."""
COLUMNS = ["person_id", "sex", "region", "age", "income"]
BY_REGION = "select region, count(*) as n, avg(income) as mean from persons group by region"


def write_people(path: Path, count: int = 1200) -> None:
    """Write made-up people, spread evenly."""
    lines = ["person_id,sex,region,age,income"]
    lines += [
        f"{n},{'FM'[n % 2]},{REGIONS[n // 2 % 4]},{20 + n * 7 % 60},{20000 + n * 37 % 30000}"
        for n in range(count)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")


@dataclass
class World:
    """Three folders and a hub's; ``attached`` is what grants name.

    Of all datasets but the first, the policy is attached when a grant is made for one: to freeze a
    table takes a tenth of a second, and no worker runs the tests of them all.
    """

    hub: HubHome
    owner: NodeHome
    analyst: NodeHome
    other: NodeHome
    attached: dict[str, Any]
    later: set[str]

    def attach(self, dataset: str) -> None:
        """Attach the policy to a dataset of those that are waiting for it, unless a test has."""
        if dataset in self.later:
            self.later.remove(dataset)
            if attached(self.owner, dataset) is None:
                engines.queries().attach_policy(self.owner, IN_TIME, "policy.yaml", dataset, None)

    def grant(
        self, dataset: str = "persons", /, *, runs: int = 20, rows: int = 1000, **changes: Any
    ) -> str:
        """Have all sign a grant for the analyst, and both know it; return its id."""
        document = self.document(dataset, runs=runs, rows=rows, **changes)
        kept = grants.propose(self.owner, json.dumps(document), "grant.yaml")
        kept = grants.sign(self.analyst, kept.signed.envelope)
        return grants.add(self.owner, kept.signed.envelope).signed.id

    def document(
        self, dataset: str, /, *, runs: int = 20, rows: int = 1000, **changes: Any
    ) -> dict[str, Any]:
        """Return a grant as somebody writes it."""
        self.attach(dataset)
        return {
            "schema": "fusion.grant/1",
            "title": "Questions about income",
            "assigners": [OWNER],
            "assignee": ANALYST,
            "dataset": {
                "id": dataset,
                "columns": self.attached["columns"],
                "schema_digest": self.attached["schema_digest"],
            },
            "permissions": {
                "query": {"outputs": ["table"], "rows": rows, "epsilon_micro": 1000, "runs": runs}
            },
            "purpose": PURPOSE,
            "fee": {"kind": "public-interest"},
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2099-01-01T00:00:00Z",
            "signers": [
                {"role": "owner", "organisation": OWNER},
                {"role": "operator", "organisation": ANALYST},
            ],
            **changes,
        }


def make_world(path: Path, datasets: Sequence[str] = ("persons",)) -> World:
    """Make the folders; these datasets of the owner have a policy, `bare` and `typed` none."""
    path.mkdir(exist_ok=True)
    hub = make_hub(path / "hub")
    table = path / "persons.csv"
    write_people(table)
    data = dict.fromkeys((*datasets, "bare", "typed"), table)
    owner, analyst, other = (
        admit(
            hub,
            node_service.init(
                path / name,
                hub=str(hub.invitation),
                org=name,
                data=data if name == OWNER else {},
            ),
        )
        for name in (OWNER, ANALYST, OTHER)
    )
    for node in (owner, analyst, other):
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    named: dict[str, Any] = {}
    for name in datasets[:1]:
        named = engines.queries().attach_policy(owner, IN_TIME, "policy.yaml", name, None)
    return World(hub, owner, analyst, other, named, set(datasets[1:]))


@dataclass
class Up:
    """An owner's node that answers, and connections of others."""

    world: World
    service: Service
    analyst: Connection
    other: Connection
    said: list[str]
    port: int
    queries: QueryPort

    def ask(self, statement: str, *, rows: int = 10, **changes: Any) -> Table:
        """Ask as the analyst."""
        options: dict[str, Any] = {"purpose": PURPOSE, "rows": rows, "seconds": 60, **changes}
        connection = options.pop("connection", self.analyst)
        dataset = f"{OWNER}/{options.pop('dataset', 'persons')}"
        return querying.query(connection, self.world.analyst, dataset, statement, **options)

    def refused(self, statement: str, **changes: Any) -> PartyFailed:
        """Ask, and return why nothing came back."""
        try:
            self.ask(statement, **changes)
        except PartyFailed as error:
            return error
        message = f"answered: {statement}"
        raise AssertionError(message)


@contextlib.contextmanager
def serving_queries(world: World, port: int) -> Iterator[Up]:
    """Run the owner's side behind the hub's port."""
    said: list[str] = []
    owner, analyst, other = (
        at_port(node, port) for node in (world.owner, world.analyst, world.other)
    )
    service: Any = engines.queries().service(owner, said.append)
    queries = QueryPort(owner, lambda: service)
    with Connection(owner) as served, Connection(analyst) as asks, Connection(other) as also:
        try:
            served.serve(said.append, (queries.handler(),))
            assert served.link.wait_attached(60)
            yield Up(world, service, asks, also, said, port, queries)
        finally:
            service.close()
            queries.close()
