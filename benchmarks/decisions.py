"""Decisions a second on one core: ``python -m benchmarks.decisions``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fusion.grants.decide import State, decide
from fusion.grants.signing import open_grant
from fusion.services.grant_choice import choose
from fusion.services.grants import GrantFolder
from fusion.services.verified import VerifiedGrants
from tests.grants.grants import DOCUMENT, NOW, ROSTER, grant_from, request_from, signed_by

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 1.0


def rate(work: Callable[[], object]) -> float:
    """Return how often a second ``work`` is done."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for _ in range(50):
            work()
        count += 50
    return count / (time.perf_counter() - began)


def main() -> None:
    """Print permits, refusals, and decisions that begin with bytes, new or seen before, or files.

    From a folder, the file is read and revocations are looked for each time.
    """
    signed = signed_by(grant_from(DOCUMENT))
    good = request_from()
    bad = request_from("train", {"rounds": 99, "columns": ["owner"], "purpose": "?"})
    state = State()
    print(f"permits            {rate(lambda: decide(signed, good, state, NOW)):10,.0f} /s")
    print(f"refusals           {rate(lambda: decide(signed, bad, state, NOW)):10,.0f} /s")

    def from_bytes() -> object:
        return decide(open_grant(signed.envelope, ROSTER), good, state, NOW)

    print(f"with 4 signatures  {rate(from_bytes):10,.0f} /s")
    verified = VerifiedGrants()

    def again() -> object:
        return decide(verified.open(signed.envelope, ROSTER), good, state, NOW)

    print(f"verified before    {rate(again):10,.0f} /s")
    with tempfile.TemporaryDirectory() as path:
        folder = GrantFolder(Path(path), lambda: ROSTER)
        folder.keep(signed.envelope)

        def at_the_desk() -> object:
            return choose(folder.readable(print), good, None, NOW)

        print(f"from a folder      {rate(at_the_desk):10,.0f} /s")


if __name__ == "__main__":
    main()
