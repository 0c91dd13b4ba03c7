"""The key ceremony: find safe primes, prove the modulus, seal a share to each holder, forget.

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
from fusion.crypto.paillier.modulus_proof import prove
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.received import check_received
from fusion.crypto.paillier.threshold import deal
from fusion.errors import InputInvalid, KeyRefused
from fusion.identity.ceremony import KeyDocument, ShareFile, share_context
from fusion.services.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fusion.identity.roster import Roster

DOCUMENT: Final = "key.json"
_PROGRESS_SECONDS: Final = 0.25
_SEARCHES: Final = 16
"""More than are ever needed: two searches would have to find the same prime again and again."""

_GROUP: Final = 4
"""Digits read out at a time."""


@dataclass(frozen=True, slots=True, order=True)
class Search:
    """How far the search for primes is.

    Attributes:
        seconds: Since it began.
        found: Primes found; two are needed.
    """

    seconds: float
    found: int


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


def grouped(digits: str) -> str:
    """Return hexadecimal digits in groups, as people read them to each other."""
    return " ".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))


def hold(
    roster: Roster,
    holders: Sequence[str],
    threshold: int,
    bits: int,
    out: Path,
    on_progress: Callable[[Search], None],
) -> Ceremony:
    """Deal a key and seal each share to its holder.

    Args:
        roster: Names the holders' sealing keys.
        holders: Organisations, in the order of their share numbers.
        threshold: Holders needed to decrypt: a majority.
        bits: Length of the modulus.
        out: New folder for the files.
        on_progress: Told how far the search for primes is.

    Raises:
        InputInvalid: Holders doubled, the folder in use, or a length that is not offered.
        KeyRefused: A threshold that is no majority.
        UnknownOrganisation: A holder that the roster does not name.
    """
    _check_terms(holders, threshold, bits, out)
    sealing = {name: roster.member(name).sealing_key for name in holders}
    p, q = _primes(bits // 2, on_progress)
    key, shares = deal(p, q, threshold=threshold, holders=len(holders))
    proof = prove(p, q)
    del p, q
    # What the holders would refuse is not handed out.
    check_received(key, proof)
    document = KeyDocument.of(key, holders, [sealing[name].hex for name in holders], proof)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {}
    for name, share in zip(holders, shares, strict=True):
        plaintext = share.to_bytes(key.public.residue_bytes, "big")
        sealed = sealing[name].seal(plaintext, share_context(document, name))
        files[name] = out / f"{name}.share"
        file = ShareFile(document=document, organisation=name, sealed=sealed.hex())
        write_atomic(files[name], file.to_bytes())
    write_atomic(out / DOCUMENT, document.to_bytes(), 0o644)
    return Ceremony(
        transcript=document.transcript(),
        fingerprint=key.public.fingerprint,
        files=files,
        document=out / DOCUMENT,
    )


def _check_terms(holders: Sequence[str], threshold: int, bits: int, out: Path) -> None:
    """Refuse what can't be dealt, before primes are searched for."""
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


def _primes(bits: int, on_progress: Callable[[Search], None]) -> tuple[int, int]:
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
            on_progress(Search(time.monotonic() - began, len(found)))
    p, q = found
    return p, q
