"""A small list against a published set (:mod:`fusion.alignment.published`): the asker's side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.alignment import controls, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import POINT, TAG
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import MASK_AT_ONCE
from fusion.alignment.values import check, opened, points_of, value_of
from fusion.crypto.ristretto.group import Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.alignment.session import Maskers
    from fusion.alignment.values import SetTerms


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
        check(head, self.terms, owner, self.taken)
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
        check(head, terms, terms.owner, self.taken)
        if not isinstance(head, messages.Evaluated):
            raise broken(Broken.UNEXPECTED, terms.owner)
        first = self._answer.count
        self._answer.take(head.first, body, terms.chunk)
        if self._answer.complete and lists.has_twins(bytes(self._answer.data), POINT):
            raise broken(Broken.DUPLICATE, terms.owner)
        points = lists.multiplied(self._unblind.multiply, body, terms.owner)
        salt = bytes.fromhex(terms.digest)
        for at, point in enumerate(points_of(points), first):
            value = value_of(salt, point)
            sealed = self._known.look_up(value[:TAG])
            if sealed is not None:
                text = opened(salt, value, sealed, terms.owner) if terms.sealed else b""
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
