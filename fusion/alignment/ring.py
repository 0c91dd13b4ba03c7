"""Three and more parties: every list passes every party, and the first of the terms learns.

Each party masks its list, sorts it and hands it to the next of the terms, which masks and sorts it
in turn: sorting by masked bytes shuffles. Masked by all, a list goes to the receiver, who finds
what is in every one of them. Its own list comes back in the order in which it sent it, unless it is
to learn a number alone. For k parties of n items that is k * k * n multiplications.

**What the receiver sees beyond the output**: how many records any of the lists have in common (of
two of them, of three, ...), since lists masked by all can be compared with each other. Each party
sees the size of the lists that pass it. A receiver and a party that collude can compare any two
lists that have passed both. See ``docs/claims/alignment.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusion.alignment import controls, kept, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import POINT
from fusion.alignment.rules import Broken, Decided, broken, refused
from fusion.alignment.session import Outcome, mask_keys
from fusion.crypto.ristretto.group import Scalar
from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fusion.alignment.messages import Lists
    from fusion.alignment.session import Maskers
    from fusion.alignment.terms import Terms


@dataclass(frozen=True, slots=True)
class Leg:
    """A list that one party hands to another.

    Attributes:
        owner: Whose list it is.
        hop: How many parties have masked it.
        sender: Who hands it over.
        recipient: Who gets it.
    """

    owner: str
    hop: int
    sender: str
    recipient: str


def legs(parties: Sequence[str]) -> tuple[Leg, ...]:
    """Return every leg of an alignment; what is not among them is refused."""
    count, receiver = len(parties), parties[0]
    made = []
    for start, owner in enumerate(parties):
        for hop in range(1, count + 1):
            sender = parties[(start + hop - 1) % count]
            recipient = parties[(start + hop) % count] if hop < count else receiver
            if sender != recipient:
                made.append(Leg(owner, hop, sender, recipient))
    return tuple(made)


@dataclass(slots=True)
class _Out:
    """What goes to one party, in the order in which it was ready."""

    ready: list[tuple[Leg, bytes]] = field(default_factory=list)


class Member:
    """One party of a ring.

    Attributes:
        terms: What was agreed on.
        me: This party.
        commitment: To the own masked list; for the ledger.
        taken: Messages taken, by who sent them.
    """

    def __init__(self, terms: Terms, me: str, scalar: Scalar, open_masker: Maskers) -> None:
        """Use :meth:`begin` or :meth:`go_on`."""
        self.terms, self.me = terms, me
        self.commitment = ""
        self._digest = terms.digest
        self._scalar = scalar
        self._masker = open_masker(scalar)
        self._legs = {(leg.owner, leg.hop, leg.sender): leg for leg in legs(terms.parties)}
        self.taken = {leg.sender: 0 for leg in self._legs.values() if leg.recipient == me}
        self._out = {leg.recipient: _Out() for leg in self._legs.values() if leg.sender == me}
        self._arriving: dict[Leg, Arriving] = {}
        self._sizes: dict[str, int] = {}
        self._final: dict[str, bytes] = {}
        self._failed = False
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self._own = b""

    # ------------------------------------------------------------------ begin, keep, go on

    @classmethod
    def begin(cls, terms: Terms, me: str, keys: Sequence[str], open_masker: Maskers) -> Member:
        """Draw a scalar for this job and mask the own set with it.

        Raises:
            AlignmentRefused: A-11: the set is larger than the terms allow. A-17: it is empty.
            AlignmentBroken: A-52: ``me`` is no party of the terms, or they are only two.
        """
        if me not in terms.parties or len(terms.parties) < 3:
            raise broken(Broken.SENDER)
        controls.sizes(terms, len(keys), max(1, min(len(keys), terms.set_size)))
        member = cls(terms, me, Scalar.fresh(), open_masker)
        masked = mask_keys(terms, keys, member._masker)
        order = lists.order_of(masked, POINT)
        own = lists.reordered(masked, POINT, order)
        if lists.has_twins(own, POINT):
            member.wipe()
            raise broken(Broken.DUPLICATE, me)
        member._brings(order, own, lists.commitment(member._digest, me, own))
        return member

    def keep(self, key: bytes) -> bytes:
        """Return scalar and own list, sealed; with what was taken it is the whole state.

        Args:
            key: 32 bytes that nobody else has.

        Raises:
            AlignmentBroken: A-67: the alignment has ended.
        """
        self._refuse_late(self.me)
        arrays = (bytes(self._scalar.held), self._order.astype("<u8").tobytes(), self._own)
        return kept.seal(key, self._digest, self.me, {"commitment": self.commitment}, arrays)

    @classmethod
    def go_on(
        cls,
        terms: Terms,
        me: str,
        sealed: bytes,
        key: bytes,
        taken: Iterable[bytes],
        open_masker: Maskers,
    ) -> Member:
        """Return the member whose state was kept, after the messages that it had taken.

        What it hands on is a function of its scalar, its set and what it took: the same again. A
        message that was taken and is not among these may come a second time with other items, and
        would be masked by the same scalar: each has to be kept before its taker says it has it.

        Args:
            terms: Of the job.
            me: The party.
            sealed: As :meth:`keep` gave it.
            key: As it was then.
            taken: Every message that was taken, in that order.
            open_masker: Puts the scalar to work.

        Raises:
            AlignmentBroken: A-68: it does not open, or is of another job or party.
        """
        facts, arrays = kept.open_sealed(key, terms.digest, me, sealed)
        member = cls(terms, me, Scalar(arrays[0]), open_masker)
        member._brings(
            np.frombuffer(arrays[1], "<u8").astype(np.intp), arrays[2], facts["commitment"]
        )
        for data in taken:
            member.take(messages.read(data)[0].sender, data)
        return member

    def _brings(self, order: NDArray[np.intp], own: bytes, commitment: str) -> None:
        self._order, self._own, self.commitment = order, own, commitment
        self._sizes[self.me] = len(own) // POINT
        self._pass_on(self.me, 1, own)

    @property
    def receives(self) -> bool:
        """Whether this party learns."""
        return self.me == self.terms.receiver

    def _sorted(self, owner: str) -> bool:
        """Whether a list is shuffled on its way."""
        return owner != self.terms.receiver or self.terms.outcome == "size"

    # ------------------------------------------------------------------ what leaves

    def recipients(self) -> tuple[str, ...]:
        """Return whom this party sends to."""
        return tuple(self._out)

    def ready(self, recipient: str) -> int:
        """How many messages to a party, counted from the first, may have left by now."""
        return sum(self.terms.chunks(len(body) // POINT) for _, body in self._out[recipient].ready)

    def message(self, recipient: str, number: int) -> bytes:
        """Return a message; asked again, the same bytes.

        Raises:
            AlignmentBroken: A-55: it may not leave yet. A-67: the alignment has failed.
        """
        if self._failed:
            raise broken(Broken.OVER)
        left = number
        for leg, body in self._out[recipient].ready:
            count = self.terms.chunks(len(body) // POINT)
            if 0 <= left < count:
                return self._made(leg, body, number, left)
            left -= count
        raise broken(Broken.UNEXPECTED)

    def _made(self, leg: Leg, body: bytes, number: int, part: int) -> bytes:
        first = part * self.terms.chunk
        items = body[first * POINT : (first + self.terms.chunk) * POINT]
        head = messages.Lists(
            terms=self._digest,
            sender=self.me,
            number=number,
            owner=leg.owner,
            hop=leg.hop,
            total=len(body) // POINT,
            first=first,
            count=len(items) // POINT,
        )
        return messages.to_bytes(head, items)

    def _pass_on(self, owner: str, hop: int, body: bytes) -> None:
        leg = self._legs.get((owner, hop, self.me))
        if leg is not None:
            self._out[leg.recipient].ready.append((leg, body))
        else:  # masked by all, the last of them the receiver itself
            self._final[owner] = body

    # ------------------------------------------------------------------ what comes

    def take(self, sender: str, data: bytes) -> None:
        """Take the next message of a party.

        Args:
            sender: Who it is, as the connection has proved.
            data: The message.

        Raises:
            AlignmentRefused: A list is larger than the terms allow, or too little is common.
            AlignmentBroken: The message breaks a rule; A-58 to A-60: an item is no point that a
                party can have masked. After either the alignment has failed.
        """
        self._refuse_late(sender)
        try:
            self._take(sender, data)
        except FusionError:
            self.wipe()
            raise
        if self.over:
            self._masker.close()
            self._scalar.wipe()

    def _refuse_late(self, sender: str) -> None:
        if self._failed or self.over:
            raise broken(Broken.OVER, sender)

    def _take(self, sender: str, data: bytes) -> None:
        head, body = messages.read(data)
        if head.terms != self._digest:
            raise broken(Broken.TERMS, sender)
        if head.sender != sender or sender not in self.taken:
            raise broken(Broken.SENDER, sender)
        if head.number != self.taken[sender]:
            early = head.number > self.taken[sender]
            raise broken(Broken.ORDER if early else Broken.TWICE, sender)
        if not isinstance(head, messages.Lists):
            raise broken(Broken.UNEXPECTED, sender)
        leg = self._legs.get((head.owner, head.hop, sender))
        if leg is None or leg.recipient != self.me:
            raise broken(Broken.UNEXPECTED, sender)
        self._take_part(leg, head, body)
        self.taken[sender] += 1

    def _take_part(self, leg: Leg, head: Lists, body: bytes) -> None:
        arriving = self._arriving.get(leg)
        if arriving is None:
            self._check_size(leg, head.total)
            arriving = self._arriving[leg] = Arriving(head.total, POINT, leg.sender)
        if head.total != arriving.total:  # of a list that has come it is 0
            raise broken(Broken.TOO_MANY, leg.sender)
        ascending = self._sorted(leg.owner) or leg.hop == 1
        arriving.take(head.first, body, self.terms.chunk, ascending=ascending)
        if leg.hop == len(self.terms.parties):
            # Masked by all, it is compared as it is: no multiplication looks at its points.
            lists.check_points(body, leg.sender)
        if arriving.complete:
            points = bytes(arriving.data)
            if lists.has_twins(points, POINT):
                raise broken(Broken.DUPLICATE, leg.sender)
            arriving.data.clear()
            self._complete(leg, points)
            # What is left of it is that it came: a second one is refused.
            arriving.total = 0

    def _check_size(self, leg: Leg, total: int) -> None:
        if not total:
            raise refused(Decided.EMPTY)
        if total > self.terms.set_size:
            raise refused(Decided.PEER_SIZE)
        known = self._sizes.setdefault(leg.owner, total)
        if known != total:
            raise broken(Broken.TOO_MANY if total > known else Broken.TOO_FEW, leg.sender)

    def _complete(self, leg: Leg, points: bytes) -> None:
        if leg.hop == len(self.terms.parties):
            self._final[leg.owner] = points
            return
        masked = lists.multiplied(self._masker.multiply, points, leg.sender)
        if self._sorted(leg.owner):
            masked = lists.sorted_items(masked, POINT)
        self._pass_on(leg.owner, leg.hop + 1, masked)

    def wipe(self) -> None:
        """Overwrite the scalar; nothing more is made or taken."""
        self._failed = True
        self._masker.close()
        self._scalar.wipe()

    # ------------------------------------------------------------------ the end

    @property
    def over(self) -> bool:
        """Whether this party has taken everything; it may have messages left to send."""
        due = [leg for leg in self._legs.values() if leg.recipient == self.me]
        return all(leg in self._arriving and not self._arriving[leg].total for leg in due)

    def outcome(self) -> Outcome | None:
        """Return what this party learned: None for all but the receiver.

        Raises:
            AlignmentRefused: Too little is common.
            AlignmentBroken: A-55: there is nothing yet.
        """
        if self._failed or not self.over:
            raise broken(Broken.UNEXPECTED)
        if not self.receives:
            return None
        own = self._final[self.me]
        places = np.arange(len(own) // POINT)
        for owner, points in self._final.items():
            if owner != self.me:
                places = np.intersect1d(places, lists.positions_in(own, points, POINT))
        controls.release(self.terms, len(places), max(self._sizes.values()), 0)
        if self.terms.outcome == "size":
            return Outcome(len(places), None)
        return Outcome(len(places), tuple(sorted(self._order[places].tolist())))
