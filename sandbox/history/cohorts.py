"""Who is counted in an epoch, at the owner alone: frozen lists, and batches between them.

Two releases of a stock, before and after one person came, differ by that person. So an epoch counts
a frozen list; who came since waits, and who went stays, until there are at least k of them in the
same stratum (the finest cell that is released). Numbers are never given again: an entity that left
keeps its number and is in no new table, so that tables of the last epoch stay what they were.
"""

from __future__ import annotations

import hmac
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion.errors import InputInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Roll:
    """The owner's list: who has which number.

    Attributes:
        persons: By number, those who left included.
        gone: Numbers of those who left.
    """

    persons: tuple[str, ...]
    gone: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Check the list.

        Raises:
            InputInvalid: Somebody is on it twice.
        """
        if len(set(self.persons)) != len(self.persons):
            raise InputInvalid("Somebody is on a cohort's list twice.")

    def counted(self) -> dict[str, int]:
        """Return the number of each person who is counted."""
        return {
            person: number for number, person in enumerate(self.persons) if number not in self.gone
        }

    def digest(self, secret: bytes) -> str:
        """Return the list's name, 64 hexadecimal digits; keyed, so that nobody can try lists."""
        state = hmac.new(secret, b"banyan/history/roll/v1", "sha256")
        for number, person in enumerate(self.persons):
            state.update(canonical.encode([person, number in self.gone]))
        return state.hexdigest()


@dataclass(frozen=True, slots=True)
class Following:
    """The list of the next epoch.

    Attributes:
        roll: The list.
        waiting: Who came and is not counted yet.
        staying: Who went and is counted still, at the last known value.
    """

    roll: Roll
    waiting: frozenset[str]
    staying: frozenset[str]


def following(
    roll: Roll,
    present: Mapping[str, Hashable],
    last: Mapping[str, Hashable],
    k: int,
) -> Following:
    """Return the next epoch's list.

    Args:
        roll: The list of this one.
        present: Stratum of everybody who is in the data now.
        last: Stratum of everybody who is counted and is not in the data any more.
        k: Fewest people of a stratum who come or go together.

    Raises:
        InputInvalid: Somebody who went has no last stratum.
    """
    counted = roll.counted()
    went = [person for person in counted if person not in present]
    if any(person not in last for person in went):
        raise InputInvalid("Somebody who left has no last stratum.")
    came = [person for person in present if person not in counted]
    enter = _batches(came, present, k)
    leave = _batches(went, last, k)
    # One who left and came back gets a new number; the old one stays with the old tables.
    numbers = roll.gone | {counted[person] for person in leave}
    retired = tuple(
        f"\0{number}\0{person}" if number in numbers and not person.startswith("\0") else person
        for number, person in enumerate(roll.persons)
    )
    return Following(
        Roll((*retired, *sorted(enter)), frozenset(numbers)),
        frozenset(came) - enter,
        frozenset(went) - leave,
    )


def _batches(persons: Iterable[str], strata: Mapping[str, Hashable], k: int) -> set[str]:
    """Return the persons of strata that have at least k of them."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for person in persons:
        found[strata[person]].append(person)
    return {person for batch in found.values() if len(batch) >= k for person in batch}
