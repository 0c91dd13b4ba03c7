"""Engines by name, for the tests and the benchmarks that go through all of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines import selection
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.crypto.paillier.engines.engine import Engine

NAMES: Final = tuple(reversed(selection.NAMES))
"""Slowest first: what is compared with stands above what is compared."""


@contextmanager
def running(name: str) -> Iterator[Engine]:
    """Have everything in this process compute with the engine of this name.

    Raises:
        EnvironmentUnfit: This machine or this version has no such engine; the message says why.
    """
    reason = selection.unavailable(name)
    if reason is not None:
        msg = f"The engine {name} does not run here: {reason}."
        raise EnvironmentUnfit(msg)
    with selection.using(selection.named(name)) as engine:
        yield engine
