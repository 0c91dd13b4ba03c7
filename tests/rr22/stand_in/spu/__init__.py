"""Stands in for SecretFlow's spu where that is not installed: the same calls, nothing secret."""

from __future__ import annotations
