"""A registry, a bank and a tax office with tables of the same people; a hub between them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusion.catalogue.descriptor import schema_digest
from fusion.services import grants
from fusion.services import node as node_service
from fusion.services.align_service import AlignPort, alignments_run
from fusion.services.aligning import Operator
from fusion.services.grants import schema_of
from fusion.services.homes import NODE_FILE
from fusion.services.node_link import Connection
from tests.link.federation import admit, at_port, make_hub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fusion.services.aligning import Result
    from fusion.services.homes import HubHome, NodeHome

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
    patience: float = 15.0,
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
        """Nodes that run alignments, in this process."""
        with contextlib.ExitStack() as stack:
            found = {}
            for name in names:
                node, said = self.nodes[name], self.said.setdefault(name, [])
                port, connection = AlignPort(node), stack.enter_context(Connection(node))
                connection.serve(said.append, (port.handler(),))
                stack.enter_context(
                    alignments_run(port, node, connection.conversations, said.append)
                )
                assert connection.link.wait_attached(60)
                node.ready.write_bytes(b"{}")
                found[name] = connection
            yield found

    def align(self, text: str, operator: str = BANK, stop: threading.Event | None = None) -> Result:
        """Order an alignment and wait for its end."""
        node = self.nodes[operator]
        with Connection(node) as connection:
            ordered = Operator(node, connection, text, "study.toml")
            return ordered.run(stop or threading.Event(), lambda _: None)


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


@contextlib.contextmanager
def node_process(node: NodeHome, *fault: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node that runs alignments, in a process of its own; killed at the end."""
    command = [sys.executable, "-m", "tests.aligning.node_process", str(node.path), *fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield process
        finally:
            process.kill()
