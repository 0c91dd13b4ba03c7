"""What this release needs from Flower, checked before it is relied on.

Names, parameters, message fields and paths, as they are in flwr 1.41. A node that finds one
changed says which, and serves through Flower's own SuperNode instead
(:mod:`federated.runtime.stock`).
"""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version
from typing import Any, Final

from fusion.errors import EnvironmentUnfit

_CALLABLES: Final[dict[str, tuple[str, ...]]] = {
    "flwr.supernode.fleet_http_client:FleetHttpClient": ("base_url", "interceptors", "verify"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.ActivateNode": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.DeactivateNode": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.SendNodeHeartbeat": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.PullMessages": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.PushMessages": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.GetRun": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.PullObject": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.PushObject": ("self", "request"),
    "flwr.supernode.fleet_http_client:FleetHttpClient.ConfirmMessageReceived": (
        "self",
        "request",
    ),
    "flwr.supernode.node_auth_http_interceptor:NodeAuthHttpInterceptor": (
        "private_key",
        "public_key",
    ),
    "flwr.supercore.interceptors:RuntimeVersionHttpInterceptor": ("component_name",),
    "flwr.supercore.primitives.asymmetric:public_key_to_bytes": ("public_key",),
    "flwr.supercore.inflatable.inflatable_object:get_all_nested_objects": ("obj",),
    "flwr.supercore.inflatable.inflatable_object:get_object_tree": ("obj",),
    "flwr.supercore.inflatable.inflatable_object:no_object_id_recompute": (),
    "flwr.supercore.inflatable.inflatable_protobuf_utils:make_pull_object_fn_protobuf": (
        "pull_object_protobuf",
        "node",
        "run_id",
    ),
    "flwr.supercore.inflatable.inflatable_protobuf_utils:make_push_object_fn_protobuf": (
        "push_object_protobuf",
        "node",
        "run_id",
        "session_id",
    ),
    "flwr.supercore.inflatable.inflatable_protobuf_utils:"
    "make_confirm_message_received_fn_protobuf": (
        "confirm_message_received_protobuf",
        "node",
        "run_id",
    ),
    "flwr.supercore.inflatable.inflatable_utils:pull_objects": (
        "initial_backoff",
        "backoff_cap",
        "max_tries_per_object",
        "max_time",
    ),
    "flwr.supercore.inflatable.inflatable_utils:inflate_object_from_contents": (
        "object_id",
        "object_contents",
    ),
    "flwr.supercore.inflatable.inflatable_object:iterate_object_tree": ("tree",),
    "flwr.app.message:make_message": ("metadata", "content", "error"),
    "flwr.superlink.grid.http_grid:HttpGrid._runtime_client.fget": ("self",),
    "flwr.supercore.runtime:RuntimeHttpClient.PushMessages": ("self", "request"),
    "flwr.supercore.runtime:RuntimeHttpClient.PushObject": ("self", "request"),
    "flwr.supercore.runtime:RuntimeHttpClient.PullMessages": ("self", "request"),
    "flwr.supercore.runtime:RuntimeHttpClient.PullObject": ("self", "request"),
    "flwr.supercore.runtime:RuntimeHttpClient.ConfirmMessageReceived": ("self", "request"),
    "flwr.supercore.inflatable.inflatable_utils:push_objects": (
        "objects",
        "push_object_fn",
        "object_ids_to_push",
    ),
    "flwr.common.serde:message_from_proto": ("message_proto",),
    "flwr.common.serde:message_to_proto": ("message",),
    "flwr.common.serde:run_from_proto": ("run_proto",),
    "flwr.app.message:remove_content_from_message": ("message",),
    "flwr.supercore.control:ControlHttpClient.StartRun": ("self", "request"),
    "flwr.supercore.control:ControlHttpClient.StopRun": ("self", "request"),
    "flwr.supercore.control:ControlHttpClient.ListNodes": ("self", "request"),
    "flwr.supercore.control:ControlHttpClient.RegisterNode": ("self", "request"),
    "flwr.cli.build:build_fab_from_files": ("files",),
}
"""Parameters that have to be there; others may come and go."""

_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "flwr.proto.fleet_pb2:ActivateNodeRequest": ("public_key", "heartbeat_interval"),
    "flwr.proto.fleet_pb2:ActivateNodeResponse": ("node_id",),
    "flwr.proto.fleet_pb2:DeactivateNodeRequest": ("node_id",),
    "flwr.proto.fleet_pb2:PullMessagesRequest": ("node",),
    "flwr.proto.fleet_pb2:PullMessagesResponse": ("messages_list", "message_object_trees"),
    "flwr.proto.fleet_pb2:PushMessagesRequest": (
        "node",
        "messages_list",
        "message_object_trees",
        "clientapp_runtime_list",
    ),
    "flwr.proto.fleet_pb2:PushMessagesResponse": ("objects_to_push", "session_id"),
    "flwr.proto.heartbeat_pb2:SendNodeHeartbeatRequest": ("node", "heartbeat_interval"),
    "flwr.proto.heartbeat_pb2:SendNodeHeartbeatResponse": ("success",),
    "flwr.proto.run_pb2:GetRunRequest": ("node", "run_id"),
    "flwr.proto.run_pb2:GetRunResponse": ("run",),
    "flwr.proto.run_pb2:Run": ("run_id", "fab_hash", "override_config"),
    "flwr.proto.node_pb2:NodeInfo": ("node_id", "public_key"),
    "flwr.proto.control_pb2:StartRunRequest": ("fab", "override_config", "federation"),
    "flwr.proto.control_pb2:StartRunResponse": ("run_id",),
    "flwr.proto.control_pb2:RegisterNodeRequest": ("public_key",),
    "flwr.proto.control_pb2:ListNodesResponse": ("nodes_info",),
    "flwr.proto.runtime_pb2:PushAppMessagesRequest": ("messages_list", "message_object_trees"),
    "flwr.proto.runtime_pb2:PushAppMessagesResponse": (
        "message_ids",
        "objects_to_push",
        "session_id",
    ),
    "flwr.proto.runtime_pb2:PullAppMessagesRequest": ("message_ids",),
    "flwr.proto.runtime_pb2:PullAppMessagesResponse": ("messages_list", "message_object_trees"),
    "flwr.proto.message_pb2:ConfirmMessageReceivedRequest": (
        "node",
        "run_id",
        "message_object_id",
    ),
    "flwr.proto.message_pb2:ObjectTree": ("object_id", "children"),
}


_HUB_ONLY: Final = (
    "flwr.superlink.",
    "flwr.supercore.control:",
    "flwr.supercore.runtime:",
    "flwr.proto.control_pb2:",
    "flwr.proto.runtime_pb2:",
)
"""A node needs none of these, and need not hold them in memory."""


def violations(*, at_node: bool = False) -> list[str]:
    """Return what is not as this release needs it; empty when all is."""
    return [
        *missing_parameters(_needed(_CALLABLES, at_node=at_node)),
        *missing_fields(_needed(_FIELDS, at_node=at_node)),
    ]


def _needed(table: dict[str, tuple[str, ...]], *, at_node: bool) -> dict[str, tuple[str, ...]]:
    return {
        reference: wanted
        for reference, wanted in table.items()
        if not (at_node and reference.startswith(_HUB_ONLY))
    }


def check() -> None:
    """Check everything.

    Raises:
        EnvironmentUnfit: Something is not as needed; names it.
    """
    refuse(violations())


def refuse(found: list[str]) -> None:
    """Raise if anything was found.

    Raises:
        EnvironmentUnfit: Something was.
    """
    if found:
        msg = f"flwr {version('flwr')} is not what this release was written against: {found[0]}."
        raise EnvironmentUnfit(msg, hint="Install the flwr version that requirements.lock names.")


def _resolve(reference: str) -> Any:  # noqa: ANN401 - anything can be behind a name
    module, _, path = reference.partition(":")
    target: Any = importlib.import_module(module)
    for name in path.split("."):
        target = getattr(target, name)
    return target


def missing_parameters(callables: dict[str, tuple[str, ...]]) -> list[str]:
    """Return which of these callables are gone or no longer take a parameter."""
    found = []
    for reference, wanted in callables.items():
        try:
            parameters = inspect.signature(_resolve(reference)).parameters
        except (ImportError, AttributeError):
            found.append(f"{reference} is gone")
            continue
        gone = [name for name in wanted if name not in parameters]
        if gone:
            found.append(f"{reference} no longer takes {', '.join(gone)}")
    return found


def missing_fields(messages: dict[str, tuple[str, ...]]) -> list[str]:
    """Return which of these protobuf messages are gone or no longer have a field."""
    found = []
    for reference, wanted in messages.items():
        try:
            fields = _resolve(reference).DESCRIPTOR.fields_by_name
        except (ImportError, AttributeError):
            found.append(f"{reference} is gone")
            continue
        gone = [name for name in wanted if name not in fields]
        if gone:
            found.append(f"{reference} no longer has {', '.join(gone)}")
    return found
