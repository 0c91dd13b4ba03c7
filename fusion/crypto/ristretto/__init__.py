"""ristretto255 (RFC 9496): a group of prime order, in which every encoding names one element."""

from __future__ import annotations
