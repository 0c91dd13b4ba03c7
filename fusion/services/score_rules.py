"""Every rule of models and scoring by its code; ``docs/models.md`` lists them."""

from __future__ import annotations

from enum import Enum

from fusion.alignment.rules import Rule
from fusion.errors import ModelRefused


class Ruled(Enum):
    """Why a model is not used. No text has a value of anybody's data in it."""

    UNKNOWN = Rule(
        "M-10",
        "This node keeps no part of that model.",
        "`fusion model list` at the node shows those that it keeps.",
    )
    REVOKED = Rule("M-11", "The model's part was revoked by its holder.", "Train another model.")
    NOT_LABEL = Rule(
        "M-12",
        "Only the organisation that holds the label's part scores with a model.",
        "Have it score the records.",
    )
    OVER = Rule("M-13", "The epoch of a party's answers is over.", "Ask again: a new one is made.")
    TOO_WIDE = Rule(
        "M-14",
        "A record's answers are more than a published set carries.",
        "Train with fewer trees, or less deep ones.",
    )
    BUSY = Rule("M-15", "Too many questions are under way.", "Ask again when some are answered.")
    UNPREPARED = Rule(
        "M-16",
        "A party could not prepare its answers.",
        "Its owner is told why, by its node.",
    )
    PAIRING = Rule(
        "M-17",
        "Feature parties hide their answers under different keys, so that no sum comes out.",
        "One has seen a newer roster: ask again in a moment.",
    )
    TOO_SOON = Rule(
        "M-18",
        "A party made its answers a moment ago, and makes no others yet.",
        "Ask again in a minute.",
    )
    UNANSWERED = Rule(
        "M-19", "The question could not be answered.", "Its owner is told why, by its node."
    )
    EXPORT = Rule(
        "M-20",
        "The label's part leaves only while every feature party's grant lets it be scored with.",
        "Ask for a grant with `score`, or export the card alone.",
    )
    UNASKED = Rule(
        "M-21",
        "A part leaves only when every other holder has said that it did not revoke the model, "
        "and one does not say so.",
        "Is its node up? `fusion node ping --to ID` tells. The card alone needs nobody.",
    )


def refused(rule: Ruled, who: str = "") -> ModelRefused:
    """Return a rule as the error to raise.

    Args:
        rule: Which.
        who: The party that it is about.
    """
    said = f"{rule.value.message} ({who})" if who else rule.value.message
    return ModelRefused(said, hint=rule.value.hint, code=rule.value.code)
