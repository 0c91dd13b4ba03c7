"""From what is attached to the source that computes on it: the one place that knows all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.services.files import read_file
from sandbox.attached import READER
from sandbox.sources.files import Files
from sandbox.sources.postgres import Postgres
from sandbox.sources.spark import Spark

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.attached import Attached
    from sandbox.isolate import Isolation
    from sandbox.sources import Source


def source_of(attached: Attached, folder: Path, isolation: Isolation) -> Source:
    """Return the source of a revision.

    Args:
        attached: The revision.
        folder: Where its files are.
        isolation: Confines work over files.

    Raises:
        EnvironmentUnfit: The file with the role that reads, or with Spark's URI, can't be read.
        InputInvalid: The folder of tables for Spark is gone.
    """
    if attached.source == "postgres":
        return Postgres(attached, read_file(folder / READER).decode("utf-8"))
    if attached.source == "spark":
        return Spark(attached, read_file(folder / READER).decode("utf-8"))
    return Files(attached, isolation, replenished=True)
