"""The command line: parses, calls one service, prints. No logic lives here."""

from __future__ import annotations
