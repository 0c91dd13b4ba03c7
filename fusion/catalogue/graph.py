"""The entity graph: which datasets, of which owners, hang on which entities, and what joins.

Bipartite: datasets on one side, entities on the other, an edge for each identifying column. Two
datasets can be joined where they identify the same entity by the same scheme; that they may be is
a grant's matter, and whether their records meet is for private alignment to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, get_args

from fusion.catalogue.descriptor import Entity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusion.catalogue.descriptor import Descriptor, Level

SCHEMA: Final = "fusion.entity-graph/1"
MAX_JOINS: Final = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """An entity, by one scheme of identifiers.

    Attributes:
        entity: What is identified.
        scheme: How.
    """

    entity: str
    scheme: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetNode:
    """A dataset as the graph shows it.

    Attributes:
        owner: Whose.
        id: Its name.
        zh: Its title in Chinese.
        en: Its title in English.
        level: How sensitive it is.
        rows: The order of magnitude of its rows.
        keys: Identifying columns, each with what it identifies.
        granted: Who may use it, and for what: operator to actions.
    """

    owner: str
    id: str
    zh: str
    en: str
    level: Level
    rows: str
    keys: tuple[tuple[str, Node], ...]
    granted: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def name(self) -> str:
        """Owner and dataset."""
        return f"{self.owner}/{self.id}"


@dataclass(frozen=True, slots=True)
class Join:
    """Two datasets that identify the same.

    Attributes:
        node: What, and how.
        left: One dataset and its column.
        right: The other.
    """

    node: Node
    left: tuple[str, str]
    right: tuple[str, str]


@dataclass(frozen=True, slots=True)
class EntityGraph:
    """The graph.

    Attributes:
        datasets: By owner and name.
        entities: In the order of the descriptor's list of entities, then by scheme.
    """

    datasets: tuple[DatasetNode, ...]
    entities: tuple[Node, ...]

    def joins(self) -> list[Join]:
        """Return every pair of datasets that can be joined, by entity; at most 10,000."""
        found: list[Join] = []
        for node in self.entities:
            ends = [
                (dataset.name, column)
                for dataset in self.datasets
                for column, named in dataset.keys
                if named == node
            ]
            for left, right in combinations(ends, 2):
                if left[0] != right[0] and len(found) < MAX_JOINS:
                    found.append(Join(node, left, right))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON values, without its schema's name."""
        return {
            "datasets": [
                {
                    "owner": each.owner,
                    "id": each.id,
                    "title": {"zh": each.zh, "en": each.en},
                    "level": each.level,
                    "rows": each.rows,
                    "granted": [{"to": to, "actions": list(what)} for to, what in each.granted],
                }
                for each in self.datasets
            ],
            "entities": [{"entity": n.entity, "scheme": n.scheme} for n in self.entities],
            "edges": [
                {
                    "dataset": each.name,
                    "column": column,
                    "entity": node.entity,
                    "scheme": node.scheme,
                }
                for each in self.datasets
                for column, node in each.keys
            ],
            "joins": [
                {
                    "entity": join.node.entity,
                    "scheme": join.node.scheme,
                    "left": {"dataset": join.left[0], "column": join.left[1]},
                    "right": {"dataset": join.right[0], "column": join.right[1]},
                }
                for join in self.joins()
            ],
        }


def graph_of(
    descriptors: Iterable[Descriptor],
    granted: Iterable[tuple[str, str, str, tuple[str, ...]]] = (),
) -> EntityGraph:
    """Return the graph of some datasets; those withdrawn are not in it.

    Args:
        descriptors: The datasets.
        granted: Grants that hold: owner, dataset, operator, actions.
    """
    allowed: dict[tuple[str, str], dict[str, set[str]]] = {}
    for owner, dataset, operator, actions in granted:
        allowed.setdefault((owner, dataset), {}).setdefault(operator, set()).update(actions)
    nodes = [
        _node(each, allowed.get((each.owner, each.id), {}))
        for each in sorted(descriptors, key=lambda each: (each.owner, each.id))
        if not each.withdrawn
    ]
    order = {entity: at for at, entity in enumerate(get_args(Entity))}
    entities = {named for each in nodes for _, named in each.keys}
    return EntityGraph(
        tuple(nodes), tuple(sorted(entities, key=lambda n: (order[n.entity], n.scheme)))
    )


def _node(found: Descriptor, allowed: dict[str, set[str]]) -> DatasetNode:
    return DatasetNode(
        owner=found.owner,
        id=found.id,
        zh=found.title.zh,
        en=found.title.en,
        level=found.level,
        rows=found.rows,
        keys=tuple(
            (column.name, Node(column.key.entity, column.key.scheme))
            for column in found.keys
            if column.key is not None
        ),
        granted=tuple((to, tuple(sorted(allowed[to]))) for to in sorted(allowed)),
    )
