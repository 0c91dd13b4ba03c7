"""The key ceremony, and what its participants do with the files: import, compare, show.

The dealer knows the key for the length of the ceremony and forgets it when its process ends: run
it on a machine of its own, apart from the hub (``docs/adr/0003-threshold-key.md``).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.keys import KEY_BITS
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.threshold import check_share, deal
from fusion.errors import InputInvalid, KeyRefused, Refused
from fusion.identity.ceremony import KeyDocument, ShareFile, read_file, share_context
from fusion.services.homes import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.identity.roster import Roster
    from fusion.services.homes import HubHome, NodeHome

_DOCUMENT: Final = "key.json"
_SHARE: Final = "share"
_PROGRESS_SECONDS: Final = 0.25
_SEARCHES: Final = 16
"""More than are ever needed: two searches would have to find the same prime again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceremony:
    """What a ceremony leaves behind.

    Attributes:
        transcript: Digest to be compared by every operator.
        fingerprint: Of the public key.
        files: Each holder's sealed share.
        document: The public file, for the hub and for those without a share.
    """

    transcript: str
    fingerprint: str
    files: dict[str, Path]
    document: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """An imported key, as shown to an operator."""

    fingerprint: str
    bits: int
    threshold: int
    holders: tuple[str, ...]
    transcript: str
    share: bool


def ceremony(
    roster: Roster,
    holders: Sequence[str],
    threshold: int,
    bits: int,
    out: Path,
    on_progress: Callable[[float], None],
) -> Ceremony:
    """Deal a key and seal each share to its holder.

    Args:
        roster: Names the holders' sealing keys.
        holders: Organisations, in the order of their share numbers.
        threshold: Holders needed to decrypt: a majority.
        bits: Length of the modulus.
        out: New folder for the files.
        on_progress: Told the seconds since the search for primes began.

    Raises:
        InputInvalid: Holders doubled, the folder in use, or a length that is not offered.
        KeyRefused: A threshold that is no majority.
        UnknownOrganisation: A holder that the roster does not name.
    """
    if bits not in KEY_BITS:
        msg = f"A key of {bits} bits is not offered."
        raise InputInvalid(msg, hint=f"Choose one of {', '.join(map(str, KEY_BITS))}.")
    if len(set(holders)) != len(holders) or not holders:
        msg = "Every holder has to be named once."
        raise InputInvalid(msg)
    if not len(holders) // 2 < threshold <= len(holders):
        msg = f"A threshold of {threshold} of {len(holders)} holders is refused."
        hint = f"Choose a threshold from {len(holders) // 2 + 1} to {len(holders)}."
        raise KeyRefused(msg, hint=hint)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out} is in use."
        raise InputInvalid(msg, hint="Name a new folder.")
    sealing = {name: roster.member(name).sealing_key for name in holders}
    p, q = _primes(bits // 2, on_progress)
    key, shares = deal(p, q, threshold=threshold, holders=len(holders))
    del p, q
    document = KeyDocument.of(key, holders, [sealing[name].hex for name in holders])
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    for name, share in zip(holders, shares, strict=True):
        plaintext = share.to_bytes(key.public.residue_bytes, "big")
        sealed = sealing[name].seal(plaintext, share_context(document, name))
        files[name] = out / f"{name}.share"
        file = ShareFile(document=document, organisation=name, sealed=sealed.hex())
        write_atomic(files[name], file.to_bytes())
    write_atomic(out / _DOCUMENT, document.to_bytes(), 0o644)
    return Ceremony(
        transcript=document.transcript(),
        fingerprint=key.public.fingerprint,
        files=files,
        document=out / _DOCUMENT,
    )


def _primes(bits: int, on_progress: Callable[[float], None]) -> tuple[int, int]:
    """Search for safe primes on two cores until there are two; the processes end with that."""
    began = time.monotonic()
    found: set[int] = set()
    # Leaving the context ends the processes, and with them what they know of the key. A core that
    # has found one goes on: the search for a prime takes half a second or ten.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        coming = pool.imap_unordered(safe_prime, [bits] * _SEARCHES)
        while len(found) < 2:
            with contextlib.suppress(multiprocessing.TimeoutError):
                found.add(coming.next(timeout=_PROGRESS_SECONDS))
            on_progress(time.monotonic() - began)
    p, q = found
    return p, q


def import_share(node: NodeHome, file: Path, transcript: str) -> KeyInfo:
    """Open a sealed share and keep it; the operator vouches for the transcript.

    Raises:
        InputInvalid: The file can't be read.
        Refused: It is for another organisation.
        KeyRefused: The transcript differs, the share does not belong to the key, or the dealer had
            another sealing key for this organisation.
        SealBroken: It was not sealed to this node, or was changed.
    """
    shared = read_file(ShareFile, _read(file))
    organisation = node.config.id
    if shared.organisation != organisation or organisation not in shared.document.holders:
        msg = f"{file.name} is the share of {shared.organisation}, not of {organisation}."
        raise Refused(msg)
    _compare(shared.document, transcript)
    number = shared.document.holders.index(organisation)
    if shared.document.sealed_to[number] != node.sealing_key.public.hex:
        msg = "The dealer sealed this organisation's share to a key that is not this node's."
        hint = "Somebody gave the dealer a false roster. Do not use this key; hold a new ceremony."
        raise KeyRefused(msg, hint=hint)
    key = shared.document.key()
    share = int.from_bytes(
        node.sealing_key.open(bytes.fromhex(shared.sealed), shared.context()), "big"
    )
    check_share(key, number + 1, share)
    folder = _folder(node.paillier, key)
    write_atomic(folder / _SHARE, share.to_bytes(key.public.residue_bytes, "big"))
    write_atomic(folder / _DOCUMENT, shared.document.to_bytes(), 0o644)
    return _info(shared.document, share=True)


def import_public(home: HubHome | NodeHome, file: Path, transcript: str) -> KeyInfo:
    """Keep the public side of a key: at the hub, and at a node that holds no share.

    Raises:
        InputInvalid: The file can't be read.
        KeyRefused: The transcript differs, or the key is not acceptable.
    """
    document = read_file(KeyDocument, _read(file))
    _compare(document, transcript)
    folder = _folder(home.paillier, document.key())
    write_atomic(folder / _DOCUMENT, document.to_bytes(), 0o644)
    return _info(document, share=(folder / _SHARE).exists())


def show(home: HubHome | NodeHome) -> list[KeyInfo]:
    """Return the imported keys, oldest first."""
    return [_info(d, share=(f / _SHARE).exists()) for f, d in _documents(home.paillier)]


def _compare(document: KeyDocument, transcript: str) -> None:
    if transcript.strip().lower() != document.transcript():
        msg = "The transcript differs from the one given."
        hint = "Ask the dealer again, over a channel that the file did not come by."
        raise KeyRefused(msg, hint=hint)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"{file} can't be read: {error.strerror}."
        raise InputInvalid(msg) from error


def _folder(paillier: Path, key: ThresholdKey) -> Path:
    folder = paillier / key.public.fingerprint
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _documents(paillier: Path) -> list[tuple[Path, KeyDocument]]:
    files = sorted(paillier.glob(f"*/{_DOCUMENT}"), key=lambda path: path.stat().st_mtime_ns)
    return [(file.parent, read_file(KeyDocument, _read(file))) for file in files]


def _info(document: KeyDocument, *, share: bool) -> KeyInfo:
    key = document.key()
    return KeyInfo(
        fingerprint=key.public.fingerprint,
        bits=key.public.bits,
        threshold=key.threshold,
        holders=tuple(document.holders),
        transcript=document.transcript(),
        share=share,
    )


class Keyring:
    """The keys in a folder, for those who use them."""

    def __init__(self, paillier: Path) -> None:
        """Take the folder; files are read when they are asked for."""
        self._paillier = paillier

    def key(self, fingerprint: str) -> tuple[ThresholdKey, tuple[str, ...]]:
        """Return a key and its holders.

        Raises:
            KeyRefused: It was never imported.
        """
        file = self._paillier / fingerprint / _DOCUMENT
        # The fingerprint came over the wire: nothing but 64 hexadecimal digits names a file.
        known = len(fingerprint) == 64 and all(c in "0123456789abcdef" for c in fingerprint)
        if not known or not file.exists():
            msg = "The study's key was not imported here."
            raise KeyRefused(msg, hint="Run `fusion key import` with this organisation's share.")
        document = read_file(KeyDocument, _read(file))
        return document.key(), tuple(document.holders)

    def share(self, fingerprint: str) -> int | None:
        """Return the own share of a key that :meth:`key` knows, if there is one."""
        file = self._paillier / fingerprint / _SHARE
        return int.from_bytes(file.read_bytes(), "big") if file.exists() else None

    def fitting(self, bits: int, threshold: int, holders: Sequence[str]) -> ThresholdKey:
        """Return the newest imported key of this description.

        Raises:
            KeyRefused: There is none.
        """
        for _, document in reversed(_documents(self._paillier)):
            key = document.key()
            found = (key.public.bits, key.threshold, sorted(document.holders))
            if found == (bits, threshold, sorted(holders)):
                return key
        msg = f"No {bits}-bit key of {threshold} of {', '.join(sorted(holders))} was imported."
        hint = "Hold `fusion key ceremony`, then `fusion key import` its public file at the hub."
        raise KeyRefused(msg, hint=hint)
