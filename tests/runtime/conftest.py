"""What a serving process sets for itself does not outlive a test that serves in this one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from federated.runtime.logs import LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
