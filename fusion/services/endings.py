"""How a run has ended, for those who took part in it: a node that was away is told by nobody else.

The hub tells every party of the end once, and waits for none. A node that was down then, or that
could not be reached, asks when it is up, by the document ``ends/JOB`` of the hub's port.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fusion.errors import MessageInvalid
from fusion.services import engines

if TYPE_CHECKING:
    from fusion.identity.members import Member
    from fusion.link.dial import Link
    from fusion.services.homes import HubHome

ENDS: Final = "ends"
"""The document: ``ends/JOB`` has one word."""

OPEN: Final = "open"
_OVER: Final = ("done", "failed", "stopped")
_LIMIT: Final = 16
_REST: Final = re.compile(r"job-[0-9a-f]{12}")


def document(hub: HubHome, member: Member, rest: str) -> bytes | None:
    """Return how a job stands, at the hub; None of one in which the member takes no part."""
    if not _REST.fullmatch(rest):
        return None
    found = engines.training().ending(hub, rest, party=member.id)
    return None if found is None else (found or OPEN).encode()


def ending(link: Link, job: str) -> str:
    """Return how a job has ended, as the hub knows; empty if it has not, or is not known there.

    Raises:
        PartyUnreachable: The hub does not answer.
        MessageInvalid: What it answers is none of the words that there are.
    """
    data = link.read(f"{ENDS}/{job}", _LIMIT)
    if data is None or data == OPEN.encode():
        return ""
    found = next((word for word in _OVER if data == word.encode()), None)
    if found is None:
        raise MessageInvalid(f"What the hub says of {job[:63]} is not well formed.")
    return found
