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
from fusion.services.dialling import link_of
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


def take_roster(node: NodeHome, data: bytes) -> Roster:
    """Keep a roster that was offered, if it may replace the one known; return it.

    Raises:
        VerificationFailed: It is not the authority's, of an earlier epoch, or has keys for an
            organisation that it did not ask for.
    """
    with node.lock():
        known = node.roster()
        offered = newer(known, open_roster(data, known.authority_key))
        _pin(node, offered)
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
