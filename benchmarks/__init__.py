"""Measurements with commands of their own; each prints a table. Not part of the tests."""

from __future__ import annotations
