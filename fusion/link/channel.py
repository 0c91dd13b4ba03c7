"""The settings of every gRPC connection here, at the hub, at nodes, and between nodes.

Windows are fixed. Left to itself gRPC probes the line and lets a stream's window grow to many
megabytes: twenty slow readers then cost the hub 180 MB instead of 60. The connection time-out is
``min_reconnect_backoff_ms``: lower than some seconds, and simultaneous handshakes fail. It and the
keep-alive's leave room for a machine that has much else to do.
"""

from __future__ import annotations

from typing import Final

from fusion.wire.limits import MEBI

FRAME_BYTES: Final = 256 * 1024
"""What is read of a connection and passed on at a time."""

_MESSAGE_BYTES: Final = 4 * MEBI
_WINDOW_BYTES: Final = MEBI

_BOTH: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

SERVER: Final = (
    *_BOTH,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)

CLIENT: Final = (
    *_BOTH,
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
)
