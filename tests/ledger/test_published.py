"""Proofs against those of independent implementations, as they are published.

From the tests of Certificate Transparency's reference implementation (eight entries and their
proofs), in the form in which transparency-dev/merkle publishes them under ``testdata``: Go, C++ and
Rust implementations of RFC 6962 are held to the same bytes.
"""

from __future__ import annotations

import base64

import pytest

from fusion.ledger import merkle
from tests.ledger.test_merkle import ENTRIES, Tree

TREE = Tree(ENTRIES)
A = "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU="
B = "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c="
C = "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4="
D = "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ="
E = "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms="
F = "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA="
G = "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc="
H = "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o="
J = "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8="

INCLUSION = [
    (0, 8, "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=", [B, C, D]),
    (2, 3, "rra8/idLcKFPsGel5VeCZNsPqbUa9eC6FZFY8yngbnc=", [A]),
    (5, 8, "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=", [E, F, G]),
]
CONSISTENCY = [
    (1, 8, [B, C, D]),
    (2, 5, [C, E]),
    (6, 7, [H, J, G]),
    (6, 8, [H, F, G]),
]


def _bytes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


@pytest.mark.parametrize(("index", "size", "root", "proof"), INCLUSION)
def test_published_proofs_of_inclusion_are_made_and_accepted(
    index: int, size: int, root: str, proof: list[str]
) -> None:
    (expected,) = _bytes([root])
    assert TREE.root(size) == expected
    assert merkle.inclusion_proof(index, size, TREE.subtree) == _bytes(proof)
    merkle.verify_inclusion(TREE.leaves[index], index, size, _bytes(proof), expected)


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_published_proofs_of_consistency_are_made_and_accepted(
    old: int, new: int, proof: list[str]
) -> None:
    assert merkle.consistency_proof(old, new, TREE.subtree) == _bytes(proof)
    merkle.verify_consistency(old, new, _bytes(proof), TREE.root(old), TREE.root(new))
