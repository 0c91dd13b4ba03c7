"""What of an error in a joint job leaves the party: nothing that depends on its rows.

Whether a value, a duplicate or a word is in a table is an answer to whoever wrote the study. The
hub and the peers are told one text for all of it; the party's own log has the particulars.
"""

from __future__ import annotations

from typing import Final

from fusion.alignment.rules import Decided
from fusion.errors import (
    DataInvalid,
    EnvironmentUnfit,
    FusionError,
    IsolationBusy,
    ModelWithheld,
    PartyFailed,
    PartyUnreachable,
    Refused,
    RunStopped,
    VerificationFailed,
)

PEERS: Final = (Refused, VerificationFailed, PartyUnreachable, PartyFailed, RunStopped)
"""Errors whose sentence peers are told; of others, such as a file's, only the code."""
HUB: Final = (*PEERS, EnvironmentUnfit, IsolationBusy)
"""The hub is told of full disks, too."""
_OF_A_TABLE: Final = frozenset({Decided.DUPLICATES.value.code, Decided.EMPTY.value.code})
CHARGED: Final = "The run was charged: whether a table fits is an answer, too."


class Unfit(DataInvalid):
    """A party's table does not fit a joint study: the whole of what others are told."""

    def __init__(self, party: str, more: str = "") -> None:
        """Say so; ``more`` is what holds for every table alike."""
        said = f"The table of {party} does not fit the study; its own log says more."
        super().__init__(f"{said} {more}".strip())


def is_of_the_table(error: FusionError) -> bool:
    """Return whether an error, raised where the own table is read, is about that table."""
    return isinstance(error, DataInvalid) or error.code in _OF_A_TABLE


def outward(
    error: FusionError, party: str, told: tuple[type[FusionError], ...] = HUB
) -> FusionError:
    """Return what may leave of an error that was raised at a party.

    Args:
        error: As the party's own log has it.
        party: The party.
        told: Kinds of errors whose sentence may leave.
    """
    if isinstance(error, Unfit):
        return error
    if isinstance(error, DataInvalid):
        return Unfit(party)
    if isinstance(error, ModelWithheld):
        return ModelWithheld(error.told, code=error.code)
    if isinstance(error, told):
        return error
    generic = FusionError(f"It failed at {party}; its own log says more.")
    generic.code, generic.exit_code = error.code, error.exit_code
    return generic
