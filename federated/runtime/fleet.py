"""The node's own loop on the SuperLink's fleet interface, with the installed app in memory.

The bundle a run comes with is never fetched, unpacked or imported: its digest is compared with
that of the installed release, and a run with another one is refused and noted. Tasks of one run
are done one after the other, runs side by side. Why not Flower's SuperNode:
``docs/adr/0002-node-loop.md``.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto, run_from_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.inflatable.inflatable_object import (
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

from federated.runtime.contents import Upload, push_contents
from fusion.crypto import rng
from fusion.errors import EnvironmentUnfit, FusionError, PartyUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.clientapp import ClientApp
    from flwr.proto.fleet_pb2 import (
        ActivateNodeResponse,
        PullMessagesResponse,
        PushMessagesResponse,
    )
    from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse
    from flwr.proto.message_pb2 import ObjectTree
    from flwr.proto.run_pb2 import GetRunResponse
    from flwr.supercore.run import Run

    from fusion.ports import Clock, Rings, Stop

_LOG: Final = logging.getLogger("banyan.fleet")
_RequestT = TypeVar("_RequestT")
_ResponseT = TypeVar("_ResponseT")

_STOP_SECONDS: Final = 0.25
"""How long a node that rests may take to see that it is to stop."""

_RETRIED_STATUS: Final = {429, 502, 503, 504}
_UPLOAD_SECONDS: Final = 600
"""After which a message is given up whose content was not uploaded."""
_LOOK_SECONDS: Final = 0.5
_REGISTRATION_SECONDS: Final = 30.0


class RunGoneError(Exception):
    """The SuperLink no longer knows the run: whatever was for it is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a node looks for work, and how long it tries.

    Attributes:
        idle: Seconds between looks when no bell rings: one may get lost with a connection.
        heartbeat: Seconds; the SuperLink calls the node offline after two of them (10 at least).
        retry: Seconds for which one call is tried again through an outage of the hub.
        workers: Runs served side by side.
    """

    idle: float = 10.0
    heartbeat: float = 10.0
    retry: float = 120.0
    workers: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who a node is to the SuperLink, and which runs it serves.

    Attributes:
        public_key: By which the SuperLink knows the node.
        bundle_digest: Of the only bundle whose runs are served.
    """

    public_key: bytes
    bundle_digest: str


@dataclass(frozen=True, slots=True)
class _Task:
    """A message to answer: its head, what it carries, and since when it is here."""

    head: Message
    upload: Upload
    since: float


class Fleet(Protocol):
    """The SuperLink's fleet interface as a node calls it; Flower's messages in and out.

    :class:`FleetHttpClient` is one; ``tests/runtime/fleet.py`` has one in memory.
    """

    def ActivateNode(self, request: ActivateNodeRequest) -> ActivateNodeResponse: ...  # noqa: D102, N802 - Flower's names, here and below
    def DeactivateNode(self, request: DeactivateNodeRequest) -> Any: ...  # noqa: ANN401, D102, N802
    def SendNodeHeartbeat(self, request: SendNodeHeartbeatRequest) -> SendNodeHeartbeatResponse: ...  # noqa: D102, N802
    def PullMessages(self, request: PullMessagesRequest) -> PullMessagesResponse: ...  # noqa: D102, N802
    def PushMessages(self, request: PushMessagesRequest) -> PushMessagesResponse: ...  # noqa: D102, N802
    def GetRun(self, request: GetRunRequest) -> GetRunResponse: ...  # noqa: D102, N802
    def PullObject(self, request: Any) -> Any: ...  # noqa: ANN401, D102, N802
    def PushObject(self, request: Any) -> Any: ...  # noqa: ANN401, D102, N802
    def ConfirmMessageReceived(self, request: Any) -> Any: ...  # noqa: ANN401, D102, N802

    def close(self) -> None:
        """Close the connection."""
        ...


class FleetNode:
    """Pulls messages, answers them with the app, pushes the replies; until told to stop."""

    def __init__(
        self,
        fleet: Fleet,
        app: ClientApp,
        served: Served,
        *,
        bell: Rings,
        stop: Stop,
        clock: Clock,
        note: Callable[[str], None],
        pace: Pace | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            fleet: The SuperLink's fleet interface.
            app: Answers messages.
            served: Who the node is, and whose runs it serves.
            bell: Rings when there may be something to pull.
            stop: Says when to stop.
            clock: Time.
            note: Told what the owner should know.
            pace: How often to look, and how long to try.
        """
        self._app = app
        self._bell = bell
        self._bundle_digest = served.bundle_digest
        self._stop = stop
        self._clock = clock
        self._note = note
        self._pace = pace or Pace()
        self._public_key = served.public_key
        self._client = fleet
        self._node = Node()
        self._runs: dict[int, Run] = {}
        self._queues: dict[int, deque[_Task]] = defaultdict(deque)
        self._busy: set[int] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self._pace.workers, thread_name_prefix="run")

    def serve(self, on_ready: Callable[[], None]) -> None:
        """Serve until ``stop`` is set; running tasks are finished and their replies sent.

        Raises:
            EnvironmentUnfit: The hub refuses the node for good.
        """
        try:
            self._activate()
            on_ready()
            beat = threading.Thread(target=self._heartbeat, name="heartbeat", daemon=True)
            beat.start()
            while not self._stop.is_set():
                heard = self._bell.rings()
                if not self._pull():
                    self._rest(heard)
        finally:
            self._pool.shutdown(wait=True)
            self._deactivate()
            self._client.close()

    def _rest(self, heard: int) -> None:
        """Wait for a ring, or until it is time to look anyway."""
        until = self._clock.monotonic() + self._pace.idle
        while not self._stop.is_set() and (left := until - self._clock.monotonic()) > 0:
            if self._bell.wait(heard, min(left, _STOP_SECONDS)) != heard:
                return

    # ------------------------------------------------------------------ the link

    def _call(
        self,
        function: Callable[[_RequestT], _ResponseT],
        request: _RequestT,
        seconds: float | None = None,
    ) -> _ResponseT:
        """Call, and try again through an outage.

        Raises:
            RunGoneError: The SuperLink refuses what belongs to this run.
            PartyUnreachable: The hub did not answer for ``seconds``.
            httpx.HTTPStatusError: The hub answered something that trying again won't change.
        """
        delay = 0.05
        until = self._clock.monotonic() + (self._pace.retry if seconds is None else seconds)
        while True:
            try:
                return function(request)
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                if status == httpx.codes.FORBIDDEN:
                    raise RunGoneError from error
                if status not in _RETRIED_STATUS:
                    raise
                cause: httpx.HTTPError = error
            except httpx.TransportError as error:
                cause = error
            if self._clock.monotonic() >= until or (seconds is not None and self._stop.is_set()):
                msg = f"The hub does not answer ({type(cause).__name__})."
                raise PartyUnreachable(
                    msg, hint="It is tried again while the node is up."
                ) from cause
            # Jitter, so that nodes do not come back all at once.
            self._stop.wait(delay * (0.5 + rng.below(1000) / 2000))
            delay = min(delay * 2, 2.0)

    def _activate(self) -> None:
        """Have the SuperLink know this node as online, however long the hub is away.

        Raises:
            EnvironmentUnfit: The hub is there and keeps refusing the node.
        """
        request = ActivateNodeRequest(
            public_key=self._public_key, heartbeat_interval=self._pace.heartbeat
        )
        refused_since: float | None = None
        while not self._stop.is_set():
            try:
                response = self._call(self._client.ActivateNode, request, 5.0)
            except PartyUnreachable as error:
                refused_since = None
                self._note(str(error))
            except (RunGoneError, httpx.HTTPStatusError) as error:
                # A hub that has just started, or just admitted us, registers our key in a moment.
                refused_since = refused_since or self._clock.monotonic()
                if self._clock.monotonic() - refused_since > _REGISTRATION_SECONDS:
                    msg = "The hub does not accept this node's certificate or key."
                    hint = "Was this organisation admitted with this folder's request.csr?"
                    raise EnvironmentUnfit(msg, hint=hint) from error
                self._stop.wait(0.2)
            else:
                self._node = Node(node_id=response.node_id)
                return

    def _heartbeat(self) -> None:
        interval = self._pace.heartbeat
        while not self._stop.wait(interval * (0.4 + rng.below(1000) / 5000)):
            request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=interval)
            try:
                if not self._call(self._client.SendNodeHeartbeat, request, interval).success:
                    self._activate()
            except (RunGoneError, httpx.HTTPStatusError):
                # A hub that lost its database knows the key again, and this number no more.
                self._reactivate()
            except (FusionError, httpx.HTTPError) as error:
                _LOG.warning("heartbeat: %s", error)

    def _reactivate(self) -> None:
        try:
            self._activate()
        except FusionError as error:
            self._note(str(error))

    def _deactivate(self) -> None:
        if self._node.node_id == 0:
            return
        try:
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))
        except (httpx.HTTPError, ValueError) as error:
            # The SuperLink finds out by the missing heartbeat.
            _LOG.info("deactivate: %s", error)

    # ------------------------------------------------------------------ messages

    def _pull(self) -> bool:
        """Take one message; return whether there was one."""
        try:
            response = self._call(
                self._client.PullMessages, PullMessagesRequest(node=self._node), 5.0
            )
        except (PartyUnreachable, RunGoneError, httpx.HTTPError) as error:
            if not self._stop.is_set():
                _LOG.warning("pull: %s", error)
                self._stop.wait(0.5)
            return False
        if not response.messages_list:
            return False
        for proto, tree in zip(response.messages_list, response.message_object_trees, strict=True):
            self._enqueue(message_from_proto(proto), tree)
        return True

    def _enqueue(self, head: Message, tree: ObjectTree) -> None:
        """Queue a message behind the others of its run; start the run's worker if it rests."""
        run_id = head.metadata.run_id
        with self._lock:
            self._queues[run_id].append(_Task(head, Upload(tree), self._clock.monotonic()))
            if run_id in self._busy:
                return
            self._busy.add(run_id)
        self._pool.submit(self._work, run_id)

    def _work(self, run_id: int) -> None:
        """Answer a run's messages one after the other until there are none.

        One that is not all there goes behind those that came later: after the SuperLink was away
        the rest of it may never come, and whoever sent it has asked again.
        """
        while True:
            with self._lock:
                queue = self._queues[run_id]
                if not queue:
                    self._busy.discard(run_id)
                    del self._queues[run_id]
                    return
                task = queue.popleft()
            try:
                if not self._answer(run_id, task):
                    with self._lock:
                        queue.append(task)
            except RunGoneError:
                self._note(f"a message of run {run_id} was dropped: the hub knows no more of it")
            except Exception as error:  # noqa: BLE001 - one broken message must not stop the node
                self._note(f"a message of run {run_id} could not be answered: {error!r:.300}")

    def _answer(self, run_id: int, task: _Task) -> bool:
        """Answer a message; return whether that is done, or it is still being uploaded."""
        run, head = self._run(run_id), task.head
        head.metadata.__dict__["_message_id"] = task.upload.identifier
        began = self._clock.monotonic()
        if run.fab_hash != self._bundle_digest:
            self._note(f"run {run_id} was refused: its bundle is not the one installed here")
            reason = "The run's bundle is not the one installed at this node."
            reply = Message(Error(ErrorCode.INVALID_FAB, reason), reply_to=head)
        else:
            message = self._inflate(run_id, task)
            if message is None:
                return False
            reply = self._app(message=message, context=self._context(run_id, run))
        self._push(run_id, reply, self._clock.monotonic() - began)
        return True

    def _context(self, run_id: int, run: Run) -> Context:
        return Context(
            run_id=run_id,
            node_id=self._node.node_id,
            node_config={},
            state=RecordDict(),  # what must be remembered is in the node's own store
            run_config=dict(run.override_config),
        )

    def _run(self, run_id: int) -> Run:
        with self._lock:
            known = self._runs.get(run_id)
        if known is None:
            request = GetRunRequest(node=self._node, run_id=run_id)
            known = run_from_proto(self._call(self._client.GetRun, request).run)
            with self._lock:
                self._runs[run_id] = known
        return known

    def _inflate(self, run_id: int, task: _Task) -> Message | None:
        """Fetch what a message carries, and tell the SuperLink that it has come, if it has.

        Raises:
            RunGoneError: It will not come.
        """

        def call(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda request: self._call(function, request)

        pull = make_pull_object_fn_protobuf(call(self._client.PullObject), self._node, run_id)
        try:
            content = task.upload.content(pull, seconds=_LOOK_SECONDS)
        except ObjectPullError as error:
            raise RunGoneError from error
        if content is None:
            late = self._clock.monotonic() - task.since > _UPLOAD_SECONDS
            if late or self._stop.is_set():
                raise RunGoneError
            return None
        confirm = make_confirm_message_received_fn_protobuf(
            call(self._client.ConfirmMessageReceived), self._node, run_id
        )
        confirm(task.upload.identifier)
        return make_message(task.head.metadata, content)

    def _push(self, run_id: int, reply: Message, seconds: float) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            request = PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            response = self._call(self._client.PushMessages, request)
            push_contents(
                [reply],
                make_push_object_fn_protobuf(
                    lambda q: self._call(self._client.PushObject, q),
                    self._node, run_id, response.session_id,
                ),
                set(response.objects_to_push),
            )  # fmt: skip
