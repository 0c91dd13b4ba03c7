"""Models as pure functions of one flat vector; :mod:`federated.models.registry` builds them."""

from __future__ import annotations
