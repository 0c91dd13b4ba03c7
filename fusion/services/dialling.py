"""What a node shows when it connects, to the hub as to other nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.link.dial import Identity, Link
from fusion.services.clock import SystemClock
from fusion.services.files import read_file
from fusion.services.leaves import leaf_pems
from fusion.services.rotation import coming_leaf

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome


def identity_of(node: NodeHome, clock: Clock | None = None) -> Identity:
    """Return a node's certificate as it is now, made anew if it is old, and the hub's CA.

    Raises:
        EnvironmentUnfit: A file can't be read or written.
        KeyRefused: The passphrase is wrong.
        VerificationFailed: The trust document is not that of the invitation.
    """
    now = (clock or SystemClock()).now()
    certificate, key = leaf_pems(node, node.trust().federation, now)
    return Identity(ca=read_file(node.ca), certificate=certificate, key=key)


def coming_link(node: NodeHome, clock: Clock | None = None) -> Link | None:
    """Return a link under the CA that was asked for instead of the one that is; None without one.

    Raises:
        EnvironmentUnfit: A file can't be read.
        KeyRefused: The passphrase is wrong.
    """
    leaf = coming_leaf(node, node.trust().federation, (clock or SystemClock()).now())
    if leaf is None:
        return None
    shown = Identity(ca=read_file(node.ca), certificate=leaf[0], key=leaf[1])
    return Link(node.invitation.address, lambda: shown)


def link_of(node: NodeHome, clock: Clock | None = None) -> Link:
    """Return a link to a node's hub for a verb, not yet connected; close it after use."""
    return Link(node.invitation.address, lambda: identity_of(node, clock))
