"""Rotation over the real port: made at the node, granted by the authority, followed by the rest."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fusion.errors import (
    InputInvalid,
    PartyUnreachable,
    Refused,
    SignatureInvalid,
    VerificationFailed,
)
from fusion.identity.roster import sign_roster
from fusion.identity.rotation import make_rotation, read_rotation
from fusion.ledger.log_keys import open_log_keys
from fusion.services import rosters, rotation
from fusion.services.enrolment import (
    await_rotation,
    refresh_roster,
    rotation_granted,
    take_roster,
    take_up_rotation,
)
from fusion.services.files import write_atomic
from fusion.services.ledger import Book
from fusion.types import OrgId
from tests.link.federation import admit, at_port, make_hub, make_node, serving
from tests.members import SINCE, Keys, with_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fusion.link.port import Port
    from fusion.services.homes import HubHome, NodeHome


@dataclass(frozen=True)
class World:
    """A hub that serves and two members."""

    hub: HubHome
    a: NodeHome
    b: NodeHome
    port: Port


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    hub = make_hub(tmp_path / "hub")
    with serving(hub, 1) as port:
        a, b = (admit(hub, make_node(hub, tmp_path / n, f"{n}.example")) for n in "ab")
        yield World(hub, at_port(a, port.port), at_port(b, port.port), port)


def _take_up(node: NodeHome) -> bool:
    return await_rotation(node, stop=threading.Event(), say=lambda _: None, wait=False)


@pytest.mark.parametrize("kinds", [[kind] for kind in rotation.KINDS if kind != "log"] + [
    ["statement", "sealing", "fleet", "witness", "tls"]])  # fmt: skip
def test_keys_are_replaced_and_everybody_follows(world: World, kinds: list[str]) -> None:
    refresh_roster(world.b)
    before = world.a.public_keys()
    secret = before.sealing_key.seal(b"old letter", b"test")
    request = rotation.rotate(world.a, kinds)
    assert not _take_up(world.a)
    assert not rotation_granted(world.a)
    rosters.rotate(world.hub, request.read_bytes())
    assert rotation_granted(world.a)
    assert _take_up(world.a)
    after = world.a.public_keys()
    assert world.hub.roster().member("a.example").keys == after
    changed = {n for n, v in after.to_json().items() if before.to_json()[n] != v}
    assert len(changed) == len(kinds)
    assert world.a.statement_key.public == after.statement_key
    assert not world.a.rotation.exists()
    # It dials with the new keys, and the others follow from the old ones.
    assert refresh_roster(world.a) == refresh_roster(world.b) == world.hub.roster()
    assert world.a.open_sealed(secret, b"test") == b"old letter"
    new_letter = after.sealing_key.seal(b"new letter", b"test")
    assert world.a.open_sealed(new_letter, b"test") == b"new letter"


def test_a_grant_that_is_repeated_changes_nothing(world: World) -> None:
    request = rotation.rotate(world.a, ["sealing"]).read_bytes()
    roster = rosters.rotate(world.hub, request)
    assert rosters.rotate(world.hub, request) == roster


def test_what_was_interrupted_is_completed(world: World) -> None:
    request = rotation.rotate(world.a, ["statement", "sealing", "tls"]).read_bytes()
    roster = rosters.rotate(world.hub, request)
    # As if the first of the files had been moved, and no more.
    first = min((world.a.keys / "next").glob("*.pem"))
    old = world.a.keys / "old" / "1"
    old.mkdir(parents=True)
    (old / first.name).write_bytes((world.a.keys / first.name).read_bytes())
    (world.a.keys / first.name).write_bytes(first.read_bytes())
    first.unlink()
    assert _take_up(world.a)
    assert world.a.public_keys() == roster.member("a.example").keys
    assert world.a.statement_key.public == roster.member("a.example").statement_key
    assert sorted(file.name for file in old.iterdir()) == [
        "org-ca.pem", "rotation.json", "sealing.pem", "statement.pem",
    ]  # fmt: skip


def test_one_after_another(world: World) -> None:
    for number in (1, 2):
        request = rotation.rotate(world.a, ["sealing", "statement"])
        assert read_rotation(request.read_bytes()).number == number
        rosters.rotate(world.hub, request.read_bytes())
        assert _take_up(world.a)
    # B has slept through both.
    assert refresh_roster(world.b).member("a.example").keys == world.a.public_keys()
    assert len(world.a.key_folder.old_sealing("sealing")) == 2


def test_what_can_not_be_rotated(world: World) -> None:
    with Book(world.a):
        pass
    for kinds, words in (([], "Say which"), (["authority"], "Say which"), (["log"], "another log")):
        with pytest.raises(InputInvalid, match=words):
            rotation.rotate(world.a, kinds)
    rotation.rotate(world.a, ["sealing"])
    with pytest.raises(InputInvalid, match="not granted yet"):
        rotation.rotate(world.a, ["fleet"])


def test_a_forged_rotation_is_refused_by_the_hub_and_by_every_node(world: World) -> None:
    refresh_roster(world.b)
    thief = Keys("a.example")
    request = rotation.rotate(world.a, ["statement"])
    data = request.read_bytes()
    for changed in (data.replace(b'"sig":"', b'"sig":"AAAA', 1), data[:-9], b"{}"):
        with pytest.raises(VerificationFailed):
            rosters.rotate(world.hub, changed)
    # A hub that swaps the key itself, with a rotation of somebody else's making beside it.
    roster = world.hub.roster()
    forged = with_keys(roster.member("a.example"), statement_key=thief.statement.public)
    write_atomic(
        world.hub.roster_file,
        sign_roster(roster.with_member(forged, SINCE), world.hub.authority_key),
    )
    for node in (world.a, world.b):
        with pytest.raises(VerificationFailed, match="other keys"):
            refresh_roster(node)


def test_another_members_key_is_not_taken_over(world: World) -> None:
    mine = rotation.rotate(world.a, ["witness"])
    stolen = world.b.key_folder.signing("witness")
    mine.unlink()
    (world.a.keys / "next" / "witness.pem").unlink()

    keys = with_keys(world.hub.roster().member("a.example"), witness_key=stolen.public).keys
    data = make_rotation(
        (OrgId("a.example"), world.a.public_keys(), 0),
        keys,
        at=SINCE,
        old_key=world.a.statement_key,
        new_key=world.a.statement_key,
    )
    with pytest.raises(Refused, match=r"already that of b\.example"):
        rosters.rotate(world.hub, data)


def test_a_hub_that_is_away_does_not_keep_a_node_from_serving(world: World) -> None:
    rotation.rotate(world.a, ["sealing"])
    world.port.stop()
    said: list[str] = []
    take_up_rotation(world.a, stop=threading.Event(), say=said.append)
    assert "Going on with the keys" in said[-1]
    with pytest.raises(PartyUnreachable):
        rotation_granted(world.a)


def test_after_a_lost_log_the_node_waits_for_its_other_key(world: World) -> None:
    for file in world.a.path.glob("state.sqlite*"):
        file.unlink()
    request = rotation.rotate(world.a, ["log", "witness"]).read_bytes()
    assert rotation.needs_log(world.a)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "waiting until they are granted" in line:
            rosters.rotate(world.hub, request)

    take_up_rotation(world.a, stop=threading.Event(), say=say)
    assert "waiting until they are granted" in said[0]
    assert said[-1] == "The other keys are in use."
    with Book(world.a) as book:
        assert (
            book.keys(world.a.roster()).log == world.hub.roster().member("a.example").keys.log_key
        )
        assert book.ledger.size() == 1


def test_an_old_epoch_does_not_bring_an_old_key_back(world: World) -> None:
    old = world.hub.roster_file.read_bytes()
    rosters.rotate(world.hub, rotation.rotate(world.a, ["statement"]).read_bytes())
    refresh_roster(world.b)
    with pytest.raises(VerificationFailed, match="never goes back"):
        take_roster(world.b, old)
    # Nor under a new number.
    roster = world.hub.roster()
    member = with_keys(
        roster.member("a.example"), statement_key=world.a.public_keys().statement_key
    )
    with pytest.raises(VerificationFailed, match="other keys"):
        take_roster(
            world.b, sign_roster(roster.with_member(member, SINCE), world.hub.authority_key)
        )


def test_a_statement_under_the_old_key_counts_no_longer(world: World) -> None:
    stated = Book(world.a).stated_keys(world.hub.roster())
    rosters.rotate(world.hub, rotation.rotate(world.a, ["statement"]).read_bytes())

    with pytest.raises(SignatureInvalid):
        open_log_keys(stated, world.hub.roster())
