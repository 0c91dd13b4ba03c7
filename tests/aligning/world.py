"""A registry, a bank and a tax office with tables of the same people; a hub between them."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federated.cohort import Failure, InProcessCohort, Reply
from federated.jobs import JobFolder
from federated.records import record
from federated.seats import seat_of, vertical_seat_of
from federated.vertical.hub import do_joint
from federated.vertical.party import VerticalParty
from fusion.catalogue.descriptor import schema_digest
from fusion.errors import PartyFailed
from fusion.grants.order import open_order
from fusion.services import align_results, grants, orders
from fusion.services import node as node_service
from fusion.services.clock import SystemClock
from fusion.services.grants import schema_of
from fusion.services.homes import NODE_FILE
from fusion.services.node_link import Connection
from tests.link.federation import admit, at_port, make_hub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from federated.cohort import Answering, Cohort, Request
    from fusion.grants.order import Order
    from fusion.services.homes import HubHome, NodeHome
    from fusion.types import OrgId

BANK, GOV, TAX = "bank.example", "gov.example", "tax.example"
PURPOSE = "dpv:CreditChecking"
KEYS = {
    BANK: [f"k{n:05}" for n in range(60)],
    GOV: [f"k{n:05}" for n in range(20, 90)],
    TAX: [f"k{n:05}" for n in range(30, 200)],
}
COMMON = 40
"""Of bank and registry."""
COMMON_OF_ALL = 30


def study_text(
    parties: Sequence[str] = (BANK, GOV),
    operator: str = BANK,
    outcome: str = "size",
    patience: float = 60.0,
    **alignment: Any,  # noqa: ANN401 - values of the section
) -> str:
    """A study over these parties' tables."""
    values = {"set_size": 1000, "minimum_intersection": 10, **alignment}
    lines = [
        "[study]", 'name = "people"', 'kind = "vertical"', f'operator = "{operator}"',
        f'purpose = "{PURPOSE}"', f"patience = {patience}", "", "[identifiers]", 'kind = "text"',
        'duplicates = "first"', "", "[alignment]", f'outcome = "{outcome}"',
        *(f"{name} = {value}" for name, value in values.items()),
    ]  # fmt: skip
    for party in parties:
        lines += ["", "[[party]]", f'organisation = "{party}"', 'dataset = "people"',
                  'identifier = "ID"']  # fmt: skip
    return "\n".join(lines) + "\n"


@dataclass
class World:
    """Folders of a hub and three nodes, at the port that the hub came to have."""

    hub: HubHome
    nodes: dict[str, NodeHome]
    said: dict[str, list[str]] = field(default_factory=dict)
    parties: dict[str, Answering] = field(default_factory=dict)

    def at(self, port: int) -> None:
        """Have every node look for its hub there, also in processes of its own."""
        for name, node in self.nodes.items():
            text = (node.path / NODE_FILE).read_text("utf-8")
            moved = at_port(node, port)
            text = text.replace(node.config.hub_url, moved.config.hub_url)
            (node.path / NODE_FILE).write_text(text, "utf-8")
            self.nodes[name] = moved

    def grant(self, owner: str, operator: str = BANK, **align: Any) -> str:  # noqa: ANN401
        """Have an owner and the operator sign that the owner's people may be aligned."""
        node = self.nodes[owner]
        values = {
            "set_size": 1000,
            "outcomes": ["size", "both", "one"],
            "minimum_intersection": 10,
            "runs": 50,
            "minimum_difference": 5,
            **align,
        }
        document = {
            "schema": "fusion.grant/1",
            "title": "The same people",
            "assigners": [owner],
            "assignee": operator,
            "dataset": {
                "id": "people",
                "columns": ["ID"],
                "schema_digest": schema_digest(schema_of(node, "people")),
            },
            "permissions": {"align": values},
            "purpose": PURPOSE,
            "fee": {"kind": "public-interest"},
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2099-01-01T00:00:00Z",
            "signers": [
                {"role": "owner", "organisation": owner},
                {"role": "operator", "organisation": operator},
            ],
        }
        kept = grants.propose(node, json.dumps(document), "grant.yaml")
        if owner != operator:
            kept = grants.sign(self.nodes[operator], kept.signed.envelope)
            kept = grants.add(node, kept.signed.envelope)
        return kept.signed.id

    def table(self, owner: str, keys: Sequence[str]) -> None:
        """Replace an owner's table."""
        path = self.nodes[owner].config.data["people"]
        path.write_text("\n".join(["ID,age", *(f"{key},30" for key in keys)]) + "\n", "utf-8")

    @contextlib.contextmanager
    def serving(self, *names: str) -> Iterator[dict[str, Connection]]:
        """Nodes that answer the hub, in this process."""
        with contextlib.ExitStack() as stack:
            found = {}
            for name in names:
                found[name] = connection = stack.enter_context(Connection(self.nodes[name]))
                connection.serve(self.said.setdefault(name, []).append)
                assert connection.link.wait_attached(60)
                self.start(name, connection)
                stack.callback(self._closed, name)
            yield found

    def start(self, name: str, connection: Connection) -> VerticalParty:
        """Have a node's party, as after a start of its process."""
        node, note = self.nodes[name], self.said.setdefault(name, []).append
        seat = vertical_seat_of(
            node, seat_of(node, note, connection.link), connection.conversations
        )
        self.parties[name] = party = VerticalParty(seat)
        return party

    def _closed(self, name: str) -> None:
        party = self.parties.pop(name, None)
        if isinstance(party, VerticalParty):
            party.close()

    def order(self, text: str, operator: str = BANK) -> tuple[Order, bytes]:
        """Return an operator's order for an alignment."""
        _, data = orders.sign(self.nodes[operator], text, "study.toml", work="align")
        return open_order(data, self.hub.roster(), operator), data

    def job(self, text: str, operator: str = BANK) -> JobFolder:
        """Return a queued alignment."""
        ordered = self.order(text, operator)
        return JobFolder.create(self.hub.runs, text, ordered=ordered, kind="alignment")

    def work(
        self, job: JobFolder, before: Callable[[str, Request], None] = lambda *_: None
    ) -> dict[str, Any]:
        """Do a job as the hub's ServerApp would; return its record."""

        def make(keys: Mapping[OrgId, str]) -> Cohort:
            return InProcessCohort({name: _Whoever(self, name, before) for name in keys})

        do_joint(self.hub, job, make, SystemClock(), lambda seconds: time.sleep(seconds / 10))
        return record(job.read_events())

    def align(self, text: str, operator: str = BANK) -> dict[str, Any]:
        """Order an alignment, wait for its end, and return what the operator is shown."""
        found = self.work(self.job(text, operator))
        if found["status"] != "done":
            raise PartyFailed(found["message"], code=found["code"], exit_code=found["exit_code"])
        return align_results.sizes_of(self.nodes[operator], found)


@dataclass
class _Whoever:
    """Whatever party an organisation has when it is asked; none does not answer."""

    world: World
    name: str
    before: Callable[[str, Request], None]

    def handle(self, request: Request) -> Reply:
        self.before(self.name, request)
        party = self.world.parties.get(self.name)
        if party is None:
            raise TimeoutError
        return party.handle(request)


def make_world(path: Path) -> World:
    """Make the folders; no grant is there yet."""
    path.mkdir(exist_ok=True)
    hub = make_hub(path / "hub")
    nodes = {}
    for name, keys in KEYS.items():
        table = path / f"{name}.csv"
        table.write_text("\n".join(["ID,age", *(f"{key},30" for key in keys)]) + "\n", "utf-8")
        made = node_service.init(
            path / name, hub=str(hub.invitation), org=name, data={"people": table}
        )
        nodes[name] = admit(hub, made)
    for node in nodes.values():
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return World(hub, nodes)


class ProcessParty:
    """A party in a process of its own, asked through a pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self._lost = process, False
        self._said: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line)

    def end(self) -> None:
        """Kill it, and read on until the pipe ends: a pipe that is being read cannot be closed."""
        self.process.kill()
        self._reader.join(100)
        assert not self._reader.is_alive(), "something it began holds its pipe open"

    def handle(self, request: Request) -> Reply:
        """Ask; who is killed or frozen does not answer."""
        assert self.process.stdin is not None
        if self._lost:
            raise TimeoutError
        asked = {"kind": request.kind, "head": dict(request.head)}
        try:
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
            said = json.loads(self._answer())
        except (TimeoutError, BrokenPipeError):
            # Whatever it says from now on is no answer to what it is asked then.
            self._lost = True
            raise TimeoutError from None
        failure = said["failure"]
        return Reply(
            said["organisation"], said["head"], {}, None if failure is None else Failure(**failure)
        )

    def _answer(self) -> bytes:
        """Wait for a line, however long it takes, unless the process is gone or frozen."""
        until = time.monotonic() + 100
        while time.monotonic() < until:
            stands = self._stands()
            with contextlib.suppress(queue.Empty):
                return self._said.get(timeout=0.1)
            if stands:
                break
        raise TimeoutError

    def _stands(self) -> bool:
        if self.process.poll() is not None:
            return True
        stat = Path(f"/proc/{self.process.pid}/stat").read_text("ascii", "replace")
        return stat.rpartition(")")[2].split()[0] in {"T", "Z"}


@contextlib.contextmanager
def node_process(world: World, name: str, *fault: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node that answers the hub, in a process of its own; killed at the end."""
    path = str(world.nodes[name].path)
    command = [sys.executable, "-m", "tests.aligning.node_process", path, *fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        party = world.parties[name] = ProcessParty(process)
        try:
            yield process
        finally:
            world.parties.pop(name, None)
            party.end()
            # What could not be written to it is with the pipe, and would be written once more.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
