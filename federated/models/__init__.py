"""Models as pure functions of a flat parameter vector; :mod:`federated.models.registry` builds them."""

from __future__ import annotations
