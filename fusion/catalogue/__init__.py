"""What data there are: descriptors, identifiers, made-up samples, entity graph, exports. Pure."""

from __future__ import annotations
