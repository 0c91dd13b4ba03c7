"""Who is who: keys and their files' formats, requests, certificates, trust, the roster."""

from __future__ import annotations
