"""What the participants of a key ceremony do with its files: compare, check, import, show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.keys import RANDOMISER
from fusion.crypto.paillier.modulus_proof import ROOTS
from fusion.crypto.paillier.received import check_received
from fusion.crypto.paillier.threshold import check_share
from fusion.errors import InputInvalid, KeyRefused, Refused
from fusion.identity.ceremony import KeyDocument, ShareFile, read_file, share_context
from fusion.ledger.entry import KeyImported
from fusion.services.clock import timestamp
from fusion.services.files import write_atomic
from fusion.services.homes import HubHome, NodeHome
from fusion.services.ledger import Book

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fusion.crypto.paillier.threshold import ThresholdKey

_DOCUMENT: Final = "key.json"
SHARE: Final = "share"
_SCHEME: Final = "Paillier, g = N + 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """An imported key, as shown to an operator.

    Attributes:
        fingerprint: Of modulus and randomiser.
        bits: Length of the modulus.
        security_bits: Estimated maximum security strength (NIST).
        scheme: Of the ciphertexts.
        ciphertext_bytes: Width of one ciphertext.
        proof_roots: Challenges that the proof of the modulus answers.
        randomiser: How ciphertexts are blinded.
        threshold: Holders needed to decrypt.
        holders: In the order of their share numbers.
        share: Whether this folder holds one.
        transcript: What the operators compared.
        imported_at: RFC 3339, UTC.
    """

    fingerprint: str
    bits: int
    security_bits: int
    scheme: str
    ciphertext_bytes: int
    proof_roots: int
    randomiser: str
    threshold: int
    holders: tuple[str, ...]
    share: bool
    transcript: str
    imported_at: str


def import_share(node: NodeHome, file: Path, transcript: str) -> KeyInfo:
    """Open a sealed share and keep it; the operator vouches for the transcript.

    Raises:
        InputInvalid: The file can't be read.
        Refused: It is for another organisation.
        KeyRefused: The transcript differs, the key is not acceptable, the share does not belong to
            it, or the dealer had another sealing key for this organisation.
        VerificationFailed: The dealer's proof of the modulus does not hold.
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
    key = _checked(shared.document)
    sealed = bytes.fromhex(shared.sealed)
    check_share(key, number + 1, int.from_bytes(node.open_sealed(sealed, shared.context()), "big"))
    folder = _folder(node.paillier, key)
    # As it came: sealed. Whoever copies the folder needs the sealing key, and its passphrase.
    write_atomic(folder / SHARE, sealed)
    write_atomic(folder / _DOCUMENT, shared.document.to_bytes(), 0o644)
    _log(node, shared.document, share=True)
    return _info(folder, shared.document)


def import_public(home: HubHome | NodeHome, file: Path, transcript: str) -> KeyInfo:
    """Keep the public side of a key: at the hub, and at a node that holds no share.

    Raises:
        InputInvalid: The file can't be read.
        KeyRefused: The transcript differs, or the key is not acceptable.
        VerificationFailed: The dealer's proof of the modulus does not hold.
    """
    document = read_file(KeyDocument, _read(file))
    _compare(document, transcript)
    folder = _folder(home.paillier, _checked(document))
    write_atomic(folder / _DOCUMENT, document.to_bytes(), 0o644)
    _log(home, document, share=(folder / SHARE).exists())
    return _info(folder, document)


def _log(home: HubHome | NodeHome, document: KeyDocument, *, share: bool) -> None:
    transcript, fingerprint = document.transcript(), document.key().public.fingerprint
    with Book(home) as book:
        entry = KeyImported(
            at=book.now(), fingerprint=fingerprint, transcript=transcript, share=share
        )
        book.once(f"key:{transcript}:{share}", entry)


def show(home: HubHome | NodeHome) -> list[KeyInfo]:
    """Return the imported keys, oldest first."""
    return [_info(folder, document) for folder, document in _documents(home.paillier)]


def _checked(document: KeyDocument) -> ThresholdKey:
    """Return the key of a document that came from elsewhere, all of it checked."""
    key = document.key()
    check_received(key, bytes.fromhex(document.proof))
    return key


def _compare(document: KeyDocument, transcript: str) -> None:
    # Groups and capitals are for people: spaces and hyphens between digits say nothing.
    if "".join(transcript.replace("-", " ").split()).lower() != document.transcript():
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


def _info(folder: Path, document: KeyDocument) -> KeyInfo:
    key = document.key()
    imported = datetime.fromtimestamp((folder / _DOCUMENT).stat().st_mtime, UTC)
    return KeyInfo(
        fingerprint=key.public.fingerprint,
        bits=key.public.bits,
        security_bits=key.public.security_bits,
        scheme=_SCHEME,
        ciphertext_bytes=key.public.ciphertext_bytes,
        proof_roots=ROOTS,
        randomiser=RANDOMISER,
        threshold=key.threshold,
        holders=tuple(document.holders),
        share=(folder / SHARE).exists(),
        transcript=document.transcript(),
        imported_at=timestamp(imported),
    )


def keyring_of(home: HubHome | NodeHome) -> Keyring:
    """Return the keys of a folder, with the shares in it if it is an organisation's."""
    if isinstance(home, HubHome):
        return Keyring(home.paillier)
    return Keyring(home.paillier, home.config.id, home.open_sealed)


class Keyring:
    """The keys in a folder, for those who use them."""

    def __init__(
        self,
        paillier: Path,
        holder: str = "",
        unseal: Callable[[bytes, bytes], bytes] | None = None,
    ) -> None:
        """Take the folder; files are read when they are asked for.

        Args:
            paillier: The folder.
            holder: Whose shares are in it; nobody's at the hub.
            unseal: Opens what is sealed to the holder, in a context.
        """
        self._paillier = paillier
        self._holder = holder
        self._unseal = unseal

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
        """Return the own share of a key that :meth:`key` knows, if there is one.

        Raises:
            SealBroken: It is another organisation's, or was changed.
            KeyRefused: The sealing key can't be opened.
        """
        file = self._paillier / fingerprint / SHARE
        if self._unseal is None or not file.exists():
            return None
        document = read_file(KeyDocument, _read(file.parent / _DOCUMENT))
        context = share_context(document, self._holder)
        return int.from_bytes(self._unseal(file.read_bytes(), context), "big")

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
