"""The tree against its definition, and proofs against everything that could be wrong with them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import VerificationFailed
from fusion.ledger import merkle

# RFC 6962 test data of the certificate-transparency project: eight entries and their roots.
ENTRIES = [
    b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Tree:
    """A log in memory, by complete subtrees."""

    def __init__(self, entries: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.leaves = [merkle.leaf_hash(entry) for entry in entries]
        for index, leaf in enumerate(self.leaves):
            for level, place, value in merkle.completed(index, leaf, self.subtree):
                self.nodes[level, place] = value

    def subtree(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def root(self, size: int) -> bytes:
        return merkle.root(size, self.subtree)


def naive(leaves: list[bytes]) -> bytes:
    """The definition, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return merkle.node_hash(naive(leaves[:k]), naive(leaves[k:]))


TREE = Tree([str(i).encode() for i in range(40)])


def test_published_roots() -> None:
    tree = Tree(ENTRIES)
    assert [tree.root(n).hex() for n in range(1, 9)] == ROOTS
    assert tree.root(0) == merkle.EMPTY


def test_roots_are_those_of_the_definition() -> None:
    for size in range(41):
        assert TREE.root(size) == naive(TREE.leaves[:size])


def test_every_entry_of_every_log_is_shown_to_be_in_it_and_nowhere_else() -> None:
    for size in range(1, 25):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, TREE.subtree)
            merkle.verify_inclusion(TREE.leaves[index], index, size, proof, TREE.root(size))
            for wrong in {(index + 1) % size, size - 1 - index} - {index}:
                with pytest.raises(VerificationFailed):
                    merkle.verify_inclusion(TREE.leaves[index], wrong, size, proof, TREE.root(size))


def test_every_log_is_shown_to_extend_every_shorter_one() -> None:
    for new in range(25):
        for old in range(new + 1):
            proof = merkle.consistency_proof(old, new, TREE.subtree)
            merkle.verify_consistency(old, new, proof, TREE.root(old), TREE.root(new))
            with pytest.raises(VerificationFailed):
                merkle.verify_consistency(old, new, proof, b"x" * 32, TREE.root(new))
            if proof:
                with pytest.raises(VerificationFailed):
                    merkle.verify_consistency(old, new, proof, TREE.root(old), b"x" * 32)


@given(size=st.integers(2, 40), data=st.data())
def test_a_changed_proof_shows_nothing(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, TREE.subtree)
    place = data.draw(st.integers(0, len(proof) - 1))
    changes = [
        [*proof[:place], bytes(32), *proof[place + 1 :]],
        proof[:place] + proof[place + 1 :],
        [*proof, bytes(32)],
        [bytes(32), *proof],
    ]
    changed = data.draw(st.sampled_from(changes))
    with pytest.raises(VerificationFailed):
        merkle.verify_inclusion(TREE.leaves[index], index, size, changed, TREE.root(size))


@given(new=st.integers(2, 40), data=st.data())
def test_a_changed_consistency_proof_shows_nothing(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    proof = merkle.consistency_proof(old, new, TREE.subtree)
    place = data.draw(st.integers(0, len(proof) - 1))
    changes = [
        [*proof[:place], bytes(32), *proof[place + 1 :]],
        proof[:place] + proof[place + 1 :],
        [*proof, bytes(32)],
    ]
    changed = data.draw(st.sampled_from(changes))
    with pytest.raises(VerificationFailed):
        merkle.verify_consistency(old, new, changed, TREE.root(old), TREE.root(new))


def test_a_log_with_one_entry_changed_extends_no_log_from_before() -> None:
    forked = Tree([b"other" if i == 3 else str(i).encode() for i in range(40)])
    for old in range(4, 20):
        proof = merkle.consistency_proof(old, 30, forked.subtree)
        with pytest.raises(VerificationFailed, match="forked"):
            merkle.verify_consistency(old, 30, proof, TREE.root(old), forked.root(30))


def test_sizes_that_no_log_has_are_refused() -> None:
    root = TREE.root(8)
    for index, size in ((8, 8), (-1, 8), (0, 1 << 60), (0, 0)):
        with pytest.raises(VerificationFailed):
            merkle.verify_inclusion(TREE.leaves[0], index, size, [], root)
    with pytest.raises(VerificationFailed):
        merkle.verify_consistency(9, 8, [], root, root)
    with pytest.raises(VerificationFailed):
        merkle.verify_inclusion(TREE.leaves[0], 0, 2, [b"short"], root)
    with pytest.raises(ValueError, match="no entry"):
        merkle.inclusion_proof(8, 8, TREE.subtree)
    with pytest.raises(ValueError, match="extend"):
        merkle.consistency_proof(9, 8, TREE.subtree)
