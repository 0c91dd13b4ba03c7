"""Parties of a vertical run over made-up columns, as tests use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.protocols.vertical import pooled
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.dealt import Dealer, DealtFeatureSide, DealtLabelSide
from federated.protocols.vertical.encrypted import EncryptedFeatureSide, EncryptedLabelSide
from federated.protocols.vertical.feature_party import FeatureParty
from federated.protocols.vertical.label_party import LabelParty
from federated.protocols.vertical.sides import PlainFeatureSide, PlainLabelSide
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.randomisers import Exact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns
    from federated.protocols.vertical.messages import Outgoing
    from federated.protocols.vertical.trees import Growth

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

TERMS = bytes(range(32))
LABEL, DEALER = "registry", "dealer"


@dataclass(frozen=True)
class Made:
    """Tables of parties, labels, and which rows train."""

    tables: list[dict[str, Floats]]
    labels: Floats
    training: Bools


def make(widths: Sequence[int], rows: int, seed: int, *, missing: float = 0.1) -> Made:
    """Make columns with few values, so that ties are frequent, and a label that needs them all."""
    draw = seeds.generator("tests-vertical", seed, rows, *widths)
    tables = []
    score = draw.normal(size=rows) / 2
    for party, width in enumerate(widths):
        table = {}
        for column in range(width):
            values = np.round(draw.normal(size=rows) * 2) / 2
            score += values * (0.8 - 0.3 * column) * (-1) ** party
            table[f"c{column}"] = np.where(draw.random(rows) < missing, np.nan, values)
        tables.append(table)
    return Made(tables, (score > 0).astype(float), draw.random(rows) < 0.85)


class Run:
    """All machines of a boosting run, before the first message."""

    def __init__(
        self,
        made: Made,
        growth: Growth,
        backend: str,
        *,
        bins: int = 8,
        monotone: dict[str, int] | None = None,
        primes: tuple[int, int] | None = None,
    ) -> None:
        self.made, self.growth = made, growth
        self.columns: list[Columns] = [
            bin_columns(table, made.training, bins, monotone) for table in made.tables
        ]
        rows, others = len(made.labels), self.columns[1:]
        self.names = tuple(f"party-{i}" for i in range(1, len(self.columns)))
        self.machines: dict[str, Any] = {}
        label_side: Any
        sides: list[Any]
        if backend == "plain":
            label_side = PlainLabelSide()
            sides = [PlainFeatureSide(c, growth, rows) for c in others]
        elif backend == "dealer":
            label_side = DealtLabelSide(DEALER, self.names, rows)
            sides = [
                DealtFeatureSide(c, growth, rows, DEALER, LABEL, i) for i, c in enumerate(others)
            ]
            self.machines[DEALER] = Dealer(LABEL, self.names)
        else:
            assert primes is not None
            key = PrivateKey(*primes)
            label_side = EncryptedLabelSide(key, Exact(key), growth, rows)
            sides = [EncryptedFeatureSide(c, growth, rows) for c in others]
        self.label_side, self.sides = label_side, sides
        self.label = LabelParty(
            self.names, self.columns[0], made.labels, made.training, growth, TERMS, label_side
        )
        self.parties = {
            name: FeatureParty(LABEL, mine, growth, TERMS, side)
            for name, mine, side in zip(self.names, others, sides, strict=True)
        }
        self.machines |= {LABEL: self.label, **self.parties}

    def first(self) -> list[tuple[str, Outgoing]]:
        """Return the messages that begin it."""
        return [(name, out) for name, party in self.parties.items() for out in party.offer()]

    def finish(self, watch: Callable[[str, str, int], None] = lambda *_: None) -> Run:
        """Talk to the end."""
        converse(self.machines, self.first(), watch)
        assert self.label.done
        assert all(party.done for party in self.parties.values())
        return self

    def in_one_place(self) -> pooled.Pooled:
        """Train on all columns in one place."""
        made = self.made
        return pooled.boost(self.columns, made.labels, made.training, self.growth)

    def shapes(self) -> list[pooled.Shape]:
        """Return each tree's splits, with the owners' own names for them."""
        own = self.columns[0].candidates
        found = []
        for number, tree in enumerate(self.label.part.trees):
            shape = {}
            for node, split in tree.splits.items():
                if split.owner:
                    part = self.parties[self.names[split.owner - 1]].part
                    shape[node] = (split.owner, *part.splits[number, node])
                else:
                    i = split.handle
                    where = int(own.feature[i]), int(own.threshold[i]), bool(own.missing[i])
                    shape[node] = (0, *where)
            found.append(shape)
        return found

    def check_equal(self) -> None:
        """Assert that the parties grew exactly the pooled table's trees."""
        expected = self.in_one_place()
        assert self.shapes() == expected.shapes
        assert [tree.leaves for tree in self.label.part.trees] == expected.leaves
        assert np.array_equal(self.label.scores, expected.scores)
