"""Training that is differentially private for each row: noise, accounting, what leaves a party."""

from __future__ import annotations
