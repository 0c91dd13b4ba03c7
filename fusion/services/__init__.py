"""The verbs: where the core and the edges meet."""

from __future__ import annotations
