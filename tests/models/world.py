"""Holders of a model: folders on this machine, admitted by a hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.services import engines, grants
from fusion.services import node as node_service
from fusion.services.model_facts import Holder, Identifier, ModelFacts, Own, Shared
from fusion.services.models import find_model, keep_part
from fusion.services.node_link import Connection
from fusion.services.score_port import ScorePort
from fusion.services.score_service import ScoreService
from fusion.services.scoring import Scorer
from tests.link.federation import admit, at_port, make_hub, serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from fusion.services.homes import HubHome, NodeHome
    from fusion.services.models import KeptModel
    from tests.vertical.trained import Trained

LABEL, FIRST, SECOND = "bank", "registry", "tax"
PURPOSE = "dpv:CreditChecking"
D = hashlib.sha256(b"d").hexdigest()


def make_nodes(
    path: Path, data: Mapping[str, Mapping[str, Path]]
) -> tuple[HubHome, list[NodeHome]]:
    """Make a hub and its members, each with its tables; all know all."""
    hub = make_hub(path / "hub")
    nodes = [
        admit(hub, node_service.init(path / name, hub=str(hub.invitation), org=name, data=tables))
        for name, tables in data.items()
    ]
    for node in nodes:
        node.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    return hub, nodes


def shared(parts: Mapping[str, bytes], **changes: Any) -> Shared:  # noqa: ANN401 - fields
    """Return what the holders of these parts share; the first is the label party."""
    holders = [
        Holder(
            organisation=name,
            role="feature" if at else "label",
            part=hashlib.sha256(part).hexdigest(),
        )
        for at, (name, part) in enumerate(parts.items())
    ]
    content = {
        "name": "credit",
        "study": D,
        "job": "job-1",
        "kind": "boosting",
        "purpose": PURPOSE,
        "identifier": Identifier(field="id", kind="text"),
        "holders": tuple(holders),
        "made": "2026-01-01T00:00:00Z",
        **changes,
    }
    return Shared(**content)


def facts(of: Shared, who: str, **changes: Any) -> ModelFacts:  # noqa: ANN401 - fields
    """Return what one of the holders knows."""
    content = {
        "organisation": who,
        "dataset": "people",
        "identifier": "id",
        "columns": ("age",),
        "label": "default" if who == of.label_party else None,
        "schema_digest": D,
        **changes,
    }
    return ModelFacts(shared=of, own=Own(**content))


@dataclass
class Served:
    """Feature parties that answer, and the label party connected to them.

    Attributes:
        model: As it was trained.
        nodes: By name.
        kept: The label party's part.
        said: What each node told its owner.
    """

    model: Trained
    nodes: dict[str, NodeHome]
    shared: Shared
    kept: KeptModel
    connection: Connection
    said: dict[str, list[str]]

    def scorer(self, **options: Any) -> Scorer:  # noqa: ANN401 - as the scorer takes them
        """Return a scorer of the label party."""
        return Scorer(self.connection, self.nodes[self.model.names[0]], self.kept, **options)

    def grant(self, owner: str, *, runs: int = 1000, rows: int = 100_000) -> str:
        """Have an owner grant scoring to the label party; return the grant's id."""
        node, label = self.nodes[owner], self.nodes[self.model.names[0]]
        kept = grants.propose(node, json.dumps(self.document(owner, runs, rows)), "grant.yaml")
        if node is not label:
            kept = grants.sign(label, kept.signed.envelope)
            grants.add(node, kept.signed.envelope)
        return kept.signed.id

    def document(self, owner: str, runs: int, rows: int) -> dict[str, Any]:
        """Return a grant as somebody writes it."""
        label, path = self.model.names[0], self.nodes[owner].config.data["people"]
        schema = read_schema(path)
        return {
            "schema": "fusion.grant/1",
            "title": "Scores of one model",
            "assigners": [owner],
            "assignee": label,
            "dataset": {
                "id": "people", "columns": list(schema), "schema_digest": schema_digest(schema),
            },
            "permissions": {"score": {"rows": rows, "runs": runs}},
            "purpose": PURPOSE,
            "fee": {"kind": "public-interest"},
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2099-01-01T00:00:00Z",
            "signers": [
                {"role": "owner", "organisation": owner},
                {"role": "operator", "organisation": label},
            ],
        }  # fmt: skip


def identifier(row: int) -> str:
    """Return the identifier of a row."""
    return f"id-{row:04}"


def write_table(path: Path, table: Mapping[str, Any], rows: Iterable[int]) -> None:
    """Write rows of a table with their identifiers."""
    lines = [",".join(["id", *table])]
    for row in rows:
        cells = [table[name][row] for name in table]
        texts = ["" if cell is None or cell != cell else str(cell) for cell in cells]  # noqa: PLR0124
        lines.append(",".join([identifier(row), *texts]))
    path.write_text("\n".join(lines) + "\n", "utf-8")


@contextlib.contextmanager
def served(
    path: Path, model: Trained, kind: str, lacking: Mapping[str, set[int]]
) -> Iterator[Served]:
    """Run a model's holders behind a hub's port, each with its table, its part and its grants.

    Args:
        path: An empty folder.
        model: The model.
        kind: Its kind.
        lacking: Rows that a party's table does not have.
    """
    data = {}
    for name, table in zip(model.names, model.tables, strict=True):
        rows = [r for r in range(len(model.labels)) if r not in lacking.get(name, set())]
        # Every party has its own order.
        write_table(path / f"{name}.csv", table, rows if name == model.names[0] else rows[::-1])
        data[name] = {"people": path / f"{name}.csv"}
    hub, made = make_nodes(path, data)
    of = shared(model.parts, kind=kind)
    engine = engines.scoring()
    with serving(hub, 1) as port, contextlib.ExitStack() as stack:
        nodes = {node.config.id: at_port(node, port.port) for node in made}
        said: dict[str, list[str]] = {name: [] for name in nodes}
        for name, part in model.parts.items():
            schema = read_schema(data[name]["people"])
            known = facts(
                of, name, columns=engine.open(part).columns, schema_digest=schema_digest(schema)
            )
            keep_part(nodes[name], known, part)
        label = model.names[0]
        connection = stack.enter_context(Connection(nodes[label]))
        for name in model.names[1:]:
            link = stack.enter_context(Connection(nodes[name]))
            service = ScoreService(nodes[name], said[name].append, pace=0.0)
            answers = ScorePort(nodes[name], lambda found=service: found)
            stack.callback(answers.close)
            stack.callback(service.close)
            link.serve(said[name].append, (answers.handler(),))
            assert link.link.wait_attached(60)
        kept = find_model(nodes[label], "credit")
        found = Served(model, nodes, of, kept, connection, said)
        for name in model.names:
            found.grant(name)
        yield found
