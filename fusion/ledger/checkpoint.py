"""Signed tree heads and cosignatures (C2SP: signed-note, tlog-checkpoint, tlog-cosignature).

A checkpoint is three lines, origin, size and root, and the signatures under them. The log signs
first; a witness that has seen the log grow from the last checkpoint it signed adds a cosignature
with a time. Two different roots of one size can't both gather a majority of honest witnesses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fusion.errors import MessageInvalid, SignatureInvalid
from fusion.ledger.merkle import HASH_BYTES, MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.crypto.signing import SigningKey, VerifyKey

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 256

_LOG: Final = b"\x01"
_WITNESS: Final = b"\x04"
_SIGNATURE_BYTES: Final = 64
_NAME: Final = re.compile(r"[^\s+]{1,255}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_DASH: Final = "\u2014"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: Who says to have signed.
        data: Key identifier, four bytes, and the signature.
    """

    name: str
    data: bytes

    def line(self) -> str:
        """Return the line, with its end."""
        return f"{_DASH} {self.name} {base64.b64encode(self.data).decode()}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree head.

    Attributes:
        origin: Names the log.
        size: Number of entries.
        root: Root of the tree of that size.
        signatures: As they came; nothing is believed before ``verify_*``.
    """

    origin: str
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...] = ()

    def text(self) -> bytes:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    def note(self) -> bytes:
        """Return the text and its signatures, as they travel."""
        lines = "".join(signature.line() for signature in self.signatures)
        return self.text() + b"\n" + lines.encode()

    def signed(self, key: SigningKey) -> Checkpoint:
        """Add the log's own signature, under the origin's name."""
        data = key_id(self.origin, _LOG, key.public) + key.sign(self.text())
        return replace(self, signatures=(*self.signatures, NoteSignature(self.origin, data)))

    def cosigned(self, name: str, key: SigningKey, time: int) -> Checkpoint:
        """Add a witness's cosignature.

        Args:
            name: The witness.
            key: Its key, used for nothing else.
            time: Seconds since 1970, now.
        """
        signature = key.sign(_cosigned_text(time, self))
        data = key_id(name, _WITNESS, key.public) + time.to_bytes(8, "big") + signature
        return replace(self, signatures=(*self.signatures, NoteSignature(name, data)))

    def with_signatures(self, more: Sequence[NoteSignature]) -> Checkpoint:
        """Add signatures that others made."""
        return replace(self, signatures=(*self.signatures, *more))

    def with_only(self, name: str) -> Checkpoint:
        """Leave out all signatures but those under one name."""
        return replace(self, signatures=tuple(s for s in self.signatures if s.name == name))

    def verify_log(self, key: VerifyKey) -> None:
        """Check that the log itself signed.

        Raises:
            SignatureInvalid: It did not.
        """
        identifier = key_id(self.origin, _LOG, key)
        for signature in self.signatures:
            if signature.name == self.origin and signature.data[:4] == identifier:
                key.verify(signature.data[4:], self.text())
                return
        msg = f"The checkpoint of {self.origin} is not signed by its log."
        raise SignatureInvalid(msg)

    def verify_witness(self, name: str, key: VerifyKey) -> int:
        """Check that a witness cosigned, and return when.

        Raises:
            SignatureInvalid: It did not.
        """
        identifier = key_id(name, _WITNESS, key)
        for signature in self.signatures:
            if signature.name == name and signature.data[:4] == identifier:
                time = int.from_bytes(signature.data[4:12], "big")
                key.verify(signature.data[12:], _cosigned_text(time, self))
                return time
        msg = f"The checkpoint of {self.origin} is not cosigned by {name}."
        raise SignatureInvalid(msg)

    def verify_quorum(self, witnesses: Mapping[str, VerifyKey], quorum: int) -> tuple[str, ...]:
        """Check that at least ``quorum`` of the witnesses cosigned; a bad signature counts as none.

        Returns:
            Those that did.

        Raises:
            SignatureInvalid: They are too few.
        """
        seen = []
        for name, key in witnesses.items():
            try:
                self.verify_witness(name, key)
            except SignatureInvalid:
                continue
            seen.append(name)
        if len(seen) < quorum:
            msg = f"{len(seen)} witnesses cosigned the checkpoint of {self.origin}, not {quorum}."
            raise SignatureInvalid(msg, hint="Wait until more organisations are reachable.")
        return tuple(seen)


def key_id(name: str, kind: bytes, key: VerifyKey) -> bytes:
    """Return the four bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + kind + bytes.fromhex(key.hex)).digest()[:4]


def _cosigned_text(time: int, checkpoint: Checkpoint) -> bytes:
    return f"cosignature/v1\ntime {time}\n".encode() + checkpoint.text()


def parse(note: bytes) -> Checkpoint:
    """Read a checkpoint; its signatures are still to be verified.

    Raises:
        MessageInvalid: Too large, or not a checkpoint of exactly three lines.
    """
    if len(note) > MAX_NOTE_BYTES:
        msg = f"A checkpoint has {len(note)} bytes; {MAX_NOTE_BYTES} is the limit."
        raise MessageInvalid(msg)
    try:
        head, _, tail = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise _no_checkpoint() from None
    lines = head.split("\n")
    if len(lines) != 3 or not _NAME.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise _no_checkpoint()
    size, tree = int(lines[1]), _decoded(lines[2])
    if size >= MAX_SIZE or len(tree) != HASH_BYTES:
        raise _no_checkpoint()
    signatures = tuple(_signature(line) for line in tail.split("\n")[:-1])
    found = Checkpoint(origin=lines[0], size=size, root=tree, signatures=signatures)
    if len(signatures) > MAX_SIGNATURES or found.note() != note:
        raise _no_checkpoint()
    return found


def _signature(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, _, data = rest.partition(" ")
    decoded = _decoded(data)
    if dash != _DASH or not _NAME.fullmatch(name) or len(decoded) < 4 + _SIGNATURE_BYTES:
        raise _no_checkpoint()
    return NoteSignature(name, decoded)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _no_checkpoint() from None


def _no_checkpoint() -> MessageInvalid:
    return MessageInvalid("This is no checkpoint of a log.")
