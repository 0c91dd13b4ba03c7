"""How a job ends at the hub: what its events, its folder and the log say of it, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federated.evidence import log_end
from fusion.errors import FusionError, RunStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.jobs import JobFolder
    from fusion.ports import Clock
    from fusion.services.ledger import Book

    Emit = Callable[[Mapping[str, Any]], None]


def done() -> dict[str, Any]:
    """Return how a job has ended that came to its end."""
    return {"status": "done", "message": "", "exit_code": 0}


def ended_by(error: FusionError) -> dict[str, Any]:
    """Return how a job has ended that an error ended, a wish to stop among them."""
    if isinstance(error, RunStopped):
        return {"status": "stopped", "message": str(error), "exit_code": error.exit_code}
    return {
        "status": "failed",
        "message": str(error),
        "exit_code": error.exit_code,
        "code": error.code,
    }


def conclude(
    job: JobFolder, book: Book, clock: Clock, work: Callable[[Emit], dict[str, Any]]
) -> None:
    """Do a job's work and write down how it ended; only a crash leaves it open.

    Args:
        job: The job's folder; the caller holds its lock.
        book: The hub's log.
        clock: Time.
        work: Told where events go; returns how the job has ended.
    """

    def emit(event: Mapping[str, Any]) -> None:
        job.emit(event, clock)

    job.update(status="running")
    try:
        ending = work(emit)
    except FusionError as error:
        ending = ended_by(error)
    emit({"event": "end", **ending})
    job.update(**ending)
    # Last: a job that the log calls ended is never gone on with.
    log_end(book, job.name, ending["status"])
