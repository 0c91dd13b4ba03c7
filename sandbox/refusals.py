"""Why a query is refused: one code a rule, what it says, and what would satisfy it.

A refusal is decided from the statement and the policy alone, so that it says nothing about data.
Two are not: that no refusal of the month is left (Q-28, from what was released and refused before),
and that a result has more rows than were asked for (:class:`RefusedOnData`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.errors import QueryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: Final[Mapping[str, tuple[str, str]]] = {
    "Q-01": ("This is not one SELECT statement.", "Ask one question that begins with SELECT."),
    "Q-02": ("The statement is too long or too deeply nested.", "Ask for less at once."),
    "Q-03": (
        "A construct or function is not among those that are answered.",
        "docs/policy.md lists what is.",
    ),
    "Q-04": (
        "A name is not in the policy.",
        "fusion query describe lists tables and columns (owners: fusion policy show).",
    ),
    "Q-05": (
        "The types do not fit.",
        "Compare and add like with like: texts, numbers, days. Nothing is converted silently.",
    ),
    "Q-06": ("Rows do not leave.", "Ask for counts, sums or averages, grouped as you like."),
    "Q-07": (
        "A key is used as data.",
        "Keys join tables on equality and are counted; nothing else reads them.",
    ),
    "Q-08": (
        "Tables are joined in a way that is not answered.",
        "Join tables about entities on the entity's key, public tables on equal columns.",
    ),
    "Q-09": (
        "A value of single people would be a group of its own.",
        "Group by dimensions, by CASE bands of numbers, or by date_trunc of days.",
    ),
    "Q-10": (
        "This aggregate shows a single person's value.",
        "Use count, sum, avg, stddev, or a quantile within the policy's range.",
    ),
    "Q-11": (
        "A window over rows has to stay within one entity.",
        "Write PARTITION BY with the entity's key, or use windows over grouped results.",
    ),
    "Q-12": (
        "A subquery is not answered here.",
        "The entity's key IN (SELECT the key ...), a public column IN (SELECT ...), or FROM (...).",
    ),
    "Q-13": (
        "Grouped results and rows are mixed.",
        "Work with grouped results apart from rows; combine results of the same kind.",
    ),
    "Q-14": (
        "A number could grow beyond what is computed exactly.",
        "Leave out factors and powers; numbers of a row stay below 10^12.",
    ),
    "Q-15": ("Rows would be picked one by one.", "ORDER BY and LIMIT apply to grouped results."),
    "Q-16": (
        "The result would be too large.",
        "Group by fewer or coarser properties, or ask for more rows.",
    ),
    "Q-17": (
        "The policy does not allow this function.",
        "fusion query describe lists those that it does.",
    ),
    "Q-18": (
        "Differential privacy is asked for by the policy, and not available here.",
        'Its owner installs it: pip install "banyan-fusion[dp]", or sets mode: sdc.',
    ),
    "Q-19": (
        "Sensitive columns are weighed by others, which can't be held against earlier results.",
        "Put conditions into WHERE or GROUP BY, and measure sensitive columns alone.",
    ),
    "Q-20": (
        "This dataset has no policy, so nothing of it is answered.",
        "Ask its owner to attach one: fusion policy add.",
    ),
    "Q-21": (
        "This statistic is not answered under differential privacy.",
        "Use count, count(DISTINCT key), sum, avg, variance or stddev.",
    ),
    "Q-22": (
        "Under differential privacy groups are values that everybody can know.",
        "Group by what has bounds or `values` in the policy, or by CASE with written results.",
    ),
    "Q-23": ("The privacy budget does not reach.", "Ask for less, or ask the owner for more."),
    "Q-24": (
        "This policy has no privacy budget, so that nothing of it can be spent.",
        "Leave out how much rho to spend.",
    ),
    "Q-25": (
        "As many answers of this month were late or failed as may be: that can tell of people.",
        "Wait for the next month, or ask the owner for a longer first step or for more.",
    ),
    "Q-26": (
        "The answer leaves later than is waited for.",
        "Wait longer.",
    ),
    "Q-27": (
        "A number is told to its bin, and this would tell more.",
        "Compare the column with multiples of its bin; fusion query describe shows bins.",
    ),
    "Q-28": (
        "The refusals of this month are used up, and none of what this asks for was released.",
        "Ask again for what was released before, or wait for the next month.",
    ),
}


class RefusedOnData(QueryRefused):
    """A refusal that follows from data, after it was at hand.

    It tells a bit of them, so that there may be no more of these in a month than late answers: each
    is counted as one (:mod:`sandbox.lateness`).
    """


def refusal(code: str, detail: str = "", hint: str = "") -> QueryRefused:
    """Return the refusal by a rule.

    Args:
        code: Of the rule.
        detail: What in the statement it is about; never anything of the data.
        hint: What would satisfy it here, where that is more than the rule's own.
    """
    message, usual = RULES[code]
    if detail:
        message = f"{message} {detail}"
    return QueryRefused(message, hint=hint or usual, code=code)
