"""The ServerApp: finds the job it was started for and hands it to the round engine.

Started by Flower's SuperExec with the hub's folder in the environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flwr.serverapp import Grid, ServerApp

from federated.jobs import OPEN, JobFolder
from federated.runtime.grid import GridCohort
from federated.runtime.patience import shorten
from federated.work import do_job
from fusion.services.clock import SystemClock
from fusion.services.homes import HubHome

if TYPE_CHECKING:
    from flwr.app import Context

HUB_VARIABLE: Final = "BANYAN_HUB"
"""Environment variable with the hub's folder."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Do the job that the run's configuration names."""
    shorten()
    clock = SystemClock()
    hub = HubHome.open(Path(os.environ[HUB_VARIABLE]))
    job = JobFolder(hub.runs / Path(str(context.run_config["job"])).name)
    with job.work() as free:
        # A second run of a job that is being worked on, or is finished, has nothing to do.
        if free and job.state()["status"] in OPEN:
            do_job(
                hub, job, lambda keys: GridCohort(grid, keys, clock, time.sleep), clock, time.sleep
            )
