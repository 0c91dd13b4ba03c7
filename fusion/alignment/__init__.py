"""Private alignment: identifiers made comparable, and who has them in common, found blindly.

Bytes and values alone: no socket, no file, no clock, no process. Claims:
``docs/claims/alignment.md``.
"""

from __future__ import annotations
