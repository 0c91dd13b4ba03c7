"""Normal forms and identities: what is one cell by definition, and what follows from others."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import InputInvalid
from sandbox.history.identities import proved
from sandbox.history.predicates import (
    MAX_BOXES,
    MAX_CONDITIONS,
    MAX_TERMS,
    Attribute,
    Condition,
    Definitions,
    Form,
    Level,
    Predicate,
    key_of,
)

DISTRICTS: Final = {"north": ("a", "b"), "south": ("c", "d", "e")}
DEFINED: Final = Definitions(
    [
        Attribute.of("district", "abcde"),
        Attribute.of("sex", ("f", "m", "x")),
        Attribute("age", 0, 120),
        Attribute("joined", 1, 24, nullable=True),
    ],
    [Level("region", "district", DISTRICTS)],
)


def _is(name: str, *values: str, negated: bool = False) -> Condition:
    return Condition(name, values=values, negated=negated)


def _at(name: str, low: int | None = None, high: int | None = None) -> Condition:
    return Condition(name, low=low, high=high)


PHRASINGS: Final[list[Predicate]] = [
    ((_is("region", "north"), _at("age", 18, 64)),),
    ((_at("age", 18, 64), _is("region", "north")),),
    ((_is("district", "b", "a"), _at("age", 18, 64)),),
    ((_is("district", "a", "b", "a"), _at("age", 18), _at("age", high=64)),),
    ((_is("region", "south", negated=True), _at("age", 18, 64)),),
    ((_is("district", "c", "d", "e", negated=True), _at("age", 18, 64)),),
    ((_is("region", "north"), _is("district", "a", "b", "c"), _at("age", 18, 64)),),
    ((_is("region", "north"), _at("age", 18, 64), _at("age", 0, 120)),),
    ((_is("district", "a"), _at("age", 18, 64)), (_is("district", "b"), _at("age", 18, 64))),
    ((_is("region", "north"), _at("age", 40, 64)), (_is("region", "north"), _at("age", 18, 39))),
    ((_is("region", "north"), _at("age", 18, 64), _is("sex", "f", "m", "x")),),
    ((_is("region", "north"), Condition("age", low=65, negated=True), _at("age", 18)),),
    (
        (_is("district", "a"), _at("age", 18, 50)),
        (_is("district", "b"), _at("age", 18, 50)),
        (_is("region", "north"), _at("age", 51, 64)),
        (_is("district", "a", "z"), _at("age", 70, 3)),
    ),
]


def test_thirteen_phrasings_have_one_key() -> None:
    assert len({key_of(DEFINED.form(predicate)) for predicate in PHRASINGS}) == 1


def test_different_cells_have_different_keys() -> None:
    others: list[Predicate] = [
        ((_is("region", "north"), _at("age", 18, 65)),),
        ((_is("region", "north"),),),
        ((_is("region", "south"), _at("age", 18, 64)),),
        ((),),
        (),
    ]
    assert len({key_of(DEFINED.form(predicate)) for predicate in [*others, PHRASINGS[0]]}) == 6


def test_everybody_and_nobody() -> None:
    assert DEFINED.form(((_at("age", 0),),)) == ((),)
    assert DEFINED.form(((_is("sex"),),)) == ()
    assert DEFINED.form(((_is("sex", "f"), _is("sex", "m")),)) == ()


def test_a_missing_value_meets_no_condition_that_does_not_say_so() -> None:
    everyone = DEFINED.form(((),))
    known = DEFINED.form(((_at("joined", 1, 24),),))
    missing = DEFINED.form(((Condition("joined", values=(), null=True),),))
    assert known != everyone
    assert DEFINED.either([known, missing]) == everyone
    late = DEFINED.form(((Condition("joined", low=13, negated=True),),))
    assert late == DEFINED.form(((_at("joined", 1, 12),),))


@pytest.mark.parametrize(
    "predicate",
    [
        ((_is("income", "1"),),),
        ((_is("age", "1"),),),
        ((_at("region", 1),),),
        ((_at("age", 1),) * (MAX_CONDITIONS + 1),),
        ((),) * (MAX_BOXES + 1),
        ((_at("age", 1),) * MAX_CONDITIONS,) * (MAX_TERMS // MAX_CONDITIONS + 1),
    ],
)
def test_what_is_not_declared_or_too_long_is_refused(predicate: Predicate) -> None:
    with pytest.raises(InputInvalid):
        DEFINED.form(predicate)


@pytest.mark.parametrize(
    "levels",
    [
        [Level("region", "district", {"n": ("a",), "s": ("a", "b")})],
        [Level("region", "district", {"n": ("z",)})],
        [Level("region", "nowhere", {})],
        [Level("district", "district", {})],
        [Level("band", "age", {})],
    ],
)
def test_a_level_that_is_no_partition_is_refused(levels: list[Level]) -> None:
    with pytest.raises(InputInvalid):
        Definitions([Attribute.of("district", "abc"), Attribute("age", 0, 9)], levels)


@pytest.mark.parametrize(
    "attributes",
    [
        [Attribute("age", 0, 9), Attribute("age", 0, 9)],
        [Attribute("age", 1, 0)],
        [Attribute.of("sex", ())],
        [Attribute("age", 0, 2**53)],
    ],
)
def test_a_name_twice_and_an_empty_or_endless_domain_are_refused(
    attributes: list[Attribute],
) -> None:
    with pytest.raises(InputInvalid):
        Definitions(attributes)


def test_a_declaration_has_one_name() -> None:
    one = Definitions([Attribute("age", 0, 9)])
    assert one.digest() == Definitions([Attribute("age", 0, 9)]).digest()
    assert one.digest() != Definitions([Attribute("age", 0, 10)]).digest()
    assert DEFINED.digest() != one.digest()


def test_a_total_is_the_sum_of_its_cells() -> None:
    total = DEFINED.form(((_is("region", "south"),),))
    cells = [DEFINED.form(((_is("district", name),),)) for name in "cde"]
    assert proved(total, [(cell, 1.0) for cell in cells], DEFINED)
    assert not proved(total, [(cell, 1.0) for cell in cells[:2]], DEFINED)
    assert proved(cells[0], [(total, 1.0), (cells[1], -1.0), (cells[2], -1.0)], DEFINED)
    assert not proved(total, [(total, 0.5), *((cell, 0.5) for cell in cells)], DEFINED)


def test_too_large_a_grid_is_not_proved() -> None:
    wide = Definitions([Attribute(f"a{number}", 0, 9) for number in range(12)])
    form = wide.form((tuple(Condition(f"a{number}", low=2, high=5) for number in range(12)),))
    assert not proved(form, [(form, 1.0)], wide)


SMALL: Final = Definitions([Attribute("x", 0, 5), Attribute("y", 0, 3, nullable=True)])
_conditions = st.lists(
    st.builds(
        lambda name, low, span, negated, null: Condition(
            name, low=low, high=low + span, negated=negated, null=null
        ),
        st.sampled_from("xy"),
        st.integers(-1, 6),
        st.integers(-1, 6),
        st.booleans(),
        st.booleans(),
    ),
    max_size=3,
).map(tuple)
_predicates = st.lists(_conditions, max_size=4).map(tuple)
POINTS: Final = [(x, y) for x in range(6) for y in (None, 0, 1, 2, 3)]


def _meets(predicate: Predicate, point: tuple[int | None, int | None]) -> bool:
    def one(condition: Condition) -> bool:
        value = point["xy".index(condition.attribute)]
        if value is None:
            return condition.null
        assert condition.low is not None
        assert condition.high is not None
        return (condition.low <= value <= condition.high) != condition.negated

    return any(all(map(one, conjunction)) for conjunction in predicate)


def _inside(form: Form, point: tuple[int | None, int | None]) -> bool:
    values = {"x": point[0], "y": -1 if point[1] is None else point[1]}
    return any(
        all(any(low <= (values[name] or 0) <= high for low, high in ranges) for name, ranges in box)
        for box in form
    )


@given(_predicates)
def test_a_form_selects_whom_its_predicate_selects(predicate: Predicate) -> None:
    form = SMALL.form(predicate)
    assert [_inside(form, point) for point in POINTS] == [
        _meets(predicate, point) for point in POINTS
    ]


@given(st.lists(st.tuples(_predicates, st.integers(-2, 2)), max_size=4), _predicates)
def test_an_identity_is_proved_if_and_only_if_it_holds_for_everybody(
    parts: list[tuple[Predicate, int]], predicate: Predicate
) -> None:
    forms = [(SMALL.form(part), float(factor)) for part, factor in parts]
    holds = all(
        sum(factor * _meets(part, point) for part, factor in parts) == _meets(predicate, point)
        for point in POINTS
    )
    assert proved(SMALL.form(predicate), forms, SMALL) == holds
