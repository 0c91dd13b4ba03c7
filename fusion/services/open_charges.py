"""What a node was charged for runs that never began: charged when it agreed, nothing left since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.grants.request import run_of_charge
from fusion.ledger.entry import stamp
from fusion.services import grant_evidence as evidence
from fusion.services.storage import open_budgets

if TYPE_CHECKING:
    from fusion.ports import Clock
    from fusion.services.homes import NodeHome


class OpenCharges:
    """The charges of a node, to align or to train, that are neither final nor given back."""

    def __init__(self, node: NodeHome, clock: Clock) -> None:
        """Open the node's budgets.

        Raises:
            EnvironmentUnfit: They can't be opened.
        """
        self._node, self._clock = node, clock
        self._budgets = open_budgets(node)

    def jobs(self) -> set[str]:
        """Return the jobs of which there is such a charge."""
        found = (run_of_charge(key) for key in self._budgets.reserved())
        return {job for job in found if job is not None}

    def give_back(self, job: str) -> None:
        """Give back what a job was charged, as far as it is not final.

        For a job that has ended: what was given back is never charged again under its name.
        """
        # Under the lock: what is made final meanwhile stays so.
        with self._node.lock():
            for key in self._budgets.reserved():
                charge = self._budgets.charged(key)
                if charge is None or run_of_charge(key) != job:
                    continue
                grant, action, amount = charge
                at = stamp(self._clock.now())
                said = evidence.moves("released", grant, action, key, amount, at)
                self._budgets.release(key, said)
