"""Engines by name, for the tests and the benchmarks that go through all of them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fusion.crypto.paillier.engines import selection
from fusion.errors import EnvironmentUnfit, FusionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.crypto.paillier.engines.selection import Choice

NAMES: Final = ("gmp", "avx2", "ifma")


@contextmanager
def running(name: str) -> Iterator[Choice]:
    """Have everything in this process compute with the engine of this name.

    Raises:
        EnvironmentUnfit: This machine or this version has no such engine; the message says why.
    """
    before = os.environ.get(selection.VARIABLE)
    os.environ[selection.VARIABLE] = name
    selection.choice.cache_clear()
    try:
        try:
            choice = selection.choice()
        except FusionError as error:
            msg = f"The engine {name} does not run here: {error.message}"
            raise EnvironmentUnfit(msg) from error
        if choice.engine.name != name:
            msg = f"The engine {name} does not run here: {choice.reason}."
            raise EnvironmentUnfit(msg)
        yield choice
    finally:
        if before is None:
            del os.environ[selection.VARIABLE]
        else:
            os.environ[selection.VARIABLE] = before
        selection.choice.cache_clear()
