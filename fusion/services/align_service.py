"""Alignments at a node that is up: orders come in, parts are run, operators ask how far they are.

An operator's order comes from its own node over a tunnel, or, where the operator is a party itself,
through the folder (:mod:`fusion.services.align_jobs`): each party decides by its own grants, and
nothing is run because another party says so. A job that was under way when the node went down goes
on when it is up again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import grpc
import grpc.aio
from pydantic import Field, ValidationError

from fusion.alignment.study import AlignmentStudy
from fusion.errors import (
    FusionError,
    GrantRefused,
    InputInvalid,
    IsolationBusy,
    MessageInvalid,
    RunStopped,
)
from fusion.grants.order import MAX_ORDER_BYTES, Code, check_order, open_order, refused
from fusion.grants.refusal import Code as Grant
from fusion.identity.callers import caller
from fusion.link import peers
from fusion.link.callers import pem_to_der
from fusion.services import align_jobs, align_part
from fusion.services.align_jobs import OVER, Job, State
from fusion.services.align_part import Seat
from fusion.services.clock import SystemClock
from fusion.services.grants import GrantDesk
from fusion.services.ledger import Book
from fusion.services.query_messages import Refusal
from fusion.wire import canonical
from fusion.wire.documents import Document
from fusion.wire.limits import MEBI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.services.align_jobs import Learned
    from fusion.services.conversing import Conversations, Talk
    from fusion.services.homes import NodeHome

_LOG: Final = logging.getLogger("banyan.aligning")
SERVICE: Final = "fusion.alignment.v1.Alignments"
ASK: Final = f"/{SERVICE}/Ask"
MAX_ASKED_BYTES: Final = 2 * MEBI
MAX_REPLY_BYTES: Final = 64 * 1024
MAX_OPEN: Final = 4
"""Jobs of one operator at a node that are not over."""
_MOST: Final = 64
"""Questions of all members that are under way."""
_LOOK_SECONDS: Final = 0.2


class Asked(Document):
    """What an operator asks of a party.

    Attributes:
        kind: Begin a job, say how far it is, or end it.
        job: The job.
        study: The agreed sections, canonical JSON (begin).
        order: The operator's order (begin).
    """

    schema_: Literal["fusion.align-asked/1"] = Field(default="fusion.align-asked/1", alias="schema")
    kind: Literal["begin", "look", "stop"]
    job: Annotated[str, Field(pattern=r"^align-[0-9a-f]{12}$")]
    study: Annotated[str, Field(max_length=MEBI)] | None = None
    order: Annotated[str, Field(max_length=MAX_ORDER_BYTES)] | None = None


class Reply(Document):
    """What a party answers: how far the job is, or why there is none."""

    schema_: Literal["fusion.align-reply/1"] = Field(default="fusion.align-reply/1", alias="schema")
    state: State | None = None
    refusal: Refusal | None = None


def asked_of(data: bytes) -> Asked:
    """Read what was asked.

    Raises:
        MessageInvalid: It is not of the closed form.
    """
    try:
        return Asked.model_validate(canonical.decode(data, MAX_ASKED_BYTES))
    except ValidationError:
        raise MessageInvalid("What was asked about an alignment is not well formed.") from None


def reply_of(data: bytes) -> Reply:
    """Read an answer.

    Raises:
        MessageInvalid: It is not of the closed form.
    """
    try:
        return Reply.model_validate(canonical.decode(data, MAX_REPLY_BYTES))
    except ValidationError:
        raise MessageInvalid("What was answered about an alignment is not well formed.") from None


class Aligner:
    """The alignments of one node; one process has it."""

    def __init__(
        self, node: NodeHome, conversations: Conversations, say: Callable[[str], None]
    ) -> None:
        """Go on with what was under way, and begin what is ordered, until :meth:`close`."""
        clock = SystemClock()
        book = Book(node)
        desk = GrantDesk(node, roster=node.roster, clock=clock, note=say, book=book)
        self._seat = Seat(node, desk, book, conversations, clock)
        self._node, self._say = node, say
        self._closing = threading.Event()
        self._lock, self._beginning = threading.Lock(), threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._stops: dict[str, threading.Event] = {}
        self._talks: dict[str, Talk] = {}
        self._over: set[str] = set()
        self._keeper = threading.Thread(target=self._keep, name="aligner")
        self._keeper.start()

    def close(self) -> None:
        """End what is under way: other parties are told."""
        self._closing.set()
        self._keeper.join()
        for stop in list(self._stops.values()):
            stop.set()
        for thread in list(self._threads.values()):
            thread.join()

    # ------------------------------------------------------------------ asked

    def reply(self, caller: str, data: bytes) -> bytes:
        """Return the answer to a member's question."""
        try:
            asked = asked_of(data)
            answer = Reply(state=self._answered(caller, asked))
        except FusionError as error:
            answer = Reply(refusal=Refusal.of(error))
        except Exception:  # noqa: BLE001 - may quote anything: gRPC would say it to the caller
            _LOG.exception("a question of %s was not answered", caller)
            failed = FusionError("It failed unexpectedly; its own log says why.")
            answer = Reply(refusal=Refusal.of(failed))
        return answer.canonical()

    def _answered(self, caller: str, asked: Asked) -> State:
        job = Job(self._node, asked.job)
        if asked.kind == "begin":
            with self._beginning:  # or several at a time would each see room for one
                self._begin(caller, job, asked)
        elif not job.exists or job.state.operator != caller:
            raise InputInvalid(f"{asked.job} is no alignment that {caller} ordered here.")
        if asked.kind == "stop":
            job.ask_to_stop()
        return self._shown(job)

    def _begin(self, caller: str, job: Job, asked: Asked) -> None:
        if asked.study is None or asked.order is None:
            raise MessageInvalid("An alignment is begun with a study and an order.")
        study = AlignmentStudy.from_canonical(asked.study.encode())
        if study.study.operator != caller:
            raise refused(Code.SIGNER)
        document = asked.order.encode()
        if job.exists and job.order == document:
            return
        if align_part.is_stranger(self._seat, caller, study):
            # Nothing is kept or logged of its order: any member could fill the disk with them.
            raise GrantRefused(
                f"{self._seat.me} has no grant under which {caller} may align this table.",
                hint="Ask its owner for a grant with `align`.",
                code=Grant.NO_GRANT,
            )
        order = open_order(document, self._node.roster(), caller)
        check_order(order, study.digest(), self._seat.clock.now())
        if align_jobs.job_of(order.id) != job.name:
            raise InputInvalid(f"{job.name} is not the job of its order.")
        mine = [each.state for each in align_jobs.jobs(self._node)]
        if sum(each.operator == caller and each.status not in OVER for each in mine) >= MAX_OPEN:
            raise IsolationBusy(f"{MAX_OPEN} alignments of {caller} are under way here.")
        job.make(study, document)

    def _shown(self, job: Job) -> State:
        state = job.state
        with self._lock:
            talk = self._talks.get(job.name)
        if talk is None or state.status in OVER:
            return state
        counts = [line.counts for line in talk.lines.values()]
        took, gave = (sum(each) for each in zip(*counts, strict=True))
        return state.model_copy(update={"took": took, "gave": gave})

    # ------------------------------------------------------------------ run

    def _keep(self) -> None:
        """Begin what is there and not over, and end what is to end."""
        while not self._closing.wait(_LOOK_SECONDS):
            try:
                self._look()
            except (FusionError, OSError) as error:
                self._say(f"alignments: {error}")
                self._closing.wait(2.0)

    def _look(self) -> None:
        for job in align_jobs.jobs(self._node, besides=self._over):
            if job.state.status in OVER:
                self._over.add(job.name)
                continue
            if job.name not in self._threads:
                self._stops[job.name] = threading.Event()
                thread = threading.Thread(target=self._work, args=(job,), name=job.name)
                self._threads[job.name] = thread
                thread.start()
            if job.stopping:
                self._stops[job.name].set()

    def _work(self, job: Job) -> None:
        self._say(f"{job.name}: an alignment is ordered by {job.state.operator}")
        try:
            found = self._run(job)
            state = job.state
            job.keep(state.model_copy(update={"status": "done", "common": found.size}))
            job.drop_session()
            self._say(f"{job.name}: done")
        except FusionError as error:
            job.failed(error)
            self._say(f"{job.name}: {error.message}")
        except Exception as error:  # noqa: BLE001 - a thread's end: whoever waits has to hear of it
            _LOG.exception("an alignment failed")
            job.failed(FusionError(f"The alignment failed here: {type(error).__name__}."))
        finally:
            with self._lock:
                self._talks.pop(job.name, None)

    def _run(self, job: Job) -> Learned:
        stop = self._stops[job.name]
        align_part.take_order(self._seat, job)
        permit = self._seat.desk.admit(align_part.request_of(self._seat, job))
        permit.spend()
        state = job.state
        job.keep(state.model_copy(update={"status": "running"}))
        if stop.is_set():
            raise RunStopped("The job was stopped here.")

        def show(talk: Talk) -> None:
            with self._lock:
                self._talks[job.name] = talk

        return align_part.run(self._seat, job, permit, stop, show)


class AlignPort:
    """What a node serves operators: :class:`Aligner` over gRPC."""

    def __init__(self, node: NodeHome) -> None:
        """Serve nothing until an aligner is there."""
        self._node = node
        self._clock = SystemClock()
        self._under_way = 0
        self.aligner: Aligner | None = None

    def handler(self) -> Any:  # noqa: ANN401 - gRPC has no types
        """Return what :meth:`fusion.services.node_link.Connection.serve` takes."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {"Ask": grpc.unary_unary_rpc_method_handler(self._ask)}
        )

    async def _ask(self, request: bytes, context: Any) -> bytes:  # noqa: ANN401 - gRPC has no types
        try:
            certificate = pem_to_der(peers.certificate_of(context))
            member = caller(self._node.roster(), certificate, self._clock.now()).id
        except FusionError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, error.message)
            raise AssertionError from None
        if len(request) > MAX_ASKED_BYTES:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "A question is too large.")
        aligner = self.aligner
        if aligner is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The node is just coming up.")
            raise AssertionError
        if self._under_way >= _MOST:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many questions at a time.")
        self._under_way += 1
        try:
            return await asyncio.to_thread(aligner.reply, member, request)
        finally:
            self._under_way -= 1


@contextmanager
def alignments_run(
    port: AlignPort, node: NodeHome, conversations: Conversations, say: Callable[[str], None]
) -> Iterator[None]:
    """Run alignments, and answer operators, for a while."""
    port.aligner = Aligner(node, conversations, say)
    try:
        yield
    finally:
        aligner, port.aligner = port.aligner, None
        aligner.close()
