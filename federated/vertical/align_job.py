"""One party's part in an alignment by itself: from its set to what it learned.

In this order: the set is held to what is remembered of earlier runs, masked, kept and committed to;
then the charge is final and the first message leaves. What a session needs to go on after a crash
is on disk before the message that it concerns leaves. What was learned is logged before anybody is
told of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from federated.vertical.attempts import AttemptedJob, Brought
from federated.vertical.keeping import TRIED
from fusion.alignment import controls, resuming
from fusion.alignment.controls import Limits, Run
from fusion.alignment.resuming import KeptRing, KeptRr22, KeptSession
from fusion.alignment.rr22_talker import Rr22Talker
from fusion.alignment.talkers import MemberTalker, SessionTalker
from fusion.engine_ports import Rr22Task
from fusion.errors import AlignmentRefused, DataInvalid, Refused
from fusion.services import align_results, earlier_runs, engines
from fusion.services.align_results import Told
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from federated.vertical.attempts import Attempt
    from federated.vertical.evidence import AlignmentEvidence
    from federated.vertical.keeping import Mark
    from fusion.alignment.preparation import Prepared
    from fusion.alignment.ring import Member
    from fusion.alignment.rr22 import Rr22Session
    from fusion.alignment.session import Outcome, Session
    from fusion.alignment.study import AlignmentStudy
    from fusion.crypto.sealing import SealingPublicKey
    from fusion.grants.document import Align
    from fusion.services.conversing import Talk
    from fusion.services.homes import NodeHome
    from fusion.services.talker import Talker


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtToAlign(Brought):
    """What a party brings to an alignment.

    Attributes:
        node: Its folder.
        federation: Where.
        study: What was agreed on.
        prepared: Its keys, ascending, and the row of each.
        allowed: What the grant says of alignments.
        operator: The operator's key: what the operator is told is sealed to it.
        log: What the party's log is told.
    """

    node: NodeHome
    federation: str
    study: AlignmentStudy
    prepared: Prepared
    allowed: Align
    operator: SealingPublicKey
    log: AlignmentEvidence


class AlignJob(AttemptedJob):
    """See the module."""

    def __init__(self, brought: BroughtToAlign) -> None:
        """Take what the party brings; what was begun before a crash goes on."""
        super().__init__(brought)
        self._own = brought
        self._terms = brought.study.terms(brought.federation, brought.job)
        self._peers = tuple(name for name in brought.study.organisations if name != brought.me)
        self._marks = b""
        self._left = resuming.begun(brought.keeping) or self._was_committed()

    def close(self) -> None:
        """End what is under way and forget the run, and that there was one if nothing has left."""
        super().close()
        if not self._left:
            for peer in self._peers:
                earlier_runs.forget(self._own.node, peer, self._own.job)

    # ------------------------------------------------------------------ in the thread

    def _work(self, attempt: Attempt, start: Mark | None) -> None:
        if start is not None:
            raise Refused("An alignment goes on from what each party keeps, and from no step.")
        self._states.count(TRIED)
        if not self._marks:  # not while the hub waits for an answer: large sets take seconds
            own = self._own
            self._marks = controls.sketch(earlier_runs.secret_of(own.node), own.prepared.keys)
        self._hold_to_earlier()
        if self._own.study.alignment.protocol == "rr22":
            align = self._rr22
        else:
            align = self._ring if len(self._terms.parties) > 2 else self._session
        self._finish(align(attempt))

    def _hold_to_earlier(self) -> None:
        own = self._own
        controls.granted(own.allowed, self._terms)
        limits = Limits(own.allowed.runs, own.allowed.minimum_difference)
        earlier_runs.hold_to_earlier(own.node, self._peers, limits, self._remembered(0, ""))
        if self._was_committed() and not resuming.begun(own.keeping):
            raise DataInvalid(
                "What was kept of the alignment is gone: a second set would be masked for it.",
                hint="Order it again.",
            )

    def _was_committed(self) -> bool:
        """Return whether the own set was masked for this job, also where its state is gone."""
        own = self._own
        return any(earlier_runs.was_committed(own.node, peer, own.job) for peer in self._peers)

    def _ring(self, attempt: Attempt) -> Outcome | None:
        own, ring = self._own, KeptRing(self._own.keeping)
        keys = own.prepared.keys
        member = ring.open(self._terms, own.me, keys, maskers(len(keys)))
        try:
            # Its lists are committed to by nobody but their owner.
            for peer in self._peers:
                self._remember(peer, 0, member.commitment)
            own.log.committed(member.commitment, len(keys), self._peers, {})
            self._talk_over(attempt, MemberTalker(member, ring.taken))
            return self._outcome(member)
        finally:
            member.wipe()

    def _session(self, attempt: Attempt) -> Outcome | None:
        own, (peer,) = self._own, self._peers
        kept, keys = KeptSession(own.keeping, peer), own.prepared.keys
        session = kept.open(self._terms, own.me, keys, maskers(len(keys)))

        def committed() -> None:
            self._remember(peer, session.peer_total, session.commitment)
            seen = {peer: (session.peer_commitment, session.peer_total)}
            own.log.committed(session.commitment, len(keys), self._peers, seen)

        def taken(session: Session) -> None:
            """Keep and log what the peer is held to, before the first answer to it leaves."""
            kept.taken(session)
            if session.taken == 1:
                committed()

        try:
            if session.taken:
                committed()  # killed after it was kept, and before it was logged
            else:
                self._remember(peer, 0, session.commitment)
            self._talk_over(attempt, SessionTalker(session, taken))
            return self._outcome(session)
        finally:
            session.wipe()

    def _rr22(self, attempt: Attempt) -> Outcome | None:
        own, (peer,) = self._own, self._peers
        kept, keys, config = KeptRr22(self._own.keeping), own.prepared.keys, own.node.config
        session = kept.open(self._terms, own.me, keys)
        rank = 0 if session.learns else 1
        task = Rr22Task(rank, peer, session.items(), self._terms.set_size + 1)

        def greeted() -> None:
            """Keep that it begins, and log what both have committed to, before it does."""
            kept.begin()
            self._remember(peer, session.peer_total, session.commitment)
            seen = {peer: (session.peer_commitment, session.peer_total)}
            own.log.committed(session.commitment, len(keys), self._peers, seen)

        process = engines.rr22().start(Path(config.rr22_python), task, config.worker_user)
        try:
            process.wait_ready()  # before anything leaves, and is charged for
            self._remember(peer, 0, session.commitment)
            talker = Rr22Talker(session, process, greeted)
            self._left = True

            def joined(talk: Talk) -> None:
                talker.wake, talk.works_elsewhere = talk.wake, talker.works
                # Whoever waits for a process that takes nothing is let go with it.
                talk.closes(process.close)

            self._carry(attempt, "align", talker, joined)
            return self._outcome(session)
        finally:
            process.close()

    def _talk_over(self, attempt: Attempt, talker: Talker) -> None:
        self._left = True
        self._carry(attempt, "align", talker)

    def _remember(self, peer: str, items: int, commitment: str) -> None:
        earlier_runs.remember(self._own.node, peer, self._remembered(items, commitment))

    def _remembered(self, items: int, commitment: str) -> Run:
        own = self._own
        return Run(
            own.job, self._terms.field.field, len(own.prepared.keys), items, commitment, self._marks
        )

    def _outcome(self, engine: Session | Member | Rr22Session) -> Outcome | None:
        """Return what was learned; if too little is common, that is said where it is logged."""
        try:
            return engine.outcome()
        except AlignmentRefused:
            self._own.log.learned(None)
            raise

    def _finish(self, outcome: Outcome | None) -> None:
        own = self._own
        own.log.learned(outcome)
        if outcome is not None and outcome.keys is not None:
            rows = [own.prepared.rows[key] for key in outcome.keys]
            align_results.keep_rows(own.node, own.job, rows)
        told = Told(
            job=own.job,
            organisation=own.me,
            operator=own.study.operator,
            records=len(own.prepared.keys),
            common=None if outcome is None else outcome.size,
        )
        sealed = align_results.tell(own.node, told, own.operator)
        self._standing = replace(self._standing, state="done", told=sealed.hex())
