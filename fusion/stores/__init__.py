"""What survives a restart: SQLite files, and counterparts in memory for simulation and tests."""

from __future__ import annotations
