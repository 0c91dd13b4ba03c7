"""A descriptor in its owner's envelope, and the federation's descriptors in one document.

A descriptor is believed when the roster's key of the very organisation that it names as owner has
signed it. A newer revision takes the place of an older one and never the other way round, so that
nobody can bring back what an owner has withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor, descriptor_of
from fusion.errors import MessageInvalid, Refused, SignatureInvalid
from fusion.wire import canonical, envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fusion.crypto.signing import SigningKey, VerifyKey

TYPE: Final = "application/vnd.fusion.dataset/1+json"
COLLECTION: Final = "fusion.catalogue/1"
MAX_SIGNED_BYTES: Final = 2 * MAX_DESCRIPTOR_BYTES
MAX_DATASETS_A_MEMBER: Final = 200
MAX_COLLECTION_BYTES: Final = 16 * 1024 * 1024
"""All descriptors of a federation in one document: some thousand of usual size."""


_FRAME_BYTES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDescriptor:
    """A descriptor whose signature was verified; made by :func:`open_descriptor` alone.

    Attributes:
        descriptor: The document.
        envelope: The bytes it was read from.
    """

    descriptor: Descriptor
    envelope: bytes


def sign_descriptor(descriptor: Descriptor, key: SigningKey) -> bytes:
    """Return a descriptor in an envelope with its owner's signature."""
    return envelope.sign(descriptor.document(), TYPE, key, descriptor.owner)


def open_descriptor(data: bytes, keys: Mapping[str, VerifyKey]) -> SignedDescriptor:
    """Verify a descriptor and return it.

    Args:
        data: The envelope.
        keys: The members' statement keys.

    Raises:
        UnknownOrganisation: Signed by somebody who is not among them.
        SignatureInvalid: The signature does not verify, or is another's than the owner's.
        MessageInvalid: Not a descriptor that keeps every rule.
    """
    signer, payload = envelope.open_signed(data, TYPE, keys, MAX_SIGNED_BYTES)
    descriptor = descriptor_of(canonical.encode(payload))
    if descriptor.owner != signer:
        raise SignatureInvalid("A descriptor is signed by another organisation than its owner.")
    return SignedDescriptor(descriptor=descriptor, envelope=data)


def check_published(descriptor: Descriptor) -> None:
    """Return if a descriptor may leave its owner.

    Raises:
        Refused: It is about core data.
    """
    if descriptor.level == "core":
        raise Refused(
            f"{descriptor.name} is core data: not even its descriptor leaves its owner.",
            hint="GB/T 43697 and the rules for core data: outside of this federation's scope.",
        )


def check_newer(known: SignedDescriptor | None, offered: SignedDescriptor) -> bool:
    """Return whether an offered descriptor is to take the place of the known one.

    Raises:
        Refused: It is older.
        MessageInvalid: It is another document with the same revision.
    """
    if known is None:
        return True
    before, after = known.descriptor, offered.descriptor
    if after.revision < before.revision:
        raise Refused(
            f"Revision {after.revision} of {after.name} is older than {before.revision}, which is "
            "known here.",
            hint="Ask its owner for the newest: fusion data publish.",
        )
    if after.revision > before.revision:
        return True
    if before != after:
        raise MessageInvalid(f"Two descriptors of {after.name} have the revision {after.revision}.")
    return False


def collection(envelopes: Iterable[bytes]) -> bytes:
    """Return signed descriptors as one document, in the order given.

    Raises:
        MessageInvalid: They are larger than a collection may be.
    """
    texts = [data.decode("ascii") for data in envelopes]
    data = canonical.encode({"schema": COLLECTION, "descriptors": texts})
    if len(data) > MAX_COLLECTION_BYTES:
        raise MessageInvalid(
            f"A catalogue has {len(data)} bytes; {MAX_COLLECTION_BYTES} is the limit."
        )
    return data


def collected_size(sizes: Iterable[int]) -> int:
    """Return at most how many bytes a collection of envelopes of these sizes takes.

    An envelope is text with a fixed number of quotes, each of which is escaped in it.
    """
    return _FRAME_BYTES + sum(size + _FRAME_BYTES for size in sizes)


def descriptors_in(data: bytes) -> list[bytes]:
    """Return the envelopes of a collection; nothing in them is believed yet.

    Raises:
        MessageInvalid: Too large, or not a collection.
    """
    document: Any = canonical.decode(data, MAX_COLLECTION_BYTES)
    match document:
        case {"schema": "fusion.catalogue/1", "descriptors": list(texts), **rest} if not rest:
            pass
        case _:
            raise MessageInvalid("A message is not a catalogue.")
    if not all(isinstance(text, str) for text in texts):
        raise MessageInvalid("A catalogue holds something that is no descriptor.")
    return [text.encode("utf-8") for text in texts]


def is_collection(data: bytes) -> bool:
    """Return whether bytes say that they are a collection; nothing of them is verified.

    Raises:
        MessageInvalid: They are no canonical JSON.
    """
    document = canonical.decode(data, MAX_COLLECTION_BYTES)
    return isinstance(document, dict) and document.get("schema") == COLLECTION
