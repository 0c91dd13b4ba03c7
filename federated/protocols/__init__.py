"""What is said in a round, and by whom it is believed: no network, no clock, no Flower."""

from __future__ import annotations
