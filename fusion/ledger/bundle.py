"""An exported log as one file: what an auditor needs, and nothing else.

Four kinds of lines. The first is a header: whose log, rosters, statements of log keys,
checkpoints. The second holds the hashes of all entries, so that a changed one is found by its
number. The third holds the documents that entries name by their SHA-256: grants, revocations,
requests. Every further line is an entry, exactly as it was logged: canonical JSON has no line
breaks.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion.errors import LedgerBroken, MessageInvalid
from fusion.ledger.entry import MAX_ENTRY_BYTES
from fusion.ledger.fields import Hex, Organisation
from fusion.ledger.merkle import HASH_BYTES
from fusion.wire import canonical
from fusion.wire.limits import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_BUNDLE_ENTRIES: Final = 20_000_000
MAX_BUNDLE_BYTES: Final = 1 << 34
MAX_ATTACHMENTS_BYTES: Final = 1 << 28
_SCHEMA: Final = "banyan.ledger-bundle/2"


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    schema_: Literal["banyan.ledger-bundle/2"] = Field(alias="schema")
    federation: Organisation
    organisation: Organisation
    authority: Hex
    rosters: Annotated[list[str], Field(max_length=4096)]
    keys: Annotated[list[Annotated[str, Field(max_length=16384)]], Field(max_length=4096)]
    checkpoints: Annotated[list[Annotated[str, Field(max_length=65536)]], Field(max_length=4096)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An exported log; nothing in it is believed before :func:`fusion.ledger.verify.audit`.

    Attributes:
        federation: Whose federation.
        organisation: Whose log; ``hub`` for the data authority's.
        authority: Who signed the rosters, as the bundle says: the auditor should know better.
        rosters: Signed rosters that the log speaks of, by epoch.
        keys: Signed statements of log keys, of the log and of its witnesses.
        checkpoints: Notes, smallest first.
        leaves: Hash of each entry, as it was logged.
        entries: The entries.
        attachments: Documents that entries name, by their SHA-256.
    """

    federation: str
    organisation: str
    authority: str
    rosters: tuple[bytes, ...]
    keys: tuple[bytes, ...]
    checkpoints: tuple[bytes, ...]
    leaves: Sequence[bytes]
    entries: Sequence[bytes]
    attachments: Mapping[str, bytes] = field(default_factory=dict)


def lines_of(bundle: Bundle) -> Iterator[bytes]:
    """Yield the lines of a bundle's file, each with its end.

    Raises:
        MessageInvalid: The header is larger than a reader would take.
    """
    header = canonical.encode(
        {
            "schema": _SCHEMA,
            "federation": bundle.federation,
            "organisation": bundle.organisation,
            "authority": bundle.authority,
            "rosters": [data.decode() for data in bundle.rosters],
            "keys": [data.decode() for data in bundle.keys],
            "checkpoints": [note.decode() for note in bundle.checkpoints],
        }
    )
    if len(header) > MAX_DOCUMENT_BYTES:
        raise MessageInvalid("A bundle's rosters, keys and checkpoints are too large to be read.")
    yield header + b"\n"
    yield base64.b64encode(b"".join(bundle.leaves)) + b"\n"
    yield canonical.encode({k: v.decode() for k, v in bundle.attachments.items()}) + b"\n"
    for entry in bundle.entries:
        yield entry + b"\n"


def read(lines: Iterable[bytes]) -> Bundle:
    """Read a bundle, line by line.

    Raises:
        MessageInvalid: It is no bundle, or larger than one may be.
        LedgerBroken: It ends within an entry.
    """
    source = iter(lines)
    header = _header(_line(next(source, b""), MAX_DOCUMENT_BYTES))
    leaves = _leaves(_line(next(source, b""), MAX_BUNDLE_ENTRIES * 44))
    attachments = _attachments(_line(next(source, b""), MAX_ATTACHMENTS_BYTES))
    entries: list[bytes] = []
    for line in source:
        if not line.endswith(b"\n"):
            message = f"The bundle is cut short within entry {len(entries)}."
            raise LedgerBroken(message, index=len(entries))
        entries.append(_line(line, MAX_ENTRY_BYTES))
        if len(entries) > MAX_BUNDLE_ENTRIES:
            raise MessageInvalid(f"A bundle has more than {MAX_BUNDLE_ENTRIES} entries.")
    return Bundle(
        federation=header.federation,
        organisation=header.organisation,
        authority=header.authority,
        rosters=tuple(text.encode() for text in header.rosters),
        keys=tuple(text.encode() for text in header.keys),
        checkpoints=tuple(text.encode() for text in header.checkpoints),
        leaves=leaves,
        entries=entries,
        attachments=attachments,
    )


def _line(line: bytes, limit: int) -> bytes:
    if not line.endswith(b"\n") or len(line) > limit + 1:
        raise MessageInvalid("A line of a bundle is cut short or too long.")
    return line[:-1]


def _header(line: bytes) -> _Header:
    try:
        return _Header.model_validate(canonical.decode(line))
    except ValidationError:
        raise MessageInvalid("This is no bundle of a log.") from None


def _attachments(line: bytes) -> dict[str, bytes]:
    document = canonical.decode(line, MAX_ATTACHMENTS_BYTES)
    if not isinstance(document, dict) or not all(isinstance(v, str) for v in document.values()):
        raise MessageInvalid("A bundle's attachments are not documents.")
    return {name: text.encode() for name, text in document.items()}


def _leaves(line: bytes) -> list[bytes]:
    try:
        data = base64.b64decode(line, validate=True)
    except binascii.Error:
        data = b"?"
    if len(data) % HASH_BYTES:
        raise MessageInvalid("A bundle's hashes are not hashes.")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
