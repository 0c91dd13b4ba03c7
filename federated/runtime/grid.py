"""The parties of a run over Flower's Grid: own push, own pull, a deadline for each phase.

Flower's ``send_and_receive`` looks every 3 s and waits for everyone; this looks when a bell says
that a reply has come, and stops at the deadline. Which node is which organisation follows from the
roster's fleet keys, which the hub's port has checked against each node's certificate.
"""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.supercore.inflatable.inflatable_object import get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_push_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.superlink.grid.http_grid import HttpGrid

from federated.cohort import Failure, Replies, Reply, Request
from federated.runtime.contents import push_contents
from federated.runtime.inbox import Inbox
from federated.runtime.messages import MESSAGE_TYPES, decode_reply, encode_request, fresh_nonce
from fusion.errors import FusionError, MessageInvalid, PartyUnreachable, UnknownOrganisation
from fusion.link.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flwr.serverapp import Grid

    from fusion.ports import Clock
    from fusion.services.homes import HubHome
    from fusion.types import OrgId

_LOG: Final = logging.getLogger("banyan.grid")

POLL_SECONDS: Final = 0.5
"""Pause between two looks for replies when no bell says that one has come."""
TOGETHER_SECONDS: Final = 0.06
OUTAGE_SECONDS: Final = 1.0
"""A call that takes longer met a SuperLink that was away; the deadline moves by as much."""
HELLO_TTL_SECONDS: Final = 3600.0
PUSH_PAUSES: Final = (0.1, 0.5, 2.0)
"""Seconds before each further try when the SuperLink does not take messages."""
_ABSENT: Final = {ErrorCode.NODE_UNAVAILABLE, ErrorCode.MESSAGE_UNAVAILABLE}
"""Errors that mean the party never got or never answered the message."""


@dataclass(frozen=True, slots=True)
class Bells:
    """Between this process and the hub's port: there are requests for nodes; a reply has come.

    Attributes:
        requests: Rung when messages have been pushed; the port lets waiting nodes look.
        replies: Rung by the port when a node has pushed.
        restarts: Rung when the SuperLink was started again.
    """

    requests: Bell
    replies: Bell
    restarts: Bell

    def announce(self) -> None:
        """Say that there are requests."""
        self.requests.ring()

    def heard(self) -> int:
        """Return how many replies were rung for so far."""
        return self.replies.rings()

    def await_reply(self, heard: int, seconds: float) -> int:
        """Wait for a ring, and a moment longer: replies tend to come together."""
        rings = self.replies.wait(heard, seconds)
        if rings != heard:
            time.sleep(TOGETHER_SECONDS)
            rings = self.replies.rings()
        return rings


class GridCohort:
    """:class:`federated.cohort.Cohort` over Flower."""

    def __init__(
        self,
        grid: Grid,
        fleet_keys: Mapping[OrgId, str],
        clock: Clock,
        bells: Bells,
    ) -> None:
        """Take the grid, each organisation's fleet key as Flower's header has it, time, bells."""
        self._grid = grid
        self._keys = dict(fleet_keys)
        self._clock = clock
        self._bells = bells
        self._inbox = Inbox(grid)
        self._nodes: dict[OrgId, int] = {}
        self._knocks: dict[str, OrgId] = {}

    def ask(
        self,
        requests: Mapping[OrgId, Request],
        *,
        seconds: float,
        enough: Callable[[Replies], bool] | None = None,
        on_reply: Callable[[Reply], None] | None = None,
    ) -> Replies:
        """Send, and look for answers until all, enough, or the deadline."""
        heard, restarts = self._bells.heard(), self._bells.restarts.rings()
        # The message outlives the deadline a little, so that a late party answers into nothing
        # instead of failing; nobody looks for that answer.
        ttl = seconds + 60.0
        waiting = self._push(requests, ttl)
        replies: Replies = {}
        deadline = self._clock.monotonic() + seconds

        def done() -> bool:
            return not waiting or (enough is not None and enough(replies))

        while not done():
            began = self._clock.monotonic()
            for reply in self._pull(waiting):
                replies[reply.organisation] = reply
                if on_reply is not None:
                    on_reply(reply)
            now = self._clock.monotonic()
            if now - began > OUTAGE_SECONDS:
                deadline += now - began
            if restarts != (restarts := self._bells.restarts.rings()):
                # What was under way when the SuperLink ended may be lost: requests that it had
                # handed out, replies half uploaded. A party answers the same to the same.
                missing = {org: each for org, each in requests.items() if org not in replies}
                waiting |= self._push(missing, ttl)
            if done() or now >= deadline:
                break
            heard = self._bells.await_reply(heard, min(POLL_SECONDS, deadline - now))
        self._inbox.forget(waiting)
        return replies

    def knock(self, organisations: Sequence[OrgId]) -> set[OrgId]:
        """Look for answers to earlier greetings, and greet who has none under way."""
        wanted = set(organisations)
        here = {reply.organisation for reply in self._pull(self._knocks)}
        under_way = set(self._knocks.values())
        quiet = [org for org in organisations if org not in under_way and org not in here]
        if quiet:
            self._knocks |= self._push(dict.fromkeys(quiet, Request("hello")), HELLO_TTL_SECONDS)
        return here & wanted

    def _push(self, requests: Mapping[OrgId, Request], ttl: float) -> dict[str, OrgId]:
        """Send; return who was sent which message. Who has no node yet is sent none.

        Raises:
            PartyUnreachable: The SuperLink took the messages in none of several tries.
        """
        for pause in PUSH_PAUSES:
            try:
                return self._push_once(requests, ttl)
            except ObjectPushError as error:
                _LOG.warning("messages were not taken, trying again: %s", error)
                self._bells.await_reply(self._bells.heard(), pause)
        try:
            return self._push_once(requests, ttl)
        except ObjectPushError as error:
            msg = "The SuperLink does not take what is sent to the nodes."
            raise PartyUnreachable(msg, hint="Read superlink.log in the hub's folder.") from error

    def _push_once(self, requests: Mapping[OrgId, Request], ttl: float) -> dict[str, OrgId]:
        # Made anew for each try: parts of the last one may still lie at the SuperLink. A party that
        # gets both answers the same to both.
        nonce = fresh_nonce()
        messages, whom = [], []
        for organisation, request in requests.items():
            node = self._node(organisation)
            if node is None:
                continue
            content = encode_request(request, nonce)
            messages.append(
                Message(content, node, MESSAGE_TYPES[request.kind], ttl=ttl, group_id="banyan")
            )
            whom.append(organisation)
        if not messages:
            return {}
        identifiers = push_requests(self._grid, messages)
        self._bells.announce()
        return {
            identifier: organisation
            for identifier, organisation in zip(identifiers, whom, strict=False)
            if identifier
        }

    def _pull(self, waiting: dict[str, OrgId]) -> list[Reply]:
        """Take what has come; remove it from ``waiting``."""
        if not waiting:
            return []
        replies = []
        for message in self._inbox.look(list(waiting)):
            organisation = waiting.pop(message.metadata.reply_to_message_id, None)
            if organisation is None:
                continue
            if message.has_error() and message.error.code in _ABSENT:
                _LOG.info("%s: %s", organisation, message.error.reason)
                continue
            replies.append(_reply(organisation, message))
            # Whoever was asked again may answer again.
            others = [name for name, org in waiting.items() if org == organisation]
            self._inbox.forget(others)
            for name in others:
                del waiting[name]
        return replies

    def _node(self, organisation: OrgId) -> int | None:
        """Return Flower's number for an organisation's node, once it has one."""
        if organisation not in self._nodes:
            by_key = {
                b64encode(node.public_key).decode(): node.node_id for node in self._grid.get_nodes()
            }
            for name, key in self._keys.items():
                if key in by_key:
                    self._nodes[name] = by_key[key]
        if organisation not in self._keys:
            msg = f"{organisation} is not in the roster."
            raise UnknownOrganisation(msg)
        return self._nodes.get(organisation)


def _reply(organisation: OrgId, message: Message) -> Reply:
    """Read a reply; what can't be read is that party's failure."""
    try:
        if message.has_error():
            msg = f"Its node failed: {message.error.reason}"
            raise MessageInvalid(msg[:500])
        return decode_reply(organisation, message.content)
    except FusionError as error:
        return Reply(organisation, failure=Failure.of(error))


def push_requests(grid: Grid, messages: Sequence[Message]) -> Iterable[str | None]:
    """Send messages; return the identifier of each, or nothing for one that was not taken.

    Over Flower's HTTP grid in an order in which no reader is too early; any other grid does it its
    own way.

    Raises:
        ObjectPushError: The SuperLink does not take a part of one.
    """
    if not isinstance(grid, HttpGrid):
        return grid.push_messages(messages)
    client, run_id = grid._runtime_client, grid.run.run_id  # noqa: SLF001 - see contract.py
    with no_object_id_recompute():
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
        answer = client.PushMessages(
            PushAppMessagesRequest(
                messages_list=[message_to_proto(remove_content_from_message(m)) for m in messages],
                message_object_trees=[get_object_tree(message) for message in messages],
            )
        )
        push = make_push_object_fn_protobuf(client.PushObject, grid.node, run_id, answer.session_id)
        push_contents(messages, push, set(answer.objects_to_push))
    return list(answer.message_ids)


def bells_of(hub: HubHome) -> Bells:
    """Return the bells of a hub's folder."""
    return Bells(Bell(hub.requests_bell), Bell(hub.replies_bell), Bell(hub.restarts_bell))
