"""One party's side of an alignment of two: takes messages, makes messages, reads no wire.

Diffie-Hellman set intersection (Meadows 1986; Huberman, Franklin, Hogg 1999) over ristretto255:
each party masks its own items with a secret scalar of this job, then the other's; what is masked by
both is the same for the same item. Semi-honest; what a malicious party can do is in
``docs/claims/alignment.md``.

The carrier calls :meth:`Session.take` with each message of the peer, and sends
:meth:`Session.message` for each number below :attr:`Session.ready`. Messages are numbered from 0 in
each direction and made again as the same bytes, so after a broken connection each side says its
:attr:`Session.taken` and the other goes on from there. State that was kept (:meth:`Session.keep`)
after the peer's hello or its pledge, and before the answer to it left, goes on as well after a
crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.alignment import controls, kept, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import POINT, TAG
from fusion.alignment.rules import Broken, broken
from fusion.alignment.states import SENDS, TAKES, Role, State, role_of
from fusion.crypto.hashing import hexdigest
from fusion.crypto.ristretto.group import Scalar
from fusion.errors import AlignmentRefused, FusionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.alignment.messages import Doubled, Head, Hello, Masked, Output, Pledge
    from fusion.alignment.terms import Terms
    from fusion.crypto.ristretto.group import Masker

    Maskers = Callable[[Scalar], Masker]
    """Puts a scalar to work, here or in worker processes."""

MASK_AT_ONCE: Final = 65_536
"""Items that are hashed and masked at a time."""
_PLEDGE: Final = "banyan alignment 1, pledge"
_OUTPUT: Final = "banyan alignment 1, output"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a party learned.

    Attributes:
        size: Common items.
        keys: Places of the common items in the party's own list of keys, ascending; None if it
            learns their number alone.
    """

    size: int
    keys: tuple[int, ...] | None


def mask_keys(terms: Terms, keys: Sequence[str], masker: Masker) -> bytes:
    """Return the masked point of every key, in order."""
    parts = [
        masker.mask(terms.field.digests(keys[at : at + MASK_AT_ONCE]))
        for at in range(0, len(keys), MASK_AT_ONCE)
    ]
    return b"".join(parts)


class Session:
    """One party, one job, one peer.

    Attributes:
        terms: What was agreed on.
        me: This party.
        peer: The other one.
        role: What this party is.
        state: What it waits for.
        taken: Messages of the peer that were taken.
        commitment: To this party's masked list; for the ledger.
        peer_commitment: To the peer's, once its hello was taken; for the ledger.
    """

    def __init__(self, terms: Terms, me: str, scalar: Scalar, open_masker: Maskers) -> None:
        """Use :meth:`begin` or :meth:`go_on`."""
        self.terms = terms
        self.me = me
        self.peer = next(party for party in terms.parties if party != me)
        self.role = role_of(terms.outcome, first=me == terms.receiver)
        self.state = State.GREETING
        self.taken = 0
        self.commitment = ""
        self.peer_commitment = ""
        self.peer_total = 0
        self._terms_digest = terms.digest
        self._scalar = scalar
        self._masker = open_masker(scalar)
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self._masked = b""
        self._list: Arriving | None = None
        self._answer = bytearray()  # the peer's items, masked by both
        self._pledged = ""
        self._doubled: Arriving | None = None  # the own items, masked by both
        self._matches: NDArray[np.intp] | None = None
        self._withheld: AlignmentRefused | None = None
        self._failed = self._goes_on = False

    # ------------------------------------------------------------------ begin, keep, go on, end

    @classmethod
    def begin(cls, terms: Terms, me: str, keys: Sequence[str], open_masker: Maskers) -> Session:
        """Draw a scalar for this job and mask the own set with it.

        Args:
            terms: Of the job; of two parties.
            me: Which of them.
            keys: The own set, each key once.
            open_masker: Puts the scalar to work.

        Raises:
            AlignmentRefused: A-11: the set is larger than the terms allow. A-17: it is empty.
            AlignmentBroken: A-52: ``me`` is no party of the terms, or they are not two.
        """
        if me not in terms.parties or len(terms.parties) != 2:
            raise broken(Broken.SENDER)
        controls.sizes(terms, len(keys), max(1, min(len(keys), terms.set_size)))
        session = cls(terms, me, Scalar.fresh(), open_masker)
        masked = mask_keys(terms, keys, session._masker)
        session._order = lists.order_of(masked, POINT)
        session._masked = lists.reordered(masked, POINT, session._order)
        if lists.has_twins(session._masked, POINT):
            session.wipe()
            raise broken(Broken.DUPLICATE, me)
        session.commitment = lists.commitment(session._terms_digest, me, session._masked)
        return session

    def keep(self, key: bytes) -> bytes:
        """Return the state, sealed: the scalar is in it.

        Args:
            key: 32 bytes that nobody else has.
        """
        self._refuse_late()
        facts: dict[str, Any] = {
            "state": int(self.state),
            "taken": self.taken,
            "commitment": self.commitment,
            "peer_commitment": self.peer_commitment,
            "peer_total": self.peer_total,
            "pledged": self._pledged,
        }
        arrays = (
            bytes(self._scalar.held),
            self._order.astype("<u8").tobytes(),
            self._masked,
            bytes(self._list.data) if self._list else b"",
            bytes(self._answer),
            bytes(self._doubled.data) if self._doubled else b"",
        )
        return kept.seal(key, self._terms_digest, self.me, facts, arrays)

    @classmethod
    def go_on(
        cls, terms: Terms, me: str, sealed: bytes, key: bytes, open_masker: Maskers
    ) -> Session:
        """Return the session whose state was kept; both sides then say what they have taken.

        Raises:
            AlignmentBroken: A-68: it does not open, or is of another job or party.
        """
        facts, arrays = kept.open_sealed(key, terms.digest, me, sealed)
        session = cls(terms, me, Scalar(arrays[0]), open_masker)
        session._goes_on = True
        session.state = State(facts["state"])
        session.taken = facts["taken"]
        session.commitment = facts["commitment"]
        session.peer_commitment = facts["peer_commitment"]
        session.peer_total = facts["peer_total"]
        session._pledged = facts["pledged"]
        session._order = np.frombuffer(arrays[1], "<u8").astype(np.intp)
        session._masked = arrays[2]
        session._answer += arrays[4]
        if session.state > State.GREETING:
            session._expect_lists()
            _refill(session._list, arrays[3])
            _refill(session._doubled, arrays[5])
        if session.state is State.AGREEING:
            session._matches = session._match()
        return session

    def _expect_lists(self) -> None:
        self._list = Arriving(self.peer_total, POINT, self.peer)
        self._doubled = Arriving(self.total, TAG, self.peer)

    def wipe(self) -> None:
        """Overwrite the scalar; the session makes and takes nothing more."""
        self._failed = True
        self._masker.close()
        self._scalar.wipe()

    # ------------------------------------------------------------------ what leaves

    @property
    def total(self) -> int:
        """Items of the own set."""
        return len(self._masked) // POINT

    def _counts(self) -> list[tuple[str, int, State]]:
        """Return what is sent: kind, messages, from which state on."""
        many = {"masked": self.total, "doubled": self.peer_total}
        return [
            (kind, self.terms.chunks(many[kind]) if kind in many else 1, gate)
            for kind, gate in SENDS[self.role]
        ]

    @property
    def ready(self) -> int:
        """How many messages, counted from the first, may have left by now."""
        return sum(count for _, count, gate in self._counts() if gate <= self.state)

    @property
    def most(self) -> int:
        """How many messages the peer can have.

        Kept before it took what its answers are made of, a session has sent more than is ready.
        """
        if not self._goes_on:
            return self.ready
        more = 0 if self.peer_total else self.terms.chunks(self.terms.set_size)
        return sum(count for _, count, _ in self._counts()) + more

    def message(self, number: int) -> bytes:
        """Return a message; asked again, the same bytes.

        Raises:
            AlignmentBroken: A-55: it may not leave yet. A-67: the session has failed.
        """
        if self._failed:
            raise broken(Broken.OVER)
        left = number
        for kind, count, gate in self._counts():
            if left < count and gate <= self.state:
                return self._made(kind, number, left)
            if left < count:
                break
            left -= count
        raise broken(Broken.UNEXPECTED)

    def _made(self, kind: str, number: int, part: int) -> bytes:
        head: dict[str, Any] = {"terms": self._terms_digest, "sender": self.me, "number": number}
        match kind:
            case "hello":
                hello = messages.Hello(**head, total=self.total, commitment=self.commitment)
                return messages.to_bytes(hello)
            case "masked":
                first, body = self._part(self._masked, POINT, part)
                masked = messages.Masked(**head, first=first, count=len(body) // POINT)
                return messages.to_bytes(masked, body)
            case "pledge":
                digest = self._pledge(self.me, bytes(self._answer))
                return messages.to_bytes(messages.Pledge(**head, answer=digest))
            case "doubled":
                first, body = self._part(bytes(self._answer), TAG, part)
                doubled = messages.Doubled(**head, first=first, count=len(body) // TAG)
                return messages.to_bytes(doubled, body)
            case "output":
                return messages.to_bytes(
                    messages.Output(**head, found=self._output_digest(self.me))
                )
            case _:
                return messages.to_bytes(messages.Done(**head))

    def _part(self, items: bytes, width: int, part: int) -> tuple[int, bytes]:
        first = part * self.terms.chunk
        return first, items[first * width : (first + self.terms.chunk) * width]

    def _pledge(self, who: str, answer: bytes) -> str:
        return hexdigest(_PLEDGE, bytes.fromhex(self._terms_digest), who.encode(), answer)

    def _output_digest(self, who: str) -> str:
        if self._matches is None or self._doubled is None:
            raise broken(Broken.UNEXPECTED)
        common = np.frombuffer(bytes(self._doubled.data), np.uint8).reshape(-1, TAG)[self._matches]
        found = lists.sorted_items(common.tobytes(), TAG)
        return hexdigest(_OUTPUT, bytes.fromhex(self._terms_digest), who.encode(), found)

    # ------------------------------------------------------------------ what comes

    def take(self, data: bytes) -> None:
        """Take the peer's next message.

        Raises:
            AlignmentRefused: Sizes are not what the terms allow; with ``both``, too few are common.
            AlignmentBroken: The message breaks a rule of the protocol. After either the session
                has failed: its scalar is gone, nothing was released.
        """
        self._refuse_late()
        try:
            self._take(data)
        except FusionError:
            self.wipe()
            raise
        if self.over:
            self._masker.close()
            self._scalar.wipe()

    def _refuse_late(self) -> None:
        if self._failed or self.over:
            raise broken(Broken.OVER, self.peer)

    def _take(self, data: bytes) -> None:
        head, body = messages.read(data)
        self._check(head)
        following = TAKES.get((self.role, self.state, head.kind))
        if following is None:
            raise broken(Broken.UNEXPECTED, self.peer)
        if getattr(self, f"_take_{head.kind}")(head, body):
            self.state = following
        self.taken += 1

    def _check(self, head: Head) -> None:
        if head.terms != self._terms_digest:
            raise broken(Broken.TERMS, self.peer)
        if head.sender != self.peer:
            raise broken(Broken.SENDER, self.peer)
        if head.number != self.taken:
            raise broken(Broken.TWICE if head.number < self.taken else Broken.ORDER, self.peer)

    def _take_hello(self, head: Hello, _body: bytes) -> bool:
        controls.sizes(self.terms, self.total, head.total)
        self.peer_total, self.peer_commitment = head.total, head.commitment
        self._expect_lists()
        return True

    def _take_masked(self, head: Masked, body: bytes) -> bool:
        arriving = self._arriving(self._list)
        arriving.take(head.first, body, self.terms.chunk, ascending=True)
        self._answer += lists.tags(lists.multiplied(self._masker.multiply, body, self.peer))
        if not arriving.complete:
            return False
        found = lists.commitment(self._terms_digest, self.peer, bytes(arriving.data))
        if found != self.peer_commitment:
            raise broken(Broken.COMMITMENT, self.peer)
        if self.terms.outcome == "size" and self.role is Role.HELPS:
            # Sorted by what both have masked: who learns can't tell which item became which.
            self._answer = bytearray(lists.sorted_items(bytes(self._answer), TAG))
        arriving.data.clear()
        return True

    def _take_pledge(self, head: Pledge, _body: bytes) -> bool:
        self._pledged = head.answer
        return True

    def _take_doubled(self, head: Doubled, body: bytes) -> bool:
        arriving = self._arriving(self._doubled)
        arriving.take(head.first, body, self.terms.chunk, ascending=self.terms.outcome == "size")
        if not arriving.complete:
            return False
        data = bytes(arriving.data)
        if lists.has_twins(data, TAG):
            raise broken(Broken.DUPLICATE, self.peer)
        if self._pledged and self._pledge(self.peer, data) != self._pledged:
            raise broken(Broken.COMMITMENT, self.peer)
        self._matches = self._match()
        try:
            controls.release(self.terms, len(self._matches), self.total, self.peer_total)
        except AlignmentRefused as refusal:
            if self.role is Role.MUTUAL:
                raise
            # Who helps is told that it is over, as always: not how it ended.
            self._withheld, self._matches = refusal, None
        return True

    def _match(self) -> NDArray[np.intp]:
        doubled = self._arriving(self._doubled)
        return lists.positions_in(bytes(doubled.data), bytes(self._answer), TAG)

    def _take_output(self, head: Output, _body: bytes) -> bool:
        if head.found != self._output_digest(self.peer):
            raise broken(Broken.OUTPUTS, self.peer)
        return True

    def _take_done(self, _head: Head, _body: bytes) -> bool:
        return True

    def _arriving(self, arriving: Arriving | None) -> Arriving:
        if arriving is None:
            raise broken(Broken.UNEXPECTED, self.peer)
        return arriving

    # ------------------------------------------------------------------ the end

    @property
    def over(self) -> bool:
        """Whether this party has taken everything; it may have messages left to send."""
        return self.state is State.OVER

    def outcome(self) -> Outcome | None:
        """Return what this party learned: None for who helps.

        Raises:
            AlignmentRefused: A-13, A-14: too few are common.
            AlignmentBroken: A-55: there is nothing yet.
        """
        if self._failed or not self.over:
            raise broken(Broken.UNEXPECTED)
        if self._withheld is not None:
            raise self._withheld
        if self._matches is None:
            return None
        size = len(self._matches)
        if self.terms.outcome == "size":
            return Outcome(size, None)
        return Outcome(size, tuple(sorted(self._order[self._matches].tolist())))


def _refill(arriving: Arriving | None, data: bytes) -> None:
    if arriving is not None:
        arriving.data += data
