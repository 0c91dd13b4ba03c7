"""A member with a valid certificate and hostile code, against a real hub with a real SuperLink.

One test an attempt. What it may not do to the roster is in ``tests/identity`` and
``tests/enrolment``; what it may not do within a sum in ``tests/protocols`` and ``tests/proofs``.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
    RegisterNodeFleetRequest,
    UnregisterNodeFleetRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from federated.runtime.fleet_client import dial, public_key_of
from fusion.errors import HubRefused, PartyUnreachable
from fusion.identity import certificates
from fusion.identity.keys import new_tls_key, tls_pem
from fusion.ledger.witness import Item, Packet
from fusion.link.dial import Link
from fusion.services.dialling import identity_of, link_of
from fusion.services.homes import HubHome, NodeHome
from fusion.services.hub_port import WITNESS
from fusion.services.ledger import Book
from fusion.services.publishing import Publisher
from tests.deployment.processes import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two members; one of them is about to run other code."""
    with Deployment(tmp_path_factory.mktemp("rogue"), ["north", "rogue"]) as running:
        assert running.terminate("rogue") == 0
        yield running


@pytest.fixture
def rogue(deployment: Deployment) -> NodeHome:
    return NodeHome.open(deployment.node("rogue"))


@pytest.fixture
def link(rogue: NodeHome) -> Iterator[Link]:
    with link_of(rogue) as found:
        yield found


@pytest.fixture
def fleet(rogue: NodeHome, link: Link) -> Any:
    """Flower's own client, over the rogue's own link, with the rogue's own key."""
    return dial(link, rogue.fleet_private_key())


@pytest.fixture
def control(deployment: Deployment) -> Iterator[ControlHttpClient]:
    """The SuperLink's control interface, as the hub itself has it."""
    hub = HubHome.open(deployment.hub)
    tls = ssl.create_default_context(cafile=str(hub.superlink_ca))
    client = ControlHttpClient(
        f"https://127.0.0.1:{deployment._superlink_port()}",
        verify=tls,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr")],
    )
    yield client
    client.close()


def _victim(deployment: Deployment, control: ControlHttpClient) -> tuple[int, bytes]:
    """Number and key of the honest node."""
    north = NodeHome.open(deployment.node("north"))
    key = public_key_of(north.fleet_private_key())
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for node in control.ListNodes(ListNodesRequest()).nodes_info:
            if bytes(node.public_key) == key and node.status == "online":
                return int(node.node_id), key
        time.sleep(0.2)
    raise AssertionError("the honest node is not online")


def _refused(call: Any, request: Any) -> None:
    """The hub says no, or the SuperLink does."""
    with pytest.raises(httpx.HTTPStatusError) as refusal:
        call(request)
    assert refusal.value.response.status_code in {401, 403, 404}


# ------------------------------------------------------------------------- submit a run


@pytest.mark.parametrize(
    "name",
    ["start-run", "list-runs", "stop-run", "register-node", "unregister-node", "list-nodes"],
)
@pytest.mark.parametrize("prefix", ["", "../control/", "/v1/control/", "..%2fcontrol%2f"])
def test_it_does_not_reach_the_control_interface(link: Link, name: str, prefix: str) -> None:
    with pytest.raises(HubRefused, match="path"):
        link.fleet(f"{prefix}{name}", {}, b"")


@pytest.mark.parametrize("name", ["acquire-task", "push-messages", "pull-messages"])
def test_it_does_not_reach_the_runtime_interface(link: Link, name: str) -> None:
    with pytest.raises(HubRefused, match="path"):
        link.fleet(f"../runtime/{name}", {}, b"")


def test_it_starts_no_run(control: ControlHttpClient, link: Link) -> None:
    before = len(control.ListRuns(ListRunsRequest()).run_dict)
    with pytest.raises(HubRefused):
        link.fleet("../control/start-run", {}, b"anything")
    assert len(control.ListRuns(ListRunsRequest()).run_dict) == before


def test_the_superlink_is_not_on_the_network(deployment: Deployment) -> None:
    port = deployment._superlink_port()
    listening = [
        line.split()[1].split(":")[0]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == ["0100007F"]  # 127.0.0.1, least byte first


# ------------------------------------------------------------------------- be somebody else


def test_it_registers_no_node(fleet: Any, rogue: NodeHome) -> None:
    key = public_key_of(rogue.fleet_private_key())
    _refused(fleet.RegisterNode, RegisterNodeFleetRequest(public_key=key))


def test_it_unregisters_no_node(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(fleet.UnregisterNode, UnregisterNodeFleetRequest(node_id=number))
    assert _victim(deployment, control)[0] == number


def test_it_is_not_activated_under_anothers_key(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    _, key = _victim(deployment, control)
    _refused(fleet.ActivateNode, ActivateNodeRequest(public_key=key, heartbeat_interval=30))


def test_it_does_not_sign_for_anothers_key(link: Link, deployment: Deployment) -> None:
    """With the victim's Flower key, were it stolen, under its own certificate."""
    stolen = NodeHome.open(deployment.node("north")).fleet_private_key()
    thief = dial(link, stolen)
    _refused(
        thief.ActivateNode,
        ActivateNodeRequest(public_key=public_key_of(stolen), heartbeat_interval=30),
    )


def test_it_does_not_call_with_anothers_name_in_its_certificate(rogue: NodeHome) -> None:
    """It is its own CA: it can put any name into a leaf. Nobody believes it."""
    now = datetime.now(UTC)
    key = new_tls_key()
    leaf = rogue.issuer().leaf(rogue.trust().federation, "north", key.public_key(), now)
    shown = identity_of(rogue)
    posing = type(shown)(ca=shown.ca, certificate=certificates.pem(leaf), key=tls_pem(key))
    link = Link(rogue.invitation.address, lambda: posing)
    with link, pytest.raises(PartyUnreachable):
        link.read("roster", 1024 * 1024)


# ------------------------------------------------------------------------- read or disturb others


def test_it_reads_no_message_of_another(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(fleet.PullMessages, PullMessagesRequest(node=Node(node_id=number)))


def test_it_reads_no_object_of_another(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(
        fleet.PullObject,
        PullObjectRequest(node=Node(node_id=number), run_id=1, object_id="0" * 64),
    )


def test_it_reads_no_run_as_another(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(fleet.GetRun, GetRunRequest(node=Node(node_id=number), run_id=1))


def test_it_answers_for_nobody_else(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(fleet.PushMessages, PushMessagesRequest(node=Node(node_id=number)))


def test_it_takes_nobody_off_line(
    fleet: Any, deployment: Deployment, control: ControlHttpClient
) -> None:
    number, _ = _victim(deployment, control)
    _refused(fleet.DeactivateNode, DeactivateNodeRequest(node_id=number))
    _refused(
        fleet.SendNodeHeartbeat,
        SendNodeHeartbeatRequest(node=Node(node_id=number), heartbeat_interval=0.1),
    )
    assert _victim(deployment, control)[0] == number


def test_a_request_that_was_overheard_is_not_sent_again(link: Link, deployment: Deployment) -> None:
    """Flower's signature covers no body and holds for a while: the certificate does not fit."""
    north = NodeHome.open(deployment.node("north"))
    overheard: dict[str, str] = {}

    class Listening(Link):
        def fleet(
            self, name: str, headers: dict[str, str], body: bytes, seconds: float = 20.0
        ) -> Any:
            overheard.update(headers)
            return super().fleet(name, headers, body, seconds)

    with Listening(north.invitation.address, lambda: identity_of(north)) as theirs:
        client = dial(theirs, north.fleet_private_key())
        key = public_key_of(north.fleet_private_key())
        with contextlib.suppress(httpx.HTTPStatusError):  # it is active already
            client.ActivateNode(ActivateNodeRequest(public_key=key, heartbeat_interval=30))
    assert "flwr-signature" in overheard
    with pytest.raises(HubRefused, match="fleet-key"):
        link.fleet("pull-messages", overheard, b"")


# ------------------------------------------------------------------------- evidence


def test_it_publishes_no_log_as_another(
    rogue: NodeHome, link: Link, deployment: Deployment
) -> None:
    """It hands in the victim's log as the victim published it: the hub keeps it under no name."""
    hub = HubHome.open(deployment.hub)
    board = hub.witness / "north.json"
    until = time.monotonic() + 90
    while not board.exists() and time.monotonic() < until:
        time.sleep(0.2)
    with Book(rogue) as book:
        own = Publisher(book).publish(rogue.roster(), None, {})
    taken = _published_of(board.read_bytes())
    assert taken != own
    link.hand_in(WITNESS, Packet(published=taken, cosigned=[]).to_bytes())
    until = time.monotonic() + 90
    while "what rogue handed in for its log is refused" not in deployment.log("hub"):
        assert time.monotonic() < until
        time.sleep(0.1)
    entry = hub.witness / "rogue.json"
    assert not entry.exists() or _published_of(entry.read_bytes()) != taken


def _published_of(data: bytes) -> Any:
    return Item.from_bytes(data).published
