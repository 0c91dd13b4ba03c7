"""Other keys for an organisation: made here, asked for, and taken up once they are granted.

The keys to come lie in ``keys/next/`` until the roster lists them. Then they take the place of the
old ones, which are kept: what was sealed to an old key is still opened with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fusion.crypto.sealing import SealingKey
from fusion.crypto.signing import SigningKey
from fusion.errors import InputInvalid, VerificationFailed
from fusion.identity import certificates
from fusion.identity.keys import fleet_header, new_fleet_key, new_tls_key, tls_pem
from fusion.identity.members import member_id
from fusion.identity.rotation import make_rotation, read_rotation, rotated
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import read_file, write_atomic
from fusion.services.key_folder import KeyFolder

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from fusion.identity.members import Member, PublicKeys
    from fusion.identity.roster import Roster
    from fusion.ports import Clock
    from fusion.services.organisations import OrgHome
    from fusion.types import OrgId

KINDS: Final = ("statement", "sealing", "fleet", "log", "witness", "tls")
"""What can be rotated; ``tls`` is the organisation's CA, whose leaves change every day anyway."""

_NEXT: Final = "next"
_STATE: Final = "state.sqlite"


def rotate(home: OrgHome, kinds: Collection[str], *, clock: Clock | None = None) -> Path:
    """Make other keys and a request for them; return its file.

    Args:
        home: The organisation's folder.
        kinds: Which keys, of :data:`KINDS`.
        clock: Time.

    Raises:
        InputInvalid: None is named, a request is waiting already, or the log's key is named
            although there is a log.
        KeyRefused: The passphrase is wrong.
    """
    if not kinds or not set(kinds) <= set(KINDS):
        raise InputInvalid(
            "Say which keys to replace.", hint=f"Choose among --{', --'.join(KINDS)}."
        )
    if home.rotation.exists():
        raise InputInvalid(
            f"{home.rotation} is not granted yet.",
            hint="Send it to the data authority; delete it to begin anew.",
        )
    if "log" in kinds and (home.path / _STATE).exists():
        raise InputInvalid(
            "A log under another key is another log, and there is a log here.",
            hint=f"Only for a log that was lost: move what is left of {_STATE} aside first.",
        )
    with home.lock():
        return _make(home, set(kinds), (clock or SystemClock()))


def _make(home: OrgHome, kinds: set[str], clock: Clock) -> Path:
    organisation, old = member_id(home.org_config().id), home.public_keys()
    coming = home.key_folder.below(_NEXT)
    for leftover in coming.files():
        leftover.unlink()
    new, statement = old, home.statement_key
    for kind in sorted(kinds):
        new = _with_new(new, kind, organisation, coming, clock)
    new_statement = coming.signing("statement") if "statement" in kinds else statement
    data = make_rotation(
        (organisation, old, rotations_of(home)),
        new,
        at=timestamp(clock.now()),
        old_key=statement,
        new_key=new_statement,
    )
    write_atomic(home.rotation, data, 0o644)
    return home.rotation


def _with_new(
    keys: PublicKeys, kind: str, organisation: OrgId, coming: KeyFolder, clock: Clock
) -> PublicKeys:
    """Make one key, keep it for later, and return the public keys with it."""
    match kind:
        case "sealing":
            sealing = SealingKey.generate()
            coming.write(kind, sealing)
            return replace(keys, sealing_key=sealing.public)
        case "fleet":
            fleet = new_fleet_key()
            coming.write(kind, fleet)
            return replace(keys, fleet_key=fleet_header(fleet.public_key()))
        case "tls":
            authority = new_tls_key()
            coming.write("org-ca", authority)
            made = certificates.new_organisation_ca(organisation, authority, clock.now())
            return replace(keys, ca=certificates.der(made))
        case _:
            signing = SigningKey.generate()
            coming.write(kind, signing)
            public = signing.public
            return {
                "statement": lambda: replace(keys, statement_key=public),
                "log": lambda: replace(keys, log_key=public),
                "witness": lambda: replace(keys, witness_key=public),
            }[kind]()


def coming_leaf(home: OrgHome, federation: str, now: datetime) -> tuple[bytes, bytes] | None:
    """Return a leaf (PEM) under the CA to come, with its private key; None if none was asked for.

    The key is not encrypted: it must not be written anywhere.

    Raises:
        EnvironmentUnfit: A file can't be read.
        KeyRefused: The passphrase is wrong.
        VerificationFailed: The request does not follow from the keys here.
    """
    keys, rotation = home.public_keys(), read_rotation(read_file(home.rotation))
    if rotation.previous != keys.digest():
        return None  # they are in place
    ca = certificates.from_der(rotated(keys, rotation).ca)
    if certificates.der(ca) == keys.ca:
        return None
    # Where taking up was interrupted, the key may have been moved already.
    for folder in (home.key_folder.below(_NEXT), home.key_folder):
        if not (folder.path / "org-ca.pem").exists():
            continue
        authority = folder.tls("org-ca")
        if authority.public_key() == ca.public_key():
            key, organisation = new_tls_key(), home.org_config().id
            issuer = certificates.Issuer(ca, authority)
            leaf = issuer.leaf(federation, organisation, key.public_key(), now)
            return certificates.pem(leaf), tls_pem(key)
    return None


def take_up(home: OrgHome, roster: Roster) -> bool:
    """Put the keys to come in place of the old ones, if the roster lists them; say whether.

    The caller holds the folder's lock. An interrupted change is completed at the next call.

    Raises:
        VerificationFailed: The roster lists keys that are neither the old nor the new ones.
    """
    if not home.rotation.exists():
        return False
    data = read_file(home.rotation)
    rotation = read_rotation(data)
    member: Member = roster.listed(home.org_config().id)
    if data.decode() not in member.rotations:
        return False
    keys = home.public_keys()
    new = keys if rotation.previous != keys.digest() else rotated(keys, rotation)
    if new != member.keys:
        raise VerificationFailed(
            "The roster lists other keys for this organisation than it asked for.",
            hint="Keep the folder as it is, and ask the data authority.",
        )
    home.key_folder.replace_by(KeyFolder(home.keys / _NEXT), rotation.number)
    write_atomic(home.org_ca, certificates.pem(certificates.from_der(new.ca)), 0o644)
    home.write_public(new)
    granted = home.keys / "old" / str(rotation.number) / home.rotation.name
    write_atomic(granted, data, 0o644)
    home.rotation.unlink()
    return True


def needs_log(home: OrgHome) -> bool:
    """Whether the request that is waiting is for another key of the log."""
    return "log_key" in read_rotation(read_file(home.rotation)).changes


def rotations_of(home: OrgHome) -> int:
    """Return how many requests for other keys were granted."""
    return len(list(home.keys.glob("old/*/rotation.json")))
