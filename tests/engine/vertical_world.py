"""A hub and three nodes that require grants, and what a test does with them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from federated.cohort import InProcessCohort, Request
from federated.jobs import JobFolder
from federated.seats import seat_of, vertical_seat_of
from federated.vertical.dealing import Dealers
from federated.vertical.hub import do_joint
from federated.vertical.party import VerticalParty
from federated.vertical.study import parse_vertical
from fusion.catalogue.descriptor import schema_digest
from fusion.grants.order import open_order
from fusion.identity.members import AUTHORITY
from fusion.services import grants, orders
from fusion.services.clock import SystemClock
from fusion.services.grants import schema_of
from fusion.stores.budgets import SqliteBudgets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Answering, Cohort, Reply
    from fusion.services.homes import HubHome, NodeHome
    from fusion.types import OrgId
    from tests.conversing.network import Network

LABEL, OTHERS = "north", ("east", "south")
JOB = f"job-{1:012x}"


@dataclass
class World:
    """The hub, three nodes that require grants, and a network between them."""

    hub: HubHome
    nodes: dict[str, NodeHome]
    network: Network
    notes: dict[str, list[str]] = field(default_factory=dict)
    parties: dict[str, VerticalParty] = field(default_factory=dict)
    lies: dict[str, Answering] = field(default_factory=dict)
    dealers: Dealers | None = None

    def start(self, name: str) -> VerticalParty:
        """Return a party, as after a start of its process."""
        node, note = self.nodes[name], self.notes.setdefault(name, []).append
        seat = vertical_seat_of(node, seat_of(node, note), self.network.join(name))
        self.parties[name] = VerticalParty(seat)
        return self.parties[name]

    def grant(self, name: str, **changes: Any) -> str:  # noqa: ANN401 - JSON values
        """Have an owner's grant for its own table signed and known; return its id."""
        label = name == LABEL
        columns = (
            ["id", "r0", "r1", "over"]
            if label
            else ["id", *(f"{name[0]}{c}" for c in ("0", "1", "word"))]
        )
        document: dict[str, Any] = {
            "schema": "fusion.grant/1",
            "title": "What is known of the same people",
            "assigners": [name],
            "assignee": LABEL,
            "dataset": {
                "id": "people",
                "columns": columns,
                "schema_digest": schema_digest(schema_of(self.nodes[name], "people")),
            },
            "permissions": {
                "align": {
                    "set_size": 10000, "outcomes": ["both"], "minimum_intersection": 20, "runs": 2,
                },
                "train": {
                    "models": ["boosting", "logistic", "scorecard"],
                    "k": 3, "rounds": 300, "runs": 2,
                },
            },
            "purpose": "dpv:ServiceProvision",
            "fee": {"kind": "public-interest"},
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2120-01-01T00:00:00Z",
            "signers": [
                {"role": "owner", "organisation": name},
                {"role": "operator", "organisation": LABEL},
            ],
        }  # fmt: skip
        for path, value in changes.items():
            *above, last = path.split("__")
            here = document
            for part in above:
                here = here[part]
            if value is None:
                del here[last]
            else:
                here[last] = value
        homes: list[HubHome | NodeHome] = [self.nodes[name]]
        kept = grants.propose(self.nodes[name], json.dumps(document), "grant.yaml")
        if name != LABEL:
            kept = grants.sign(self.nodes[LABEL], kept.signed.envelope)
            homes.append(self.nodes[LABEL])
        for home in (*homes, self.hub):
            grants.add(home, kept.signed.envelope)
        return kept.signed.id

    def order(self, text: str) -> tuple[Any, bytes]:
        """Return the operator's order for a study."""
        _, data = orders.sign(self.nodes[LABEL], text, "study.toml")
        return open_order(data, self.hub.roster(), LABEL), data

    def prepare(self, name: str, text: str) -> Reply:
        """Ask a party to agree to a study."""
        study = parse_vertical(text, "study.toml")
        _, order = self.order(text)
        head = {"job": JOB, "study": study.canonical().decode(), "order": order.decode()}
        return self.start(name).handle(Request("prepare", head))

    def job(self, text: str) -> JobFolder:
        """Return a queued job of a study."""
        return JobFolder.create(self.hub.runs, text, ordered=self.order(text), kind="vertical")

    def run(
        self,
        text: str,
        before: Callable[[str, Request], None] = lambda *_: None,
        job: JobFolder | None = None,
    ) -> tuple[str, list[dict[str, Any]]]:
        """Do a job, a new one or one that is there; return its name and its events."""
        again = job is not None
        job = job or self.job(text)
        if self.dealers is None:
            self.serve()

        def make(keys: Mapping[OrgId, str]) -> Cohort:
            parties: dict[OrgId, Answering] = {}
            for name in keys:
                if not again or name not in self.parties:
                    self.start(name)
                parties[name] = _Now(self, name, before)
            return InProcessCohort(parties)

        def pause(seconds: float) -> None:
            self.look()
            time.sleep(min(seconds, 0.05))

        do_joint(self.hub, job, make, SystemClock(), pause)
        self.look()
        return job.name, job.read_events()

    def serve(self) -> None:
        """Begin to deal, as after a start of the process that serves the hub's port."""
        self.dealers = Dealers(self.hub, self.network.join(AUTHORITY))

    def look(self) -> None:
        """Have the hub look what is to be dealt."""
        if self.dealers is not None:
            self.dealers.look()

    def charges(self, name: str) -> dict[str, str]:
        """Return what became of a node's charges, by action."""
        budgets = SqliteBudgets(self.nodes[name].budgets)
        with budgets._database.transaction() as connection:
            rows = connection.execute("SELECT key, state FROM charge").fetchall()
        return {str(key).partition("/")[0]: str(state) for key, state in rows}


@dataclass
class _Now:
    """Whatever party an organisation has when it is asked."""

    world: World
    name: str
    before: Callable[[str, Request], None]

    def handle(self, request: Request) -> Reply:
        self.before(self.name, request)
        world = self.world
        return world.lies.get(self.name, world.parties[self.name]).handle(request)
