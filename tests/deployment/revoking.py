"""A grant is revoked by its own command while a served model is called without a pause."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def check_stops_within_a_second(
    home: Path, grant: str, call: Callable[[], tuple[int, Any]]
) -> None:
    """Revoke a grant at a node, and check that calls are refused by name (G-02) in a second.

    Args:
        home: The node's.
        grant: Id.
        call: Scores a record; returns HTTP status and document.
    """
    mark = home / "grants" / f"{grant}.revocation.json"
    words = ["grant", "revoke", grant, "--reason", "a test", "--home", str(home)]
    revoking = subprocess.Popen(
        [sys.executable, "-m", "fusion.cli", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    last = began = time.monotonic()
    revoked, status = 0.0, 0
    said: Any = None
    while time.monotonic() - began < 60:
        revoked = revoked or (time.monotonic() if mark.exists() else 0.0)
        status, said = call()
        if status != 200:
            break
        last = time.monotonic()
    assert revoking.wait(60) == 0
    assert (status, said["error"]["code"]) == (403, "G-02"), said
    assert not revoked or last - revoked < 1
