"""Who in a node's process answers which request: sums by one, vertical runs by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federated.cohort import Failure, Reply
from federated.vertical.party import KINDS
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from federated.cohort import Request
    from federated.party import Party
    from federated.vertical.party import VerticalParty


class Reception:
    """:class:`federated.cohort.Answering` for all kinds of requests."""

    def __init__(self, party: Party, vertical: VerticalParty | None = None) -> None:
        """Take who answers.

        Args:
            party: For sums.
            vertical: For vertical runs; None where nobody could talk with other nodes.
        """
        self._party, self._vertical = party, vertical

    def handle(self, request: Request) -> Reply:
        """Hand a request to whom it is for."""
        if request.kind not in KINDS:
            return self._party.handle(request)
        if self._vertical is None:
            error = EnvironmentUnfit(
                "This node can't take part in vertical studies: it serves through Flower's "
                "SuperNode, and nobody there could talk with other nodes.",
                hint="Have it serve by its own loop: see `fusion doctor`.",
            )
            return Reply(self._party.organisation, failure=Failure.of(error))
        return self._vertical.handle(request)
