"""What a cell is by definition: a predicate over key attributes in one normal form.

Values of an attribute are whole numbers: a number or a date as it is, a category by its place in
the declared domain. A level of a hierarchy (region over district) is a set of values of its leaf. A
condition is a set of ranges of one attribute, a box is one condition for each of several
attributes, a form is a set of disjoint or overlapping boxes. Twelve phrasings of a cell thus have
one form and one key; what has not is compared by :mod:`sandbox.history.identities`.

Sensitive literals do not belong here: ``count where sick`` is a measure over the set that the key
attributes select, or the refusal itself would tell who is sick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusion.crypto.hashing import hexdigest
from fusion.errors import InputInvalid
from fusion.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Ranges = tuple[tuple[int, int], ...]
"""Closed ranges of whole numbers: sorted, disjoint, never adjacent."""

Box = tuple[tuple[str, Ranges], ...]
"""Conditions on different attributes, by name; those that every value meets are left out."""

Form = tuple[Box, ...]
"""Boxes, sorted; () is nobody, ((),) is everybody."""

MAX_BOXES: Final = 256
MAX_CONDITIONS: Final = 64
MAX_TERMS: Final = 4096
_BOUND: Final = 2**52


@dataclass(frozen=True, slots=True)
class Attribute:
    """A key attribute with its public domain.

    Attributes:
        name: As conditions call it.
        low: Least value; 0 for a category.
        high: Greatest value; the number of categories less 1.
        categories: The values of a category, in their order; empty for a number.
        nullable: Whether it can be missing; a condition holds for a missing value only if it says
            so.
    """

    name: str
    low: int = 0
    high: int = 0
    categories: tuple[str, ...] = ()
    nullable: bool = False

    @classmethod
    def of(cls, name: str, categories: Iterable[str], *, nullable: bool = False) -> Attribute:
        """Return a category over these values, sorted."""
        values = tuple(sorted(set(categories)))
        return cls(name, 0, len(values) - 1, values, nullable)

    def whole(self) -> Ranges:
        """Return the whole domain; a missing value is one below the least."""
        return ((self.low - self.nullable, self.high),)


@dataclass(frozen=True, slots=True)
class Level:
    """A coarser attribute: each of its values is a set of values of its leaf.

    Attributes:
        name: As conditions call it.
        leaf: The attribute that it groups.
        members: Values of the leaf, by value of the level.
    """

    name: str
    leaf: str
    members: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison, as a query states it.

    Attributes:
        attribute: Of an attribute or a level.
        values: One of these categories; None for a range.
        low: At least, for a number; None if unbounded.
        high: At most, for a number; None if unbounded.
        negated: Whether what is given has not to hold; a missing value does not meet it either.
        null: Whether a missing value meets it (``is null`` has no values and this).
    """

    attribute: str
    values: tuple[str, ...] | None = None
    low: int | None = None
    high: int | None = None
    negated: bool = False
    null: bool = False


Predicate = tuple[tuple[Condition, ...], ...]
"""Conjunctions of which one has to hold; ``((),)`` is everybody."""


class Definitions:
    """The declared attributes and levels of a dataset: what a predicate may speak of."""

    def __init__(self, attributes: Iterable[Attribute], levels: Iterable[Level] = ()) -> None:
        """Check the declaration.

        Raises:
            InputInvalid: A name twice, an empty domain, or a level that is no partition of a part
                of its leaf.
        """
        self._attributes: dict[str, Attribute] = {}
        self._levels: dict[str, tuple[str, dict[str, Ranges]]] = {}
        for attribute in attributes:
            self._declare(attribute)
        for level in levels:
            self._declare_level(level)

    def _declare(self, attribute: Attribute) -> None:
        span = attribute.high - attribute.low
        if attribute.name in self._attributes or not span >= 0:
            raise InputInvalid(f"Attribute {attribute.name!r} is declared twice, or is empty.")
        if max(-attribute.low, attribute.high) > _BOUND:
            raise InputInvalid(f"The domain of {attribute.name!r} is beyond 2**52.")
        self._attributes[attribute.name] = attribute

    def _declare_level(self, level: Level) -> None:
        leaf = self._attributes.get(level.leaf)
        if leaf is None or not leaf.categories or level.name in {*self._attributes, *self._levels}:
            raise InputInvalid(f"Level {level.name!r} has no leaf, or a name that is taken.")
        places = {value: place for place, value in enumerate(leaf.categories)}
        listed = [value for values in level.members.values() for value in values]
        if len(listed) != len(set(listed)) or not places.keys() >= set(listed):
            raise InputInvalid(f"Level {level.name!r} is no partition of {level.leaf!r}.")
        self._levels[level.name] = (
            level.leaf,
            {
                value: _union((places[member],) * 2 for member in members)
                for value, members in level.members.items()
            },
        )

    def digest(self) -> str:
        """Return the name of the whole declaration, 64 hexadecimal digits."""
        attributes = [
            [item.name, item.low, item.high, list(item.categories), item.nullable]
            for _, item in sorted(self._attributes.items())
        ]
        levels = [
            [name, leaf, sorted((value, ranges) for value, ranges in members.items())]
            for name, (leaf, members) in sorted(self._levels.items())
        ]
        declared = canonical.encode([attributes, levels])
        return hexdigest("banyan/history/definitions/v1", declared)

    def whole(self, attribute: str) -> Ranges:
        """Return the domain of an attribute (no level)."""
        return self._attributes[attribute].whole()

    def form(self, predicate: Predicate) -> Form:
        """Return the normal form of a predicate.

        Raises:
            InputInvalid: It names what is not declared, or is too long.
        """
        if len(predicate) > MAX_BOXES:
            raise InputInvalid(f"A predicate has more than {MAX_BOXES} alternatives.")
        if sum(map(len, predicate)) > MAX_TERMS:
            raise InputInvalid(f"A predicate has more than {MAX_TERMS} conditions.")
        boxes = (self._box(conjunction) for conjunction in predicate)
        return self._join(box for box in boxes if box is not None)

    def either(self, forms: Iterable[Form]) -> Form:
        """Return the form of those that meet one of several."""
        return self._join(box for form in forms for box in form)

    def _join(self, boxes: Iterable[Box]) -> Form:
        whole = {name: attribute.whole() for name, attribute in self._attributes.items()}
        return _joined(boxes, whole)

    def _box(self, conjunction: Sequence[Condition]) -> Box | None:
        """Return a conjunction as a box; None if nothing can meet it."""
        if len(conjunction) > MAX_CONDITIONS:
            raise InputInvalid(f"A conjunction has more than {MAX_CONDITIONS} conditions.")
        sides: dict[str, Ranges] = {}
        for condition in conjunction:
            name, ranges = self._ranges(condition)
            sides[name] = _common(sides.get(name, self.whole(name)), ranges)
        if not all(sides.values()):
            return None
        return tuple(
            (name, ranges) for name, ranges in sorted(sides.items()) if ranges != self.whole(name)
        )

    def _ranges(self, condition: Condition) -> tuple[str, Ranges]:
        """Return the attribute and what it may be."""
        name, found = self._stated(condition)
        attribute = self._attributes[name]
        domain = ((attribute.low, attribute.high),)
        found = _common(found, domain)
        if condition.negated:
            found = _without(domain, found)
        if condition.null and attribute.nullable:
            found = _union((*found, (attribute.low - 1,) * 2))
        return name, found

    def _stated(self, condition: Condition) -> tuple[str, Ranges]:
        name, values = condition.attribute, condition.values
        if name in self._levels:
            leaf, members = self._levels[name]
            if values is None or condition.low is not None or condition.high is not None:
                raise InputInvalid(f"Level {name!r} is compared with values only.")
            # A value that no declared one equals selects nobody.
            return leaf, _union(item for value in values for item in members.get(value, ()))
        attribute = self._attributes.get(name)
        if attribute is None:
            raise InputInvalid(
                f"{name!r} is no declared key attribute.",
                hint="Sensitive columns belong to the measure, not to the set of people.",
            )
        if values is None:
            low = attribute.low if condition.low is None else condition.low
            high = attribute.high if condition.high is None else condition.high
            return name, ((low, high),) if low <= high else ()
        if not attribute.categories and values:
            raise InputInvalid(f"{name!r} is a number; give ranges.")
        places = {value: place for place, value in enumerate(attribute.categories)}
        return name, _union((places[value],) * 2 for value in values if value in places)


def key_of(form: Form) -> str:
    """Return the name of a form: 64 hexadecimal digits, equal for equal forms only."""
    return hexdigest("banyan/history/form/v1", canonical.encode(form))


def _joined(boxes: Iterable[Box], whole: Mapping[str, Ranges]) -> Form:
    """Sort, and join boxes that differ in one attribute only, until none do."""
    left = set(boxes)
    before = 0
    while before != len(left):
        before = len(left)
        for name in sorted({name for box in left for name, _ in box}):
            sides: dict[Box, list[Ranges]] = {}
            for box in left:
                rest = tuple(side for side in box if side[0] != name)
                sides.setdefault(rest, []).append(dict(box).get(name, whole[name]))
            left = {
                _with(rest, name, _union(item for side in found for item in side), whole[name])
                for rest, found in sides.items()
            }
    return tuple(sorted(left))


def _with(rest: Box, name: str, side: Ranges, whole: Ranges) -> Box:
    return rest if side == whole else tuple(sorted((*rest, (name, side))))


def _union(ranges: Iterable[tuple[int, ...]]) -> Ranges:
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return tuple(out)


def _common(one: Ranges, other: Ranges) -> Ranges:
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return _union(pair for pair in pairs if pair[0] <= pair[1])


def _without(whole: Ranges, out: Ranges) -> Ranges:
    left = list(whole)
    for low, high in out:
        left = [
            piece
            for a, b in left
            for piece in ((a, min(b, low - 1)), (max(a, high + 1), b))
            if piece[0] <= piece[1]
        ]
    return _union(left)
