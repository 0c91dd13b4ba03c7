"""Who may call the hub's port, and who it is that calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fusion.identity.roster import Member


class Callers(Protocol):
    """What the port asks about certificates and members."""

    def authorities(self) -> bytes:
        """Return the CA certificates under which members show theirs, PEM, one after another."""
        ...

    def member(self, certificate: bytes) -> Member:
        """Return whose certificate (PEM) this is.

        Raises:
            FusionError: Nobody's who is a member now.
        """
        ...

    def knows(self, organisation: str) -> bool:
        """Return whether an organisation is a member now."""
        ...
