"""One party's side of an alignment by RR22, around a process that runs the protocol itself.

RR22 (Raghuraman and Rindal, CCS 2022) runs in a confined process at each party
(:class:`fusion.engine_ports.Rr22Process`); this machine says what comes before and after, and hands
on what the two processes say to each other::

    first party (learns)                second
      hello: size, commitment    <->      hello
      linked, linked, ...        <->      linked, ...          the processes' own link
      said                       <->      said                 the own process has its result
      common, ...                 ->                           outcome ``both``, if enough
                                 <-       output
      done                       <->      done                 nothing more is needed or comes

Semi-honest: nobody can check what set a peer's process was given. What is held to and what is not:
``docs/claims/alignment-rr22.md``. Takes bytes and gives bytes; touches no process.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.alignment import controls, lists, messages
from fusion.alignment.lists import Arriving
from fusion.alignment.messages import POINT, TAG
from fusion.alignment.rules import Broken, broken
from fusion.alignment.session import Outcome
from fusion.alignment.terms import RR22_SUITE
from fusion.crypto import rng
from fusion.crypto.hashing import hexdigest
from fusion.errors import AlignmentRefused, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.alignment.messages import Common, Head, Hello, Output
    from fusion.alignment.terms import Terms

NONCE: Final = 32
_TERMS: Final = "banyan alignment 1, rr22"
_SET: Final = "banyan alignment 1, rr22 set"
_OUTPUT: Final = "banyan alignment 1, rr22 output"
_DIGESTS: Final = 2 * POINT


def items_of(terms: Terms, keys: Sequence[str]) -> bytes:
    """Return 16 bytes a key: SHA-512 under the job's domain, cut.

    Two keys of 10**8 and 10**8 meet by chance with probability 2**-74.
    """
    digests = terms.field.digests(keys, RR22_SUITE)
    return np.frombuffer(digests, np.uint8).reshape(-1, _DIGESTS)[:, :TAG].tobytes()


class Rr22Session:
    """One party, one job, one peer, one go.

    Attributes:
        terms: What was agreed on.
        me: This party.
        peer: The other one.
        learns: Whether RR22 tells this party what is common.
        greeted: Whether the peer's hello was taken.
        taken: Messages of the peer that were taken.
        commitment: To the own set, under a nonce that the party keeps; for the ledger.
        peer_commitment: The peer's, once its hello was taken; for the ledger.
        peer_total: Items of the peer's set, as it says.
        closed: Whether this party has said its last word.
    """

    def __init__(self, terms: Terms, me: str, keys: Sequence[str], nonce: bytes) -> None:
        """Begin.

        Args:
            terms: Of the job; of two parties, and an outcome of records.
            me: Which of them.
            keys: The own set, each key once.
            nonce: 32 random bytes of this job, that nobody else has.

        Raises:
            InputInvalid: RR22 does not do what the terms ask for.
            AlignmentRefused: A-11: the set is larger than the terms allow. A-17: it is empty.
            AlignmentBroken: A-52: ``me`` is no party of the terms.
        """
        refuse_unfit(terms)
        if me not in terms.parties:
            raise broken(Broken.SENDER)
        controls.sizes(terms, len(keys), max(1, min(len(keys), terms.set_size)))
        self.terms, self.me = terms, me
        self.peer = next(party for party in terms.parties if party != me)
        self.learns = me == terms.receiver
        self.greeted = False
        self.taken = 0
        self.peer_commitment, self.peer_total = "", 0
        self._digest = hexdigest(_TERMS, bytes.fromhex(terms.digest))
        self._items = items_of(terms, keys)
        if lists.has_twins(self._items, TAG):
            raise broken(Broken.DUPLICATE, me)
        in_order = lists.sorted_items(self._items, TAG)
        self.commitment = hexdigest(_SET, bytes.fromhex(self._digest), me.encode(), nonce, in_order)
        self._made: list[bytes | None] = []
        self._arrived: deque[bytes] = deque()
        self._peer_said = self._agreed = self._ended = False
        self.closed = self._peer_closed = False
        self._common: Arriving | None = None
        self._matches: NDArray[np.intp] | None = None
        self._found = b""
        self._withheld: AlignmentRefused | None = None
        self._say(messages.Hello, total=self.total, commitment=self.commitment)

    @property
    def total(self) -> int:
        """Items of the own set."""
        return len(self._items) // TAG

    def items(self) -> bytes:
        """Return what the own process is given: the set, and one random item.

        spu compares a digest of both whole sets before it begins; with an item that nobody can
        guess in each, that digest tells nothing about a set.
        """
        return lists.sorted_items(self._items + rng.token(TAG), TAG)

    # ------------------------------------------------------------------ what leaves

    @property
    def ready(self) -> int:
        """How many messages, counted from the first, may have left by now."""
        return len(self._made)

    def message(self, number: int) -> bytes:
        """Return a message; asked again, the same bytes, unless it was forgotten.

        Raises:
            AlignmentBroken: A-55: there is none of that number, or not any more.
        """
        found = self._made[number] if 0 <= number < len(self._made) else None
        if found is None:
            raise broken(Broken.UNEXPECTED)
        return found

    def forget(self, below: int) -> int:
        """Drop messages that the peer has taken; return the first that is left."""
        for number in range(min(below, len(self._made)) - 1, -1, -1):
            if self._made[number] is None:
                break
            self._made[number] = None
        return below

    def link(self, data: bytes) -> None:
        """Have said what the own process says to the peer's; 1 MiB at most."""
        if data:
            self._say(messages.Linked, data, count=len(data))

    def end(self, found: bytes) -> None:
        """Learn that the own process has its result; its link goes on until the peer's has, too.

        Args:
            found: Items that are common, of the process; empty where this party does not learn
                them so. They are not believed.

        Raises:
            AlignmentRefused: A-13, A-14, with ``both``: too few are common.
            AlignmentBroken: A-70: they are not items of the own set, or there twice.
        """
        self._ended = True
        if not self.learns:
            self._say(messages.Said)
            self._close()
            return
        self._find(found, self.me)
        try:
            self._release()
        except AlignmentRefused as refusal:
            if self.terms.outcome == "both":
                raise
            # Who helps is told that it is over, as always: not how it ended.
            self._withheld, self._matches = refusal, None
        self._say(messages.Said)
        if self.terms.outcome == "both":
            self._say_common()
        self._close()

    def _close(self) -> None:
        """Say the last word, if this party needs nothing more: nor does the peer's process then."""
        ready = self._ended and self._peer_said and (self._agreed or self.terms.outcome == "one")
        if ready and not self.closed:
            self._say(messages.Done)
            self.closed = True

    def _say_common(self) -> None:
        total, chunk = len(self._found) // TAG, self.terms.chunk
        for first in range(0, max(total, 1), chunk):
            body = self._found[first * TAG : (first + chunk) * TAG]
            self._say(messages.Common, body, total=total, first=first, count=len(body) // TAG)

    def _say(self, kind: type[Any], body: bytes = b"", **facts: Any) -> None:  # noqa: ANN401
        head = kind(terms=self._digest, sender=self.me, number=len(self._made), **facts)
        self._made.append(messages.to_bytes(head, body))

    # ------------------------------------------------------------------ what comes

    def take(self, data: bytes) -> None:
        """Take the peer's next message.

        Raises:
            AlignmentRefused: Sizes are not what the terms allow, or too few are common.
            AlignmentBroken: The message breaks a rule of the protocol.
        """
        if self._peer_closed:
            raise broken(Broken.OVER, self.peer)
        head, body = messages.read(data)
        self._check(head)
        if (head.kind == "hello") == self.greeted:
            raise broken(Broken.UNEXPECTED, self.peer)
        match head.kind:
            case "hello":
                self._take_hello(head)
            case "linked":
                self._arrived.append(body)
            case "said" if not self._peer_said:
                self._peer_said = True
            case "common" if self._peer_said and self.terms.outcome == "both" and not self.learns:
                self._take_common(head, body)
            case "done" if self._peer_said:
                self._peer_closed = True
            case "output" if self._ended and self.learns:  # its process may end later
                self._take_output(head)
            case _:
                raise broken(Broken.UNEXPECTED, self.peer)
        self.taken += 1
        self._close()

    def arrived(self) -> list[bytes]:
        """Return what came for the own process since."""
        found = list(self._arrived)
        self._arrived.clear()
        return found

    def _check(self, head: Head) -> None:
        if head.terms != self._digest:
            raise broken(Broken.TERMS, self.peer)
        if head.sender != self.peer:
            raise broken(Broken.SENDER, self.peer)
        if head.number != self.taken:
            raise broken(Broken.TWICE if head.number < self.taken else Broken.ORDER, self.peer)

    def _take_hello(self, head: Hello) -> None:
        controls.sizes(self.terms, self.total, head.total)
        self.peer_total, self.peer_commitment = head.total, head.commitment
        self.greeted = True

    def _take_common(self, head: Common, body: bytes) -> None:
        if self._common is None:
            if head.total > min(self.total, self.peer_total):
                raise broken(Broken.TOO_MANY, self.peer)
            self._common = Arriving(head.total, TAG, self.peer)
        if head.total != self._common.total or self._agreed:
            raise broken(Broken.UNEXPECTED, self.peer)
        self._common.take(head.first, body, self.terms.chunk, ascending=True)
        if not self._common.complete:
            return
        self._find(bytes(self._common.data), self.peer)
        self._release()
        self._agreed = True
        self._say(messages.Output, found=self._output(self.me))

    def _take_output(self, head: Output) -> None:
        if self.terms.outcome != "both" or self._agreed:
            raise broken(Broken.UNEXPECTED, self.peer)
        if head.found != self._output(self.peer):
            raise broken(Broken.OUTPUTS, self.peer)
        self._agreed = True

    def _find(self, found: bytes, who: str) -> None:
        """Look the common items up in the own set: each has to be there, once."""
        count = len(found) // TAG
        if len(found) % TAG or count > self.peer_total:
            raise broken(Broken.FOUND, who)
        matches = lists.positions_in(self._items, found, TAG)
        if len(matches) != count:
            raise broken(Broken.FOUND, who)
        self._matches = matches
        self._found = lists.sorted_items(found, TAG) if count else b""

    def _release(self) -> None:
        count = len(self._found) // TAG
        controls.release(self.terms, count, self.total, self.peer_total)

    def _output(self, who: str) -> str:
        return hexdigest(_OUTPUT, bytes.fromhex(self._digest), who.encode(), self._found)

    # ------------------------------------------------------------------ the end

    @property
    def over(self) -> bool:
        """Whether this party has taken everything; it may have messages left to send."""
        return self.closed and self._peer_closed

    @property
    def ended(self) -> bool:
        """Whether the own process has its result."""
        return self._ended

    def outcome(self) -> Outcome | None:
        """Return what this party learned: None for who helps.

        Raises:
            AlignmentRefused: A-13, A-14: too few are common.
            AlignmentBroken: A-55: there is nothing yet.
        """
        if not self.over:
            raise broken(Broken.UNEXPECTED)
        if self._withheld is not None:
            raise self._withheld
        if self._matches is None:
            return None
        return Outcome(len(self._matches), tuple(self._matches.tolist()))


def refuse_unfit(terms: Terms) -> None:
    """Return if RR22 can do what terms ask for.

    Raises:
        InputInvalid: Three parties, or a number in place of records.
    """
    if len(terms.parties) != 2 or terms.outcome == "size":
        raise InputInvalid(
            "RR22 finds records, for two parties: not a number alone, and not for three.",
            hint="Leave `protocol` out of [alignment], or write `outcome` one or both.",
        )
