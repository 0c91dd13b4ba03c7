"""Restricted queries: SQL and Python that see data only through a policy.

The package keeps its place in the layers; what it will hold is described in docs/map.md.
It must never import ``federated``, nor be imported by ``fusion`` (entry points only).
"""

from __future__ import annotations
