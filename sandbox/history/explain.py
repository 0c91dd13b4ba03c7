"""What an analyst reads about a cell: one text a reason, with nothing in it but earlier queries.

Never a number of people, a direction, or who. Queries are named to their own group only: a ledger
has no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.history.request import Reason, Status

if TYPE_CHECKING:
    from sandbox.history.request import Outcome

_TEXTS: Final = {
    Reason.SMALL: ("Not released: too few people.", "Ask for a coarser group."),
    Reason.PAIR: (
        "Not released: it differs from an earlier result{which} by too few people.",
        "Use that result, or ask for a coarser group.",
    ),
    Reason.COMBINATION: (
        "Not released: together with earlier results{which} it would single out a small group.",
        "Ask for a coarser group, or use the earlier results.",
    ),
    Reason.DEFINITION: (
        "Not released: declared attributes and data do not agree.",
        "The data's owner has to correct the declaration.",
    ),
    Reason.HALF: (
        "Not released: more than half of the table collides with earlier results.",
        "Ask for a coarser table.",
    ),
    Reason.CAPACITY: (
        "Not released: as much was released about this column as can be in this epoch.",
        "Use earlier results, or ask the owner for a policy with differential privacy (mode: dp).",
    ),
    Reason.CELLS: (
        "Not released: as many cells were released of this column as can be in this epoch.",
        "Use earlier results, or ask the owner for a policy with differential privacy (mode: dp).",
    ),
    Reason.BUDGET: (
        "Not released: the group's refusals of this month are used up.",
        "Ask again for what was released from these tables, or wait for the next month.",
    ),
    Reason.APPEARANCES: (
        "Not released: somebody in it is in as many released cells as may be.",
        "Use earlier results, or ask the owner for a policy with differential privacy (mode: dp).",
    ),
}
_NEAR: Final = "No reportable change against an earlier result{which}: its value is given."
_JOINED: Final = "Given together with other cells of the table that can't be released alone."


def number(query: str) -> str:
    """Return the number of a query of the group, as its own history has it.

    ``Q-17`` is its name in the ledger; to a reader that would be a rule of the policy.
    """
    return query.removeprefix("Q-")


def explain(outcome: Outcome) -> tuple[str, str]:
    """Return a message and a hint about a cell; both empty if it is released as asked."""
    if outcome.reason is None:
        return "", ""
    which = (
        f" (no. {', '.join(map(number, outcome.collides_with))})" if outcome.collides_with else ""
    )
    if outcome.status is Status.SNAPPED:
        return _NEAR.format(which=which), ""
    if outcome.status is Status.MERGED:
        return _JOINED, ""
    message, hint = _TEXTS[Reason(outcome.reason)]
    return message.format(which=which), hint
