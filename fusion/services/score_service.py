"""A feature party's node answering for a model: decide, charge, log, evaluate; in that order.

It sees blinded points and counts them: neither identifiers nor scores. Whoever asks has to be the
model's label party and to have a grant of this party with the action `score`; each question is
charged before anything is evaluated, and looks at permit and model again before each answer leaves,
so that a revocation ends it at once.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.alignment.published import Evaluator
from fusion.errors import (
    AlignmentBroken,
    AlignmentRefused,
    FusionError,
    GrantRefused,
    MemberRevoked,
    MessageInvalid,
    ModelRefused,
)
from fusion.grants.permit import Permit
from fusion.grants.request import Request, charge_name
from fusion.ledger import entry as entries
from fusion.services import engines
from fusion.services import grant_evidence as evidence
from fusion.services import score_messages as messages
from fusion.services.clock import SystemClock
from fusion.services.grant_choice import choose
from fusion.services.grants import GrantDesk, GrantFolder
from fusion.services.ledger import Book
from fusion.services.maskers import maskers
from fusion.services.models import model_of
from fusion.services.query_messages import Refusal as Outward
from fusion.services.score_epochs import CHUNK, PACE_SECONDS, Epochs, Making, Ready
from fusion.services.score_messages import Asked, Epoch, Preparing, Reply
from fusion.services.score_rules import Ruled, refused
from fusion.services.storage import open_budgets
from fusion.types import OrgId

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.ports import Clock, Stop
    from fusion.services.homes import NodeHome
    from fusion.services.models import KeptModel

OWNER_LOG: Final = logging.getLogger("banyan.scoring")
"""Why questions failed, for the owner."""

MAX_A_CALLER: Final = 8
"""Questions of one organisation that are under way: begun, between messages, or worked on."""

_IDLE_SECONDS: Final = 60.0
_OUTWARD: Final = (
    ModelRefused, GrantRefused, MemberRevoked, AlignmentRefused, AlignmentBroken, MessageInvalid,
)  # fmt: skip
"""What may leave as it is: decided from grants, sizes and messages, not from the table."""


@dataclass(slots=True)
class _Question:
    """A question under way, of several messages."""

    permit: Permit
    evaluator: Evaluator
    terms: str
    left: int
    touched: float


class ScoreService:
    """Answers label parties; safe to be called by many threads."""

    def __init__(
        self,
        node: NodeHome,
        say: Callable[[str], None],
        clock: Clock | None = None,
        *,
        pace: float = PACE_SECONDS,
        chunk: int = CHUNK,
    ) -> None:
        """Open what is needed.

        Args:
            node: The node.
            say: Told what its owner should know.
            clock: Time.
            pace: Seconds between two epochs of a table that has not changed.
            chunk: Most records of a message.

        Raises:
            EnvironmentUnfit: A file can't be opened.
        """
        self._node, self._say = node, say
        self._clock = clock or SystemClock()
        self._engine = engines.scoring()
        self._book = Book(node, self._clock)
        self._budgets = open_budgets(node)
        self._folder = GrantFolder(node.grants, node.roster)
        self._refusals = evidence.RefusalLog(self._book, self._book.now)
        self._desk = GrantDesk(
            node,
            roster=node.roster,
            clock=self._clock,
            note=say,
            book=self._book,
            refused=self._refusals.refused,
        )
        self._epochs = Epochs(
            node, self._engine, self._clock, self._book, say, pace=pace, chunk=chunk
        )
        self._lock = threading.Lock()
        self._models: dict[str, KeptModel] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        """What each model's part reads: what a grant has to name, and no more."""
        self._questions: dict[tuple[str, str], _Question] = {}
        self._working: set[tuple[str, str]] = set()  # a message of these is being worked on

    def close(self) -> None:
        """End what is under way."""
        self._epochs.close()
        with self._lock:
            for question in self._questions.values():
                question.evaluator.close()
            self._questions.clear()

    def reply(self, caller: str, frame: bytes, stop: Stop) -> bytes:
        """Answer; every reply is one that may leave."""
        del stop  # no message takes longer than it takes to notice
        try:
            asked, body = messages.asked_of(frame)
            return self._replied(caller, asked, body)
        except _OUTWARD as error:
            return messages.to_bytes(Reply(refusal=Outward.of(error)))
        except Exception as error:  # noqa: BLE001 - the edge: whoever asks gets one text
            OWNER_LOG.warning("a question of %s ended unexpectedly", caller, exc_info=True)
            said = error.message if isinstance(error, FusionError) else type(error).__name__
            self._say(f"a question of {caller} was not answered: {said}")
            return messages.to_bytes(Reply(refusal=Outward.of(refused(Ruled.UNANSWERED))))

    def _replied(self, caller: str, asked: Asked, body: bytes) -> bytes:
        if asked.kind == "standing":
            return messages.to_bytes(self._standing(caller, asked.model))
        kept = self._model(caller, asked.model)
        if asked.kind == "ask" and asked.question is not None:
            return self._asked(caller, kept, asked, body)
        self._permitted(self._request(caller, kept, asked, "open", 1))
        if asked.kind == "part":
            ready = self._ready(kept, asked)
            return messages.to_bytes(Reply(body=True), ready.published.message(asked.number))
        return messages.to_bytes(self._opened(kept, asked.epoch))

    def _standing(self, caller: str, model: str) -> Reply:
        """Return that the model stands here, to another holder of it.

        Raises:
            ModelRefused: M-10: it is not kept here, or the caller holds no part of it. M-11: it was
                revoked here.
        """
        me, kept = self._node.config.id, model_of(self._node, model)
        if kept is None or kept.facts.shared.holder(caller) is None:
            raise refused(Ruled.UNKNOWN, me)
        if kept.revoked:
            raise refused(Ruled.REVOKED, me)
        return Reply(stands=True)

    def _model(self, caller: str, model: str) -> KeptModel:
        """Return a model that the caller may ask about.

        Raises:
            ModelRefused: M-10, M-11, M-12.
        """
        kept = self._models.get(model)
        if kept is None:
            kept = model_of(self._node, model)
            if kept is None or kept.role != "feature":
                raise refused(Ruled.UNKNOWN, self._node.config.id)
            self._columns[model] = self._engine.open(kept.part(self._node)).columns
            self._models[model] = kept
        if caller != kept.facts.shared.label_party:
            raise refused(Ruled.NOT_LABEL, self._node.config.id)
        if kept.revoked:
            raise refused(Ruled.REVOKED, self._node.config.id)
        return kept

    def _request(
        self, caller: str, kept: KeptModel, asked: Asked, job: str, records: int
    ) -> Request:
        """Return what is asked, as a grant is asked about it: made of what is known here."""
        own = kept.facts.own
        columns = (own.identifier, *self._columns[kept.id])
        return Request(
            job=job,
            assignee=OrgId(caller),
            party=OrgId(self._node.config.id),
            action="score",
            dataset=own.dataset,
            columns=columns,
            needed=columns,
            schema_digest=self._desk.schema_digest(own.dataset),
            purpose=asked.purpose,
            rows=records,
            model_names=kept.facts.shared.names,
            study=kept.id,
        )

    def _permitted(self, request: Request) -> None:
        """Return if a grant would let a record be scored now; nothing is charged.

        Raises:
            GrantRefused: None would.
        """
        grants = self._folder.readable(self._say)
        result = choose(grants, request, self._budgets, self._clock.now())
        if not isinstance(result, Permit):
            raise result.error()

    def _opened(self, kept: KeptModel, wanted: int | None) -> Reply:
        found = self._epochs.look(kept, wanted)
        if isinstance(found, Making):
            return Reply(
                preparing=Preparing(number=found.number, done=found.done, total=found.total)
            )
        if isinstance(found, int):
            return Reply(take=found)
        return Reply(
            epoch=Epoch(
                number=found.number,
                terms=found.published.terms,
                parts=found.published.parts,
                pairing=found.pairing,
            )
        )

    def _ready(self, kept: KeptModel, asked: Asked) -> Ready:
        """Return the epoch that is asked about.

        Raises:
            ModelRefused: M-13: it is over.
        """
        ready = self._epochs.ready(kept)
        if ready is None or ready.published.terms.digest != asked.terms:
            raise refused(Ruled.OVER, self._node.config.id)
        return ready

    # ------------------------------------------------------------------ questions

    def _asked(self, caller: str, kept: KeptModel, asked: Asked, body: bytes) -> bytes:
        ready = self._ready(kept, asked)
        name = (caller, asked.question or "")
        question = self._taken_up(name, asked)
        try:
            if question is None:
                question = self._begin(caller, kept, asked, ready)
            data = evaluate(question.permit, question.evaluator, self._desk, kept, body)
            question.left -= ready.published.terms.chunk
        except BaseException:
            self._let_go(name, question, goes_on=False)
            raise
        self._let_go(name, question, goes_on=question.left > 0)
        return messages.to_bytes(Reply(body=True), data)

    def _taken_up(self, name: tuple[str, str], asked: Asked) -> _Question | None:
        """Return a question to go on with, None for one to begin: in this thread alone.

        In several at once it would be charged once. It counts from here on.

        Raises:
            MessageInvalid: It is being worked on, or was begun in another epoch: then it is over.
            ModelRefused: M-15: the caller has too many under way.
        """
        with self._lock:
            if name in self._working:
                raise MessageInvalid("A question was asked before under this name.")
            question = self._questions.pop(name, None)
            if question is None:
                self._check_load(name[0])
            elif question.terms != asked.terms:
                question.evaluator.close()
                raise MessageInvalid("A question goes on in another epoch than it began in.")
            self._working.add(name)
        return question

    def _let_go(self, name: tuple[str, str], question: _Question | None, *, goes_on: bool) -> None:
        with self._lock:
            self._working.discard(name)
            if question is not None and goes_on:
                question.touched = self._clock.monotonic()
                self._questions[name] = question
        if question is not None and not goes_on:
            question.evaluator.close()

    def _begin(self, caller: str, kept: KeptModel, asked: Asked, ready: Ready) -> _Question:
        """Decide and charge a question, and log it.

        Raises:
            GrantRefused: No grant allows it, or none has enough left.
            MessageInvalid: It was asked before.
        """
        request = self._request(caller, kept, asked, f"s-{asked.question}", asked.records)
        if self._budgets.charged_to(charge_name(request)) is not None:
            raise MessageInvalid("A question was asked before under this name.")
        self._desk.check_some_holds(request)
        permit = self._desk.admit(request)
        permit.spend()
        key = charge_name(request)
        self._desk.commit(permit)
        self._book.once(
            f"model-scored:{key}",
            entries.ModelScored(
                at=self._book.now(),
                model=kept.id,
                organisation=caller,
                reservation=hashlib.sha256(key.encode()).hexdigest(),
                records=asked.records,
            ),
        )
        published = ready.published
        evaluator = Evaluator(published, caller, maskers(asked.records), left=asked.records)
        return _Question(
            permit, evaluator, published.terms.digest, asked.records, self._clock.monotonic()
        )

    def _check_load(self, caller: str) -> None:
        """Drop questions that nobody goes on with; hold a caller to its number of open ones.

        The lock is held.

        Raises:
            ModelRefused: M-15: it has as many, between messages or with one that is worked on.
        """
        now = self._clock.monotonic()
        for name, question in list(self._questions.items()):
            if now - question.touched > _IDLE_SECONDS:
                self._questions.pop(name).evaluator.close()
        if sum(who == caller for who, _ in (*self._questions, *self._working)) >= MAX_A_CALLER:
            raise refused(Ruled.BUSY, self._node.config.id)


def evaluate(
    permit: Permit, evaluator: Evaluator, desk: GrantDesk, kept: KeptModel, body: bytes
) -> bytes:
    """Return the answer to a message of a question that was permitted and charged.

    Args:
        permit: Of the question; it was used up when that began.
        evaluator: Of the question.
        desk: Says whether the permit still holds.
        kept: The model.
        body: The message.

    Raises:
        GrantRefused: The permit was never used for a question, or holds no more.
        ModelRefused: M-11.
        AlignmentRefused: A-18: more records than were charged.
        AlignmentBroken: The message breaks a rule.
    """
    if not permit.spent or permit.request.action != "score":
        raise GrantRefused("A question is evaluated under a permit that it was begun with.")
    desk.check(permit)
    data = evaluator.take(body)
    # What came in the meantime holds.
    desk.check(permit)
    if kept.revoked:
        raise refused(Ruled.REVOKED, permit.request.party)
    return data
