"""Restricted queries: SQL and Python that see data only through a policy.

``isolate`` is the confinement that untrusted work runs in; docs/map.md leads to the rest.
It must never import ``federated``, nor be imported by ``fusion`` (entry points only).
"""

from __future__ import annotations
