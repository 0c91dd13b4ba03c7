"""Scoring with a joint model at its label party's node: own rows, everybody's answers, one score.

Only records that the label party's own table has are asked about. Every question is charged to the
label party's own grant here, and at each feature party to the grant that it gave, before any work;
both are looked at again between messages.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, Self

from fusion.alignment.identifiers import Rejected, normalise
from fusion.crypto import rng
from fusion.errors import (
    InputInvalid,
    MessageInvalid,
    ModelRefused,
    PartyFailed,
    PartyUnreachable,
)
from fusion.grants.request import Request, charge_name
from fusion.ledger import entry as entries
from fusion.services import engines
from fusion.services.clock import SystemClock
from fusion.services.grants import GrantDesk
from fusion.services.ledger import Book
from fusion.services.score_asking import FeatureSide
from fusion.services.score_messages import MAX_ASKED, Epoch, Preparing
from fusion.services.score_rules import Ruled, refused
from fusion.services.score_tables import mark_of, own_table
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fusion.engine_ports import Scored
    from fusion.grants.permit import Permit
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome
    from fusion.services.models import KeptModel
    from fusion.services.node_link import Connection
    from fusion.services.score_asking import Taken
    from fusion.services.score_tables import OwnTable

_TRIES: Final = 3
_QUESTIONS: Final = 6
"""How often a call asks, when epochs end under it; each time is charged where it is answered."""
AGAIN_SECONDS: Final = 60.0
"""For how long it begins to ask again."""
_LOOK_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 3600.0
"""For how long answers may be prepared."""

INVALID, NOT_OWN, NOT_AT = "identifier not valid", "not in the own table", "not at "


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one identifier.

    Attributes:
        identifier: As it was given.
        scored: The score; None if there is none.
        missing: Why there is none; empty if there is one.
    """

    identifier: str
    scored: Scored | None
    missing: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        if self.scored is None:
            return {"id": self.identifier, "score": None, "missing": self.missing}
        return {
            "id": self.identifier,
            "score": self.scored.score,
            "output": self.scored.output,
            "reasons": [{"name": name, "amount": amount} for name, amount in self.scored.reasons],
        }


class Scorer:
    """A model at its label party's node, connected to the feature parties; safe for threads."""

    def __init__(
        self,
        connection: Connection,
        node: NodeHome,
        kept: KeptModel,
        *,
        purpose: str = "",
        most: int = MAX_ASKED,
        tell: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """Open the part; nothing is asked yet.

        Args:
            connection: Of this node.
            node: This node.
            kept: The model; this node holds the label's part.
            purpose: What for, as the grants say; by default what the model was trained for.
            most: Records of one question.
            tell: Told how far it is.
            clock: Time.

        Raises:
            ModelRefused: M-11: it was revoked here. M-12: this node is not its label party.
            InputInvalid: It is not known what the scores are for.
        """
        shared = kept.facts.shared
        if kept.role != "label":
            raise refused(Ruled.NOT_LABEL, shared.label_party)
        if kept.revoked:
            raise refused(Ruled.REVOKED)
        self._purpose = purpose or shared.purpose or ""
        if not self._purpose:
            raise InputInvalid("The model does not say what for.", hint="Say it with --purpose.")
        self._node, self._kept, self._tell, self._most = node, kept, tell, most
        self._clock = clock or SystemClock()
        self._engine = engines.scoring()
        self._part = self._engine.open(kept.part(node))
        if self._part.parties != shared.feature_parties:
            raise MessageInvalid(f"The part of {kept.name} is of other parties than its facts say.")
        self._book = Book(node, self._clock)
        self._desk = GrantDesk(
            node, roster=node.roster, clock=self._clock, note=lambda _: None, book=self._book
        )
        self._sides = [
            FeatureSide(connection, node, kept, name, self._purpose, tell)
            for name in shared.feature_parties
        ]
        # Two, so that whoever needs only the own table does not wait for who waits for others.
        self._preparing = threading.Lock()
        self._reading = threading.Lock()
        self._leaving = threading.Lock()
        self._table: OwnTable | None = None
        self._taken: tuple[Taken, ...] | None = None  # of every party, of one number
        self._pool = ThreadPoolExecutor(max(4, 2 * len(self._sides)), thread_name_prefix="scoring")

    def close(self) -> None:
        """Let go of threads."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # ------------------------------------------------------------------ epochs

    def prepare(self, check: Callable[[], None] = lambda: None) -> tuple[Taken, ...]:
        """Return the feature parties' epochs, all of one number; taken if that is not done.

        May wait. What another call takes meanwhile changes nothing about what is returned.

        Args:
            check: Called again and again; raises if the work may not go on.

        Raises:
            ModelRefused: M-17: they hide their answers under different keys.
            PartyFailed: A feature party refuses.
            PartyUnreachable: One does not answer, or answers are not ready in time.
        """
        if (taken := self._taken) is not None:
            return taken
        while not self._preparing.acquire(timeout=_LOOK_SECONDS):
            check()  # also while another thread waits for the parties
        try:
            if (taken := self._taken) is None:
                taken = self._prepare(check)
                with self._leaving:
                    self._taken = taken
            return taken
        finally:
            self._preparing.release()

    def _prepare(self, check: Callable[[], None]) -> tuple[Taken, ...]:
        number = max(self._everywhere(methodcaller("take")))
        wrong = Ruled.OVER
        for _ in range(_TRIES):
            found = self._everywhere(partial(self._waited, number, check))
            epochs = [each for each in found if isinstance(each, Epoch)]
            if len(epochs) < len(found):
                number = max(each for each in found if isinstance(each, int))
            elif len({epoch.pairing for epoch in epochs}) > 1:
                # Made under two rosters: under the next number all see the same.
                number, wrong = number + 1, Ruled.PAIRING
            else:
                return tuple(
                    side.fetch(epoch, check)
                    for side, epoch in zip(self._sides, epochs, strict=True)
                )
        raise refused(wrong)

    def _waited(self, number: int, check: Callable[[], None], side: FeatureSide) -> Epoch | int:
        until = self._clock.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while self._clock.monotonic() < until:
            check()
            found = side.open(number)
            if isinstance(found, Epoch) and found.number != number:
                raise MessageInvalid(f"{side.name} answers something else than it was asked.")
            if not isinstance(found, Preparing):
                return found
            self._tell(f"{side.name} prepares its answers: {found.done} of {found.total or '?'}")
            pause.wait(_LOOK_SECONDS)
        raise PartyUnreachable(f"{side.name} has not prepared its answers in time.")

    def _everywhere(self, act: Callable[[FeatureSide], Any]) -> list[Any]:
        """Do something with every feature party at once; the first error counts."""
        return list(self._pool.map(act, self._sides))

    def _own(self) -> OwnTable:
        """Return the own table, read anew if its file is another."""
        with self._reading:
            if self._table is None or self._table.mark != mark_of(self._node, self._kept):
                self._table = own_table(self._node, self._kept, self._part)
            return self._table

    # ------------------------------------------------------------------ scores

    def score(self, identifiers: Sequence[object]) -> list[Row]:
        """Score records, in the order of their identifiers.

        Args:
            identifiers: Cells, as they are written; None is a missing one.

        Raises:
            GrantRefused: No grant of this organisation itself allows it, or it was revoked.
            ModelRefused: The model was revoked here, or answers can't be had.
            PartyFailed: A feature party refuses.
            PartyUnreachable: One does not answer.
            InputInvalid: There are more records than a question may have.
        """
        table, identifier = self._own(), self._kept.facts.shared.identifier
        keys: list[str | None] = []
        for cell in identifiers:
            try:
                keys.append(normalise(identifier.kind, cell, fold=identifier.fold))
            except Rejected:
                keys.append(None)
        wanted = list(dict.fromkeys(key for key in keys if key is not None and key in table.rows))
        if len(wanted) > self._most:
            raise InputInvalid(
                f"A question has at most {self._most} records.", hint="Ask in several files."
            )
        given = self._answers(wanted) if wanted else {side.name: {} for side in self._sides}
        whole = [key for key in wanted if all(key in each for each in given.values())]
        answers = {name: b"".join(each[key] for key in whole) for name, each in given.items()}
        rows = [table.rows[key] for key in whole]
        found = dict(
            zip(
                whole,
                self._engine.scores(self._part, table.columns, rows, answers) if whole else (),
                strict=True,
            )
        )
        return [
            Row(
                str(cell if cell is not None else ""),
                found.get(key or ""),
                self._why(key, table, given),
            )
            for cell, key in zip(identifiers, keys, strict=True)
        ]

    def _why(
        self, key: str | None, table: OwnTable, given: Mapping[str, Mapping[str, bytes]]
    ) -> str:
        """Return why a record has no score; empty if it has one."""
        if key is None:
            return INVALID
        if key not in table.rows:
            return NOT_OWN
        lacking = [name for name, answers in given.items() if key not in answers]
        return NOT_AT + ", ".join(lacking) if lacking else ""

    def _answers(self, keys: list[str]) -> dict[str, Mapping[str, bytes]]:
        """Return every feature party's answers, of one epoch; one that is over is taken anew."""
        permit = self._charged(len(keys))

        def check() -> None:
            if permit is not None:
                self._desk.check(permit)
            if self._kept.revoked:
                raise refused(Ruled.REVOKED)

        until, left, found = self._clock.monotonic() + AGAIN_SECONDS, _QUESTIONS, None
        while found is None:
            left -= 1
            taken = None
            try:
                taken = self.prepare(check)
                found = self._asked(taken, keys, check)
            except (PartyFailed, ModelRefused) as error:
                # A table has changed: at one party, while others have answered, or are yet to.
                late = not left or self._clock.monotonic() >= until
                if error.code != Ruled.OVER.value.code or late:
                    raise
                if taken is not None:
                    self._leave(taken)
        check()
        return {side.name: each for side, each in zip(self._sides, found, strict=True)}

    def _asked(
        self, taken: tuple[Taken, ...], keys: list[str], check: Callable[[], None]
    ) -> list[Mapping[str, bytes]]:
        if len({(each.epoch.number, each.epoch.pairing) for each in taken}) != 1:
            # Masks of two epochs do not cancel: what came out would look like a score.
            raise refused(Ruled.OVER)
        by_name = {side.name: each for side, each in zip(self._sides, taken, strict=True)}
        return self._everywhere(lambda side: side.ask(by_name[side.name], keys, check))

    def _leave(self, taken: tuple[Taken, ...]) -> None:
        """Do not use epochs any more, unless another call has taken others since."""
        with self._leaving:  # not the other lock: who holds that may wait for parties
            if self._taken is taken:
                self._taken = None

    def _charged(self, records: int) -> Permit | None:
        """Decide and charge a question under the own grant, and log it."""
        own = self._kept.facts.own
        if self._kept.revoked:
            raise refused(Ruled.REVOKED)
        if not self._node.config.require_grants:
            return None
        columns = (own.identifier, *self._part.columns)
        me = OrgId(self._node.config.id)
        request = Request(
            job=f"s-{rng.token(16).hex()}",
            assignee=me,
            party=me,
            action="score",
            dataset=own.dataset,
            columns=columns,
            needed=columns,
            schema_digest=self._desk.schema_digest(own.dataset),
            purpose=self._purpose,
            rows=records,
            model_names=self._kept.facts.shared.names,
            study=self._kept.id,
        )
        permit = self._desk.admit(request)
        permit.spend()
        self._desk.commit(permit)
        key = charge_name(request)
        self._book.once(
            f"model-scored:{key}",
            entries.ModelScored(
                at=self._book.now(),
                model=self._kept.id,
                organisation=me,
                reservation=hashlib.sha256(key.encode()).hexdigest(),
                records=records,
            ),
        )
        return permit
