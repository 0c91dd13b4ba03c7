"""The round engine in the shape that Flower users know."""

from __future__ import annotations
