"""One party's part in an alignment: from the operator's order to what it learned.

In this order: the order is taken, a permit is asked for, the own column is read, the set is held to
what is remembered of earlier runs, masked and committed to; then the charge is final and the first
message leaves. What a session needs to go on after a crash is on disk before the message that it
concerns leaves. What was learned is logged before anybody is shown it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.alignment import controls
from fusion.alignment.controls import Limits, Run
from fusion.alignment.preparation import Prepared, prepare
from fusion.alignment.ring import Member
from fusion.alignment.session import Session
from fusion.alignment.talkers import MemberTalker, SessionTalker
from fusion.connectors.files import read_table
from fusion.crypto import rng
from fusion.errors import (
    AlignmentRefused,
    ConversationBroken,
    FusionError,
    GrantRefused,
    InputInvalid,
    RunStopped,
)
from fusion.grants.budget import Evidence as Said
from fusion.grants.order import check_order, open_order
from fusion.grants.refusal import Code
from fusion.grants.request import Request, charge_name
from fusion.ledger.alignment_entries import SetAligned, SetCommitted
from fusion.ledger.entry import OrderTaken, encode, stamp
from fusion.services import align_jobs
from fusion.services.align_jobs import Learned
from fusion.services.catalogue import check_usable
from fusion.services.conversing import Patience
from fusion.services.grants import folder_of
from fusion.services.logbook import papers_of
from fusion.services.maskers import maskers
from fusion.services.storage import open_rounds
from fusion.types import OrgId
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.alignment.study import AlignmentStudy
    from fusion.alignment.terms import Terms
    from fusion.grants.document import Align
    from fusion.grants.permit import Permit
    from fusion.ports import Clock, Stop
    from fusion.services.align_jobs import Job
    from fusion.services.conversing import Conversations, Talk, Talker
    from fusion.services.grants import GrantDesk
    from fusion.services.homes import NodeHome
    from fusion.services.ledger import Book

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Seat:
    """What a node brings to every alignment.

    Attributes:
        node: Its folder.
        desk: Where its grants are decided on and charged.
        book: Its log.
        conversations: Its talks.
        clock: Time.
    """

    node: NodeHome
    desk: GrantDesk
    book: Book
    conversations: Conversations
    clock: Clock

    @property
    def me(self) -> str:
        """This party."""
        return self.node.config.id


def take_order(seat: Seat, job: Job) -> None:
    """Verify the operator's order of a job and take it, for this job and no other.

    One that was taken for this job before is good up to its end.

    Raises:
        OrderRefused: It is another's, for another study, out of its time, or used.
        MemberRevoked: The operator is a member no longer.
        MessageInvalid: It is no order.
    """
    rounds, document, study = open_rounds(seat.node), job.order, job.study
    if rounds.order(job.name) == document:
        return
    now = seat.clock.now()
    order = open_order(document, seat.node.roster(), study.study.operator)
    check_order(order, study.digest(), now)
    if align_jobs.job_of(order.id) != job.name:
        raise InputInvalid(f"{job.name} is not the job of its order.")
    entry = OrderTaken(
        at=stamp(now),
        job=job.name,
        study=order.study,
        operator=order.operator,
        id=order.id,
        order=hashlib.sha256(document).hexdigest(),
    )
    said = Said((encode(entry),), papers_of((document,)))
    rounds.bind_order(order.id, job.name, document, said)


def request_of(seat: Seat, job: Job) -> Request:
    """Return what a job asks of this party's grants.

    Raises:
        InputInvalid: The study does not name this party, or a dataset that it does not have.
    """
    study = job.study
    own, alignment = study.of(seat.me), study.alignment
    return Request(
        job=job.name,
        assignee=study.study.operator,
        party=OrgId(seat.me),
        action="align",
        dataset=own.dataset,
        columns=(own.identifier,),
        needed=(own.identifier,),
        schema_digest=seat.desk.schema_digest(own.dataset),
        purpose=study.study.purpose,
        set_size=alignment.set_size,
        outcome=alignment.outcome,
        minimum_intersection=alignment.minimum_intersection,
        minimum_overlap_permille=alignment.minimum_overlap_permille,
        grants=own.grants or (),
        study=study.digest(),
    )


def is_stranger(seat: Seat, operator: str, study: AlignmentStudy) -> bool:
    """Return whether no grant here, of whatever state, lets an operator align a study's table."""
    dataset = study.of(seat.me).dataset
    grants = (kept.signed.grant for kept in folder_of(seat.node).all())
    return not any(
        (grant.assignee, grant.dataset.id) == (operator, dataset)
        and grant.permissions.align is not None
        for grant in grants
    )


def run(seat: Seat, job: Job, permit: Permit, stop: Stop, show: Callable[[Talk], None]) -> Learned:
    """Carry a party's part through, under its permit; return what it learned.

    Args:
        seat: The party.
        job: The job; its order is taken.
        permit: Of the action ``align``, for exactly this job.
        stop: Ends it.
        show: Given the talk once there is one, for who asks how far it is.

    Raises:
        GrantRefused: The permit is for something else, or holds no longer.
        AlignmentRefused: The own set is refused, or too little is common.
        AlignmentBroken: Another party broke the protocol.
        PartySilent: Another party was not heard for too long.
        PartyFailed: Another party ended the job.
        DataInvalid: The own table can't be read.
    """
    part = _Part(seat, job, permit)
    try:
        return part.run(stop, show)
    except FusionError:
        part.give_up()
        raise
    finally:
        part.wipe()


def _permission(seat: Seat, permit: Permit) -> Align:
    """Return what the grant of a permit says about alignments."""
    found = folder_of(seat.node).get(permit.grant).signed.grant.permissions.align
    if found is None:
        raise GrantRefused("The permit is for no alignment.", code=Code.ACTION)
    return found


class _Part:
    """One party, one job, in one process."""

    def __init__(self, seat: Seat, job: Job, permit: Permit) -> None:
        if permit.request != request_of(seat, job):
            raise GrantRefused("The permit is not for this alignment.", code=Code.ACTION)
        self._seat, self._job, self._permit = seat, job, permit
        self._study: AlignmentStudy = job.study
        self._terms: Terms = self._study.terms(seat.node.trust().federation, job.name)
        self._allowed = _permission(seat, permit)
        self._reservation = hashlib.sha256(charge_name(permit.request).encode()).hexdigest()
        self._key = self._marks = self._order = b""
        self._left = False
        self._engine: Session | Member | None = None

    @property
    def _peers(self) -> tuple[str, ...]:
        return tuple(name for name in self._terms.parties if name != self._seat.me)

    def run(self, stop: Stop, show: Callable[[Talk], None]) -> Learned:
        controls.granted(self._allowed, self._terms)
        prepared = self._prepared()
        self._marks = self._held_to_earlier(prepared)
        talker = self._begun(prepared)
        self._seat.desk.check(self._permit)
        if stop.is_set():
            raise RunStopped("The job was stopped here.")
        # From here on the charge is final, and the operator may be shown the size of the set.
        self._left = True
        self._seat.desk.commit(self._permit)
        self._job.keep(self._job.state.model_copy(update={"records": len(prepared.keys)}))
        talk = self._seat.conversations.open(
            self._job.name,
            1,
            talker,
            patience=Patience(silence=self._study.study.patience),
            check=lambda: self._seat.desk.check(self._permit),
        )
        show(talk)
        try:
            talk.wait(stop)
            learned = self._outcome()
        except ConversationBroken:
            # Killed when everything had come, and before this was written down: the peer has ended.
            kept = self._job.outcome()
            if kept is None or not all(line.peer_over for line in talk.lines.values()):
                raise
            learned = kept
        return self._learned(learned, prepared)

    def _prepared(self) -> Prepared:
        seat, own, ids = self._seat, self._study.of(self._seat.me), self._study.identifiers
        path = seat.node.config.data.get(own.dataset)
        if path is None:
            raise InputInvalid(f"{seat.me} has no dataset called {own.dataset!r}.")
        check_usable(seat.node, own.dataset)
        cells = read_table(path, [own.identifier], text=[own.identifier])[own.identifier]
        prepared = prepare(ids.kind, cells.tolist(), duplicates=ids.duplicates, fold=ids.fold)
        self._job.write("report.json", canonical.encode(prepared.report.document()))
        # A session that goes on after a crash knows keys by their places: those of the keys
        # themselves, whatever order the table's rows have by then.
        pairs = sorted(zip(prepared.keys, prepared.rows, strict=True))
        return Prepared([key for key, _ in pairs], [row for _, row in pairs], prepared.report)

    def _held_to_earlier(self, prepared: Prepared) -> bytes:
        """Return the sketch of the own set, which may be aligned with every peer."""
        node = self._seat.node
        marks = controls.sketch(align_jobs.secret_of(node), prepared.keys)
        limits = Limits(self._allowed.runs, self._allowed.minimum_difference)
        begun = Run(self._job.name, self._terms.field.field, len(prepared.keys), 0, "", marks)
        # What was remembered in a process before this one may have left it.
        self._left |= align_jobs.hold_to_earlier(node, self._peers, limits, begun)
        return marks

    # ------------------------------------------------------------------ the session

    def _begun(self, prepared: Prepared) -> Talker:
        open_masker = maskers(len(prepared.keys))
        kept = self._job.session()
        if len(self._terms.parties) > 2:
            if self._left:
                raise RunStopped("A ring does not go on after a crash: order it again.")
            member = Member(self._terms, self._seat.me, prepared.keys, open_masker)
            self._engine = member
            self._remember({})
            self._commit_set({})
            return MemberTalker(member)
        order = order_of(prepared)
        if kept is not None:
            self._key, before, sealed = kept
            if before != order:
                raise align_jobs.table_changed()
            session = Session.go_on(self._terms, self._seat.me, sealed, self._key, open_masker)
        else:
            session = Session.begin(self._terms, self._seat.me, prepared.keys, open_masker)
            self._key = rng.token(_KEY_BYTES)
            self._order = order
            self._keep(session)
        self._order, self._engine = order, session
        self._remember({session.peer: session.peer_total})
        return SessionTalker(session, self._taken)

    def _taken(self, session: Session) -> None:
        """Keep what the peer is held to, before the first answer to it leaves."""
        if session.taken == 1:
            self._keep(session)
            self._remember({session.peer: session.peer_total})
            self._commit_set({session.peer: (session.peer_commitment, session.peer_total)})

        if session.over:
            # The peer is told that this has come once it is kept.
            self._seat.desk.check(self._permit)
            with suppress(AlignmentRefused):
                self._job.keep_outcome(Learned.of(session.outcome()))

    def _keep(self, session: Session) -> None:
        self._job.keep_session(self._key, self._order, session.keep(self._key))

    def _remember(self, peers: dict[str, int]) -> None:
        commitment, field, marks = self._commitment, self._terms.field.field, self._marks
        for peer in self._peers:
            found = Run(
                self._job.name, field, len(marks) // controls.SKETCH_BYTES, peers.get(peer, 0),
                commitment, marks,
            )  # fmt: skip
            align_jobs.remember(self._seat.node, peer, found)

    @property
    def _commitment(self) -> str:
        return "" if self._engine is None else self._engine.commitment

    def _commit_set(self, seen: dict[str, tuple[str, int]]) -> None:
        peers = tuple(sorted(seen or self._peers))
        entry = SetCommitted(
            at=self._seat.book.now(),
            job=self._job.name,
            reservation=self._reservation,
            commitment=self._commitment,
            records=len(self._marks) // controls.SKETCH_BYTES,
            peers=peers,
            peer_commitments=tuple(seen[peer][0] for peer in peers if peer in seen),
            peer_records=tuple(seen[peer][1] for peer in peers if peer in seen),
        )
        self._seat.book.once(f"alignment:{self._job.name}:committed", entry)

    # ------------------------------------------------------------------ the end

    def _outcome(self) -> Learned:
        """Return what was learned; if too little is common, that is said where it is logged."""
        if self._engine is None:
            raise AssertionError
        try:
            return Learned.of(self._engine.outcome())
        except AlignmentRefused:
            self._log(Learned())
            raise

    def _learned(self, learned: Learned, prepared: Prepared) -> Learned:
        self._log(learned)
        if learned.keys is not None:
            rows = [prepared.rows[key] for key in learned.keys]
            self._job.write("rows.json", canonical.encode(rows_document(rows)))
        return learned

    def _log(self, learned: Learned) -> None:
        content: dict[str, Any] = {
            "at": self._seat.book.now(),
            "job": self._job.name,
            "reservation": self._reservation,
            "learned": learned.what,
            "common": learned.size or 0,
        }
        name = f"alignment:{self._job.name}:learned"
        self._seat.book.once(name, SetAligned.model_validate(content))

    def give_up(self) -> None:
        """Give the charge back if nothing has left, in this process or one before it."""
        if not self._left:
            for peer in self._peers:
                align_jobs.forget(self._seat.node, peer, self._job.name)
            with suppress(GrantRefused):
                self._seat.desk.release(self._permit)

    def wipe(self) -> None:
        """Overwrite the scalar."""
        if self._engine is not None:
            self._engine.wipe()


def order_of(prepared: Prepared) -> bytes:
    """Return a digest of the keys, in order: what places in a session mean."""
    state = hashlib.sha256()
    for key in prepared.keys:
        state.update(f"{len(key.encode())}:{key};".encode())
    return state.digest()


def rows_document(rows: list[int]) -> dict[str, Any]:
    """Return which rows of the own table are common, from 0, as a file has it."""
    return {"schema": "fusion.align-rows/1", "rows": rows}
