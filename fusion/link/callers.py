"""Who may call the hub's port, and who calls: by the roster, read again when it was replaced."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError
from fusion.identity.callers import caller
from fusion.identity.roster import Roster, open_roster

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.crypto.signing import VerifyKey
    from fusion.identity.members import Member
    from fusion.ports import Clock

_KEPT_SECONDS: Final = 60.0
"""How long a judgement of one certificate stands; a leaf may be used so much longer than it is."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What was read, of which file, and who was found by it."""

    file: tuple[int, int, int]
    roster: Roster
    since: float
    judged: dict[bytes, Member]


def pem_to_der(certificate: bytes) -> bytes:
    """Return a certificate as gRPC shows it (PEM) in the form that is judged; or nothing."""
    try:
        return ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    except ValueError:
        return b""


class Callers:
    """The members, and their certificates."""

    def __init__(self, roster: Path, authority: VerifyKey, ca: bytes, clock: Clock) -> None:
        """Take the file; it is read when it is first needed.

        Args:
            roster: The signed roster.
            authority: Verifies it.
            ca: The hub's own CA (PEM), which issues to no member: while there is none, TLS still
                needs something to ask for.
            clock: Time.
        """
        self._path = roster
        self._authority = authority
        self._ca = ca
        self._clock = clock
        self._known: _Version | None = None

    def authorities(self) -> bytes:
        """Return the CA certificates under which members show theirs, PEM, one after another.

        Raises:
            OSError: The roster can't be read.
            FusionError: It is no roster signed by the authority.
        """
        return self._version().roster.authorities_pem() or self._ca

    def member(self, certificate: bytes) -> Member:
        """Return whose certificate (PEM) this is.

        Raises:
            OSError: The roster can't be read.
            FusionError: It is nobody's who is a member now.
        """
        version = self._version()
        found = version.judged.get(certificate)
        if found is None:
            found = caller(version.roster, pem_to_der(certificate), self._clock.now())
            version.judged[certificate] = found
        return found

    def knows(self, organisation: str) -> bool:
        """Return whether an organisation is a member now; by a roster gone bad, nobody is."""
        try:
            self._version().roster.member(organisation).check_valid(self._clock.now())
        except (FusionError, OSError):
            return False
        return True

    def _version(self) -> _Version:
        found = self._path.stat()
        file = (found.st_mtime_ns, found.st_size, found.st_ino)
        known, now = self._known, self._clock.monotonic()
        if known is None or known.file != file:
            roster = open_roster(self._path.read_bytes(), self._authority)
            known = _Version(file, roster, now, {})
        elif now - known.since > _KEPT_SECONDS:
            known = _Version(file, known.roster, now, {})
        self._known = known
        return known
