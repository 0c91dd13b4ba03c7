"""A signature is judged by the roster that was in force at its place in the log, not by today's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError, LedgerBroken, SignatureInvalid, VerificationFailed
from fusion.identity.roster import Roster, open_roster, sign_roster
from fusion.identity.rotation import make_rotation
from fusion.ledger import entry as entries
from fusion.ledger.verify import audit
from fusion.types import OrgId
from tests.ledger.made import AT, FEDERATION, Organisation, World
from tests.members import with_keys

if TYPE_CHECKING:
    from fusion.ledger.bundle import Bundle
    from fusion.ledger.entry import Entry

LATER = "2026-01-02T00:00:00Z"
WORLD = World()
EAST = WORLD.members["east"]
NEW = Organisation("east", statement=EAST.statement)


def _signed(roster: Roster) -> bytes:
    return sign_roster(roster, WORLD.hub.statement)


def _rotated(new: Organisation) -> bytes:
    """The next epoch, in which east has other keys, as it asked."""
    keys = replace(
        WORLD.roster.member("east").keys,
        statement_key=new.statement.public,
        log_key=new.log.public,
        witness_key=new.witness.public,
    )
    asked = make_rotation(
        (OrgId("east"), WORLD.roster.member("east").keys, 0),
        keys,
        at=LATER,
        old_key=EAST.statement,
        new_key=new.statement,
    )
    return _signed(WORLD.roster.with_rotation(asked, LATER))


REVOKED = _signed(
    WORLD.roster.with_member(WORLD.roster.member("east").revoke(LATER, "left"), LATER)
)


def seen(roster: bytes) -> entries.RosterSeen:
    opened = open_roster(roster, WORLD.hub.statement.public)
    digest = hashlib.sha256(roster).hexdigest()
    return entries.RosterSeen(at=AT, federation=FEDERATION, epoch=opened.epoch, digest=digest)


def log(organisation: Organisation) -> entries.LogSeen:
    return entries.LogSeen(
        at=AT,
        organisation=organisation.name,
        log_key=organisation.log.public.hex,
        witness_key=organisation.witness.public.hex,
    )


def bundle(*logged: Entry, rosters: tuple[bytes, ...], stated: tuple[bytes, ...] = ()) -> Bundle:
    """The log of north, with these entries after its first."""
    made = WORLD.members["north"].made()
    found = WORLD.bundle("north", [made, *logged], witnesses=("south", "west"))
    return replace(found, rosters=rosters, keys=(*found.keys, *stated))


def test_keys_count_in_the_epochs_that_list_them_and_in_no_other() -> None:
    rotated = _rotated(NEW)
    both = (WORLD.signed_roster, rotated)
    good = bundle(
        WORLD.roster_seen(), log(EAST), seen(rotated), log(NEW), rosters=both, stated=(NEW.stated,)
    )
    (notice,) = audit(good).replay.notices
    assert "entry 4: east keeps its log under another key" in notice
    misplaced: tuple[tuple[int, list[Entry]], ...] = (
        (2, [WORLD.roster_seen(), log(NEW), seen(rotated)]),
        (3, [WORLD.roster_seen(), seen(rotated), log(EAST)]),
    )
    for number, logged in misplaced:
        with pytest.raises(LedgerBroken, match="does not hold in epoch") as found:
            audit(bundle(*logged, rosters=both, stated=(NEW.stated,)))
        assert found.value.index == number


def test_what_a_revoked_member_said_before_stays_and_nothing_is_added() -> None:
    both = (WORLD.signed_roster, REVOKED)
    audit(bundle(WORLD.roster_seen(), log(EAST), seen(REVOKED), rosters=both))
    with pytest.raises(LedgerBroken, match="does not hold in epoch 6") as found:
        audit(bundle(WORLD.roster_seen(), seen(REVOKED), log(EAST), rosters=both))
    assert found.value.index == 3


def test_a_statement_that_is_not_in_the_bundle_or_before_any_roster_is_found() -> None:
    rosters = (WORLD.signed_roster,)
    with pytest.raises(LedgerBroken, match="not there") as found:
        audit(bundle(WORLD.roster_seen(), log(NEW), rosters=rosters))
    assert found.value.index == 2
    with pytest.raises(LedgerBroken, match="before any roster"):
        audit(bundle(log(EAST), WORLD.roster_seen(), rosters=rosters))


def test_a_log_begun_under_an_earlier_statement_key_is_good() -> None:
    other = Organisation("east", log=EAST.log, witness=EAST.witness)
    rotated = _rotated(other)
    logged: list[Entry] = [EAST.made(), WORLD.roster_seen(), seen(rotated)]
    found = WORLD.bundle("east", logged, witnesses=("north", "south", "west"))
    both = (WORLD.signed_roster, rotated)
    audit(replace(found, rosters=both, keys=(*found.keys, other.stated)))
    # Begun under the later key, before there was one.
    logged[0] = other.made()
    found = WORLD.bundle("east", logged, witnesses=("north", "south", "west"))
    with pytest.raises(LedgerBroken, match="other keys than were stated"):
        audit(replace(found, rosters=both, keys=(*found.keys, other.stated)))


def test_epochs_that_do_not_follow_each_other_are_found() -> None:
    swapped = with_keys(WORLD.roster.member("east"), log_key=NEW.log.public)
    for wrong in (
        _signed(WORLD.roster.with_member(swapped, LATER)),
        _signed(
            replace(WORLD.roster.with_member(WORLD.roster.members[0], LATER), previous="00" * 32)
        ),
        _signed(replace(WORLD.roster, epoch=6, members=WORLD.roster.members[1:])),
    ):
        with pytest.raises(VerificationFailed):
            audit(bundle(WORLD.roster_seen(), rosters=(WORLD.signed_roster, wrong)))


def test_a_statement_that_no_epoch_carries_is_refused() -> None:
    stranger = Organisation("east")
    with pytest.raises(FusionError) as found:
        audit(
            bundle(WORLD.roster_seen(), rosters=(WORLD.signed_roster,), stated=(stranger.stated,))
        )
    assert isinstance(found.value, SignatureInvalid)
