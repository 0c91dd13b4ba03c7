"""Every rule of private alignment by its code; ``docs/alignment.md`` lists them.

A-1. to A-3. are decisions (:class:`~fusion.errors.AlignmentRefused`), A-5. to A-7. are what a party
may not say (:class:`~fusion.errors.AlignmentBroken`). No text has a value of anybody's data in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fusion.errors import AlignmentBroken, AlignmentRefused


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: what it says, and what would satisfy it."""

    code: str
    message: str
    hint: str = ""


class Decided(Enum):
    """What a party decides by itself, from its grant and its record of earlier runs."""

    DUPLICATES = Rule(
        "A-10",
        "An identifier is on more than one row, and the rule for that is `refuse`.",
        "Make rows unique, or take `first` or `unique-only`.",
    )
    OWN_SIZE = Rule(
        "A-11",
        "The own set is larger than was agreed: of a study, than its `set_size`.",
        "Align fewer records, or write a larger `set_size`, as far as grants allow.",
    )
    PEER_SIZE = Rule(
        "A-12",
        "The other set is larger than was agreed: of a study, than its `set_size`.",
        "It has to be cut, or a larger `set_size` written, as far as grants allow.",
    )
    OVERLAP = Rule(
        "A-13",
        "The sets can't have, or don't have, the share in common that was declared.",
        "Align sets that are about the same people, or have a smaller overlap granted.",
    )
    INTERSECTION = Rule(
        "A-14", "Too few records are common: nothing is released.", "Align larger sets."
    )
    RUNS = Rule("A-15", "The grant has no run left.", "Ask for a grant with more runs.")
    DIFFERENCE = Rule(
        "A-16",
        "The set differs from that of an earlier run with this party by too few records.",
        "Align the same set again, or one that differs by more.",
    )
    EMPTY = Rule(
        "A-17",
        "A set has no record.",
        "Its holder runs: fusion align check FILE --column NAME --kind KIND",
    )
    EVALUATIONS = Rule(
        "A-18", "The epoch has no evaluation left for this party.", "Wait for the next epoch."
    )
    GRANTED_SIZE = Rule(
        "A-19",
        "The study's `set_size` is larger than the grant allows.",
        "Write a smaller one, or ask for a grant with a larger one.",
    )
    NOT_OFFERED = Rule(
        "A-20",
        "The study asks for RR22, which this node does not offer the other party.",
        "Its operator installs spu, names its Python as `rr22_python` and the other party in "
        "`rr22_parties` of node.toml (docs/alignment.md), or the study leaves `protocol` out.",
    )
    BEGUN = Rule(
        "A-21",
        "RR22 was begun for this run and cut off: what a peer has seen of it can't be known.",
        "Order it again, which is another run.",
    )
    BACK_END = Rule(
        "A-22",
        "The process that runs RR22 ended before it had a result: nothing is released.",
        "node.log says how it ended. Order it again, or leave `protocol` out of the study.",
    )


class Broken(Enum):
    """What a party may not say."""

    FORM = Rule("A-50", "A message is not decodable, too large, or of no known form.")
    TERMS = Rule("A-51", "A message is for another job, field or set of terms.")
    SENDER = Rule("A-52", "A message is not from whom it has to be.")
    TWICE = Rule("A-53", "A message came twice.")
    ORDER = Rule("A-54", "A message came before the one that precedes it.")
    UNEXPECTED = Rule("A-55", "A message has no place at this point of the protocol.")
    TOO_MANY = Rule("A-56", "A list has more items than were declared.")
    TOO_FEW = Rule("A-57", "A list ends before the items that were declared, or a part is short.")
    NO_POINT = Rule("A-58", "An item of a list is no element of the group.")
    NOT_CANONICAL = Rule("A-59", "An item of a list is an element in another spelling.")
    IDENTITY = Rule("A-60", "An item of a list is the identity, which hides nothing.")
    DUPLICATE = Rule("A-61", "An item is twice in a list.")
    UNSORTED = Rule("A-62", "A list that has to be sorted is not.")
    COMMITMENT = Rule("A-63", "A list is not the one that was committed to.")
    OUTPUTS = Rule("A-64", "The two parties found different records.")
    PAYLOAD = Rule("A-65", "What is attached to a common record does not open.")
    EPOCH = Rule("A-66", "A message is for another epoch of the published set.")
    OVER = Rule("A-67", "The alignment has ended.")
    SEAL = Rule("A-68", "The kept state of an alignment does not open, or is of another one.")
    LINK = Rule(
        "A-69", "What came for RR22's link is not what a link has, or more than its sets take."
    )
    FOUND = Rule("A-70", "What RR22 is said to have found is not in the set, or there twice.")


def refused(rule: Decided) -> AlignmentRefused:
    """Return a decision as the error to raise."""
    return AlignmentRefused(rule.value.message, hint=rule.value.hint, code=rule.value.code)


def broken(rule: Broken, who: str = "") -> AlignmentBroken:
    """Return a broken rule as the error to raise.

    Args:
        rule: Which.
        who: The party that broke it.
    """
    said = f"{rule.value.message} ({who})" if who else rule.value.message
    return AlignmentBroken(said, hint=rule.value.hint, code=rule.value.code)
