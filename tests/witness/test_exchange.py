"""Checkpoints and cosignatures over the hub's real port: who cosigns what, and who does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fusion.errors import LedgerBroken
from fusion.ledger import entry as entries
from fusion.ledger.checkpoint import Checkpoint, parse
from fusion.ledger.entry import encode
from fusion.ledger.verify import Expectations, audit, compare
from fusion.ledger.witness import Item, Packet, Proof, Published
from fusion.services import rosters, rotation
from fusion.services.board import Board
from fusion.services.enrolment import take_roster
from fusion.stores.ledger import SqliteLedger
from tests.ledger.made import AT, hexed
from tests.witness.conftest import NAMES

if TYPE_CHECKING:
    from fusion.services.ledger import Book
    from tests.witness.conftest import Federation


def _log(book: Book, job: str) -> None:
    refused = entries.StudyRefused(at=AT, job=job, study=hexed(job), code="F-400")
    book.ledger.append([encode(refused)])


def test_a_few_exchanges_have_every_log_cosigned_by_a_quorum(federation: Federation) -> None:
    assert 0 < federation.settle() <= 8
    for number in range(3):
        for name in NAMES:
            _log(federation.book(name), f"job-{number}")
        assert 0 < federation.settle() <= 8
    found = [audit(federation.book(name).bundle()) for name in ("hub", *NAMES)]
    assert all(f.witnessed == f.size for f in found)
    assert all(len(f.witnesses) >= f.quorum for f in found)
    compare(found)
    assert not federation.said


def test_the_board_is_for_the_hubs_eyes_and_nodes_leave_no_open_file(
    federation: Federation,
) -> None:
    federation.settle()
    hub = federation.hub
    for folder in (hub.witness, hub.witness_inbox):
        assert folder.stat().st_mode & 0o777 == 0o700
    for node in federation.nodes.values():
        assert not (node.path / "state.sqlite-wal").exists()


def test_each_log_knows_under_which_keys_the_others_are_kept(federation: Federation) -> None:
    federation.settle()
    for name in ("hub", *NAMES):
        kinds = audit(federation.book(name).bundle()).kinds
        assert kinds["log-seen"] == 3
        assert kinds["roster-seen"] >= 1


def test_two_of_three_are_enough_and_the_third_catches_up(federation: Federation) -> None:
    federation.settle()
    pair = NAMES[:2]
    for number in range(4):
        for name in pair:
            _log(federation.book(name), f"job-{number}")
        for _ in range(5):
            federation.round(pair)
        # Two others of which one is away: no quorum of two, so the checkpoint stays for a while.
        federation.round(pair, ahead=20)
    assert federation.settle() > 0
    assert not [line for line in federation.said if "NO cosignature" in line]


def test_a_forked_log_gets_no_cosignature(federation: Federation) -> None:
    federation.settle()
    a, b = federation.nodes["a.example"], federation.nodes["b.example"]
    before = SqliteLedger(b.ledger).witnessed()
    # The same organisation with its keys and another history, longer than the first.
    a.ledger.unlink()
    for leftover in a.path.glob("state.sqlite-*"):
        leftover.unlink()
    forked = federation.book("a.example")
    for number in range(20):
        _log(forked, f"other-{number}")
    roster = forked.see_roster()
    head = forked.head(roster)
    sizes = {size for size, _, _ in before.values()}
    published = Published(
        keys=forked.stated_keys(roster).decode(),
        checkpoint=head.note().decode(),
        proofs=[
            Proof(size=s, hashes=[h.hex() for h in forked.ledger.consistency_proof(s, head.size)])
            for s in sorted(sizes)
            if 0 < s < head.size
        ],
    )
    packet = Packet(published=published, cosigned=[])
    (federation.hub.witness_inbox / "a.example.json").write_bytes(packet.to_bytes())
    federation.clock.ahead += 1
    federation.board.tend()
    item = Item.from_bytes((federation.hub.witness / "a.example.json").read_bytes())
    assert parse(item.published.checkpoint.encode()).size == head.size
    federation.witnesses["b.example"].exchange()
    log_id = forked.keys(roster).log_id
    assert SqliteLedger(b.ledger).witnessed()[log_id] == before[log_id]
    assert any(
        "NO cosignature" in line or "changed, or it forked" in line for line in federation.said
    )


def test_a_node_put_back_from_a_backup_does_not_serve(federation: Federation) -> None:
    federation.settle()
    a = federation.nodes["a.example"]
    federation.witnesses.pop("a.example")
    backup = a.path / "backup.sqlite"
    with closing(sqlite3.connect(a.ledger)) as now, closing(sqlite3.connect(backup)) as then:
        now.backup(then)
    _log(federation.book("a.example"), "job")
    federation.witnesses["a.example"] = federation.witness(a)
    assert federation.settle() > 0
    federation.witnesses.pop("a.example")
    for file in a.path.glob("state.sqlite*"):
        file.unlink()
    backup.rename(a.ledger)
    with pytest.raises(LedgerBroken, match="put back from a backup") as found:
        federation.begin_witnessing(a)
    assert found.value.exit_code == 5


def test_a_node_that_lost_its_log_does_not_serve(federation: Federation) -> None:
    federation.settle()
    a = federation.nodes["a.example"]
    federation.witnesses.pop("a.example")
    for file in a.path.glob("state.sqlite*"):
        file.unlink()
    with pytest.raises(LedgerBroken, match="or lost"):
        federation.begin_witnessing(a)


def test_a_log_begun_anew_under_new_keys_is_another_log_and_everybody_notes_it(
    federation: Federation,
) -> None:
    federation.settle()
    a = federation.nodes["a.example"]
    federation.witnesses.pop("a.example")
    for file in a.path.glob("state.sqlite*"):
        file.unlink()
    request = rotation.rotate(a, ["log", "witness"])
    rosters.rotate(federation.hub, request.read_bytes())
    take_roster(a, federation.hub.roster_file.read_bytes(), take_up=True)
    for name in ("b.example", "c.example"):
        take_roster(federation.nodes[name], federation.hub.roster_file.read_bytes())
    federation.witnesses["a.example"] = federation.witness(a)
    assert federation.settle() > 0
    found = {name: audit(federation.book(name).bundle()) for name in ("hub", *NAMES)}
    assert all(f.witnessed == f.size for f in found.values())
    assert not found["a.example"].replay.notices
    for name in ("hub", "b.example", "c.example"):
        (notice,) = found[name].replay.notices
        assert "a.example keeps its log under another key" in notice


def test_a_hub_put_back_from_a_backup_does_not_serve(federation: Federation) -> None:
    federation.settle()
    for file in federation.hub.path.glob("ledger.sqlite*"):
        file.unlink()
    with pytest.raises(LedgerBroken):
        Board(federation.hub, federation.said.append)


def test_a_member_hands_in_nothing_in_anothers_name(federation: Federation) -> None:
    federation.settle()
    before = (federation.hub.witness / "a.example.json").read_bytes()
    b = federation.book("b.example")
    roster = b.see_roster()
    own = Published(
        keys=b.stated_keys(roster).decode(), checkpoint=b.head(roster).note().decode(), proofs=[]
    )
    stranger = Checkpoint(origin="federation.local/a.example", size=99, root=bytes(32))
    forged = own.model_copy(
        update={"checkpoint": stranger.cosigned("x", b.witness_key, 1).note().decode()}
    )
    for name, published in (("a.example", own), ("b.example", forged)):
        packet = Packet(published=published, cosigned=[])
        (federation.hub.witness_inbox / f"{name}.json").write_bytes(packet.to_bytes())
        federation.clock.ahead += 1
        federation.board.tend()
    (federation.hub.witness_inbox / "a.example.json").write_bytes(b"nonsense")
    federation.clock.ahead += 1
    federation.board.tend()
    assert (federation.hub.witness / "a.example.json").read_bytes() == before
    assert len([line for line in federation.said if "refused" in line]) == 3


def test_an_earlier_bundle_shows_that_a_log_only_grew(federation: Federation) -> None:
    federation.settle()
    earlier = federation.book("a.example").bundle()
    _log(federation.book("a.example"), "job")
    federation.settle()
    later = federation.book("a.example").bundle()
    audit(later, Expectations(earlier=earlier))
    with pytest.raises(LedgerBroken, match="gone back"):
        audit(earlier, Expectations(earlier=later))
