"""Exchanges that carry nothing: how long the way to every node and back takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from federated.cohort import Request
from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federated.cohort import Cohort
    from federated.jobs import JobFolder
    from fusion.ports import Clock
    from fusion.services.homes import HubHome
    from fusion.types import OrgId

PING_SECONDS: Final = 30.0


def do_pings(
    hub: HubHome,
    job: JobFolder,
    cohort_of: Callable[[Mapping[OrgId, str]], Cohort],
    clock: Clock,
) -> None:
    """Exchange a hello with every member as often as the job says, and write down each one."""
    job.update(status="running")
    ending: dict[str, Any] = {"status": "done", "message": "", "exit_code": 0}
    try:
        members = hub.roster().active
        cohort = cohort_of({member.id: member.fleet_key for member in members})
        hello = dict.fromkeys((member.id for member in members), Request("hello"))
        for number in range(1, int(job.state()["count"]) + 1):
            began = clock.monotonic()
            replies = cohort.ask(hello, seconds=PING_SECONDS)
            seconds = clock.monotonic() - began
            missing = sorted(set(hello) - set(replies))
            event = {"event": "exchange", "number": number, "seconds": seconds, "missing": missing}
            job.emit(event, clock)
    except FusionError as error:
        ending = {"status": "failed", "message": str(error), "exit_code": error.exit_code}
    job.emit({"event": "end", **ending}, clock)
    job.update(**ending)
