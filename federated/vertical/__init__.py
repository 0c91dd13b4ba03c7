"""Vertical studies: the same people at several organisations, each with columns of its own."""

from __future__ import annotations
