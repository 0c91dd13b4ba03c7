"""Holders of a model: folders on this machine, admitted by a hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.crypto import rng
from fusion.ledger import entry as entries
from fusion.ledger.verify import Expectations
from fusion.services import engines, grants
from fusion.services import node as node_service
from fusion.services.audit import audit_whole
from fusion.services.homes import NODE_FILE
from fusion.services.ledger import Book
from fusion.services.model_facts import Holder, Identifier, ModelFacts, Own, Shared
from fusion.services.models import find_model, keep_part
from fusion.services.node_link import Connection
from fusion.services.score_port import ScorePort
from fusion.services.score_service import ScoreService
from fusion.services.scoring import Scorer
from tests.link.federation import admit, at_port, make_hub, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
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
            dataset="people",
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
    services: dict[str, ScoreService]

    def scorer(self, **options: Any) -> Scorer:  # noqa: ANN401 - as the scorer takes them
        """Return a scorer of the label party."""
        return Scorer(self.connection, self.nodes[self.model.names[0]], self.kept, **options)

    def grant(
        self,
        owner: str,
        *,
        runs: int = 1000,
        rows: int = 100_000,
        only: tuple[str, ...] = (),
        dataset: str = "people",
    ) -> str:
        """Have an owner grant scoring to the label party; return the grant's id."""
        node, label = self.nodes[owner], self.nodes[self.model.names[0]]
        document = self.document(owner, runs, rows)
        document["permissions"]["score"]["only_models"] = list(only)
        document["dataset"]["id"] = dataset
        kept = grants.propose(node, json.dumps(document), "grant.yaml")
        if node is not label:
            kept = grants.sign(label, kept.signed.envelope)
            grants.add(node, kept.signed.envelope)
        return kept.signed.id

    def revoke_grants(self, owner: str) -> None:
        """Have an owner revoke every grant of its own, at its own node alone."""
        node = self.nodes[owner]
        for kept in grants.folder_of(node).all():
            if owner in kept.signed.grant.assigners and not kept.revoked:
                grants.revoke(node, kept.signed.id, "a test")

    def known_grants(self, owner: str) -> list[str]:
        """Return the ids of the grants of an owner that it has revoked."""
        found = grants.folder_of(self.nodes[owner]).all()
        return [k.signed.id for k in found if k.revoked and owner in k.signed.grant.assigners]

    def tell(self, name: str, grant: str) -> None:
        """Give a node the revocation of a grant."""
        for node in self.nodes.values():
            data = grants.folder_of(node).revocation(grant)
            if data is not None:
                grants.add(self.nodes[name], data)
                return

    def logged(self, name: str, kind: str) -> list[entries.Entry]:
        """Return the entries of a kind in a node's log."""
        with Book(self.nodes[name]) as book:
            found = [entries.decode(e) for e in book.ledger.entries(0, book.ledger.size())]
        return [each for each in found if each.kind == kind]

    def audited(self, name: str) -> None:
        """Audit a node's log."""
        with Book(self.nodes[name]) as book:
            audit_whole(book.bundle(), Expectations(witnessed=False), ())

    def document(self, owner: str, runs: int, rows: int) -> dict[str, Any]:
        """Return a grant as somebody writes it."""
        label, path = self.model.names[0], self.nodes[owner].config.data["people"]
        schema = read_schema(path)
        return {
            "schema": "fusion.grant/1",
            # A grant with the same words would be the same grant, and stay revoked.
            "title": f"Scores of one model, {rng.token(4).hex()}",
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


def _always(service: ScoreService) -> Callable[[], ScoreService]:
    return lambda: service


def _say_port(node: NodeHome, port: int) -> None:
    """Write the hub's port into a node's file: the command line reads the folder."""
    file = node.path / NODE_FILE
    text = file.read_text("utf-8").replace(':0"', f':{port}"').replace(":0#", f":{port}#")
    file.write_text(text, "utf-8")


@contextlib.contextmanager
def served(
    path: Path,
    model: Trained,
    kind: str,
    lacking: Mapping[str, set[int]],
    chunk: int = 16,
    away: str = "",
) -> Iterator[Served]:
    """Run a model's holders behind a hub's port, each with its table, its part and its grants.

    Args:
        path: An empty folder.
        model: The model.
        kind: Its kind.
        lacking: Rows that a party's table does not have.
        chunk: Records of a message between the nodes.
        away: Whose node is not up.
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
        services: dict[str, ScoreService] = {}
        connection = stack.enter_context(Connection(nodes[label]))
        for name in (each for each in model.names if each != away):
            link = connection if name == label else stack.enter_context(Connection(nodes[name]))
            service = services[name] = ScoreService(
                nodes[name], said[name].append, pace=0.0, chunk=chunk
            )
            answers = ScorePort(nodes[name], _always(service))
            stack.callback(answers.close)
            stack.callback(service.close)
            link.serve(said[name].append, (answers.handler(),))
            assert link.link.wait_attached(60)
        kept = find_model(nodes[label], "credit")
        found = Served(model, nodes, of, kept, connection, said, services)
        for name in model.names:
            found.grant(name)
        for node in nodes.values():
            _say_port(node, port.port)
        yield found
