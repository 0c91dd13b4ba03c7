"""Named bounds of every decoder and every connection. A reader checks the bound before it reads."""

from __future__ import annotations

from typing import Final

MEBI: Final = 1024 * 1024

MAX_DOCUMENT_BYTES: Final = 4 * MEBI
"""A canonical JSON document."""

MAX_ENVELOPE_BYTES: Final = 2 * MEBI
"""A signed envelope, whose payload is three quarters of that at most."""

MAX_DEPTH: Final = 32
"""Levels of nesting of a JSON document."""

MAX_REQUEST_BYTES: Final = 64 * 1024
"""A signed request for admission, and a trust document."""

MAX_ROSTER_BYTES: Final = 2 * MEBI
"""A signed roster: about a thousand members."""

MAX_ROTATION_BYTES: Final = 16 * 1024
"""A signed request for other keys."""

MAX_CERTIFICATE_BYTES: Final = 4096
"""One certificate (DER)."""

MAX_MEMBERS: Final = 1000
"""Members of a federation."""

MAX_NAME_CHARACTERS: Final = 200
"""A name for people: of an organisation, of a federation."""

MAX_BODY_BYTES: Final = 256 * MEBI
"""Body of one request or response of Flower's fleet interface."""

MAX_WITNESS_PACKET_BYTES: Final = MEBI
"""What a member hands in for its log at a time, and for the logs of others."""

MAX_TUNNELS_A_MEMBER: Final = 64
"""Tunnels that one member may have called for at a time."""

MAX_CALLS_A_MEMBER: Final = 64
"""Calls of the fleet interface that one member may have under way."""
