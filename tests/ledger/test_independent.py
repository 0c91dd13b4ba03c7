"""What the product makes, an implementation that shares nothing with it accepts, and inversely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import VerificationFailed
from fusion.ledger import merkle
from fusion.stores.memory_ledger import MemoryLedger
from tests.ledger import rfc6962
from tests.ledger.made import NAMES, World
from tests.ledger.test_merkle import ENTRIES, ROOTS

MOST = 34


def _entries(count: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(count)]


def _ledger(count: int) -> MemoryLedger:
    ledger = MemoryLedger()
    ledger.append(_entries(count))
    return ledger


def test_the_definition_gives_the_published_roots() -> None:
    assert [rfc6962.mth(ENTRIES[:n]).hex() for n in range(1, 9)] == ROOTS


@pytest.mark.parametrize("size", range(1, MOST))
def test_every_proof_of_a_small_log_is_accepted(size: int) -> None:
    entries, ledger = _entries(size), _ledger(size)
    root = rfc6962.mth(entries)
    assert ledger.root(size) == root
    for index in range(size):
        path = ledger.inclusion_proof(index, size)
        rfc6962.check_inclusion(index, size, entries[index], path, root)
    for old in range(1, size + 1):
        proof = ledger.consistency_proof(old, size)
        rfc6962.check_consistency(old, size, proof, rfc6962.mth(entries[:old]), root)


SIZES = st.integers(1, 700)


@given(size=SIZES, where=st.integers(0, 10**9), data=st.data())
def test_both_agree_on_proofs_right_and_wrong(size: int, where: int, data: st.DataObject) -> None:
    entries, ledger = _entries(size), _ledger(size)
    index = where % size
    path = ledger.inclusion_proof(index, size)
    proof = ledger.consistency_proof(index + 1, size)
    change = data.draw(st.sampled_from(["none", "drop", "add", "flip", "swap", "index"]))
    path, proof = _changed(path, change, where), _changed(proof, change, where)
    if change == "index":
        index = (index + 1) % size
    root, old = ledger.root(size), ledger.root(index + 1)
    leaf = merkle.leaf_hash(entries[index])
    ours = _accepts(lambda: merkle.verify_inclusion(leaf, index, size, path, root))
    theirs = _accepts(lambda: rfc6962.check_inclusion(index, size, entries[index], path, root))
    assert ours == theirs
    ours = _accepts(lambda: merkle.verify_consistency(index + 1, size, proof, old, root))
    theirs = _accepts(lambda: rfc6962.check_consistency(index + 1, size, proof, old, root))
    assert ours == theirs
    if change == "none":
        assert ours


def _changed(proof: list[bytes], change: str, where: int) -> list[bytes]:
    changed = list(proof)
    at = where % max(1, len(proof))
    if change == "add":
        changed.insert(at, b"\0" * 32)
    elif proof and change == "drop":
        del changed[at]
    elif proof and change == "flip":
        changed[at] = bytes([changed[at][0] ^ 1]) + changed[at][1:]
    elif proof and change == "swap":
        changed.reverse()
    return changed


def _accepts(check: object) -> bool:
    try:
        check()  # type: ignore[operator]  # a function without arguments
    except (VerificationFailed, rfc6962.Wrong):
        return False
    return True


def test_an_exported_log_is_accepted_without_the_products_code() -> None:
    """Root, the log's own signature and every witness's, from the bytes of a bundle."""
    world = World()
    bundle = world.bundle("hub", world.hub_log())
    note, name = bundle.checkpoints[-1], "test.example/hub"
    key = bytes.fromhex(world.hub.log.public.hex)
    origin, size, root = rfc6962.check_note(note, name, key, witness=False)
    assert (origin, size, root) == (name, len(bundle.entries), rfc6962.mth(bundle.entries))
    witness = key
    for member in NAMES:
        witness = bytes.fromhex(world.members[member].witness.public.hex)
        rfc6962.check_note(note, f"test.example/{member}", witness, witness=True)
    with pytest.raises(rfc6962.Wrong):
        rfc6962.check_note(note, name, witness, witness=False)
