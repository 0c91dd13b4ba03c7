"""A small list against a large set that its owner has published once: and what is attached to it.

An oblivious pseudorandom function as in RFC 9497 (its mode without proofs): the owner's key is a
scalar, of one epoch; the value of an item is a key derivation (HKDF-SHA512, RFC 5869) of its point
times that scalar. The owner publishes, sorted, the first 16 bytes of every value, and sealed under
the other 32 what is attached to the item. Who asks blinds its items with a scalar of its own, has
them multiplied, takes the blinding away, and looks the values up: it learns which of its items are
in the set, and what is attached to those. The owner learns how many items were asked. The set is
masked once an epoch; a question costs two multiplications an item at the asker, one at the owner.

**Whoever may ask can test any identifier, as often as it has evaluations left** (A-18): the count
is the control, and an epoch ends when the set changes.
"""

from __future__ import annotations

import hmac
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import Field, model_validator

from fusion.alignment import controls, kept, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import MAX_BODY_BYTES, MAX_PAYLOAD, POINT, SEAL, TAG
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import MASK_AT_ONCE
from fusion.alignment.terms import MAX_CHUNK, MAX_ITEMS, Compared, Organisation
from fusion.crypto.ristretto.group import Scalar
from fusion.errors import FusionError
from fusion.wire.documents import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.alignment.messages import Head
    from fusion.alignment.session import Maskers
    from fusion.crypto.ristretto.group import Masker

_INFO: Final = b"banyan alignment 1, value of an item\x01"
_KEY_END: Final = TAG + 32
_NONCE: Final = bytes(12)
"""One key seals one text: it is derived from an item and a scalar that is fresh for each epoch."""


class SetTerms(Document):
    """Of a published set.

    Attributes:
        field: What is compared; its ``job`` names the epoch.
        owner: Whose set it is.
        set_size: Most items of the set.
        asked: Most items that one asker may have evaluated in the epoch.
        payload: Most bytes attached to an item; 0: nothing is.
        minimum_intersection: Fewer common records than this are not released to the asker.
        chunk: Items of a message.
    """

    schema_: Literal["fusion.alignment-set/1"] = Field(
        default="fusion.alignment-set/1", alias="schema"
    )
    field: Compared
    owner: Organisation
    set_size: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    asked: Annotated[int, Field(ge=1, le=MAX_ITEMS)]
    payload: Annotated[int, Field(ge=0, le=MAX_PAYLOAD)] = 0
    minimum_intersection: Annotated[int, Field(ge=0, le=MAX_ITEMS)] = 0
    chunk: Annotated[int, Field(ge=1, le=MAX_CHUNK)] = 2048

    @model_validator(mode="after")
    def _carried(self) -> SetTerms:
        if self.chunk * (TAG + self.sealed) > MAX_BODY_BYTES:
            raise ValueError(
                f"a message would have more than {MAX_BODY_BYTES} bytes: a smaller chunk"
            )
        return self

    @property
    def sealed(self) -> int:
        """Bytes of what is attached to an item, sealed."""
        return self.payload + SEAL if self.payload else 0


def _value(terms: bytes, point: bytes) -> bytes:
    """HKDF-SHA512 with the digest of the terms as salt, one block: 16 bytes of tag, 32 of key."""
    return hmac.digest(hmac.digest(terms, point, "sha512"), _INFO, "sha512")[:_KEY_END]


def _points(data: bytes) -> Sequence[bytes]:
    return [data[at : at + POINT] for at in range(0, len(data), POINT)]


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A set, masked once for an epoch, and the scalar that it was masked with.

    Attributes:
        terms: Of the set.
        entries: Tags, each with what is attached, sealed; sorted.
        commitment: To the entries; for the ledger.
    """

    terms: SetTerms
    entries: bytes
    commitment: str
    scalar: Scalar = field(repr=False)

    @classmethod
    def make(
        cls,
        terms: SetTerms,
        keys: Sequence[str],
        open_masker: Maskers,
        attached: Sequence[bytes] | None = None,
    ) -> PublishedSet:
        """Mask a set with a scalar of this epoch.

        Args:
            terms: Of the set.
            keys: The set, each key once.
            open_masker: Puts the scalar to work.
            attached: What goes with each key, if the terms have a payload.

        Raises:
            AlignmentRefused: A-11: the set is too large. A-17: it is empty.
            AlignmentBroken: A-61: a key is twice in it. A-65: what is attached does not fit.
        """
        if not keys:
            raise refused(Decided.EMPTY)
        if len(keys) > terms.set_size:
            raise refused(Decided.OWN_SIZE)
        if (attached is None) != (terms.payload == 0) or (
            attached is not None
            and (len(attached) != len(keys) or max(map(len, attached)) > terms.payload)
        ):
            raise broken(Broken.PAYLOAD, terms.owner)
        scalar, salt = Scalar.fresh(), bytes.fromhex(terms.digest)
        masker = open_masker(Scalar(scalar.held))
        made: list[bytes] = []
        for at in range(0, len(keys), MASK_AT_ONCE):
            masked = masker.mask(terms.field.digests(keys[at : at + MASK_AT_ONCE]))
            for index, point in enumerate(_points(masked), at):
                value = _value(salt, point)
                text = attached[index] if attached is not None else None
                made.append(value[:TAG] + _sealed(terms, salt, value, text))
        masker.close()
        made.sort()
        if any(one[:TAG] == other[:TAG] for one, other in itertools.pairwise(made)):
            raise broken(Broken.DUPLICATE, terms.owner)
        entries = b"".join(made)
        committed = lists.commitment(terms.digest, terms.owner, entries)
        return cls(terms, entries, committed, scalar)

    def keep(self, key: bytes) -> bytes:
        """Return the set with its scalar, sealed with a key of 32 bytes that nobody else has."""
        facts = {"commitment": self.commitment}
        arrays = (bytes(self.scalar.held), self.entries)
        return kept.seal(key, self.terms.digest, self.terms.owner, facts, arrays)

    @classmethod
    def opened(cls, terms: SetTerms, sealed: bytes, key: bytes) -> PublishedSet:
        """Return a set that was kept.

        Raises:
            AlignmentBroken: A-68: it does not open, or is of another epoch.
        """
        facts, (scalar, entries) = kept.open_sealed(key, terms.digest, terms.owner, sealed)
        return cls(terms, entries, facts["commitment"], Scalar(scalar))

    @property
    def total(self) -> int:
        """Items of the set."""
        return len(self.entries) // (TAG + self.terms.sealed)

    @property
    def parts(self) -> int:
        """Messages that carry the set."""
        return -(-self.total // self.terms.chunk)

    def message(self, number: int) -> bytes:
        """Return a message of the set; the same for everybody who may ask."""
        width, chunk = TAG + self.terms.sealed, self.terms.chunk
        body = self.entries[number * chunk * width : (number + 1) * chunk * width]
        if number < 0 or not body:
            raise broken(Broken.UNEXPECTED)
        head = messages.Published(
            terms=self.terms.digest,
            sender=self.terms.owner,
            number=number,
            total=self.total,
            sealed=self.terms.sealed,
            commitment=self.commitment,
            first=number * chunk,
            count=len(body) // width,
        )
        return messages.to_bytes(head, body)


def _sealed(terms: SetTerms, salt: bytes, value: bytes, text: bytes | None) -> bytes:
    if text is None:
        return b""
    plain = len(text).to_bytes(2, "big") + text.ljust(terms.payload, b"\0")
    return ChaCha20Poly1305(value[TAG:]).encrypt(_NONCE, plain, salt + value[:TAG])


def _opened(salt: bytes, value: bytes, sealed: bytes, who: str) -> bytes:
    try:
        plain = ChaCha20Poly1305(value[TAG:]).decrypt(_NONCE, sealed, salt + value[:TAG])
    except InvalidTag:
        raise broken(Broken.PAYLOAD, who) from None
    length = int.from_bytes(plain[:2], "big")
    if length > len(plain) - 2:
        raise broken(Broken.PAYLOAD, who)
    return plain[2 : 2 + length]


def _check(head: Head, terms: SetTerms, sender: str, number: int) -> None:
    """Hold a head to the terms, the sender and the number that it has to have.

    Raises:
        AlignmentBroken: It has others. Another epoch's terms are other terms.
    """
    if head.terms != terms.digest:
        raise broken(Broken.EPOCH, sender)
    if head.sender != sender:
        raise broken(Broken.SENDER, sender)
    if head.number != number:
        raise broken(Broken.TWICE if head.number < number else Broken.ORDER, sender)


class Evaluator:
    """The owner's side towards one asker.

    Attributes:
        left: Items that it may still have evaluated in this epoch; for the owner's store.
    """

    def __init__(
        self, published: PublishedSet, asker: str, open_masker: Maskers, *, left: int | None = None
    ) -> None:
        """Serve one question of one asker.

        Args:
            published: The set.
            asker: Who asks, as the connection has proved.
            open_masker: Puts the scalar to work.
            left: What is left of its evaluations, if it has asked before.
        """
        self.left = published.terms.asked if left is None else left
        self._terms = published.terms
        self._asker = asker
        self._masker: Masker = open_masker(Scalar(published.scalar.held))
        self._arriving: Arriving | None = None
        self._taken = 0
        self._failed = False

    def take(self, data: bytes) -> bytes:
        """Return the answer to a message of the asker.

        Raises:
            AlignmentRefused: A-18: it has asked as much as it may.
            AlignmentBroken: The message breaks a rule. The question is over after either.
        """
        if self._failed:
            raise broken(Broken.OVER, self._asker)
        try:
            return self._take(data)
        except FusionError:
            self._failed = True
            self.close()
            raise

    def _take(self, data: bytes) -> bytes:
        head, body = messages.read(data)
        _check(head, self._terms, self._asker, self._taken)
        if not isinstance(head, messages.Asked):
            raise broken(Broken.UNEXPECTED, self._asker)
        if self._arriving is None:
            if head.total > self.left:
                raise refused(Decided.EVALUATIONS)
            self.left -= head.total
            self._arriving = Arriving(head.total, POINT, self._asker)
        if head.total != self._arriving.total:
            raise broken(Broken.TOO_MANY, self._asker)
        self._arriving.take(head.first, body, self._terms.chunk, ascending=True)
        evaluated = lists.multiplied(self._masker.multiply, body, self._asker)
        answer = messages.Evaluated(
            terms=head.terms,
            sender=self._terms.owner,
            number=self._taken,
            first=head.first,
            count=head.count,
        )
        self._taken += 1
        return messages.to_bytes(answer, evaluated)

    def close(self) -> None:
        """Overwrite the copy of the scalar that this question had."""
        self._masker.close()


class SetReader:
    """A published set as an asker takes it in, once an epoch.

    Attributes:
        terms: Of the set.
        taken: Messages taken.
    """

    def __init__(self, terms: SetTerms) -> None:
        """Start with nothing."""
        self.terms = terms
        self.taken = 0
        self._arriving: Arriving | None = None
        self._committed = ""
        self._failed = False
        self._found: dict[bytes, bytes] = {}

    def take(self, data: bytes) -> None:
        """Take the next message of the set.

        Raises:
            AlignmentRefused: A-12: the set is larger than the terms allow.
            AlignmentBroken: The message breaks a rule. The set is not read further after either.
        """
        if self._failed:
            raise broken(Broken.OVER, self.terms.owner)
        self._failed = True  # unless it comes to its end
        self._take(data)
        self._failed = False

    def _take(self, data: bytes) -> None:
        head, body = messages.read(data)
        owner, width = self.terms.owner, TAG + self.terms.sealed
        _check(head, self.terms, owner, self.taken)
        if not isinstance(head, messages.Published) or self.complete:
            raise broken(Broken.UNEXPECTED, owner)
        if self._arriving is None:
            if head.total > self.terms.set_size:
                raise refused(Decided.PEER_SIZE)
            self._arriving = Arriving(head.total, width, owner)
            self._committed = head.commitment
        if (head.total, head.sealed, head.commitment) != (
            self._arriving.total,
            self.terms.sealed,
            self._committed,
        ):
            raise broken(Broken.COMMITMENT, owner)
        self._arriving.take(head.first, body, self.terms.chunk, ascending=True)
        if self._arriving.complete:
            self._finish(bytes(self._arriving.data), width)
        self.taken += 1

    def _finish(self, entries: bytes, width: int) -> None:
        owner = self.terms.owner
        if lists.commitment(self.terms.digest, owner, entries) != self._committed:
            raise broken(Broken.COMMITMENT, owner)
        parts = (entries[at : at + width] for at in range(0, len(entries), width))
        self._found = {part[:TAG]: part[TAG:] for part in parts}
        if len(self._found) != len(entries) // width:
            raise broken(Broken.DUPLICATE, owner)

    @property
    def complete(self) -> bool:
        """Whether the whole set was taken."""
        return bool(self._found)

    def look_up(self, tag: bytes) -> bytes | None:
        """Return what is attached to a tag, sealed; None if the set does not have it."""
        return self._found.get(tag)


class Asker:
    """The other side: a list of one's own against a published set.

    Attributes:
        taken: Answers taken.
    """

    def __init__(
        self, known: SetReader, me: str, keys: Sequence[str], open_masker: Maskers
    ) -> None:
        """Blind a list with a scalar of this question.

        Raises:
            AlignmentRefused: A-11: the list is larger than an asker's may be. A-17: it is empty.
            AlignmentBroken: A-57: the set was not taken to its end.
        """
        terms = known.terms
        if not known.complete:
            raise broken(Broken.TOO_FEW, terms.owner)
        if not keys:
            raise refused(Decided.EMPTY)
        if len(keys) > terms.asked:
            raise refused(Decided.OWN_SIZE)
        blind = Scalar.fresh()
        self._unblind = open_masker(blind.inverse())
        masker = open_masker(blind)
        blinded = b"".join(
            masker.mask(terms.field.digests(keys[at : at + MASK_AT_ONCE]))
            for at in range(0, len(keys), MASK_AT_ONCE)
        )
        masker.close()
        # The owner sees random points in the order of what they look like, not of the list.
        self._order = lists.order_of(blinded, POINT)
        self._blinded = lists.reordered(blinded, POINT, self._order)
        self._known = known
        self._me = me
        self._answer = Arriving(len(keys), POINT, terms.owner)
        self.taken = 0
        self._failed = False
        self._attached: dict[int, bytes] = {}

    @property
    def parts(self) -> int:
        """Messages of the question."""
        return -(-self._answer.total // self._known.terms.chunk)

    def message(self, number: int) -> bytes:
        """Return a part of the question; asked again, the same bytes."""
        terms = self._known.terms
        at = number * terms.chunk
        body = self._blinded[at * POINT : (at + terms.chunk) * POINT]
        if number < 0 or not body:
            raise broken(Broken.UNEXPECTED)
        head = messages.Asked(
            terms=terms.digest,
            sender=self._me,
            number=number,
            total=self._answer.total,
            first=at,
            count=len(body) // POINT,
        )
        return messages.to_bytes(head, body)

    def take(self, data: bytes) -> None:
        """Take the answer to the next part.

        Raises:
            AlignmentBroken: It breaks a rule, or what is attached to a common record does not open.
                The question is over then.
        """
        if self._failed:
            raise broken(Broken.OVER, self._known.terms.owner)
        self._failed = True  # unless it comes to its end
        self._take(data)
        self._failed = False
        if self._answer.complete:
            self._unblind.close()

    def _take(self, data: bytes) -> None:
        head, body = messages.read(data)
        terms = self._known.terms
        _check(head, terms, terms.owner, self.taken)
        if not isinstance(head, messages.Evaluated):
            raise broken(Broken.UNEXPECTED, terms.owner)
        first = self._answer.count
        self._answer.take(head.first, body, terms.chunk)
        if self._answer.complete and lists.has_twins(bytes(self._answer.data), POINT):
            raise broken(Broken.DUPLICATE, terms.owner)
        points = lists.multiplied(self._unblind.multiply, body, terms.owner)
        salt = bytes.fromhex(terms.digest)
        for at, point in enumerate(_points(points), first):
            value = _value(salt, point)
            sealed = self._known.look_up(value[:TAG])
            if sealed is not None:
                text = _opened(salt, value, sealed, terms.owner) if terms.sealed else b""
                self._attached[int(self._order[at])] = text
        self.taken += 1

    def outcome(self) -> dict[int, bytes]:
        """Return what is attached to each common item, by its place in the own list.

        Raises:
            AlignmentRefused: A-14: there are fewer than the terms release.
            AlignmentBroken: A-57: an answer is missing.
        """
        if self._failed or not self._answer.complete:
            raise broken(Broken.TOO_FEW, self._known.terms.owner)
        controls.enough(self._known.terms.minimum_intersection, len(self._attached))
        return dict(sorted(self._attached.items()))
