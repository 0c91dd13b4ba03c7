"""The ServerApp: finds the job it was started for and hands it to the round engine.

Started by Flower's SuperExec with the hub's folder in the environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.serverapp import Grid, ServerApp

from federated.jobs import OPEN, JobFolder
from federated.pings import do_pings
from federated.runtime.environment import HUB_VARIABLE
from federated.runtime.grid import GridCohort, bells_of
from federated.runtime.logs import log_to_stderr
from federated.runtime.patience import shorten
from federated.vertical.hub import do_joint
from federated.work import do_job
from fusion.services.clock import SystemClock
from fusion.services.homes import HubHome
from fusion.services.tether import tie_to_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import Context

    from fusion.types import OrgId

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Do the job that the run's configuration names."""
    # The executor that started this is gone when the hub is; so is this then.
    tie_to_parent(os.getppid())
    shorten()
    log_to_stderr()
    clock = SystemClock()
    hub = HubHome.open(Path(os.environ[HUB_VARIABLE]))
    job = JobFolder(hub.runs / Path(str(context.run_config["job"])).name)
    with job.work() as free:
        # A second run of a job that is being worked on, or is finished, has nothing to do.
        if not free or job.state()["status"] not in OPEN:
            return

        def cohort_of(keys: Mapping[OrgId, str]) -> GridCohort:
            return GridCohort(grid, keys, clock, bells_of(hub))

        match job.state()["kind"]:
            case "pings":
                do_pings(hub, job, cohort_of, clock)
            case "vertical" | "alignment":
                do_joint(hub, job, cohort_of, clock, time.sleep)
            case _:
                do_job(hub, job, cohort_of, clock, time.sleep)
