"""From a core to what the history decides about: which people a cell selects, what is measured.

Conditions on sensitive columns select nobody here: they belong to the measure, or a refusal would
tell who meets them. What is said of a property that everybody has once (a dimension of a table with
one row each) becomes a condition on it. All else becomes one number, the digest of its spelling:
two selections with other spellings are then taken for unrelated, which is decided by comparing the
people themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from fusion.crypto.hashing import digest, hexdigest
from fusion.wire import canonical
from sandbox import values as v
from sandbox.history.predicates import Attribute, Condition, Definitions
from sandbox.policy import Dimension
from sandbox.refusals import refusal
from sandbox.relations import Core, Output, Relation, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandbox.history.predicates import Predicate
    from sandbox.policy import Policy
    from sandbox.values import Expr

OTHER: Final = "\0selection"
"""The attribute that holds the digest of what is no condition on a declared one."""

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
        core: Its rows without what is sensitive, grouped by keys that are not; nothing is measured.
        kept: Which keys of the original those are.
        measure: Names what is measured, sensitive conditions and keys included.
        conditions: On declared attributes, of every cell.
        others: Spelling of all other conditions.
        attributes: The declared ones.
    """

    core: Core
    kept: tuple[int, ...]
    measure: str
    conditions: tuple[Condition, ...]
    others: tuple[str, ...]
    attributes: dict[str, Attribute]

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


def select(core: Core, policy: Policy) -> tuple[Selection, ...]:
    """Return what a core selects and measures: its cells, then parts of them that it measures.

    A condition within a measure (``FILTER``, ``CASE WHEN ... THEN``) selects people just as one
    of WHERE does, and is taken for that.

    Raises:
        QueryRefused: A measure weighs sensitive columns by others.
    """
    attributes = attributes_of(policy)
    keys = core.rows.outputs[: core.keys]
    kept = tuple(place for place, key in enumerate(keys) if not key.value.sensitive)
    gathered = _Gathered(attributes)
    gathered.add(core.rows, "")
    about = bool(gathered.sensitive) or len(kept) < len(keys)
    parts: dict[tuple[str, ...], tuple[Expr, ...]] = {}
    for measure in core.measures:
        value = None if measure.value is None else core.rows.outputs[measure.value].value
        within = () if value is None else _selecting(value, about=about)
        parts[tuple(sorted(each.text for each in within))] = within
    spelt = [
        sorted(gathered.sensitive),
        [key.value.text for key in keys if key.value.sensitive],
        [output.value.text for output in core.rows.outputs[core.keys :]],
        [[each.how, each.value, str(each.bound)] for each in core.measures],
        [[each.kind, list(each.measures), each.fraction] for each in core.statistics],
    ]
    named = hexdigest("banyan/queries/measure/v1", canonical.encode(spelt))
    found = []
    for within in (parts or {(): ()}).values():
        own = _Gathered(attributes)
        own.add(core.rows, "")
        for each in within:
            own.take(each)
        rows = _Relaxed().relation(core.rows, tuple(keys[place] for place in kept))
        rows = replace(rows, where=(*rows.where, *within))
        found.append(
            Selection(
                Core(rows, len(kept), (), ()),
                kept,
                named,
                tuple(own.conditions),
                tuple(sorted(own.others)),
                attributes,
            )
        )
    return tuple(found)


def _selecting(value: Expr, *, about: bool) -> tuple[Expr, ...]:
    """Return the conditions on other than sensitive columns that a measured value begins with.

    Args:
        value: What is measured.
        about: Whether the cells are about sensitive columns already.

    Raises:
        QueryRefused: Sensitive and other columns are mixed in another way.
    """
    plain = value.columns - value.sensitive
    if not plain:
        return ()
    about = about or bool(value.sensitive)
    branch = _branch(value)
    if branch is not None:
        condition, inner = branch
        parts = condition.args if condition.op == "and" else (condition,)
        mixed = any(each.sensitive and each.columns - each.sensitive for each in parts)
        if not mixed:
            clear = tuple(each for each in parts if not each.sensitive)
            return (*clear, *_selecting(inner, about=about))
    if about:
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

    def __init__(self, attributes: dict[str, Attribute]) -> None:
        self._attributes = attributes
        self.conditions: list[Condition] = []
        self.others: set[str] = set()
        self.sensitive: set[str] = set()

    def add(self, relation: Relation, mark: str) -> None:
        """Take a relation's conditions; those of one that is joined on the left select nobody."""
        if relation.table is not None:
            self.others.add(f"{mark}from {relation.table}")
        for source in relation.sources:
            under = f"left {mark}" if source.kind == "left" else mark
            self.add(source.relation, under)
            for each in source.on:
                self.take(each, under, "on ")
        for each in relation.where:
            self.take(each, mark, "")
        for each in relation.having:
            self.take(each, mark, "having ")

    def take(self, condition: Expr, mark: str = "", kind: str = "") -> None:
        """Take one condition."""
        if condition.sensitive:
            self.sensitive.add(f"{mark}{kind}{condition.text}")
            return
        own = None if mark or kind else _condition(condition, self._attributes)
        if own is None:
            self.others.add(f"{mark}{kind}{condition.text}")
        else:
            self.conditions += own


class _Relaxed:
    """Relations without their sensitive conditions; each is made once."""

    def __init__(self) -> None:
        self._made: dict[int, Relation] = {}

    def relation(self, of: Relation, outputs: tuple[Output, ...] | None = None) -> Relation:
        if of.table is not None:
            return of
        if outputs is None and id(of) in self._made:
            return self._made[id(of)]
        sources = tuple(
            replace(each, relation=self.relation(each.relation), on=self._on(each))
            for each in of.sources
        )
        made = replace(
            of,
            outputs=of.outputs if outputs is None else outputs,
            sources=sources,
            where=_plain(of.where),
            having=_plain(of.having),
        )
        if outputs is None:
            self._made[id(of)] = made
        return made

    def _on(self, source: Source) -> tuple[Expr, ...]:
        left = _plain(source.on)
        needed = not left and not source.entity and source.kind != "from"
        return (v.truth(True),) if needed else left


def _plain(conditions: Iterable[Expr]) -> tuple[Expr, ...]:
    return tuple(each for each in conditions if not each.sensitive)


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
        case "between" if _whole(column):
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
