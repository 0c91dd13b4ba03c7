"""A holder's side towards another one: whether the model stands; its epoch, its set, its answers.

The set of an epoch is fetched once and kept beside the model. What is in it opens for identifiers
that the feature party has evaluated, and for no others.

::

    HOME/models/NAME/VERSION/sets/OWNER.json    terms of the newest set that was fetched
    HOME/models/NAME/VERSION/sets/OWNER.set     its messages, each after its length, 4 bytes
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc.aio

from fusion.alignment.asking import Asker, SetReader
from fusion.alignment.messages import MAX_MESSAGE_BYTES, TAG
from fusion.crypto import rng
from fusion.errors import FusionError, MessageInvalid, PartyFailed
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.maskers import maskers
from fusion.services.models import hear_revoked
from fusion.services.score_messages import Asked, Epoch, Preparing, reply_of, to_bytes
from fusion.services.score_port import ASK
from fusion.services.score_rules import Ruled
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.services.homes import NodeHome
    from fusion.services.models import KeptModel
    from fusion.services.node_link import Connection
    from fusion.services.score_messages import Reply

CALL_SECONDS: Final = 60.0
AT_ONCE: Final = 4
"""Questions to one party: it has eight of an organisation, and another program may ask as well."""
_LOOK_SECONDS: Final = 0.2
MAX_SET_BYTES: Final = 4 << 30
"""Of an epoch's answers, which are held in memory: their owner says how many there are."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An epoch of a feature party that can be asked about.

    Attributes:
        epoch: It.
        reader: Its set.
    """

    epoch: Epoch
    reader: SetReader


class FeatureSide:
    """One feature party as the label party's node reaches it.

    Attributes:
        name: Who.
        epoch: That was taken last, once one is.
    """

    def __init__(
        self,
        connection: Connection,
        node: NodeHome,
        kept: KeptModel,
        name: str,
        purpose: str,
        tell: Callable[[str], None],
    ) -> None:
        """Reach nobody yet."""
        self.name: Final = name
        self.epoch: Epoch | None = None
        self._connection, self._node, self._kept = connection, node, kept
        self._purpose, self._tell = purpose, tell
        self._me = kept.facts.own.organisation
        self._reader: SetReader | None = None
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def take(self) -> int:
        """Return the number of the epoch that the party would have taken.

        Raises:
            PartyFailed: It refuses.
            PartyUnreachable: It does not answer.
        """
        reply, _ = self._call(Asked(kind="open", model=self._kept.id, purpose=self._purpose))
        if reply.take is None:
            raise MessageInvalid(f"{self.name} answers something else than it was asked.")
        return reply.take

    def open(self, number: int) -> Epoch | Preparing | int:
        """Return an epoch if it is ready; else how far it is, or the one to take instead."""
        asked = Asked(kind="open", model=self._kept.id, purpose=self._purpose, epoch=number)
        reply, _ = self._call(asked)
        found = reply.epoch or reply.preparing or reply.take
        if found is None:
            raise MessageInvalid(f"{self.name} answers something else than it was asked.")
        return found

    def stands(self) -> None:
        """Return if the model stands at this holder: it keeps its part, and did not revoke it.

        Raises:
            PartyFailed: It refuses; M-11: it revoked the model, which is kept as heard.
            PartyUnreachable: It does not answer.
        """
        asked = Asked(kind="standing", model=self._kept.id, purpose=self._purpose)
        reply, _ = self._call(asked)
        if not reply.stands:
            raise MessageInvalid(f"{self.name} answers something else than it was asked.")

    def _refused(self, said: PartyFailed) -> PartyFailed:
        """Return a refusal as an error that names who refuses."""
        text = said.message if self.name in said.message else f"{self.name}: {said.message}"
        error = PartyFailed(text, code=said.code, exit_code=said.exit_code, party=self.name)
        error.hint = said.hint
        return error

    def fetch(self, epoch: Epoch, check: Callable[[], None]) -> Taken:
        """Return an epoch with its set, from disk if it was fetched before.

        Args:
            epoch: It.
            check: Called before each message; raises if the work may not go on.

        Raises:
            MessageInvalid: Its terms are not of this model or party, or it is larger than a node
                takes in.
            AlignmentBroken: A message of the set breaks a rule.
            PartyFailed: The party refuses.
            PartyUnreachable: It does not answer.
        """
        with self._lock:
            self._check(epoch)
            if self._reader is None or self._reader.terms != epoch.terms:
                reader = self._from_disk(epoch)
                self._reader = self._from_party(epoch, check) if reader is None else reader
            self.epoch = epoch
            return Taken(epoch, self._reader)

    def _check(self, epoch: Epoch) -> None:
        """Hold an epoch's terms to what the model says of it."""
        terms, identifier = epoch.terms, self._kept.facts.shared.identifier
        said = (terms.owner, terms.field.field, terms.field.kind, terms.field.fold)
        if said != (self.name, identifier.field, identifier.kind, identifier.fold):
            raise MessageInvalid(f"The answers of {self.name} are about other records.")
        if terms.set_size * (TAG + terms.sealed) > MAX_SET_BYTES:
            raise MessageInvalid(
                f"The answers of {self.name} are more than {MAX_SET_BYTES >> 30} GiB."
            )

    def _from_party(self, epoch: Epoch, check: Callable[[], None]) -> SetReader:
        reader = SetReader(epoch.terms)
        messages = []
        for number in range(epoch.parts):
            check()
            self._tell(f"fetching the answers of {self.name}: {number + 1} of {epoch.parts}")
            asked = Asked(
                kind="part",
                model=self._kept.id,
                purpose=self._purpose,
                terms=epoch.terms.digest,
                number=number,
            )
            _, message = self._call(asked)
            reader.take(message)
            messages.append(len(message).to_bytes(4, "big") + message)
        folder = make_folder(self._kept.path / "sets")
        write_atomic(folder / f"{self.name}.set", b"".join(messages))
        write_atomic(folder / f"{self.name}.json", canonical.encode({"terms": epoch.terms.digest}))
        return reader

    def _from_disk(self, epoch: Epoch) -> SetReader | None:
        """Return the set if it is kept here whole; else None."""
        folder = self._kept.path / "sets"
        try:
            kept = canonical.decode(read_file(folder / f"{self.name}.json"), 1024)
            if kept != {"terms": epoch.terms.digest}:
                return None
            data, reader, at = read_file(folder / f"{self.name}.set"), SetReader(epoch.terms), 0
            while at < len(data):
                length = int.from_bytes(data[at : at + 4], "big")
                if length > MAX_MESSAGE_BYTES:
                    return None
                reader.take(data[at + 4 : at + 4 + length])
                at += 4 + length
        except FusionError:
            return None
        return reader if reader.complete else None

    def ask(
        self, taken: Taken, keys: Sequence[str], check: Callable[[], None]
    ) -> Mapping[str, bytes]:
        """Return the party's answers of one epoch for those of the keys that it has.

        Args:
            taken: The epoch: answers of another one are of other masks.
            keys: Each once; at most as many as a question has.
            check: Called before each message; raises if the work may not go on.

        Raises:
            PartyFailed: It refuses: the epoch is over, the grant is revoked or spent, ...
            PartyUnreachable: It does not answer.
            AlignmentBroken: Its answer breaks a rule.
        """
        while not self._free.acquire(timeout=_LOOK_SECONDS):
            check()  # while others wait for the party
        try:
            return self._asked(taken.reader, keys, check)
        finally:
            self._free.release()

    def _asked(
        self, reader: SetReader, keys: Sequence[str], check: Callable[[], None]
    ) -> Mapping[str, bytes]:
        terms, question = reader.terms, rng.token(16).hex()
        asker = Asker(reader, self._me, keys, maskers(len(keys)))
        for number in range(asker.parts):
            check()
            if asker.parts > 1:
                self._tell(f"asking {self.name}: {number + 1} of {asker.parts}")
            asked = Asked(
                kind="ask",
                model=self._kept.id,
                purpose=self._purpose,
                terms=terms.digest,
                question=question,
                records=len(keys),
            )
            _, answer = self._call(asked, asker.message(number))
            asker.take(answer)
        return {keys[at]: attached for at, attached in asker.outcome().items()}

    def _call(self, asked: Asked, body: bytes = b"") -> tuple[Reply, bytes]:
        call = self._connection.channel(self.name).unary_unary(ASK)

        async def exchange() -> bytes:
            answer: bytes = await call(to_bytes(asked, body), timeout=CALL_SECONDS)
            return answer

        try:
            reply, message = reply_of(self._connection.link.run(exchange(), CALL_SECONDS + 1))
        except MessageInvalid as error:
            raise MessageInvalid(f"{self.name}: {error.message}", hint=error.hint) from None
        except grpc.aio.AioRpcError as error:
            raise self._connection.unanswered(self.name, error) from None
        if reply.refusal is not None:
            if reply.refusal.code == Ruled.REVOKED.value.code:
                hear_revoked(self._node, self._kept, self.name)
            raise self._refused(reply.refusal.error())
        if reply.body != (asked.kind in {"part", "ask"}):
            raise MessageInvalid(f"{self.name} answers something else than it was asked.")
        return reply, message
