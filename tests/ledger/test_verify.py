"""Every way to change a log is found offline, and the first bad entry is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.crypto.signing import SigningKey
from fusion.errors import LedgerBroken, MessageInvalid, SignatureInvalid, VerificationFailed
from fusion.ledger import bundle as bundles
from fusion.ledger import entry as entries
from fusion.ledger.checkpoint import parse
from fusion.ledger.merkle import leaf_hash
from fusion.ledger.verify import Expectations, audit, compare
from tests.ledger.made import AT, World, changed, hexed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ledger.bundle import Bundle

WORLD = World()
NODE = WORLD.bundle("north", WORLD.node_log("north"), sizes=(4, 8))
HUB = WORLD.bundle("hub", WORLD.hub_log(), sizes=(4,))
SIZE = len(NODE.entries)


def _broken(bundle: Bundle, expected: Expectations | None = None) -> int:
    with pytest.raises(LedgerBroken) as found:
        audit(bundle, expected)
    assert found.value.exit_code == 5
    return found.value.index


def _with_entries(change: Callable[[list[bytes]], object], *, hashes: bool = False) -> Bundle:
    """The node's bundle after a change of its entries; with ``hashes`` theirs are made to fit."""
    logged = list(NODE.entries)
    change(logged)
    leaves = [leaf_hash(item) for item in logged] if hashes else NODE.leaves
    return changed(NODE, entries=logged, leaves=leaves)


def _flip(place: int) -> Callable[[list[bytes]], object]:
    def change(logged: list[bytes]) -> None:
        logged[place] = logged[place].replace(b"2026-01-01", b"2026-01-02")

    return change


def _swap(logged: list[bytes]) -> None:
    logged[3], logged[9] = logged[9], logged[3]


EXTRA = entries.encode(entries.StudyRefused(at=AT, job="x", study=hexed("s"), code="F-400"))


# ---------------------------------------------------------------------------- as it should be


def test_logs_that_hold_together_are_found_so() -> None:
    node, hub = audit(NODE), audit(HUB)
    assert (node.size, node.witnessed, node.quorum, node.others) == (SIZE, SIZE, 2, 3)
    assert sorted(node.witnesses) == ["east", "south", "west"]
    assert (hub.size, hub.quorum, hub.others) == (14, 3, 4)
    assert node.kinds["sum-opened"] == 4
    assert node.span == (AT, AT)
    east = audit(WORLD.bundle("east", WORLD.node_log("east")))
    compare([node, hub, east])


def test_a_bundle_is_read_as_it_was_written() -> None:
    lines = b"".join(bundles.lines_of(NODE))
    read = bundles.read(lines.splitlines(keepends=True))
    assert b"".join(bundles.lines_of(read)) == lines
    assert audit(read).size == SIZE


def test_an_empty_tail_below_the_newest_checkpoint_is_said() -> None:
    """The newest checkpoint may have no quorum yet; what has one is told apart."""
    lone = WORLD.bundle("north", WORLD.node_log("north"), witnesses=())
    both = changed(lone, checkpoints=(NODE.checkpoints[0], lone.checkpoints[-1]))
    assert audit(both).witnessed == 4


# ---------------------------------------------------------------------------- manipulations


@pytest.mark.parametrize("place", range(SIZE))
def test_a_flipped_entry_is_named(place: int) -> None:
    assert _broken(_with_entries(_flip(place))) == place


@pytest.mark.parametrize("place", range(SIZE))
def test_a_deleted_entry_is_named(place: int) -> None:
    assert _broken(_with_entries(lambda logged: logged.pop(place))) == place


@pytest.mark.parametrize("place", range(SIZE + 1))
def test_an_inserted_entry_is_named(place: int) -> None:
    assert _broken(_with_entries(lambda logged: logged.insert(place, EXTRA))) == place


def test_the_first_of_two_swapped_entries_is_named() -> None:
    assert _broken(_with_entries(_swap)) == 3


@pytest.mark.parametrize("left", [0, 1, 4, 5, SIZE - 1])
@pytest.mark.parametrize("hashes", [False, True])
def test_the_first_missing_entry_of_a_truncated_log_is_named(left: int, *, hashes: bool) -> None:
    def cut(logged: list[bytes]) -> None:
        del logged[left:]

    assert _broken(_with_entries(cut, hashes=hashes)) == left


@pytest.mark.parametrize(("place", "sure"), [(2, 0), (5, 4), (9, 8)])
def test_with_hashes_made_to_fit_two_checkpoints_enclose_the_change(place: int, sure: int) -> None:
    assert _broken(_with_entries(_flip(place), hashes=True)) == sure


def test_hashes_that_are_not_those_of_the_entries_are_found() -> None:
    leaves = [*NODE.leaves[:6], bytes(32), *NODE.leaves[7:]]
    assert _broken(changed(NODE, leaves=leaves)) in range(4, 7)


def test_a_file_cut_anywhere_is_found() -> None:
    data = b"".join(bundles.lines_of(NODE))
    for end in range(0, len(data), 97):
        with pytest.raises(VerificationFailed):
            audit(bundles.read(data[:end].splitlines(keepends=True)))


def test_a_flipped_byte_anywhere_in_the_file_is_found() -> None:
    """But in one cosignature of three: then it counts as none, and two are enough."""
    data = b"".join(bundles.lines_of(NODE))
    spoilt = 0
    for place in range(0, len(data), 61):
        bad = bytearray(data)
        bad[place] ^= 1
        try:
            read = bundles.read(bytes(bad).splitlines(keepends=True))
            found = audit(read)
        except VerificationFailed:
            continue
        spoilt += 1
        assert (found.root, read.entries) == (parse(NODE.checkpoints[-1]).root, NODE.entries)
        assert [a != b for a, b in zip(read.checkpoints, NODE.checkpoints, strict=True)].count(True)
    assert spoilt < 20


# ---------------------------------------------------------------------------- forks, roll-backs


def _fork(at: int) -> Bundle:
    """Another history from entry ``at`` on, signed and cosigned as if it were the only one."""
    logged = WORLD.node_log("north")
    logged.insert(at, entries.decode(EXTRA))
    return WORLD.bundle("north", logged)


def test_a_fork_is_found_against_an_older_checkpoint() -> None:
    since = parse(NODE.checkpoints[1])
    audit(NODE, Expectations(since=since))
    audit(_fork(8), Expectations(since=since))  # it extends what was seen: the same log so far
    assert _broken(_fork(5), Expectations(since=since)) == 0


def test_a_fork_is_named_against_an_older_bundle() -> None:
    audit(NODE, Expectations(earlier=NODE))
    assert _broken(_fork(5), Expectations(earlier=NODE)) == 5


def test_two_checkpoints_of_one_size_are_a_fork() -> None:
    both = changed(NODE, checkpoints=(*NODE.checkpoints, _fork(6).checkpoints[-1]))
    _broken(both)


def test_a_log_put_back_from_a_backup_is_found() -> None:
    backup = WORLD.bundle("north", WORLD.node_log("north")[:6])
    audit(backup)
    head = parse(NODE.checkpoints[-1])
    assert _broken(backup, Expectations(since=head)) == 6
    assert _broken(backup, Expectations(earlier=NODE)) == 6


def test_a_log_under_a_new_key_is_another_log() -> None:
    other = World()
    with pytest.raises(SignatureInvalid):
        audit(changed(NODE, keys=(other.members["north"].stated,)))
    since = parse(other.bundle("north", other.node_log("north")).checkpoints[0])
    with pytest.raises(SignatureInvalid):
        audit(NODE, Expectations(since=since))


# ---------------------------------------------------------------------------- who signed


@pytest.mark.parametrize("witnesses", [(), ("east",)])
def test_too_few_witnesses_are_no_quorum(witnesses: tuple[str, ...]) -> None:
    lone = WORLD.bundle("north", WORLD.node_log("north"), witnesses=witnesses)
    with pytest.raises(SignatureInvalid, match="cosigned by 2 of 3"):
        audit(lone)
    assert audit(lone, Expectations(witnessed=False)).witnessed == 0


def test_strangers_and_the_own_organisation_do_not_count() -> None:
    lone = WORLD.bundle("north", WORLD.node_log("north"), witnesses=("east",))
    head = parse(lone.checkpoints[-1])
    own, stranger = WORLD.members["north"], World().members["west"]
    for witness in (own, stranger, WORLD.hub):
        cosigned = head.cosigned(witness.keys.origin, witness.witness, 1)
        with pytest.raises(SignatureInvalid, match="cosigned by 2 of 3"):
            audit(changed(lone, checkpoints=(cosigned.note(),)))
    again = head.cosigned("test.example/east", WORLD.members["east"].witness, 2)
    with pytest.raises(SignatureInvalid, match="cosigned by 2 of 3"):
        audit(changed(lone, checkpoints=(again.note(),)))


def test_another_authority_than_the_auditor_knows_is_refused() -> None:
    audit(NODE, Expectations(authority=WORLD.hub.statement.public))
    with pytest.raises(VerificationFailed, match="another authority"):
        audit(NODE, Expectations(authority=SigningKey.generate().public))


def test_statements_that_nobody_on_the_roster_signed_are_refused() -> None:
    with pytest.raises(VerificationFailed):
        audit(changed(NODE, keys=(*NODE.keys, World().members["east"].stated)))
    with pytest.raises(VerificationFailed):
        audit(changed(NODE, rosters=()))
    with pytest.raises(VerificationFailed):
        audit(changed(NODE, rosters=(World().signed_roster,)))
    with pytest.raises(VerificationFailed):
        audit(changed(NODE, checkpoints=()))


def test_what_is_no_bundle_is_refused() -> None:
    for data in (b"", b"\n", b"{}\n\n", b"nonsense"):
        with pytest.raises(MessageInvalid):
            bundles.read(data.splitlines(keepends=True))
    header, leaves, *_ = bundles.lines_of(NODE)
    with pytest.raises(MessageInvalid, match="hashes"):
        bundles.read([header, leaves[:-5] + b"\n"])
