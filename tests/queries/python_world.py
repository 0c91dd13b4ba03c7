"""Python jobs of an analyst at the owner's node that answers queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusion.errors import PartyFailed
from fusion.grants.python_job import Returns, header_of
from fusion.services import python_jobs, python_review
from fusion.services.python_messages import Held, Table
from fusion.services.python_shelf import Shelf
from tests.queries.world import OWNER, PURPOSE

if TYPE_CHECKING:
    from fusion.grants.approval import Verdict
    from fusion.services.node_link import Connection
    from fusion.services.python_shelf import RunRecord
    from tests.queries.world import Up

BY_REGION = """\
# /// banyan
# form = "people"
# max_rows = 10
#
# [reads]
# persons = ["region", "income"]
#
# [[columns]]
# name = "region"
# kind = "category"
# of = "persons.region"
#
# [[measures]]
# name = "n"
# statistic = "people"
#
# [[measures]]
# name = "income"
# statistic = "mean"
# low = 0
# high = 200000
# ///
import banyan

persons = banyan.table("persons")
banyan.people({"person": persons["person_id"], "income": persons["income"]})
"""
"""The cells are the owner's; the script says what each person's value is."""
OWN_CELLS = BY_REGION.replace(
    'of = "persons.region"', 'categories = ["north", "south", "east", "west"]'
).replace('persons["person_id"], ', 'persons["person_id"], "region": persons["region"], ')
"""The script says who is in which cell, too."""
TOTAL = """\
# /// banyan
# form = "table"
# max_rows = 3
#
# [reads]
# persons = ["region", "income"]
#
# [[columns]]
# name = "n"
# kind = "integer"
# ///
import banyan

banyan.result({"n": [banyan.table("persons").num_rows]})
"""


def grant(up: Up, dataset: str, *, runs: int = 20, **changes: Any) -> str:
    """Have a grant for Python jobs of a dataset, beside tables."""
    query = {"outputs": ["table", "python"], "rows": 2000, "epsilon_micro": 1000, "runs": runs}
    return up.world.grant(dataset, permissions={"query": {**query, **changes}})


@dataclass
class Jobs:
    """What analyst and owner do about one dataset."""

    up: Up
    dataset: str

    def submit(
        self, script: str, returns: Returns | None = None, connection: Connection | None = None,
        **options: Any,
    ) -> str:  # fmt: skip
        """Submit a script; return the digest of the job."""
        declared = returns or header_of(script, "job.py")
        up, options = self.up, {"purpose": PURPOSE, **options}
        asks = connection or up.analyst
        name = f"{OWNER}/{self.dataset}"
        sent = python_jobs.submit(
            asks, up.world.analyst, name, script.encode(), declared, **options
        )
        return sent.job

    def approve(self, job: str, *, runs: int = 1, **options: Any) -> Verdict:
        """Approve a job as its owner; tables leave by themselves unless said."""
        options = {"release": "automatic", "days": 1, **options}
        return python_review.judge(self.up.world.owner, job, runs=runs, **options)

    def run(self, job: str, seconds: int = 30) -> Table | Held:
        """Run a job as the analyst."""
        return python_jobs.run(self.up.analyst, self.up.world.analyst, job, seconds=seconds)

    def table(self, job: str) -> Table:
        """Run a job whose table leaves by itself."""
        found = self.run(job)
        assert isinstance(found, Table)
        return found

    def held(self, job: str) -> str:
        """Run a job whose table is held; return the name of the run."""
        found = self.run(job)
        assert isinstance(found, Held)
        return found.run

    def refused(self, job: str, seconds: int = 30) -> PartyFailed:
        """Run a job, and return why nothing came back."""
        try:
            self.run(job, seconds)
        except PartyFailed as error:
            return error
        raise AssertionError(job)

    def runs(self, job: str) -> list[RunRecord]:
        """Return the runs of a job, as its owner sees them."""
        return [each for each in Shelf(self.up.world.owner).runs() if each.job == job]

    def log(self, job: str) -> str:
        """Return what the last run of a job printed."""
        return Shelf(self.up.world.owner).log(self.runs(job)[-1])
