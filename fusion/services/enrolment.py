"""A node's way into the federation, from a pinned key to the roster that lists its own.

1. The trust document comes in the hub's own server certificate. Its signature is verified with the
   key that the invitation pins. Until then nothing that the hub says is believed, and nothing is
   sent to it.
2. From here on TLS is verified against the CA in that document.
3. The hub lets a node in once the data authority has put the node's CA on the roster: until then
   the handshake fails. What comes is checked: the roster is signed, and lists exactly this node's
   keys. Certificates the node issues to itself, under the CA that the roster names.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from fusion.errors import PartyUnreachable, VerificationFailed
from fusion.identity.certificates import check_server, trust_of
from fusion.identity.members import read_keys
from fusion.identity.roster import Pins, Roster, check_pins, newer, open_roster, pins_of
from fusion.identity.trust import open_trust
from fusion.link.introduction import introduced
from fusion.services import rotation
from fusion.services.dialling import coming_link, link_of
from fusion.services.files import write_atomic
from fusion.wire.limits import MAX_ROSTER_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from fusion.identity.trust import Trust
    from fusion.link.dial import Link
    from fusion.services.homes import NodeHome

ROSTER: Final = "roster"
"""The document with the roster, and the bell that rings when there is a new one."""


def enrol(
    node: NodeHome,
    *,
    stop: threading.Event,
    say: Callable[[str], None],
    poll: float = 1.0,
) -> None:
    """Wait until the node is admitted, and keep what admission gives it.

    Returns early, without having enrolled, when ``stop`` is set. A hub that does not answer is
    waited for, as a request that is not admitted yet is.

    Args:
        node: The node; its request has gone to the data authority.
        stop: Ends the waiting.
        say: Told what is waited for.
        poll: Seconds between two questions.

    Raises:
        VerificationFailed: The hub is not the one of the invitation, or what it gave is not for
            this node.
        MessageInvalid: What it gave is not well formed.
    """
    trust = _introduce(node, stop, say, poll)
    if trust is None:
        return
    say(f"The hub of {trust.federation} is the one of the invitation; waiting for admission.")
    roster = _await_roster(node, stop, say, poll)
    if roster is not None:
        _keep(node, trust, roster)
        say(f"Admitted: {node.config.id} is a member of {trust.federation}.")


def refresh_roster(node: NodeHome, link: Link | None = None) -> Roster:
    """Fetch the current roster and keep it; it may never be older than the one known.

    Args:
        node: The node.
        link: Its connection to the hub, if there is one; else one is made for the moment.

    Raises:
        PartyUnreachable: The hub does not answer, or does not count this node as a member.
        VerificationFailed: The roster is not the authority's, or of an earlier epoch.
    """
    if link is None:
        with link_of(node) as own:
            return refresh_roster(node, own)
    data = link.read(ROSTER, MAX_ROSTER_BYTES)
    if data is None:
        raise PartyUnreachable("The hub has no roster.")
    return take_roster(node, data)


def await_rotation(
    node: NodeHome,
    *,
    stop: threading.Event,
    say: Callable[[str], None],
    wait: bool,
    poll: float = 1.0,
) -> bool:
    """Ask whether the node's request for other keys was granted; take them up if it was.

    Args:
        node: An admitted node with a request that is waiting.
        stop: Ends the waiting.
        say: Told what is waited for.
        wait: Whether to ask until it is granted; else once.
        poll: Seconds between two questions.

    Raises:
        PartyUnreachable: The hub does not answer, and is not waited for.
        VerificationFailed: The roster is not the authority's, or has other keys than those.
    """
    said = ""
    while not stop.is_set():
        try:
            data = _granted(node)
        except PartyUnreachable as error:
            if not wait:
                raise
            data = None
            if error.message != said:
                say(f"{error.message} Asking again.")
            said = error.message
        if data is not None:
            take_roster(node, data, take_up=True)
            return not node.rotation.exists()
        if not wait:
            return False
        stop.wait(poll)
    return False


def take_up_rotation(node: NodeHome, *, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Take up other keys before a node serves, if they were granted.

    Where a log was lost, nothing is done under the old key: that one is waited for.

    Raises:
        VerificationFailed: The roster is not the authority's, or has other keys than those.
    """
    wait = rotation.needs_log(node)
    say("Other keys were asked for" + (": waiting until they are granted." if wait else "."))
    try:
        taken = await_rotation(node, stop=stop, say=say, wait=wait)
    except PartyUnreachable as error:
        say(f"{error.message} Going on with the keys that there are.")
        return
    say("The other keys are in use." if taken else "They are not granted yet.")


def rotation_granted(node: NodeHome) -> bool:
    """Whether a request for other keys is waiting here and the hub says it was granted.

    Raises:
        PartyUnreachable: The hub does not answer.
    """
    return node.rotation.exists() and _granted(node) is not None


def _granted(node: NodeHome) -> bytes | None:
    """Return the roster if it grants the request for other keys that is waiting.

    Asked with the certificate of the day, and with one under the CA to come: once that one is
    granted, the hub knows the other no more.

    Raises:
        PartyUnreachable: The hub does not answer.
    """
    request = node.rotation.read_bytes().decode("ascii", "replace")
    for link in (link_of(node), coming_link(node)):
        if link is None:
            continue
        with link:
            try:
                data = link.read(ROSTER, MAX_ROSTER_BYTES)
            except (PartyUnreachable, VerificationFailed):
                continue  # no member's certificate any more, or not yet
        if data is None:
            continue
        offered = open_roster(data, node.trust().authority_key)
        return data if request in offered.listed(node.config.id).rotations else None
    if not _is_there(node):
        raise PartyUnreachable("The hub does not answer.")
    return None


def take_roster(node: NodeHome, data: bytes, *, take_up: bool = False) -> Roster:
    """Keep a roster that was offered, if it may replace the one known; return it.

    Args:
        node: The node.
        data: The roster, signed.
        take_up: Whether the node's own keys change if the roster grants that: not while anything
            runs with the old ones.

    Raises:
        VerificationFailed: It is not the authority's, of an earlier epoch, or has keys for an
            organisation that it did not ask for.
    """
    with node.lock():
        known = node.roster()
        offered = newer(known, open_roster(data, known.authority_key))
        _pin(node, offered)
        if take_up:
            rotation.take_up(node, offered)
        if offered.epoch != known.epoch:
            node.keep_epoch(offered, data)
    return offered


def _pin(node: NodeHome, offered: Roster) -> None:
    """Remember every organisation's keys; refuse others that it did not ask for, and for ourselves.

    Raises:
        VerificationFailed: An organisation has keys to which no rotation of its own leads.
    """
    pins: Pins = {}
    if node.pins.exists():
        kept = json.loads(node.pins.read_text("utf-8"))
        pins = {name: read_keys(keys, name) for name, keys in kept.items()}
    check_pins({**pins, node.config.id: node.public_keys()}, offered)
    known = {**pins, **pins_of(offered)}
    text = json.dumps({name: keys.to_json() for name, keys in known.items()}, indent=1)
    write_atomic(node.pins, text.encode())


def _introduce(
    node: NodeHome, stop: threading.Event, say: Callable[[str], None], poll: float
) -> Trust | None:
    """Take the trust document from the hub's certificate, verify it against the pin, keep it."""
    said = ""
    while not stop.is_set():
        try:
            shown = introduced(node.invitation.address)
            data = trust_of(shown)
        except PartyUnreachable as error:
            if error.message != said:
                say(f"{error.message} Asking again.")
            said = error.message
            stop.wait(poll)
            continue
        trust = open_trust(data, node.config.pin)
        check_server(shown, trust.ca_pem)
        write_atomic(node.trust_file, data)
        write_atomic(node.ca, trust.ca_pem.encode())
        return trust
    return None


def _await_roster(
    node: NodeHome, stop: threading.Event, say: Callable[[str], None], poll: float
) -> bytes | None:
    """Ask for the roster until the hub lets this node in, or until ``stop``."""
    said = False
    with link_of(node) as link:
        while not stop.is_set():
            try:
                data = link.read(ROSTER, MAX_ROSTER_BYTES)
            except PartyUnreachable as error:
                # Either the hub is away, or it does not know our CA yet: TLS does not say which.
                if not _is_there(node) and not said:
                    say(f"{error.message} Asking again.")
                    said = True
                data = None
            if data is not None:
                return data
            stop.wait(poll)
    return None


def _is_there(node: NodeHome) -> bool:
    """Whether the hub answers at all; refuses a hub that is another one all of a sudden."""
    try:
        open_trust(trust_of(introduced(node.invitation.address)), node.config.pin)
    except PartyUnreachable:
        return False
    return True


def _keep(node: NodeHome, trust: Trust, data: bytes) -> None:
    """Check what admission gave, then store it."""
    roster = open_roster(data, trust.authority_key)
    if roster.federation != trust.federation:
        raise VerificationFailed("The roster is of another federation than the trust document.")
    if roster.member(node.config.id).keys != node.public_keys():
        raise VerificationFailed(
            "The roster lists other keys for this organisation than this node's.",
            hint="Ask the data authority whose request it admitted.",
        )
    with node.lock():
        if node.roster_file.exists():
            newer(open_roster(node.roster_file.read_bytes(), trust.authority_key), roster)
        _pin(node, roster)
        node.keep_epoch(roster, data)
