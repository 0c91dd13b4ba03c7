"""From a core to what the history decides about: which people a cell selects, what is measured.

Conditions on sensitive columns select nobody here: they belong to the measure, or a refusal would
tell who meets them. What is said of a property that everybody has once (a dimension of a table with
one row each) becomes a condition on it. All else becomes one number, the digest of its spelling:
two selections with other spellings are then taken for unrelated, which is decided by comparing the
people themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto.hashing import digest, hexdigest
from fusion.wire import canonical
from sandbox import values as v
from sandbox.history.predicates import Attribute, Condition, Definitions
from sandbox.levels import About, Levels
from sandbox.names import base
from sandbox.policy import Dimension
from sandbox.refusals import refusal
from sandbox.relations import Core, apart
from sandbox.relaxing import Mode, Relaxed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.history.predicates import Predicate
    from sandbox.policy import Policy
    from sandbox.relations import Relation
    from sandbox.values import Expr

OTHER: Final = "\0selection"
"""The attribute that holds the digest of what is no condition on a declared one."""

MIXED: Final = "One condition is about who people are and about what is measured of them."
PAIRED: Final = "A public table is joined to who people are on equal columns alone."
_BITS: Final = 48
_COLUMNS: Final = frozenset({"col", "base"})


def attributes_of(policy: Policy) -> dict[str, Attribute]:
    """Return the properties that everybody has once, by ``table.column``; from the policy alone."""
    found = {}
    for name, table in policy.tables.items():
        if table.entity is None or table.rows != 1:
            continue
        for column, what in table.columns.items():
            if isinstance(what, Dimension) and not what.sensitive:
                full = f"{name}.{column}"
                found[full] = _attribute(full, what)
    return found


def _attribute(name: str, what: Dimension) -> Attribute:
    nullable = not what.complete
    if what.type == "boolean":
        return Attribute.of(name, ("false", "true"), nullable=nullable)
    if what.type == "integer":
        return Attribute(name, what.low or 0, what.high or 0, nullable=nullable)
    if what.values:
        return Attribute.of(name, what.values, nullable=nullable)
    return Attribute(name, 0, 2**_BITS - 1, nullable=True)


def definitions_of(policy: Policy) -> Definitions:
    """Return the declaration of a policy, as an epoch of the history begins with it."""
    own = attributes_of(policy).values()
    return Definitions([*own, Attribute(OTHER, 0, 2**_BITS - 1)])


@dataclass(frozen=True, slots=True)
class Selection:
    """What a core selects, and what it measures.

    Attributes:
        core: Its rows without what is measured, grouped by keys that are not; nothing is measured.
        kept: Which keys of the original those are.
        measure: Names what is measured, conditions and keys that are part of it included.
        conditions: On declared attributes, of every cell.
        others: Spelling of all other conditions.
        attributes: The declared ones.
        overlapping: Whether one person can be in several cells, by definition.
    """

    core: Core
    kept: tuple[int, ...]
    measure: str
    conditions: tuple[Condition, ...]
    others: tuple[str, ...]
    attributes: dict[str, Attribute]
    overlapping: bool = False

    def predicate(self, keys: Sequence[Any]) -> Predicate:
        """Return what the cell with these values of the kept keys is by definition."""
        conditions, others = list(self.conditions), list(self.others)
        for output, value in zip(self.core.rows.outputs[: self.core.keys], keys, strict=True):
            own = _equal(output.value, value, self.attributes)
            if own is None:
                others.append(f"key {output.value.text} = {value!r}")
            else:
                conditions.append(own)
        number = _number(canonical.encode(sorted(set(others))))
        return ((*conditions, Condition(OTHER, low=number, high=number)),)

    def declared_keys(self) -> frozenset[str] | None:
        """Return the attributes that cells have one value of; None if a key is none of them."""
        keys = self.core.rows.outputs[: self.core.keys]
        found = [
            self.attributes.get(k.value.text) if k.value.op in _COLUMNS else None for k in keys
        ]
        named = [each.name for each in found if each is not None]
        return frozenset(named) if len(named) == len(keys) else None


def select(core: Core, policy: Policy) -> tuple[Selection, ...]:
    """Return what a core selects and measures: its cells, then parts of them that it measures.

    A condition within a measure (``FILTER``, ``CASE WHEN ... THEN``) selects people just as one
    of WHERE does, and is taken for that. Where people have several rows, whom the statement is
    about is a selection of its own, whatever rows of theirs it measures: sums over other rows of
    the same people add up.

    Raises:
        QueryRefused: A measure weighs sensitive columns by others, or one condition is about who
            people are and about their rows or sensitive columns.
    """
    levels = Levels(policy)
    _check(core, levels)
    keys = core.rows.outputs[: core.keys]
    gathered = _Gathered(attributes_of(policy), levels, _SETS)
    gathered.add(core.rows, "")
    hidden = [key for key in keys if levels.of(key.value, core.rows) & About.SENSITIVE]
    about = bool(gathered.measured) or bool(hidden)
    parts: dict[tuple[str, ...], tuple[Expr, ...]] = {}
    for measure in core.measures:
        value = None if measure.value is None else core.rows.outputs[measure.value].value
        within = () if value is None else _selecting(value, core.rows, levels, about=about)
        parts[tuple(sorted(each.text for each in within))] = within
    spelt = [
        sorted(gathered.measured),
        [key.value.text for key in hidden],
        [output.value.text for output in core.rows.outputs[core.keys :]],
        [[each.how, each.value, str(each.bound)] for each in core.measures],
        [[each.kind, list(each.measures), each.fraction] for each in core.statistics],
    ]
    named = hexdigest("banyan/queries/measure/v1", canonical.encode(spelt))
    modes = [_SETS]
    alone = _alone(policy)
    if levels.several(core.rows) and alone is not None:
        modes.insert(0, Mode(About.ROWS | About.SENSITIVE, alone))
    found: dict[object, Selection] = {}
    for within in (parts or {(): ()}).values():
        for mode in modes:
            own = _selection(core, within, named, levels, mode)
            found.setdefault((own.kept, own.conditions, own.others), own)
    return tuple(found.values())


_SETS: Final = Mode(About.SENSITIVE)


def _alone(policy: Policy) -> Relation | None:
    """Return the first table with one row for each person."""
    for name, table in policy.tables.items():
        if table.entity is not None and table.rows == 1:
            return base(policy, name)
    return None


def _selection(
    core: Core, within: Sequence[Expr], named: str, levels: Levels, mode: Mode
) -> Selection:
    keys = core.rows.outputs[: core.keys]
    kept = tuple(
        place
        for place, key in enumerate(keys)
        if not levels.of(key.value, core.rows) & mode.measured
    )
    clear = [each for each in within if not levels.of(each, core.rows) & mode.measured]
    own = _Gathered(attributes_of(levels.policy), levels, mode)
    own.add(core.rows, "")
    for each in clear:
        own.take(each, core.rows)
    rows = Relaxed(levels, mode).relation(core.rows, tuple(keys[place] for place in kept), clear)
    return Selection(
        Core(rows, len(kept), (), ()),
        kept,
        named,
        tuple(own.conditions),
        tuple(sorted(own.others)),
        attributes_of(levels.policy),
        any(levels.of(keys[place].value, core.rows) & About.ROWS for place in kept),
    )


def _check(core: Core, levels: Levels) -> None:
    """Look at every condition and key.

    Raises:
        QueryRefused: One is about who people are and about something that is measured.
    """
    for key in core.rows.outputs[: core.keys]:
        if _mixed(levels.of(key.value, core.rows)):
            raise refusal("Q-19", MIXED)
    _check_relation(core.rows, levels, optional=False)


def _check_relation(relation: Relation, levels: Levels, *, optional: bool) -> None:
    if relation.table is not None:
        return
    for source in relation.sources:
        left = optional or source.kind == "left"
        _check_relation(source.relation, levels, optional=left)
        for each in v.split(source.on):
            _check_condition(each, relation, levels, optional=left)
    for each in v.split((*relation.where, *relation.having)):
        _check_condition(each, relation, levels, optional=optional)


def _check_condition(
    condition: Expr, relation: Relation, levels: Levels, *, optional: bool
) -> None:
    about = levels.of(condition, relation)
    if about & About.PEOPLE and _pairs_by_more(condition, relation):
        raise refusal("Q-19", PAIRED)
    if condition.op == "in_entities":
        # Its own conditions are split into what selects and what is measured.
        _check_relation(condition.args[1], levels, optional=optional)
    elif _mixed(about):
        raise refusal("Q-19", MIXED)
    if optional and about & About.PEOPLE:
        # Who is missing on the right of a left join would be measured, not selected.
        raise refusal("Q-19", MIXED)


def _pairs_by_more(condition: Expr, relation: Relation) -> bool:
    """Return whether a condition pairs people with public rows by more than an equal column.

    How many public rows somebody has beside her is a weight. ``r.n <= case when born = 5 then 1
    else 0 end`` chooses it for one person; an equal column gives it to all who share its value.
    """
    columns = [part for part in condition.parts() if part.op == "col"]
    own = [each for each in columns if relation.sources[each.args[0]].relation.entity]
    if not own or len(own) == len(columns):
        return False
    return condition.op != "eq" or not any(_plain(each, relation) for each in condition.args)


def _plain(value: Expr, relation: Relation) -> bool:
    """Return whether a value is a column of a table about entities, as it stands there."""
    while value.op == "col":
        relation, position = relation.sources[value.args[0]].relation, value.args[1]
        if relation.table is not None:
            return relation.entity
        value = relation.outputs[position].value
    return False


def _mixed(about: About) -> bool:
    return bool(about & About.PEOPLE) and bool(about & (About.ROWS | About.SENSITIVE))


def _selecting(value: Expr, relation: Relation, levels: Levels, *, about: bool) -> tuple[Expr, ...]:
    """Return the conditions on other than sensitive columns that a measured value begins with.

    Args:
        value: What is measured.
        relation: The rows that it is measured over.
        levels: What expressions are about.
        about: Whether the cells are about sensitive columns already.

    Raises:
        QueryRefused: Sensitive and other columns are mixed in another way.
    """
    value = value.args[0] if value.op == "within" else value
    own = levels.of(value, relation)
    about = about or bool(own & About.SENSITIVE)
    branch = _branch(value)
    if branch is not None:
        condition, inner = branch
        parts = tuple(v.split((condition,)))
        whole = [levels.of(each, relation) for each in parts]
        if not any(_mixed(each) for each in whole):
            clear = tuple(
                each
                for each, of in zip(parts, whole, strict=True)
                if not of & About.SENSITIVE and of
            )
            return (*clear, *_selecting(inner, relation, levels, about=about))
    if own & About.PEOPLE and about:
        raise refusal("Q-19")
    # Nothing sensitive is in it: years of birth may be added up.
    return ()


def _branch(value: Expr) -> tuple[Expr, Expr] | None:
    """Return condition and value of an expression that is one value where it holds, else none."""
    if value.op != "case":
        return None
    *pairs, last = value.args
    others = [*pairs[3::2], last]
    if not all(_nothing(each) for each in others):
        return None
    return pairs[0], pairs[1]


def _nothing(value: Expr) -> bool:
    return value.op == "null" or (value.op == "int" and value.args[0] == 0)


class _Gathered:
    """The conditions of a relation and of what it stands on."""

    def __init__(self, attributes: dict[str, Attribute], levels: Levels, mode: Mode) -> None:
        self._attributes = attributes
        self._levels = levels
        self._mode = mode
        self.conditions: list[Condition] = []
        self.others: set[str] = set()
        self.measured: set[str] = set()
        self._inner = 0

    def add(self, relation: Relation, mark: str) -> None:
        """Take a relation's conditions; those of one that is joined on the left select nobody."""
        if relation.table is not None:
            people = self._mode.people
            stands = people is not None and self._levels.several(relation)
            table = people.table if stands and people is not None else relation.table
            self.others.add(f"{mark}from {table}")
        marks = apart(relation.sources, self._levels.policy.single)
        for own, source in zip(marks, relation.sources, strict=True):
            under = f"left {own}{mark}" if source.kind == "left" else f"{own}{mark}"
            self.add(source.relation, under)
            for each in v.split(source.on):
                self.take(each, relation, under, "on ")
        for each in v.split(relation.where):
            self.take(each, relation, mark, "")
        for each in v.split(relation.having):
            self.take(each, relation, mark, "having ")

    def take(self, condition: Expr, relation: Relation, mark: str = "", kind: str = "") -> None:
        """Take one condition."""
        about = self._levels.of(condition, relation)
        if about & self._mode.measured:
            self.measured.add(f"{mark}{kind}{condition.text}")
            if condition.op == "in_entities":
                self._inner += 1
                self.add(condition.args[1], f"{mark}in {self._inner} ")
            return
        own = None if mark or kind else _condition(condition, self._attributes)
        if own is None:
            self.others.add(f"{mark}{kind}{condition.text}")
        else:
            self.conditions += own


# ---------------------------------------------------------------- conditions on attributes


def _number(data: bytes) -> int:
    return int.from_bytes(digest("banyan/queries/selection/v1", data)[: _BITS // 8], "big")


def _equal(of: Expr, value: Any, attributes: dict[str, Attribute]) -> Condition | None:  # noqa: ANN401 - a key
    """Return that a column has a value, if it is one of the declared."""
    attribute = attributes.get(of.text) if of.op in _COLUMNS else None
    if attribute is None:
        return None
    if value is None:
        return Condition(attribute.name, (), null=True)
    if isinstance(value, bool):
        return Condition(attribute.name, ("true" if value else "false",))
    if attribute.categories:
        return Condition(attribute.name, (value,))
    number = _number(value.encode()) if isinstance(value, str) else value
    return Condition(attribute.name, low=number, high=number)


def _condition(of: Expr, attributes: dict[str, Attribute]) -> list[Condition] | None:
    """Return an expression as conditions that all hold; None if it is not made of such."""
    if of.op == "and":
        parts = [_condition(each, attributes) for each in of.args]
        return None if None in parts else [own for part in parts for own in part or ()]
    own = _comparison(of, attributes)
    return None if own is None else [own]


def _comparison(of: Expr, attributes: dict[str, Attribute]) -> Condition | None:
    column, constants = of, list[Any]()
    if of.op in {"eq", "lt", "le", "between", "in"}:
        sides = [each for each in of.args if isinstance(each, v.Expr)]
        column = next((each for each in sides if each.op in _COLUMNS), of)
        constants = [each.args[0] for each in sides if each.constant and each.args]
        if len(constants) != len(of.args) - 1 or len(sides) != len(of.args):
            return None
    attribute = attributes.get(column.text)
    if attribute is None or column.op not in _COLUMNS:
        return None
    match of.op:
        case "eq":
            return _equal(column, constants[0], attributes)
        case "in" if attribute.categories and column.type.kind is v.Kind.TEXT:
            return Condition(attribute.name, tuple(constants))
        case "between" if _whole(column) and of.args[0] is column:
            return Condition(attribute.name, low=constants[0], high=constants[1])
        case "lt" | "le" if _whole(column):
            own = 0 if of.op == "le" else 1
            if of.args[0] is column:
                return Condition(attribute.name, high=constants[0] - own)
            return Condition(attribute.name, low=constants[0] + own)
        case _:
            return None


def _whole(column: Expr) -> bool:
    return column.type.kind is v.Kind.INT and column.type.scale == 0
