"""Time stamps of checkpoints by an outside authority (RFC 3161), asked for and verified.

What is stamped is the signed text of a checkpoint: origin, size and root. So every entry up to that
size existed at the stamped time, whatever the clocks of the federation say. A closed network writes
the request to a file, carries it to the authority, and brings the response back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from cryptography import x509

from fusion.errors import (
    EnvironmentUnfit,
    InputInvalid,
    LedgerBroken,
    MessageInvalid,
    PartyUnreachable,
    SignatureInvalid,
)
from fusion.ledger import entry as entries
from fusion.ledger.checkpoint import Checkpoint
from fusion.ledger.entry import decode
from fusion.ledger.log_keys import origin_of
from fusion.ledger.merkle import roots_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.ledger.bundle import Bundle
    from fusion.services.ledger import Book

MAX_RESPONSE_BYTES: Final = 64 * 1024
_MAX_CERTIFICATES_BYTES: Final = 1024 * 1024
_SECONDS: Final = 30.0
_KIND: Final = b'"kind":"checkpoint-stamped"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A time stamp.

    Attributes:
        size: Entries of the log that it is about.
        root: Root of their tree.
        at: The time, RFC 3339 in UTC.
        verified: Whether it was verified against an authority that the caller knows.
    """

    size: int
    root: bytes
    at: str
    verified: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "size": self.size,
            "root": self.root.hex(),
            "at": self.at,
            "verified": self.verified,
        }


def certificates(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a time stamp authority, PEM.

    Raises:
        InputInvalid: The file can't be read, or holds none.
    """
    try:
        data = path.read_bytes()[: _MAX_CERTIFICATES_BYTES + 1]
        if len(data) <= _MAX_CERTIFICATES_BYTES:
            return x509.load_pem_x509_certificates(data)
    except OSError as error:
        raise InputInvalid(f"{path} can't be read: {error.strerror}.") from error
    except ValueError:
        pass
    raise InputInvalid(f"{path} holds no certificates in PEM.")


def request(book: Book) -> tuple[Checkpoint, bytes]:
    """Return the log's newest checkpoint, and the request to stamp it.

    Raises:
        EnvironmentUnfit: ``rfc3161-client`` is not installed, or the node is not admitted yet.
    """
    client = _client()
    head = book.head(book.see_roster())
    built = client.TimestampRequestBuilder().data(head.text())
    return head, bytes(built.hash_algorithm(client.HashAlgorithm.SHA256).build().as_bytes())


def ask(url: str, query: bytes) -> bytes:
    """Send a request to an authority; return what it answers.

    Raises:
        InputInvalid: It is no URL of the web.
        PartyUnreachable: The authority does not answer as it should.
    """
    if not url.startswith(("https://", "http://")):
        raise InputInvalid(f"{url[:200]!r} is no address of a time stamp authority.")
    headers = {"Content-Type": "application/timestamp-query"}
    try:
        with httpx.stream(
            "POST", url, content=query, headers=headers, timeout=_SECONDS, trust_env=False
        ) as answer:
            data = b""
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > MAX_RESPONSE_BYTES:
                    break
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PartyUnreachable(
            f"The time stamp authority does not answer: {type(error).__name__}.",
            hint="Where this machine has no way out, use --request and --response.",
        ) from None
    if status != httpx.codes.OK:
        raise PartyUnreachable(f"The time stamp authority answers with HTTP {status}.")
    return data


def keep(book: Book, response: bytes, roots: Sequence[x509.Certificate]) -> Stamp:
    """Verify a response and log it: it has to be about a checkpoint of this log.

    Args:
        book: The log.
        response: As the authority gave it.
        roots: Its certificates; none if they are not known, so that only what it says is read.

    Raises:
        SignatureInvalid: It is not signed by the authority.
        MessageInvalid: It is none, or about something else.
    """
    roster = book.see_roster()
    origin = book.keys(roster).origin
    # Any kept checkpoint may be the one: the log has grown since the request was written.
    for size in sorted(book.ledger.heads(), reverse=True):
        head = Checkpoint(origin=origin, size=size, root=book.ledger.root(size))
        if hashlib.sha256(head.text()).digest() == _imprint(response):
            break
    else:
        raise MessageInvalid(
            "The response is about no checkpoint of this log.",
            hint="It has to answer a request that was made from this folder.",
        )
    stamp = _verified(head, response, roots)
    document = base64.b64encode(response)
    digest = hashlib.sha256(document).hexdigest()
    entry = entries.CheckpointStamped(
        at=book.now(), size=head.size, root=head.root.hex(), stamp=digest
    )
    book.once(f"stamp:{digest}", entry, (document,))
    return stamp


def stamps_of(bundle: Bundle, roots: Sequence[x509.Certificate]) -> list[Stamp]:
    """Verify the time stamps in a bundle whose tree was verified.

    Args:
        bundle: The bundle.
        roots: Certificates of the authority; none to only read what the stamps say.

    Raises:
        LedgerBroken: A stamp is missing, or about another history; its entry.
        SignatureInvalid: A stamp is not signed by the authority.
    """
    found = [(number, decode(data)) for number, data in enumerate(bundle.entries) if _KIND in data]
    stamped = [(n, e) for n, e in found if isinstance(e, entries.CheckpointStamped)]
    computed = roots_of(bundle.leaves, {entry.size for _, entry in stamped})
    stamps = []
    for number, entry in stamped:
        root, document = computed.get(entry.size), bundle.attachments.get(entry.stamp, b"")
        if root is None or root.hex() != entry.root or entry.size > number:
            msg = f"Entry {number} is about a stamp of another history of this log."
            raise LedgerBroken(msg, index=number)
        if hashlib.sha256(document).hexdigest() != entry.stamp:
            msg = f"The bundle lacks the time stamp that entry {number} names."
            raise LedgerBroken(msg, index=number)
        origin = origin_of(bundle.federation, bundle.organisation)
        head = Checkpoint(origin=origin, size=entry.size, root=root)
        try:
            stamps.append(_verified(head, base64.b64decode(document, validate=True), roots))
        except (binascii.Error, MessageInvalid):
            msg = f"What entry {number} names is no time stamp of its checkpoint."
            raise LedgerBroken(msg, index=number) from None
    return stamps


def _verified(head: Checkpoint, response: bytes, roots: Sequence[x509.Certificate]) -> Stamp:
    """Return what a response says of a checkpoint.

    Raises:
        SignatureInvalid: It is not signed by the authority.
        MessageInvalid: It is about something else.
    """
    client = _client()
    decoded = _decoded(client, response)
    digest = hashlib.sha256(head.text()).digest()
    if bytes(decoded.tst_info.message_imprint.message) != digest:
        raise MessageInvalid("A time stamp is about something else than this checkpoint.")
    if roots:
        builder = client.VerifierBuilder(roots=list(roots))
        try:
            builder.build().verify(decoded, digest)
        except (client.VerificationError, ValueError) as error:
            raise SignatureInvalid(
                f"The time stamp of {head.size} entries does not verify: {error}.",
                hint="Is it the certificate of this authority, and was it valid then?",
            ) from None
    at = decoded.tst_info.gen_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Stamp(size=head.size, root=head.root, at=at, verified=bool(roots))


def _imprint(response: bytes) -> bytes:
    return bytes(_decoded(_client(), response).tst_info.message_imprint.message)


def _decoded(client: Any, response: bytes) -> Any:  # noqa: ANN401 - the module, and its response
    if len(response) > MAX_RESPONSE_BYTES:
        raise MessageInvalid("A time stamp is too large.")
    try:
        decoded = client.decode_timestamp_response(response)
        granted = client.PKIStatus(decoded.status) == client.PKIStatus.GRANTED
    except (ValueError, KeyError):
        raise MessageInvalid("This is no time stamp response (RFC 3161).") from None
    if not granted:
        raise MessageInvalid("The authority did not grant the time stamp.")
    return decoded


def _client() -> Any:  # noqa: ANN401 - the module
    try:
        import rfc3161_client  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise EnvironmentUnfit(
            "Time stamps need rfc3161-client, which is not installed.",
            hint='Install it: pip install "banyan-fusion[timestamps]".',
        ) from None
    return rfc3161_client
