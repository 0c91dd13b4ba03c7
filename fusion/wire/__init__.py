"""What goes over the network: canonical JSON, signed envelopes, and a limit for every decoder."""

from __future__ import annotations
