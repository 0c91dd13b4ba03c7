"""Learning over columns that stay apart: boosting and generalised linear models, without I/O."""

from __future__ import annotations
