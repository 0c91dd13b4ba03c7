"""The network: the hub's one port, how a node dials it, and a forwarder for the stock SuperNode."""

from __future__ import annotations
