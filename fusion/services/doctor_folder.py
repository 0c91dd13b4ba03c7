"""Examines the folder of a hub or a node: who may read it, what is in it, until when it is good."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.threshold import check_share
from fusion.errors import FusionError, PassphraseWrong
from fusion.identity import certificates
from fusion.identity.trust import open_trust
from fusion.services import keys
from fusion.services.findings import Finding, ok, problem, warning
from fusion.services.homes import HubHome, NodeHome
from fusion.services.hub import RENEWED_BEFORE
from fusion.services.storage import open_ledger
from fusion.stores.sqlite import check_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from fusion.identity.trust import Trust

Home = HubHome | NodeHome

SCARCE_BYTES: Final = 2 << 30
EMPTY_BYTES: Final = 256 << 20
"""Less than a few rounds' ciphertexts and their journal."""

_OTHERS: Final = 0o077
_RESTORE: Final = "Restore it from a backup; docs/deploy.md says what may be restored."


def folder_findings(home: Home, now: datetime) -> list[Finding]:
    """Examine all that is on disk."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "disk": lambda: [disk_finding(home.path)],
        "permissions": lambda: permission_findings(home.path),
        "identity": lambda: identity_findings(home),
        "certificates": lambda: certificate_findings(home, now),
        "stores": lambda: store_findings(home),
        "keys": lambda: key_findings(home),
        "data": lambda: data_findings(home),
    }
    found = []
    for check, findings in checks.items():
        try:
            found += findings()
        except OSError as error:  # a part of the folder is gone, or another account's
            msg = f"{error.filename} can't be read: {error.strerror}."
            found.append(problem(check, msg, _RESTORE))
    return found


def disk_finding(path: Path, free: int | None = None) -> Finding:
    """Judge the space that is left where a folder is."""
    left = shutil.disk_usage(path).free if free is None else free
    words = f"{left / (1 << 30):.1f} GiB free"
    todo = "Make room, or move the folder; a run stops when its journal can't be written."
    if left < EMPTY_BYTES:
        return problem("disk", words, todo)
    return warning("disk", words, todo) if left < SCARCE_BYTES else ok("disk", words)


def permission_findings(path: Path) -> list[Finding]:
    """Find folders and key files that others than their owner may enter or read.

    Other files need no mode of their own: nobody else enters the folder that they are in.
    """
    found = []
    looked_at = [path, *_private(path)]
    for entry in looked_at:
        mode = stat.S_IMODE(entry.lstat().st_mode)
        if entry.is_symlink() or not mode & _OTHERS:
            continue
        msg = f"{entry} is open to others (mode {mode:04o})."
        todo = f"chmod {'700' if entry.is_dir() else '600'} {entry}"
        if entry.is_file():
            todo += "; if this machine has other users, treat the key as known to them"
        found.append(problem("permissions", msg, todo))
    if path.stat().st_uid != os.geteuid():
        msg = f"{path} belongs to another account than this one."
        found.append(warning("permissions", msg, "Run it as the account that owns the folder."))
    words = f"the folder and {len(looked_at) - 1} folders and keys in it are their owner's alone"
    return found or [ok("permissions", words)]


def _private(home: Path) -> Iterator[Path]:
    """Yield the folders that a home is made of, and the files with a private key or a share."""
    for entry in sorted(home.iterdir()):
        if entry.is_dir():
            yield entry
            yield from sorted(entry.glob("key.pem"))
    yield from sorted((home / "keys").iterdir())
    for folder in sorted((home / "paillier").iterdir()):
        if folder.is_dir():
            yield folder
            yield from folder.glob(keys.SHARE)


def identity_findings(home: Home) -> list[Finding]:
    """Read the private keys of a folder."""
    readers: dict[str, Callable[[], object]] = (
        {"authority": lambda: home.authority_key}
        if isinstance(home, HubHome)
        else {
            "statement": lambda: home.statement_key,
            "sealing": lambda: home.sealing_key,
            "fleet": home.fleet_private_key,
            "org-ca": lambda: home.key_folder.tls("org-ca"),
            "log": lambda: home.key_folder.signing("log"),
            "witness": lambda: home.key_folder.signing("witness"),
        }
    )
    found = _read("identity", readers, f"private keys: {', '.join(readers)}")
    if home.key_folder.encrypted:
        return [*found, ok("passphrase", "private keys are encrypted")]
    todo = f"fusion org passphrase {home.path}; whoever copies the folder has the keys until then."
    return [*found, warning("passphrase", "Private keys are not encrypted.", todo)]


def _read(check: str, readers: dict[str, Callable[[], object]], good: str) -> list[Finding]:
    """Call each reader; a finding for each that fails, or one that all is well.

    A passphrase that is wrong is one finding: no key is damaged, and none is to be restored.
    """
    wrong = []
    for name, read in readers.items():
        try:
            read()
        except PassphraseWrong as error:
            return [problem(check, error.message, error.hint)]
        except FusionError as error:
            wrong.append(problem(check, f"{name}: {error.message}", error.hint or _RESTORE))
        except OSError as error:
            wrong.append(problem(check, f"{name} can't be read: {error.strerror}.", _RESTORE))
    return wrong or [ok(check, good)]


def certificate_findings(home: Home, now: datetime) -> list[Finding]:
    """Judge how long each certificate lasts, and whether this clock is within its time."""
    if isinstance(home, NodeHome) and not home.enrolled:
        msg = "This node is not admitted, or has not fetched the roster."
        todo = f"Send {home.request} to the hub's operator, then `fusion node up {home.path}`."
        return [warning("certificates", msg, todo)]
    found = [_certificate(name, file, todo, now) for name, file, todo in _certificates(home)]
    if isinstance(home, NodeHome):
        found += [_leaf(home, now), _standing(home, now)]
    return found


def _certificates(home: Home) -> Iterator[tuple[str, Path, str]]:
    """Yield name, file, and how it is renewed."""
    yield "the federation's CA", home.ca, "Make a new federation in good time."
    if isinstance(home, NodeHome):
        yield "this organisation's CA", home.org_ca, f"fusion org rotate {home.path} --tls"
        return
    restart = f"Start the hub again, it renews its own: `fusion hub up {home.path}`."
    yield "the hub's port", home.server_certificate, restart
    yield "the SuperLink", home.superlink_certificate, restart


def _leaf(node: NodeHome, now: datetime) -> Finding:
    """Judge the certificate of the day; a node that was down has an old one, and makes another."""
    if not node.leaf.exists():
        return ok("certificates", "this node: it makes its certificate when it dials")
    try:
        leaf = certificates.from_pem(node.leaf.read_bytes())
    except (OSError, FusionError):
        return ok("certificates", "this node: it makes its certificate anew when it dials")
    if now < leaf.not_valid_before_utc:
        msg = f"this node: valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and this "
        return problem("certificates", f"{msg}clock says {now:%Y-%m-%d}.", "Set this clock.")
    ends = leaf.not_valid_after_utc
    return ok("certificates", f"this node: to {ends:%Y-%m-%d %H:%M} UTC, renewed by itself")


def _standing(node: NodeHome, now: datetime) -> Finding:
    """See whether the roster known here still has this organisation, with its keys."""
    try:
        member = node.roster().listed(node.config.id)
        member.check_valid(now)
        same = member.keys == node.public_keys()
    except FusionError as error:
        return problem("roster", error.message, error.hint or _RESTORE)
    if same:
        return ok("roster", f"epoch {node.roster().epoch}, this organisation is {member.status}")
    msg = "The roster lists other keys than this node has: a rotation was granted."
    return problem("roster", msg, f"Start the node again: `fusion node up {node.path}`.")


def _certificate(name: str, file: Path, todo: str, now: datetime) -> Finding:
    try:
        certificate = certificates.from_pem(file.read_bytes())
    except (OSError, FusionError):
        return problem("certificates", f"{name}: {file} can't be read.", _RESTORE)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        msg = f"{name}: valid from {begins:%Y-%m-%d %H:%M} UTC, and this clock says {now:%Y-%m-%d}."
        return problem("certificates", msg, "Set this machine's clock.")
    days = (ends - now) // timedelta(days=1)
    if now > ends:
        return problem("certificates", f"{name}: expired on {ends:%Y-%m-%d}.", todo)
    words = f"{name}: {days} days left, to {ends:%Y-%m-%d}"
    if ends - now < RENEWED_BEFORE:
        return warning("certificates", words, todo)
    return ok("certificates", words)


def newest_certificate(home: Home) -> datetime | None:
    """Return when the newest readable certificate here became valid."""
    moments = []
    for _, file, _ in _certificates(home):
        with suppress(OSError, FusionError):
            moments.append(certificates.from_pem(file.read_bytes()).not_valid_before_utc)
    return max(moments, default=None)


def store_findings(home: Home) -> list[Finding]:
    """Verify the signed documents, and read the databases."""
    readers: dict[str, Callable[[], object]] = {}
    if isinstance(home, HubHome):
        readers["trust.json"] = partial(_hub_trust, home)
        readers["roster.json"] = home.roster
    elif home.enrolled:
        readers |= {"trust.json": home.trust, "roster.json": home.roster}
    for file in _databases(home):
        readers[str(file.relative_to(home.path))] = partial(check_file, file)
    if home.database is not None:
        readers["the PostgreSQL database"] = partial(_database, home)
    return _read("stores", readers, f"read: {', '.join(readers) or 'nothing there yet'}")


def _hub_trust(hub: HubHome) -> Trust:
    return open_trust(hub.trust_file.read_bytes(), hub.invitation.pin)


def _database(home: Home) -> int:
    ledger = open_ledger(home)
    try:
        return ledger.size()
    finally:
        ledger.close()


def _databases(home: Home) -> list[Path]:
    if isinstance(home, HubHome):
        logs = [home.ledger] if home.ledger.exists() else []
        return [*logs, *sorted(home.runs.glob("*/journal.sqlite"))]
    return [home.state] if home.state.exists() else []


def key_findings(home: Home) -> list[Finding]:
    """Say which decryption keys were imported; check an own share against its verifier."""
    try:
        found = keys.show(home)
    except FusionError as error:
        return [problem("keys", error.message, error.hint or _RESTORE)]
    if not found:
        todo = (
            "After the key ceremony: `fusion key import FILE --transcript HEX`, with this folder."
        )
        return [warning("keys", "No decryption key was imported.", todo)]
    return [_key(home, info) for info in found]


def _key(home: Home, info: keys.KeyInfo) -> Finding:
    own = home.config.id if isinstance(home, NodeHome) else ""
    words = f"{info.fingerprint[:16]}: {info.bits} bits, {info.threshold} of {len(info.holders)}"
    ring = keys.keyring_of(home)
    key, holders = ring.key(info.fingerprint)
    if own not in holders:
        return ok("keys", f"{words}, no share here")
    try:
        share = ring.share(info.fingerprint)
        if share is None:
            todo = f"fusion key import {own}.share --node {home.path} --transcript HEX"
            return warning("keys", f"{words}; this holder's share is not imported.", todo)
        check_share(key, holders.index(own) + 1, share)
    except FusionError as error:
        return problem("keys", f"{words}; {error.message}", error.hint)
    except OSError as error:
        return problem("keys", f"{words}; the share can't be read: {error.strerror}.", _RESTORE)
    return ok("keys", f"{words}, share held here")


def data_findings(home: Home) -> list[Finding]:
    """See whether a node's tables are where its configuration says."""
    if isinstance(home, HubHome):
        return []
    if not home.config.data:
        todo = f"Add a line under [data] of {home.path / 'node.toml'}."
        return [warning("data", "No dataset is configured.", todo)]
    wrong = [
        problem("data", f"{name}: {file} can't be read.", "Put the table there, or change [data].")
        for name, file in home.config.data.items()
        if not (file.is_file() and os.access(file, os.R_OK))
    ]
    return wrong or [ok("data", f"readable: {', '.join(home.config.data)}")]
