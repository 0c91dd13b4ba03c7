"""Numbers and bytes only: knows nothing of organisations, files or networks."""

from __future__ import annotations
