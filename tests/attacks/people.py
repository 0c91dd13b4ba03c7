"""Made-up people for attacks: each is alone in her key attributes, and has one secret bit.

``born`` and ``region`` anybody may know. The bit is ``ill``, and it decides the income: 20,000 or
60,000, and ten times ``born`` so that each of the two is nobody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from tests.attacks.pipeline import Columns, Dataset, Owner

REGIONS: Final = ("a", "b", "c", "d", "e", "f")
LOW, STEP = 20_000, 40_000
EXACT: Final = """\
release:
  base: 1
  sums: none
  dominance: null
  p_percent: null
  freedom: 0
"""
NOISY: Final = """\
release:
  noise: {sd_milli: 2000}
"""
RELEASES: Final = {
    "exact": EXACT,
    "rules": "",
    "noise": NOISY,
    "pooled": EXACT + 'pools: [["*"]]\n',
}
"""Nothing but k; the rules that a policy has by itself; those with noise; k, and one history."""

_POLICY: Final = """\
schema: fusion.policy/1
title: People with one secret
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      born: {class: dimension, type: integer, low: 0, high: 9999, complete: true}
      region: {class: dimension, values: [a, b, c, d, e, f], complete: true}
      ill: {class: dimension, type: boolean, sensitive: true, complete: true}
      income: {class: number, low: 0, high: 200000}
  visits:
    entity: person_id
    rows: 20
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension, values: [er, gp, card], complete: true}
      cost: {class: number, low: 0, high: 1000}
"""
DEPARTMENTS: Final = ("er", "gp", "card")


@dataclass(frozen=True)
class Person:
    """What an attacker knows of somebody, and the bit that she wants to know."""

    born: int
    region: str
    bit: int

    def income(self, bit: int) -> int:
        """Return what she would earn."""
        return LOW + STEP * bit + 10 * self.born


@dataclass
class People:
    """A dataset with its people, in no order that tells anything."""

    dataset: Dataset
    persons: list[Person]
    visited: dict[int, frozenset[str]]

    def among(self, region: str) -> list[Person]:
        """Return who is of a region."""
        return [each for each in self.persons if each.region == region]


def make(owner: Owner, count: int, release: str, seed: int, *, less: int | None = None) -> People:
    """Make people, one of them left out if that is wished, and attach a policy to them."""
    draw = np.random.default_rng([17, seed])
    bits = draw.integers(0, 2, count)
    regions = draw.integers(0, len(REGIONS), count)
    everybody = [Person(n, REGIONS[regions[n]], int(bits[n])) for n in range(count)]
    visited: dict[int, frozenset[str]] = {}
    rows: list[tuple[int, str, int]] = []
    for each in everybody:
        # Everybody was at two departments at least.
        own = draw.permutation(3)[: draw.integers(2, 4)]
        if each.born == less:
            continue
        visited[each.born] = frozenset(DEPARTMENTS[place] for place in own)
        rows += [(each.born, DEPARTMENTS[place], 200 + 400 * each.bit) for place in own]
    order = [place for place in draw.permutation(count).tolist() if place != less]
    tables: dict[str, Columns] = {
        "persons": {
            "person_id": [1000 + n for n in order],
            "born": [everybody[n].born for n in order],
            "region": [everybody[n].region for n in order],
            "ill": [bool(everybody[n].bit) for n in order],
            "income": [everybody[n].income(everybody[n].bit) for n in order],
        },
        "visits": _columns(("person_id", "dept", "cost"), [(1000 + n, d, c) for n, d, c in rows]),
    }
    dataset = owner.dataset(_POLICY + RELEASES[release], tables)
    return People(dataset, [everybody[n] for n in order], visited)


def _columns(names: tuple[str, ...], rows: list[Any]) -> Columns:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
