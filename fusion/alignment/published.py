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

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusion.alignment import kept, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import POINT, TAG
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import MASK_AT_ONCE
from fusion.alignment.values import SetTerms, check, points_of, sealed, value_of
from fusion.crypto.ristretto.group import Scalar
from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.alignment.session import Maskers
    from fusion.crypto.ristretto.group import Masker


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
            for index, point in enumerate(points_of(masked), at):
                value = value_of(salt, point)
                text = attached[index] if attached is not None else None
                made.append(value[:TAG] + sealed(terms, salt, value, text))
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
    def opened(cls, terms: SetTerms, data: bytes, key: bytes) -> PublishedSet:
        """Return a set that was kept.

        Raises:
            AlignmentBroken: A-68: it does not open, or is of another epoch.
        """
        facts, (scalar, entries) = kept.open_sealed(key, terms.digest, terms.owner, data)
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
        check(head, self._terms, self._asker, self._taken)
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
