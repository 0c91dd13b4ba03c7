"""Edges to where data lies: one module a kind of source, each returning columns as arrays."""

from __future__ import annotations
