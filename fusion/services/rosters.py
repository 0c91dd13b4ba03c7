"""The data authority's verbs about members: admit, extend, grant other keys, revoke, look back.

Each signs the next epoch of the roster, keeps it beside those before, and puts it into the hub's
log. A hub that is up reads it at the next request; nodes fetch it within seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusion.errors import InputInvalid, MessageInvalid, Refused, VerificationFailed
from fusion.identity.members import Member, moment
from fusion.identity.request import open_request
from fusion.identity.roster import Roster, newer, open_roster, sign_roster
from fusion.identity.rotation import read_rotation
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import readable_name
from fusion.services.ledger import Book
from fusion.wire.limits import MAX_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fusion.identity.request import Request
    from fusion.ports import Clock
    from fusion.services.homes import HubHome


def admit(
    hub: HubHome, request_pem: bytes, *, until: str | None = None, clock: Clock | None = None
) -> Member:
    """Put an organisation on the roster.

    Admitting the same request again changes nothing.

    Args:
        hub: Its folder.
        request_pem: The request, as the organisation made it.
        until: How long it is a member, RFC 3339 in UTC; without it, until it is revoked.
        clock: Time.

    Raises:
        MessageInvalid: It is no well-formed request.
        SignatureInvalid: It is not signed by the keys that it presents.
        Refused: The organisation is a member with other keys, or a key is another member's.
        MemberRevoked: It was revoked.
    """
    request = open_request(request_pem)

    def change(roster: Roster, now: str) -> Roster | None:
        known = next((m for m in roster.members if m.id == request.id), None)
        _check_admissible(request, roster, known)
        if known is not None:
            return None
        member = Member(
            id=request.id,
            name=request.name,
            keys=request.keys,
            admitted_at=now,
            valid_from=now,
            valid_until=_time(until) if until is not None else None,
        )
        return roster.with_member(member, now)

    return _next(hub, change, clock).member(request.id)


def rotate(hub: HubHome, rotation: bytes, *, clock: Clock | None = None) -> Roster:
    """Grant an organisation's request for other keys; return the epoch that has them.

    Raises:
        UnknownOrganisation: It is of nobody who is listed.
        MemberRevoked: It is of a member that was revoked.
        VerificationFailed: It was not made for the keys that are listed, or not signed by the
            member's old statement key and its new one.
        MessageInvalid: It is not well formed.
        Refused: A key in it is another member's.
    """
    request = read_rotation(rotation)

    def change(roster: Roster, now: str) -> Roster | None:
        if any(rotation.decode() in member.rotations for member in roster.members):
            return None  # granted already
        _check_unshared(request.id, set(request.changes.values()), roster)
        return roster.with_rotation(rotation, now)

    return _next(hub, change, clock)


def revoke(hub: HubHome, organisation: str, reason: str, *, clock: Clock | None = None) -> Roster:
    """Revoke a member, for good; return the epoch that says so.

    What it signed before stays valid, judged by the epoch that was in force.

    Raises:
        UnknownOrganisation: There is none of that identifier.
        MemberRevoked: It was revoked before.
        InputInvalid: The reason is missing, too long or not readable.
    """
    if not reason.strip():
        raise InputInvalid("A revocation needs a reason.", hint="--reason 'left the federation'")
    words = readable_name(reason.strip())

    def change(roster: Roster, now: str) -> Roster:
        return roster.with_member(roster.member(organisation).revoke(now, words), now)

    return _next(hub, change, clock)


def extend(
    hub: HubHome, organisation: str, until: str | None, *, clock: Clock | None = None
) -> Roster:
    """Say anew how long an organisation is a member; return the epoch that says so.

    Raises:
        UnknownOrganisation: There is none of that identifier.
        MemberRevoked: It was revoked.
        InputInvalid: The time is none.
    """
    end = _time(until) if until is not None else None

    def change(roster: Roster, now: str) -> Roster | None:
        member = roster.member(organisation)
        if member.valid_until == end:
            return None
        return roster.with_member(replace(member, valid_until=end), now)

    return _next(hub, change, clock)


def history(hub: HubHome) -> list[dict[str, Any]]:
    """Return what each epoch changed, oldest first.

    Raises:
        VerificationFailed: An epoch is not the authority's, or does not follow the one before.
    """
    told: list[dict[str, Any]] = []
    before: Roster | None = None
    for roster in hub.epochs(hub.authority_public):
        expected = 1 if before is None else before.epoch + 1
        if roster.epoch != expected:
            raise VerificationFailed(f"The roster of epoch {expected} is missing.")
        if before is not None:
            newer(before, roster)
        told.append(
            {
                "epoch": roster.epoch,
                "issued_at": roster.issued_at,
                "digest": roster.digest,
                "previous": roster.previous,
                "members": len(roster.active),
                "changes": _changes(before, roster),
            }
        )
        before = roster
    return told


def describe(roster: Roster) -> dict[str, Any]:
    """Return a roster as ``--json`` prints it."""
    return {
        "federation": roster.federation,
        "epoch": roster.epoch,
        "issued_at": roster.issued_at,
        "digest": roster.digest,
        "previous": roster.previous,
        "authority_key": roster.authority_key.hex,
        "members": [{**member.to_json(), "status": member.status} for member in roster.members],
    }


def _changes(before: Roster | None, after: Roster) -> list[dict[str, str]]:
    known = {} if before is None else {member.id: member for member in before.members}
    found = []
    for member in after.members:
        had = known.get(member.id)
        if had == member:
            continue
        if had is None:
            what = "admitted"
        elif member.revoked is not None:
            what = f"revoked: {member.revoked.reason}"
        elif had.keys != member.keys:
            names = [n for n, v in member.keys.to_json().items() if had.keys.to_json()[n] != v]
            what = f"rotated: {', '.join(sorted(names))}"
        else:
            what = f"valid until {member.valid_until or 'revoked'}"
        found.append({"organisation": str(member.id), "what": what})
    return found


def _next(
    hub: HubHome,
    change: Callable[[Roster, str], Roster | None],
    clock: Clock | None,
) -> Roster:
    """Sign the epoch that a change leads to, if it leads to one, and put it into the log."""
    now = (clock or SystemClock()).now()
    with hub.lock():
        roster = _signed(hub, change(hub.roster(), timestamp(now)))
    with Book(hub, clock) as book:
        book.see_roster()
    return roster


def _signed(hub: HubHome, roster: Roster | None) -> Roster:
    if roster is None:
        return hub.roster()
    data = sign_roster(roster, hub.authority_key)
    hub.keep_epoch(roster, data)
    return open_roster(data, roster.authority_key)


def _check_admissible(request: Request, roster: Roster, known: Member | None) -> None:
    if known is not None:
        known.check_active()
        if known.keys != request.keys:
            raise Refused(
                f"{request.id} is a member with other keys.",
                hint="A member's keys are not replaced by a request for admission. The "
                "organisation makes a rotation with `fusion org rotate` and its old keys.",
            )
    _check_unshared(request.id, set(request.keys.to_json().values()), roster)
    if known is None and len(roster.members) >= MAX_MEMBERS:
        raise Refused(f"A federation has at most {MAX_MEMBERS} members.")


def _check_unshared(organisation: str, keys: set[str], roster: Roster) -> None:
    """Refuse keys that are somebody else's."""
    for other in roster.members:
        if other.id != organisation and set(other.keys.to_json().values()) & keys:
            raise Refused(
                f"A key in the request of {organisation} is already that of {other.id}.",
                hint="Every organisation makes its own keys with `fusion org init`.",
            )
    if roster.authority_key.hex in keys:
        raise Refused("A request carries the authority's own key.")


def _time(text: str) -> str:
    """Read a day, to its end, or a time; in UTC."""
    full = f"{text}T23:59:59Z" if len(text) == len("2027-01-01") else text
    try:
        found: datetime = moment(full)
    except MessageInvalid:
        raise InputInvalid(
            f"{text[:40]!r} is no day.", hint="Write 2027-12-31 or 2027-12-31T18:00:00Z."
        ) from None
    return timestamp(found)
