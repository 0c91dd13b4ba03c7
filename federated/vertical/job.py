"""One party's part in a run of a vertical study: records are aligned, then a model is trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from federated.frames import read_frame, write_frame
from federated.protocols.vertical.outbox import MachineTalker
from federated.vertical.aligning import Alignment
from federated.vertical.attempts import Attempt, AttemptedJob, Brought, Standing
from federated.vertical.binding import Binding
from federated.vertical.keeping import COUNTED, COUNTS, JUDGED, PART, TRIED, Mark
from federated.vertical.model_section import Boosting, Scorecard
from federated.vertical.own_table import read_rows, write_rows
from federated.vertical.scorecard_work import ScorecardWork
from federated.vertical.tables import training_rows
from federated.vertical.work import BoostingWork, LinearWork
from fusion.alignment.rules import Decided
from fusion.crypto.hashing import digest
from fusion.errors import AlignmentRefused, FusionError, MessageInvalid, ModelWithheld
from fusion.grants.leakage import Code as LeakCode
from fusion.grants.leakage import verdict
from fusion.services.maskers import maskers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from federated.vertical.aligning import Aligned
    from federated.vertical.own_table import OwnTable
    from federated.vertical.study import VerticalStudy
    from federated.vertical.work import Rows, Work

FEWEST: Final = 2
"""Records to train on: of one alone nothing varies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtToTrain(Brought):
    """What a party brings to a run.

    Attributes:
        federation: Where.
        study: The study.
        table: Its table.
        hold: Raises if the set may not be aligned because of earlier runs; called before anything
            of it leaves.
        log_aligned: Told of an alignment, before its result is used.
    """

    federation: str
    study: VerticalStudy
    table: OwnTable
    hold: Callable[[], None]
    log_aligned: Callable[[int, Aligned], None]


class VerticalJob(AttemptedJob):
    """See the module."""

    def __init__(self, brought: BroughtToTrain) -> None:
        """Take what the party brings; a part that was finished before a crash is found again."""
        super().__init__(brought)
        self._own = brought
        self._standing = self._restored() or Standing()

    @property
    def study(self) -> VerticalStudy:
        """The study."""
        return self._own.study

    @property
    def grants(self) -> tuple[str, ...]:
        """Ids of the grants under which it works."""
        found = (permission.grant for permission in self._brought.permissions)
        return tuple(dict.fromkeys(grant for grant in found if grant))

    @property
    def leaks(self) -> dict[str, Any] | None:
        """What the finished model tells, held to the study's promises; at the label party."""
        kept = self._states.keeping.get(PART)
        return None if kept is None else read_frame(kept)[0]["leaks"]

    @property
    def part(self) -> bytes | None:
        """The finished part; None before the end."""
        kept = self._states.keeping.get(PART) if self._standing.state == "done" else None
        return None if kept is None else read_frame(kept)[1]["part"]

    # ------------------------------------------------------------------ in the thread

    def _work(self, attempt: Attempt, start: Mark | None) -> None:
        brought, study = self._own, self._own.study
        self._states.count(TRIED)
        if start is None:
            places = self._aligned(attempt)
        else:
            self._states.forget_alignment()
            self._states.back_to(start)
            places = read_rows(brought.table, self._states.rows() or b"")
        training = training_rows(len(places), study.test_fraction, study.seed)
        counts = int(training.sum()), int((~training).sum())
        if counts[0] < FEWEST:
            raise AlignmentRefused(
                f"Fewer than {FEWEST} common records train.",
                hint="`minimum_intersection` keeps a run with so few from beginning.",
                code=Decided.INTERSECTION.value.code,
            )
        self._standing = replace(self._standing, state="training")
        work = self._begun(attempt, brought.table.rows(places, training), start)
        # The dealer of a linear model begins when rows are known: not while others count.
        self._standing = replace(self._standing, rows=counts)
        if start is not None and start.step:
            work.go_on(self._states, start)
        self._train(attempt, work)
        self._finish(attempt, work)

    def _begun(self, attempt: Attempt, rows: Rows, start: Mark | None) -> Work:
        """Return the work on the model, as far as it comes before the first step."""
        brought, study = self._own, self._own.study
        if isinstance(study.model, Boosting):
            terms = digest(
                "banyan/vertical-terms/v2", brought.federation.encode(), brought.job.encode(),
                bytes.fromhex(study.digest()), str(attempt.number).encode(),
            )  # fmt: skip
            return BoostingWork(
                study.cast, brought.me, study.model, rows, seed=study.seed, terms=terms
            )
        if isinstance(study.model, Scorecard):
            widths = {str(each.organisation): len(each.columns) for each in study.parties}
            card = ScorecardWork(
                study.cast, brought.me, study.model, rows, seed=study.seed, widths=widths
            )
            self._hold_to_support(card.support)
            self._count(attempt, card, start)
            return card
        work = LinearWork(study.cast, brought.me, study.model, rows, seed=study.seed)
        self._hold_to_support(work.support)
        return work

    def _count(self, attempt: Attempt, work: ScorecardWork, start: Mark | None) -> None:
        """Count events of bins, once over the aligned rows: also if a later attempt goes on."""
        kept = self._states.keeping.get(COUNTS)
        if start is not None and start.step and kept is not None:
            work.counted(kept)
            return
        self._states.count(COUNTED)
        machine, peers = work.counting(Binding(self._states.keeping).bind)
        talker = MachineTalker(machine, peers, machine.start(), lambda: machine.done)
        self._carry(attempt, "count", talker)
        self._states.keeping.put(COUNTS, work.count())

    def _hold_to_support(self, smallest: int) -> None:
        """Look at the own columns before anything is trained: nobody else can.

        Raises:
            ModelWithheld: L-03: a weight would rest on fewer rows than the study promises.
        """
        limit = self._own.study.promises.smallest_leaf
        if limit is not None and smallest < limit:
            raise ModelWithheld(
                f"A weight of {self._brought.me} would rest on fewer than {limit} rows.",
                hint="Leave out columns in which a value, or a missing one, is rare.",
                code=LeakCode.LEAF,
            )

    def _aligned(self, attempt: Attempt) -> NDArray[np.int64]:
        brought = self._own
        prepared = brought.table.prepared
        self._states.hold_to(brought.table.digest)
        self._states.check_alignment()
        brought.hold()
        aligned = Alignment(
            brought.study.meeting(brought.federation, brought.job),
            brought.me,
            prepared.keys,
            brought.keeping,
            maskers(len(prepared.keys)),
            partial(self._carry, attempt),
        ).run()
        self._standing = replace(self._standing, aligning=self._standing.bytes)
        brought.log_aligned(attempt.number, aligned)
        places = brought.table.places(aligned.keys)
        self._states.aligned(attempt.number, write_rows(brought.table, places))
        return places

    def _train(self, attempt: Attempt, work: Work) -> None:
        study, me = self._own.study, self._brought.me
        peers = study.cast.peers(me, linear=not isinstance(study.model, Boosting))
        done = work.step

        def after() -> None:
            nonlocal done
            if work.step > done:
                done = work.step
                work.keep(self._states, Mark(done, attempt.number))
                self._standing = replace(self._standing, step=done)

        machine = work.machine
        talker = MachineTalker(machine, peers, work.opening(), lambda: machine.done, after)
        self._carry(attempt, "train", talker)
        judging = work.judging()
        if judging is not None:
            self._states.count(JUDGED)
            judge, peers = judging
            talker = MachineTalker(judge, peers, judge.start(), lambda: judge.done)
            self._carry(attempt, "judge", talker)

    def _finish(self, attempt: Attempt, work: Work) -> None:
        """Keep the finished part, unless the model tells more than the study promised.

        Raises:
            ModelWithheld: It does: nobody keeps a part of it.
        """
        limits = self._own.study.promises
        leaks = work.leaks(limits.smallest_leaf)
        if leaks is not None:
            leaks.check(limits)
        part = work.part()
        found = replace(
            self._standing,
            state="done",
            step=max(work.step, self._standing.step),
            part=hashlib.sha256(part).hexdigest(),
            quality=work.quality(),
        )
        head = {
            "attempt": attempt.number, "step": found.step, "rows": list(found.rows or ()),
            "part": found.part, "quality": found.quality,
            "leaks": None if leaks is None else {
                "report": leaks.document(), "verdict": verdict(leaks, limits),
            },
        }  # fmt: skip
        self._states.keeping.put(PART, write_frame(head, {"part": part}))
        self._standing = found

    def _restored(self) -> Standing | None:
        """Return how a part that was finished stands; one that is not well formed is none."""
        kept = self._states.keeping.get(PART)
        if kept is None:
            return None
        try:
            head, blobs = read_frame(kept)
            train, held = head["rows"]
            if "leaks" not in head or hashlib.sha256(blobs["part"]).hexdigest() != head["part"]:
                raise MessageInvalid("A part is another than was finished.")
            standing = Standing(
                "done", int(head["attempt"]), int(head["step"]), (int(train), int(held)), 0,
                head["part"], head["quality"],
            )  # fmt: skip
        except (FusionError, KeyError, TypeError, ValueError):
            self._brought.note(f"job {self._brought.job}: the part that was kept is none")
            return None
        self._attempt = Attempt(standing.attempt)
        return standing
