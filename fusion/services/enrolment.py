"""A node's way into the federation, from a pinned key to the roster that lists its own.

1. The trust document: its signature is verified with the key that the invitation pins. Until
   then nothing that the hub says is believed, and nothing is sent to it.
2. From here on TLS is verified against the CA in that document.
3. The request's digest is asked for until the data authority has admitted it. What comes is
   checked: the roster is signed and lists exactly this node's keys. Certificates the node issues
   to itself, under the CA that the roster names.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import MessageInvalid, PartyUnreachable, VerificationFailed
from fusion.identity.members import read_keys
from fusion.identity.request import request_digest
from fusion.identity.roster import Pins, Roster, check_pins, newer, open_roster, pins_of
from fusion.identity.trust import Trust, open_trust
from fusion.link.client import hub_ssl_context, trusting_context, unverified_context
from fusion.services import rotation
from fusion.services.files import write_atomic
from fusion.wire import canonical
from fusion.wire.limits import MAX_REQUEST_BYTES, MAX_ROSTER_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from fusion.services.homes import NodeHome

_SECONDS: Final = 10.0
_MAX_ADMISSION_BYTES: Final = MAX_ROSTER_BYTES + MAX_REQUEST_BYTES
_FEDERATION: Final = "/v1/federation"


class _Admission(BaseModel):
    """What the hub answers once a request is admitted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["fusion.admission/2"] = Field(alias="schema")
    roster: Annotated[str, Field(max_length=MAX_ROSTER_BYTES)]


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
    trust = _fetch_trust(node, stop, say, poll)
    if trust is None:
        return
    say(f"The hub of {trust.federation} is the one of the invitation; waiting for admission.")
    digest = request_digest(node.request.read_bytes())
    with httpx.Client(
        base_url=node.config.hub_url, verify=trusting_context(trust.ca_pem), timeout=_SECONDS
    ) as client:
        path = f"{_FEDERATION}/enrolment/{digest}"
        answer = _await(client, path, _MAX_ADMISSION_BYTES, stop, say, poll)
    if answer is not None:
        _keep(node, trust, answer)
        say(f"Admitted: {node.config.id} is a member of {trust.federation}.")


def refresh_roster(node: NodeHome, client: httpx.Client | None = None) -> Roster:
    """Fetch the current roster and keep it; it may never be older than the one known.

    Args:
        node: The node.
        client: A connection to its hub, if there is one.

    Raises:
        PartyUnreachable: The hub does not answer, or does not count this node as a member.
        VerificationFailed: The roster is not the authority's, or of an earlier epoch.
    """
    path = f"{_FEDERATION}/roster"
    if client is not None:
        data = fetch(client, path, MAX_ROSTER_BYTES)
    else:
        context = hub_ssl_context(node.credentials())
        url = node.config.hub_url
        with httpx.Client(base_url=url, verify=context, timeout=_SECONDS) as own:
            data = fetch(own, path, MAX_ROSTER_BYTES)
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

    Asked as a stranger, as for admission: the certificate of the day may be of a CA that is
    replaced by then.

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
    path = f"{_FEDERATION}/enrolment/{rotation.digest_of(node)}"
    with _stranger(node) as client:
        if wait:
            answer = _await(client, path, _MAX_ADMISSION_BYTES, stop, say, poll)
        else:
            answer = fetch(client, path, _MAX_ADMISSION_BYTES)
    if answer is None:
        return False
    take_roster(node, _admission(answer).roster.encode(), take_up=True)
    return not node.rotation.exists()


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
    if not node.rotation.exists():
        return False
    with _stranger(node) as client:
        path = f"{_FEDERATION}/enrolment/{rotation.digest_of(node)}"
        return fetch(client, path, _MAX_ADMISSION_BYTES) is not None


def _stranger(node: NodeHome) -> httpx.Client:
    """A client that knows the hub and shows no certificate."""
    tls = trusting_context(node.trust().ca_pem)
    return httpx.Client(base_url=node.config.hub_url, verify=tls, timeout=_SECONDS)


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


def _fetch_trust(
    node: NodeHome, stop: threading.Event, say: Callable[[str], None], poll: float
) -> Trust | None:
    """Fetch the trust document, verify it against the pin, keep it."""
    with httpx.Client(
        base_url=node.config.hub_url, verify=unverified_context(), timeout=_SECONDS
    ) as client:
        data = _await(client, _FEDERATION, MAX_REQUEST_BYTES, stop, say, poll)
    if data is None:
        return None
    trust = open_trust(data, node.config.pin)
    write_atomic(node.trust_file, data)
    return trust


def _await(
    client: httpx.Client,
    path: str,
    limit: int,
    stop: threading.Event,
    say: Callable[[str], None],
    poll: float,
) -> bytes | None:
    """Ask until there is a document, or until ``stop``; say once what is the matter."""
    said = ""
    while not stop.is_set():
        try:
            data = fetch(client, path, limit)
        except PartyUnreachable as error:
            data = None
            if error.message != said:
                say(f"{error.message} Asking again.")
            said = error.message
        if data is not None:
            return data
        stop.wait(poll)
    return None


def _keep(node: NodeHome, trust: Trust, answer: bytes) -> None:
    """Check what admission gave, then store it; the roster last."""
    data = _admission(answer).roster.encode()
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
        write_atomic(node.ca, trust.ca_pem.encode())
        node.keep_epoch(roster, data)


def _admission(answer: bytes) -> _Admission:
    payload: Any = canonical.decode(answer, _MAX_ADMISSION_BYTES)
    try:
        return _Admission.model_validate(payload)
    except ValidationError:
        raise MessageInvalid("The hub's answer to a request is not well formed.") from None


def fetch(client: httpx.Client, path: str, limit: int) -> bytes | None:
    """Return a document of the hub, or None if there is none yet.

    Raises:
        PartyUnreachable: The hub does not answer, or refuses.
        MessageInvalid: It sends more than ``limit``.
    """
    try:
        with client.stream("GET", path) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                return None
            if response.status_code != httpx.codes.OK:
                raise PartyUnreachable(f"The hub refuses with HTTP {response.status_code}.")
            data = b""
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > limit:
                    raise MessageInvalid(f"The hub sends more than {limit} bytes.")
            return data
    except httpx.TransportError as error:
        if isinstance(_root(error), ssl.SSLCertVerificationError):
            raise VerificationFailed("The hub's certificate is not of this federation.") from None
        raise PartyUnreachable(f"The hub does not answer: {_root(error)}.") from None


def _root(error: BaseException) -> BaseException:
    """What a library's error goes back to."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
