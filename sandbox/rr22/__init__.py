"""SecretFlow's RR22, confined: what runs inside, what carries its link, and what starts it."""

from __future__ import annotations
