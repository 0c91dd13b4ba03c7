"""Reads our own drawings back as XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def parse(drawing: str) -> ET.Element:
    """Return the drawing's root; fails when it is not well-formed."""
    return ET.fromstring(drawing)  # noqa: S314 - made a line ago by our own code
