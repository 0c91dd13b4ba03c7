"""An owner's node answering queries: decide, charge, run, hold against the history, log, release.

In that order, so that a crash at any point costs the asker and shows nothing. A caller without any
grant for a dataset is told so before its statement is looked at. What leaves after data was at hand
leaves in steps of time, so that a moment more or less says nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from fusion.crypto import rng
from fusion.errors import (
    FusionError,
    GrantRefused,
    InputInvalid,
    IsolationBusy,
    MemberRevoked,
    MessageInvalid,
    QueryFailed,
    QueryRefused,
)
from fusion.grants.budget import cap_of
from fusion.grants.request import Request, charge_name
from fusion.ledger import entry as entries
from fusion.services import grant_evidence as evidence
from fusion.services import query_messages as messages
from fusion.services.clock import SystemClock
from fusion.services.grant_choice import holds
from fusion.services.grants import GrantDesk, GrantFolder
from fusion.services.ledger import Book
from fusion.services.query_messages import Asked, Left, Privacy, Reply
from fusion.services.query_messages import Refusal as Outward
from fusion.services.storage import open_budgets, open_lateness, open_rho
from fusion.types import OrgId
from sandbox import ledgers
from sandbox.attached import attached, folder
from sandbox.describe import describe, granted_columns, no_grant_for
from sandbox.isolate import Isolation, Settings
from sandbox.lateness import Lateness, Question, asker_of, shape_of
from sandbox.private import answering, spending
from sandbox.private.answering import PrivatePrepared, prepare_private, run_private
from sandbox.python_service import PythonService, Shared, python_reply
from sandbox.refusals import refusal
from sandbox.replies import check_size, reply_bytes, table_of
from sandbox.runner import prepare, run
from sandbox.sources.opening import source_of
from sandbox.spent import check_refusals
from sandbox.timing import Watch
from sandbox.turns import Turns
from sandbox.unforeseen import one_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.grants.budget import Cap
    from fusion.grants.permit import Permit
    from fusion.ports import Clock, Stop
    from fusion.services.grants import Kept
    from fusion.services.homes import NodeHome
    from fusion.services.query_messages import Table
    from sandbox.attached import Attached
    from sandbox.dialects import Name
    from sandbox.history.guard import History
    from sandbox.runner import Prepared
    from sandbox.sources import Source

OWNER_LOG: Final = logging.getLogger("banyan.queries")
"""Why queries failed. Nothing of it leaves the owner; it can hold what the data made happen."""

MAX_A_CALLER: Final = 16
"""Queries of one organisation that are under way or wait."""

EPSILON_MICRO: Final = 1
"""What a query without differential privacy is charged of a grant's epsilon: the least there is."""

_OUTWARD: Final = (
    QueryRefused, GrantRefused, MemberRevoked, IsolationBusy, MessageInvalid, QueryFailed,
)  # fmt: skip
"""What may leave as it is: decided from statement, policy, grants and load. All else is one."""


class Service:
    """:class:`fusion.engine_ports.QueryService`."""

    def __init__(
        self, node: NodeHome, say: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        """Open what is needed, the isolation before anything else.

        Raises:
            IsolationUnavailable: Nothing here confines untrusted work.
            EnvironmentUnfit: A file can't be opened.
        """
        self._node = node
        self._say = say
        self._clock = clock or SystemClock()
        settings = Settings(service_user=node.config.worker_user)
        self._isolation = Isolation.open(settings)
        # A place is held until the answer leaves: who comes next learns no earlier end.
        self._places = Turns(settings.running, settings.waiting)
        self._workers = ThreadPoolExecutor(settings.running, "queries")
        self._book = Book(node, self._clock)
        self._budgets = open_budgets(node)
        self._rho = open_rho(node)
        self._late = Lateness(open_lateness(node), self._clock, say)
        self._folder = GrantFolder(node.grants, node.roster)
        self._secret = ledgers.secret_of(node)
        self._refusals = evidence.RefusalLog(self._book, self._book.now)
        self._desk = GrantDesk(
            node,
            roster=node.roster,
            clock=self._clock,
            note=say,
            book=self._book,
            refused=self._refusals.refused,
        )
        self._histories: dict[int, History] = {}
        self._sources: dict[str, tuple[int, Source]] = {}
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}
        self._closing = threading.Event()
        self._python = PythonService(
            Shared(
                node=node,
                say=say,
                clock=self._clock,
                isolation=self._isolation,
                places=self._places,
                book=self._book,
                desk=self._desk,
                secret=self._secret,
                closing=self._closing,
                attached=self._attached,
                grants=self._grants,
                history=self._history,
                admit=self._desk.admit,
            )
        )

    def close(self) -> None:
        """Stop what runs, and let go of workers and files."""
        self._closing.set()
        self._workers.shutdown()
        self._isolation.close()
        self._python.close()
        for _, source in self._sources.values():
            source.close()
        for history in self._histories.values():
            history.close()

    def reply(self, caller: str, asked: bytes, stop: Stop) -> bytes:
        """Answer; every reply is one that may leave."""
        try:
            return self._replied(caller, messages.asked_of(asked), stop)
        except _OUTWARD as error:
            return messages.to_bytes(Reply(refusal=Outward.of(error)))
        except Exception:  # noqa: BLE001 - the edge: whoever asks gets one text
            if self._refusals.counted(caller):
                OWNER_LOG.warning("a query of %s ended unexpectedly", caller, exc_info=True)
            return messages.to_bytes(Reply(refusal=Outward.of(QueryFailed())))

    def reply_python(self, caller: str, asked: bytes, stop: Stop) -> bytes:
        """Answer a message about Python jobs."""

        def work() -> bytes:
            with self._counted(caller):
                return self._python.replied(caller, asked, stop)

        return python_reply(caller, work)

    def _replied(self, caller: str, asked: Asked, stop: Stop) -> bytes:
        if asked.kind == "budget":
            return messages.to_bytes(Reply(budget=self._left(caller, asked.dataset)))
        if asked.kind == "describe":
            return self._described(caller, asked.dataset)
        with self._counted(caller):
            return self._answered(caller, asked, stop)

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        """Count what of a caller is under way.

        Raises:
            IsolationBusy: It is as much as may be.
        """
        with self._lock:
            if self._under_way.get(caller, 0) >= MAX_A_CALLER:
                raise IsolationBusy("Too many queries of this organisation are under way.")
            self._under_way[caller] = self._under_way.get(caller, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[caller] -= 1

    # ------------------------------------------------------------------ before data

    def _answered(self, caller: str, asked: Asked, stop: Stop) -> bytes:
        found = self._attached(asked.dataset)
        job = f"q-{rng.token(16).hex()}"
        # Who has none that holds is told so before the policy is looked at, nor who has one.
        self._desk.check_some_holds(_request(caller, asked, job, found, found.columns, None))
        source = self._source(found)
        prepared = self._prepared(caller, asked, found, source.dialect)
        paying = self._paying(caller, prepared, found)
        request = _request(caller, asked, job, found, prepared.columns(), prepared.study, paying)
        question = Question(
            job=job,
            caller=caller,
            asker=asker_of(found.dataset, found.policy, caller),
            shape=shape_of(asked.statement),
            seconds=asked.seconds,
            time=found.policy.time,
        )
        with ExitStack() as held:
            held.enter_context(self._places.turn(caller, stop, asked.seconds))
            course = held.enter_context(self._late.course(question))
            if not isinstance(prepared, PrivatePrepared):
                check_refusals(prepared, self._history(found), caller, self._month())
            permit = self._desk.admit(request)
            with suppress(FusionError):  # whatever it is, the work meets it in its own time
                source.stand_by(prepared.compiled, self._closing)
            watch = Watch(self._desk, permit, course.over, course.most_seconds, self._closing)
            course.begin()
            work = self._workers.submit(self._released, permit, prepared, source, watch)
            # Its place is free when it is gone, and no sooner than the answer leaves.
            after = held.pop_all()
            try:
                return course.answer(work, stop, self._closing)
            finally:
                work.add_done_callback(lambda _: _gone(after, source, prepared))

    def _prepared(self, caller: str, asked: Asked, found: Attached, dialect: Name) -> Prepared:
        with one_text(OWNER_LOG, caller, self._refusals.counted):
            if found.policy.mode != "sdc":
                return prepare_private(asked, found, self._secret, dialect)
            if asked.rho_micro is not None:
                raise refusal("Q-24")
            return prepare(asked.statement, found, self._secret, dialect)

    def _paying(self, caller: str, prepared: Prepared, found: Attached) -> tuple[str, ...]:
        """Return the only grants that a query may be charged to; none named, any that allows it."""
        if not isinstance(prepared, PrivatePrepared):
            return ()
        grants = self._holding(caller, found.dataset)
        return answering.paying(self._rho, prepared, found, caller, grants)

    def _attached(self, dataset: str) -> Attached:
        try:
            found = attached(self._node, dataset)
        except InputInvalid:
            found = None
        except FusionError as error:
            raise self._unusable(dataset, error) from None
        if found is None:
            raise refusal("Q-20")
        return found

    def _unusable(self, dataset: str, error: FusionError) -> QueryFailed:
        self._say(f"the policy of {dataset} can't be used: {error.message}")
        return QueryFailed()

    def _source(self, found: Attached) -> Source:
        """Return what computes on a revision's tables, which were held against what was signed.

        Raises:
            QueryFailed: They are others, or can't be read; the owner is told which.
        """
        revision, source = self._sources.get(found.dataset, (0, None))
        if source is not None and revision == found.revision:
            return source
        try:
            made = self._checked(found)
        except FusionError as error:
            raise self._unusable(found.dataset, error) from None
        with self._lock:
            # Who came at the same time may have been quicker; whoever is kept will do.
            before = self._sources.get(found.dataset)
            if before is not None and before[0] == found.revision:
                made.close()
                return before[1]
            self._sources[found.dataset] = (found.revision, made)
        if before is not None:
            before[1].close()
        return made

    def _checked(self, found: Attached) -> Source:
        files = folder(self._node, found.dataset) / found.epoch
        made = source_of(found, files, self._isolation)
        try:
            # Once for each revision that this process meets: the tables can be large.
            made.check()
        except BaseException:
            made.close()
            raise
        return made

    def _grants(self, caller: str, dataset: str) -> list[Kept]:
        return [
            kept
            for kept in self._folder.readable(self._say)
            if kept.signed.grant.assignee == caller
            and kept.signed.grant.dataset.id == dataset
            and self._node.config.id in kept.signed.grant.assigners
            and kept.signed.grant.permission("query") is not None
        ]

    def _holding(self, caller: str, dataset: str) -> list[Kept]:
        """Return those that hold now."""
        now = self._clock.now()
        return [kept for kept in self._grants(caller, dataset) if holds(kept, now)]

    def _left(self, caller: str, dataset: str) -> list[Left]:
        found = []
        policy = attached(self._node, dataset)
        late = refusals = None
        if policy is not None:
            late = self._late.left(asker_of(dataset, policy.policy, caller), policy.policy.time)
        if policy is not None and policy.policy.mode == "sdc":
            scope = ledgers.scope_of(policy, caller)
            refusals = self._history(policy).refusals_left(scope, self._month())
        for kept in self._holding(caller, dataset):
            permission = kept.signed.grant.permission("query")
            if permission is None:
                continue
            left = cap_of(permission).left(self._budgets.used(kept.signed.id, "query"))
            found.append(
                Left(
                    grant=kept.signed.id,
                    runs=left.runs,
                    rows=left.rows,
                    not_after=kept.signed.grant.not_after,
                    late=late,
                    refusals=refusals,
                    privacy=self._privacy(dataset, kept.signed.id, cap_of(permission)),
                )
            )
        return found[:1000]

    def _described(self, caller: str, dataset: str) -> bytes:
        """Return what the caller's grants let it know of the policy; the tables are not touched.

        Raises:
            GrantRefused: It has no grant that holds now.
            QueryRefused: There is no policy, or it is too large to be told.
        """
        granted = granted_columns(self._holding(caller, dataset))
        if not granted:
            raise no_grant_for(dataset, self._node.config.id)
        try:
            found = attached(self._node, dataset)
        except FusionError as error:
            self._say(f"the policy of {dataset} can't be used: {error.message}")
            raise QueryFailed from None
        if found is None:
            raise refusal("Q-20")
        data = messages.to_bytes(Reply(described=describe(found.policy, granted)))
        if len(data) > messages.MAX_REPLY_BYTES:
            raise refusal("Q-16")
        return data

    def _privacy(self, dataset: str, grant: str, cap: Cap) -> Privacy | None:
        """Return what is left of the privacy budget, under a policy that has one."""
        found = attached(self._node, dataset)
        if found is None or found.policy.mode != "dp":
            return None
        budget = answering.budget_of(found)
        delta = spending.delta_of(budget)
        left = answering.left(self._rho, found, grant, cap.epsilon_micro)
        return Privacy(
            rho_micro=left.grant,
            dataset_rho_micro=left.dataset,
            epsilon_micro=spending.epsilon_micro(left.grant, delta),
            dataset_epsilon_micro=spending.epsilon_micro(left.dataset, delta),
            delta_exponent=budget.delta_exponent,
            usual_rho_micro=budget.usual_rho_micro,
        )

    # ------------------------------------------------------------------ with data at hand

    def _released(self, permit: Permit, prepared: Prepared, source: Source, watch: Watch) -> bytes:
        """Run what was permitted; whatever is raised from here on may leave as it is."""
        caller = permit.request.assignee
        try:
            table = (
                run_private(
                    permit, prepared, source, self._rho,
                    stop=watch, seconds=watch.seconds,
                )
                if isinstance(prepared, PrivatePrepared)
                else self._run(permit, prepared, source, watch)
            )  # fmt: skip
            data = reply_bytes(table)
            # A revocation that came in the meantime holds.
            self._desk.check(permit)
            self._desk.commit(permit)
            self._log(permit, prepared, data)
        except (QueryRefused, GrantRefused, MemberRevoked):
            raise
        except Exception as error:  # noqa: BLE001 - one text for whatever data made happen
            if watch.refused is not None:
                raise watch.refused from None
            OWNER_LOG.warning("%s of %s failed: %r", permit.request.job, caller, error)
            self._say(f"{permit.request.job} of {caller} failed: {type(error).__name__}")
            raise QueryFailed from None
        return data

    def _run(self, permit: Permit, prepared: Prepared, source: Source, watch: Watch) -> Table:
        found = run(
            permit,
            prepared,
            source,
            self._history(prepared.attached),
            secret=self._secret,
            month=self._month(),
            stop=watch,
            seconds=watch.seconds,
            fits=lambda released: check_size(table_of(permit, prepared, released)),
        )
        return table_of(permit, prepared, found)

    def _month(self) -> str:
        return self._clock.now().strftime("%Y-%m")

    def _history(self, found: Attached) -> History:
        # One for each k: bounds are the only thing in which they differ, the file is one.
        with self._lock:
            k = found.policy.release.k
            if k not in self._histories:
                self._histories[k] = ledgers.history_of(self._node, found)
            return self._histories[k]

    def _log(self, permit: Permit, prepared: Prepared, data: bytes) -> None:
        key = charge_name(permit.request)
        self._book.once(
            f"query:{key}",
            entries.QueryAnswered(
                at=self._book.now(),
                organisation=permit.request.assignee,
                reservation=hashlib.sha256(key.encode()).hexdigest(),
                statement=prepared.statement_digest,
                policy=prepared.attached.policy.digest,
                result=hashlib.sha256(data).hexdigest(),
            ),
        )


def _gone(place: ExitStack, source: Source, prepared: Prepared) -> None:
    place.close()
    with suppress(FusionError):
        source.replenish(prepared.compiled)


def _request(
    caller: str,
    asked: Asked,
    job: str,
    found: Attached,
    columns: tuple[str, ...],
    study: str | None,
    grants: tuple[str, ...] = (),
) -> Request:
    """Return what is asked, as a grant is asked about it: made here, of what is known here."""
    if not asked.purpose:
        raise MessageInvalid("A query says what it is for.")
    return Request(
        job=job,
        assignee=OrgId(caller),
        party=OrgId(found.owner),
        action="query",
        dataset=found.dataset,
        columns=columns,
        needed=columns,
        schema_digest=found.schema_digest,
        purpose=asked.purpose,
        epsilon_micro=EPSILON_MICRO,
        rows=asked.rows,
        output="table",
        study=study,
        grants=grants,
    )
