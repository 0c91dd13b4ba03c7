"""A feature party's answers, published for an epoch of its table, and made again when that changes.

::

    HOME/models/NAME/VERSION/epochs/begun      number of the newest epoch that was begun
    HOME/models/NAME/VERSION/epochs/N.json     terms, commitment, and the sealed key of N.set
    HOME/models/NAME/VERSION/epochs/N.set      the set with its scalar, sealed

Masking a table once an epoch is what makes a question cheap. An epoch has a number that the label
party names, the same at all feature parties. Where answers are numbers and feature parties several,
each adds to every record's answer masks that it shares with each other party, so that only the sum
over all parties shows anything. Masks belong to an epoch's number, so a number is used once: it is
on disk before anything is made for it, and what was not finished is never finished.
"""

from __future__ import annotations

import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import Field

from fusion.alignment.messages import MAX_BODY_BYTES, MAX_PAYLOAD, SEAL, TAG
from fusion.alignment.published import PublishedSet
from fusion.alignment.terms import MAX_ITEMS, field_of
from fusion.alignment.values import SetTerms
from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, FusionError, ModelRefused
from fusion.ledger import entry as entries
from fusion.services.files import make_folder, read_file, write_atomic
from fusion.services.maskers import maskers
from fusion.services.score_messages import MAX_EPOCHS
from fusion.services.score_rules import Ruled, refused
from fusion.services.score_tables import mark_of, own_table
from fusion.wire.documents import Document, read
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from fusion.crypto.ristretto.group import Masker, Scalar
    from fusion.engine_ports import Applicable, ScoringEngine
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome
    from fusion.services.logbook import LogBook
    from fusion.services.models import KeptModel

PACE_SECONDS: Final = 60.0
"""An epoch for a table that has not changed is not begun sooner after another."""

RETRY_SECONDS: Final = 2.0
"""Nor is one sooner after another that failed, or that a change of the table has ended."""

MAX_STEP: Final = 1_000_000
"""How far an epoch's number may be ahead of the newest here: nobody can use them up."""

CHUNK: Final = 2048
"""Records of one message."""

_MASKS: Final = b"banyan score masks 1\x00"
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Kept(Document):
    """An epoch's facts on disk."""

    schema_: Literal["fusion.score-epoch/1"] = Field(default="fusion.score-epoch/1", alias="schema")
    number: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]
    terms: SetTerms
    pairing: _Digest
    mark: Annotated[str, Field(max_length=200)]
    key: Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=400)]


@dataclass(frozen=True, slots=True)
class Ready:
    """An epoch that can be asked.

    Attributes:
        number: Its.
        published: The set.
        pairing: Digest of the keys that answers are hidden with.
        mark: Of the table it was made from.
    """

    number: int
    published: PublishedSet
    pairing: str
    mark: str


@dataclass(slots=True)
class Making:
    """An epoch that is being made.

    Attributes:
        number: Its.
        done: Records masked so far.
        total: Of them; 0 while the table is read.
    """

    number: int
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class _Model:
    """What this process knows of one model's epochs."""

    ready: Ready | None = None
    making: Making | None = None
    work: Future[Ready] | None = None
    last: float = float("-inf")


class Epochs:
    """The epochs of every model of which a node holds a feature party's part."""

    def __init__(
        self,
        node: NodeHome,
        engine: ScoringEngine,
        clock: Clock,
        book: LogBook,
        say: Callable[[str], None],
        *,
        pace: float = PACE_SECONDS,
        chunk: int = CHUNK,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            node: The node.
            engine: Applies parts.
            clock: Time.
            book: The node's log.
            say: Told what its owner should know.
            pace: Seconds between two epochs of a table that has not changed.
            chunk: Most records of a message.
        """
        self._node, self._engine, self._clock = node, engine, clock
        self._book, self._say, self._pace, self._chunk = book, say, pace, chunk
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="epochs")
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        self._closing = threading.Event()

    def close(self) -> None:
        """Give up what is being made."""
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def ready(self, kept: KeptModel) -> Ready | None:
        """Return the epoch that can be asked; None if there is none, or the table is another now.

        Raises:
            DataInvalid: The table is gone.
        """
        with self._lock:
            found = self._state(kept).ready
        return found if found is not None and found.mark == mark_of(self._node, kept) else None

    def look(self, kept: KeptModel, wanted: int | None) -> Ready | Making | int:
        """Return an epoch that is ready, or on its way; or the number of the one to take instead.

        Args:
            kept: The model.
            wanted: The epoch; None asks for the number to take. One that is later than all that
                were begun is begun.

        Raises:
            ModelRefused: M-14, M-16: it could not be made. M-18: too soon.
            DataInvalid: The table is gone.
        """
        mark = mark_of(self._node, kept)
        with self._lock:
            state = self._state(kept)
            self._settle(state)
            newest, ready = self._begun(kept), state.ready
            # One that failed leaves an older one behind, whose masks are of another number.
            usable = ready is not None and (ready.number, ready.mark) == (newest, mark)
            take = newest if (usable or state.making) else newest + 1
            if wanted is None or wanted < max(newest, take):
                return take
            if wanted == newest:
                return state.making or ready or take
            if wanted > newest + MAX_STEP:
                return take
            now = self._clock.monotonic()
            pace = self._pace if usable else min(self._pace, RETRY_SECONDS)
            if state.making is not None or now - state.last < pace:
                raise refused(Ruled.TOO_SOON, self._node.config.id)
            return self._begin(state, kept, wanted)

    # ------------------------------------------------------------------ under the lock

    def _state(self, kept: KeptModel) -> _Model:
        """Return what is known of a model's epochs; at first, what is on disk."""
        state = self._models.get(kept.id)
        if state is None:
            state = self._models[kept.id] = _Model()
            try:
                state.ready = self._load(kept, self._begun(kept))
            except FusionError as error:
                self._say(f"the answers of {kept.name} are made again: {error.message}")
        return state

    def _settle(self, state: _Model) -> None:
        """Take over what has been made.

        Raises:
            ModelRefused: M-14, M-16: it could not be.
        """
        if state.work is None or not state.work.done():
            return
        work, state.work, state.making = state.work, None, None
        state.last = self._clock.monotonic()
        error = work.exception()
        if isinstance(error, ModelRefused):
            raise error  # a rule about the part, not about the table
        if error is not None:
            raise refused(Ruled.UNPREPARED, self._node.config.id)
        state.ready = work.result()

    def _begin(self, state: _Model, kept: KeptModel, number: int) -> Making:
        folder = make_folder(_folder(kept))
        # Before anything: another set under this number would undo the masks of this one.
        write_atomic(folder / "begun", str(number).encode())
        state.making = making = Making(number)
        state.work = self._pool.submit(self._make, kept, making)
        return making

    def _begun(self, kept: KeptModel) -> int:
        file = _folder(kept) / "begun"
        if not file.exists():
            return 0
        data = read_file(file)
        if not re.fullmatch(rb"\d{1,10}", data):
            # Begun again from 0, a number would hide two answers with one mask.
            raise EnvironmentUnfit(
                f"{file} is no number: no answers are published.",
                hint="Restore it from a backup; the node's log says how far it was.",
            )
        return int(data)

    # ------------------------------------------------------------------ in the background

    def _make(self, kept: KeptModel, making: Making) -> Ready:
        """Make an epoch's set, keep it, log it.

        Raises:
            FusionError: It can't be made; the owner is told why.
        """
        try:
            return self._made(kept, making)
        except Exception as error:
            said = error.message if isinstance(error, FusionError) else type(error).__name__
            self._say(f"the answers of {kept.name} can't be made: {said}")
            raise

    def _made(self, kept: KeptModel, making: Making) -> Ready:
        part = self._engine.open(kept.part(self._node))
        if part.width > MAX_PAYLOAD:
            raise refused(Ruled.TOO_WIDE, self._node.config.id)
        table = own_table(self._node, kept, part)
        keys, rows = list(table.rows), list(table.rows.values())
        making.total = len(keys)
        terms = self._terms(kept, making.number, len(keys), part.width)
        answers = self._engine.answers(part, table.columns, rows)
        pairing, answers = self._hidden(kept, making.number, part, keys, answers)
        width = part.width
        attached = [answers[at : at + width] for at in range(0, len(answers), width)]
        open_masker = _counting(maskers(len(keys)), making, self._closing)
        published = PublishedSet.make(terms, keys, open_masker, attached)
        self._keep(kept, making.number, published, pairing, table.mark)
        self._book.once(
            f"answers:{terms.digest}",
            entries.AnswersPublished(
                at=self._book.now(),
                model=kept.id,
                epoch=terms.digest,
                commitment=published.commitment,
                records=published.total,
            ),
        )
        self._say(f"answers of {kept.name} are ready: epoch {making.number}, {len(keys)} records")
        return Ready(making.number, published, pairing, table.mark)

    def _terms(self, kept: KeptModel, number: int, keys: int, width: int) -> SetTerms:
        identifier = kept.facts.shared.identifier
        job = f"score {kept.id} {number} {rng.token(8).hex()}"
        federation = self._node.roster().federation
        return SetTerms(
            field=field_of(
                federation, job, identifier.field, identifier.kind, fold=identifier.fold
            ),
            owner=self._node.config.id,
            set_size=min(max(keys, 1), MAX_ITEMS),
            asked=MAX_ITEMS,  # what a party may ask is counted by its grant, over all epochs
            payload=width,
            chunk=min(self._chunk, MAX_BODY_BYTES // (TAG + width + SEAL)),
        )

    def _hidden(
        self, kept: KeptModel, number: int, part: Applicable, keys: Sequence[str], answers: bytes
    ) -> tuple[str, bytes]:
        """Return the digest of the keys that hide answers, and the answers with masks added.

        Raises:
            ModelRefused: M-17: the roster has another key of this party than it has itself.
        """
        parties, me = kept.facts.shared.feature_parties, self._node.config.id
        if not part.summed or len(parties) < 2:
            return hashlib.sha256(b"alone").hexdigest(), answers
        roster, own = self._node.roster(), self._node.sealing_key
        public = {name: roster.member(name).sealing_key for name in parties}
        if public[me].hex != own.public.hex:
            # The others add masks for another key: no sum would come out, or the roster lies.
            raise refused(Ruled.PAIRING, me)
        pairing = hashlib.sha256(f"{kept.id} {number}".encode())
        total = np.frombuffer(answers, ">u8").astype(np.uint64)
        for name in sorted(parties):
            pairing.update(f" {name} {public[name].hex}".encode())
            if name != me:
                pair = " ".join((*sorted((me, name)), kept.id, str(number)))
                key = own.agree(public[name], _MASKS + pair.encode())
                mask = masks(key, keys)
                total = total + mask if me < name else total - mask
        return pairing.hexdigest(), total.astype(">u8").tobytes()

    # ------------------------------------------------------------------ on disk

    def _keep(
        self, kept: KeptModel, number: int, published: PublishedSet, pairing: str, mark: str
    ) -> None:
        folder, key = _folder(kept), rng.token(32)
        facts = _Kept(
            number=number,
            terms=published.terms,
            pairing=pairing,
            mark=mark,
            key=self._node.sealing_key.public.seal(key, _key_context(kept, number)).hex(),
        )
        write_atomic(folder / f"{number}.set", published.keep(key))
        write_atomic(folder / f"{number}.json", facts.canonical())
        for file in folder.glob("*.*"):
            if file.stem.isdigit() and int(file.stem) < number:
                file.unlink(missing_ok=True)

    def _load(self, kept: KeptModel, number: int) -> Ready | None:
        """Return an epoch that was kept; None if it was not finished."""
        folder = _folder(kept)
        file = folder / f"{number}.json"
        if not file.exists():
            return None
        facts = read(read_file(file), _Kept, "epoch", MEBI, lambda _: ())
        key = self._node.open_sealed(bytes.fromhex(facts.key), _key_context(kept, number))
        published = PublishedSet.opened(facts.terms, read_file(folder / f"{number}.set"), key)
        return Ready(number, published, facts.pairing, facts.mark)


def masks(key: bytes, keys: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return a 64-bit word for each record that only two parties know: keyed BLAKE2b (RFC 7693)."""
    words = b"".join(hashlib.blake2b(k.encode(), key=key, digest_size=8).digest() for k in keys)
    return np.frombuffer(words, ">u8").astype(np.uint64)


class _Counted:
    """A masker that tells how far it is, and gives up when it is told to."""

    def __init__(self, masker: Masker, making: Making, stop: threading.Event) -> None:
        self._masker, self._making, self._stop = masker, making, stop

    def mask(self, digests: bytes) -> bytes:
        if self._stop.is_set():
            raise refused(Ruled.UNPREPARED)
        found = self._masker.mask(digests)
        self._making.done += len(digests) // 64
        return found

    def multiply(self, points: bytes) -> bytes:
        return self._masker.multiply(points)

    def close(self) -> None:
        self._masker.close()


def _counting(
    open_masker: Callable[[Scalar], Masker], making: Making, stop: threading.Event
) -> Callable[[Scalar], Masker]:
    return lambda scalar: _Counted(open_masker(scalar), making, stop)


def _folder(kept: KeptModel) -> Path:
    return kept.path / "epochs"


def _key_context(kept: KeptModel, number: int) -> bytes:
    return f"banyan score epoch 1 {kept.id} {number}".encode()
