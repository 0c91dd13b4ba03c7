"""The ladder: what is served, given again, snapped, merged and withheld, and what is charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import InputInvalid
from sandbox.history.explain import explain
from sandbox.history.predicates import Attribute, Condition, Definitions
from sandbox.history.request import (
    Outcome,
    Reason,
    Request,
    Scope,
    Status,
    epoch_of,
    noise_units,
)
from sandbox.history.thresholds import Draws, Policy
from tests.sandbox.history_people import (
    MEASURE,
    REGIONS,
    SCOPE,
    SECRET,
    Desk,
    People,
    by,
    where,
)
from tests.sandbox.history_world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.history.predicates import Predicate

PEOPLE: Final = People(6000)
AGES: Final = tuple(range(low, low + 10) for low in range(20, 70, 10))
SERVED: Final = Status.SERVED


def _statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_a_table_is_served_and_given_again_however_phrased() -> None:
    desk = Desk(PEOPLE)
    assert set(_statuses(desk.ask(*by("region", "north", "south")))) == {SERVED}
    rows = desk.state.leverage.rows
    again: list[Predicate] = [
        where(district=REGIONS["north"]),
        where(district=REGIONS["south"], age=range(18, 100)),
    ]
    outcomes = desk.ask(*again)
    assert set(_statuses(outcomes)) == {Status.CACHED}
    assert all(outcome.source for outcome in outcomes)
    assert desk.state.leverage.rows == rows


def test_another_function_of_the_same_cells_is_counted_again() -> None:
    desk = Desk(PEOPLE)
    desk.ask(*by("sex", "f", "m"))
    before = desk.state.leverage.h.max()
    assert set(_statuses(desk.ask(*by("sex", "f", "m"), measure="count(income)"))) == {SERVED}
    assert desk.state.leverage.h.max() > before


def test_small_cells_are_withheld_and_joined() -> None:
    desk = Desk(PEOPLE)
    cells = by("district", *(f"d{n:02}" for n in range(24)), age=range(90, 100))
    alone = desk.ask(*cells, merge=False)
    small = [cell for cell, outcome in enumerate(alone) if outcome.reason is Reason.SMALL]
    assert len(small) > 5
    joined = Desk(PEOPLE).ask(*cells)
    people = PEOPLE.table(*cells).codes
    assert np.isin(people, small).sum() > 30
    assert {joined[cell].status for cell in small if (people == cell).any()} == {Status.MERGED}
    assert len({joined[cell].source for cell in small if (people == cell).any()}) == 1


def test_a_merged_table_is_given_again() -> None:
    desk = Desk(PEOPLE)
    cells = by("district", *(f"d{n:02}" for n in range(24)), age=range(90, 100))
    first, rows = desk.ask(*cells), desk.state.leverage.rows
    second = desk.ask(*reversed(cells))[::-1]
    assert [outcome.source for outcome in second] == [outcome.source for outcome in first]
    assert desk.state.leverage.rows == rows


def _nearly(desk: Desk, people: int) -> Predicate:
    """Return a predicate that selects everybody but a few, by age."""
    ages = np.sort(desk.people.columns["age"])
    return where(age=range(18, int(ages[-people])))


def test_what_is_near_an_earlier_cell_gets_its_value() -> None:
    desk = Desk(PEOPLE)
    (everybody,) = desk.ask(where())
    (near,) = desk.ask(_nearly(desk, 4))
    assert near == Outcome(Status.SNAPPED, Reason.PAIR, everybody.source, ("Q-1",))
    assert desk.refused == 1
    (other,) = desk.ask(_nearly(desk, 4), measure="count(income)")
    assert other.status is Status.WITHHELD
    assert "(no. 1)" in explain(other)[0]


def test_the_complement_of_a_small_cell_is_not_charged() -> None:
    """It tells no more than the small cell, which has the same draw and is not charged either."""
    people = People(4000)
    people.columns["sex"][people.inside(where(district="d03"))] = 0
    people.columns["sex"][np.flatnonzero(people.inside(where(district="d03")))[:4]] = 1
    desk = Desk(people)
    desk.ask(where(district="d03"))
    women, men = desk.ask(*by("sex", "f", "m", district="d03"), merge=False)
    assert (women.status, men.reason) == (Status.SNAPPED, Reason.SMALL)
    assert desk.refused == 0


def test_a_refusal_is_remembered_and_charged_once() -> None:
    desk = Desk(PEOPLE)
    desk.ask(where())
    first = desk.ask(_nearly(desk, 4))
    assert desk.ask(_nearly(desk, 4)) == first
    assert desk.refused == 1


def test_an_empty_difference_is_refused_unless_it_is_empty_by_definition() -> None:
    people = People(3000)
    people.columns["age"] = np.minimum(people.columns["age"], 80)
    desk = Desk(people)
    desk.ask(where())
    (phantom,) = desk.ask(where(age=range(18, 95)))
    assert phantom.reason is Reason.PAIR
    (whole,) = desk.ask((*where(sex="f"), *where(sex="m")))
    assert whole.status is Status.CACHED


@pytest.mark.parametrize("last", [0, 1])
def test_a_total_of_exact_cells_is_free_and_the_last_cell_of_a_total_too(last: int) -> None:
    desk = Desk(PEOPLE)
    tables: list[list[Predicate]] = [[where()], by("sex", "f", "m")]
    assert set(_statuses(desk.ask(*tables[1 - last], noise=0.0))) == {SERVED}
    rows = desk.state.leverage.rows
    assert set(_statuses(desk.ask(*tables[last], noise=0.0))) == {SERVED}
    assert desk.state.leverage.rows == (2 if last == 0 else rows + 1)


def test_a_combination_that_singles_out_is_refused_and_names_what_it_collides_with() -> None:
    draw = np.random.default_rng(1)
    world = World(draw.integers(0, 2, 1200), 0.0)
    members = draw.random(1200) < 0.5
    members[3] = False
    one, other = members.copy(), ~members
    one[3] = other[3] = True
    assert world.ask(one)[0] is not None
    assert world.ask(other)[0] is not None
    assert world.ask(np.ones(1200, dtype=np.bool_)) == [None]
    (outcome,) = world.state.settled.values()
    assert outcome.reason is Reason.COMBINATION
    assert set(outcome.collides_with) == {"Q-1", "Q-2"}


def test_more_than_half_refused_refuses_the_table() -> None:
    everybody = np.arange(1200)
    sets = [everybody // 200 == number for number in range(6)]
    shaved = [members & (everybody % 200 > 2) for members in sets]
    halves = [members & (everybody % 2 == 0) for members in sets]
    for near, fresh, expected in ((1, 2, [None, 0.0, 0.0]), (3, 1, [None] * 4)):
        world = World(np.zeros(1200, dtype=np.int64), 0.0)
        assert None not in world.ask(*sets)
        assert world.ask(*shaved[:near], *halves[6 - fresh :]) == expected


def test_a_declaration_that_does_not_fit_the_data_fails_closed() -> None:
    people = People(4000)
    desk = Desk(people)
    desk.ask(*by("region", "north", "south"), merge=False)
    codes = people.table(*by("region", "north", "south")).codes.copy()
    codes[np.flatnonzero(codes == 0)[:3]] = 1
    request = Request(
        SCOPE, "2026-11", "other", tuple(by("region", "north", "south")), codes, 24.0, merge=False
    )
    assert {outcome.reason for outcome in desk.decide(request).outcomes} == {Reason.DEFINITION}
    again = Request(SCOPE, "2026-11", MEASURE, tuple(by("region", "north", "south")), codes, 24.0)
    assert {outcome.reason for outcome in desk.decide(again).outcomes} == {Reason.DEFINITION}
    same = Request(SCOPE, "2026-11", "other", (where(sex="f"),) * 2, codes, 24.0)
    assert {outcome.reason for outcome in desk.decide(same).outcomes} == {Reason.DEFINITION}


def test_nobody_is_too_few_and_somebody_is_not_nobody() -> None:
    nobody = (*where(sex="f")[0], *where(sex="m")[0])
    desk = Desk(PEOPLE)
    outcomes = desk.ask((nobody,), where(), (), merge=False)
    assert [outcome.reason for outcome in outcomes] == [Reason.SMALL, None, Reason.SMALL]
    codes = np.zeros(PEOPLE.count, dtype=np.int32)
    wrong = Request(SCOPE, "2026-11", MEASURE, ((nobody,),), codes, 24.0)
    assert desk.decide(wrong).outcomes[0].reason is Reason.DEFINITION


def test_the_refusals_of_a_month_are_bounded_and_what_was_released_stays() -> None:
    desk = Desk(PEOPLE, Policy(refusals=2))
    desk.ask(where())
    for people in (3, 7):
        desk.ask(_nearly(desk, people))
    assert desk.refused == 2
    (fresh, known) = (desk.ask(where(sex="f"))[0], desk.ask(where())[0])
    assert (fresh.reason, known.status) == (Reason.BUDGET, Status.CACHED)


def test_a_full_ledger_refuses() -> None:
    desk = Desk(PEOPLE, Policy(max_rows=3))
    assert set(_statuses(desk.ask(*by("sex", "f", "m")))) == {SERVED}
    assert {o.reason for o in desk.ask(*by("region", "north", "south"))} == {Reason.CELLS}
    assert desk.ask(where(age=range(30, 60)))[0].status is SERVED
    narrow = Desk(PEOPLE, Policy(capacity=0.003))
    assert set(_statuses(narrow.ask(where(sex="f"), noise=0.0))) == {SERVED}
    assert narrow.ask(where(region="north"), noise=0.0)[0].reason is Reason.CAPACITY
    seen = Desk(PEOPLE, Policy(max_appearances=1))
    assert set(_statuses(seen.ask(where(sex="f")))) == {SERVED}
    assert seen.ask(where(region="north"))[0].reason is Reason.APPEARANCES
    assert seen.ask(where(sex="m"))[0].status is SERVED


def test_decisions_do_not_depend_on_the_order_of_cells() -> None:
    cells = by("district", *(f"d{n:02}" for n in range(24)), sex="f")
    one, other = Desk(PEOPLE), Desk(PEOPLE)
    for desk in (one, other):
        desk.ask(*by("sex", "f", "m"))
    assert one.ask(*cells, noise=0.0) == other.ask(*reversed(cells), noise=0.0)[::-1]


@pytest.mark.parametrize(
    "change",
    [
        {"codes": np.zeros(5, dtype=np.int32)},
        {"codes": np.zeros(PEOPLE.count, dtype=np.int64)},
        {"codes": np.full(PEOPLE.count, 1, dtype=np.int32)},
        {"codes": np.full(PEOPLE.count, -2, dtype=np.int32)},
        {"predicates": ()},
        {"measure": ""},
        {"noise": float("nan")},
        {"noise": -1.0},
        {"month": "2026-13"},
        {"predicates": (((Condition("income", low=1),),),)},
    ],
)
def test_a_malformed_request_is_refused(change: dict[str, object]) -> None:
    parts: dict[str, object] = {
        "scope": SCOPE,
        "month": "2026-11",
        "measure": "m",
        "predicates": (where(),),
        "codes": np.zeros(PEOPLE.count, dtype=np.int32),
        "noise": 24.0,
    }
    request = Request(**{**parts, **change})  # type: ignore[arg-type]
    with pytest.raises(InputInvalid):
        Desk(PEOPLE).decide(request)


def test_a_sensitive_column_is_no_key_attribute() -> None:
    with pytest.raises(InputInvalid, match="declared") as refused:
        Definitions([Attribute("age", 0, 9)]).form(((Condition("sick", low=1),),))
    assert "measure" in refused.value.hint


def test_a_stock_has_an_epoch_a_quarter_and_a_flow_one_a_period() -> None:
    assert epoch_of("stock", "2026-11") == epoch_of("stock", "2026-10") == "2026-Q4"
    assert epoch_of("stock", "2026-09") == "2026-Q3"
    assert epoch_of("flow", "2026-11") == "2026-11"
    with pytest.raises(InputInvalid):
        epoch_of("flow", "2026-00")
    with pytest.raises(InputInvalid):
        Scope("o", "d", "", "f", "e").text()


def test_a_policy_out_of_range_is_refused() -> None:
    for wrong in ({"k": 1}, {"h_max": 0.0}, {"h_max": 1.1}, {"capacity": 0}, {"max_cells": 10**6}):
        with pytest.raises(InputInvalid):
            Policy(**wrong)


def test_a_draw_is_that_of_the_set_and_spread_over_its_range() -> None:
    draws, other = Draws(SECRET, "s", 400), Draws(bytes(32), "s", 400)
    rng = np.random.default_rng(2)
    sets = [rng.random(400) < 0.2 for _ in range(300)]
    found = [draws.of(members) for members in sets]
    assert found == [Draws(SECRET, "s", 400).of(members) for members in sets]
    assert found != [other.of(members) for members in sets]
    assert found != [Draws(SECRET, "t", 400).of(members) for members in sets]
    assert 0.4 < np.mean(found) < 0.6
    least = [Policy().least(draw) for draw in np.linspace(0, 1, 1000, endpoint=False)]
    assert (min(least), max(least)) == (10, 29)
    assert max(np.bincount(least)) < 0.1 * 1000
    assert Policy(spread=1).least(0.999) == 10
    with pytest.raises(InputInvalid):
        Draws(bytes(31), "s", 1)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("status", [Status.WITHHELD, Status.SNAPPED, Status.MERGED])
def test_every_reason_has_a_text_without_a_number_of_people(reason: Reason, status: Status) -> None:
    message, _ = explain(Outcome(status, reason, "", ("Q-7",)))
    assert message
    assert not any(letter.isdigit() for letter in message.replace("no. 7", ""))


def test_what_is_released_needs_no_text() -> None:
    assert explain(Outcome(SERVED)) == ("", "")


def test_noise_is_worth_least_for_a_fair_coin_between_the_bounds() -> None:
    assert noise_units(6.0, 0, 1) == 24.0
    assert noise_units((2.5 * 100) ** 2, 0, 100) == 25.0
    for wrong in ((-1.0, 0, 1), (1.0, 1, 1), (1.0, 0, float("inf")), (float("nan"), 0, 1)):
        with pytest.raises(InputInvalid):
            noise_units(*wrong)


_cells = st.sampled_from(
    [
        by("sex", "f", "m"),
        by("region", "north", "south"),
        by("district", *(f"d{n:02}" for n in range(24))),
        by("age", *AGES),
        [where()],
    ]
)
_filters = st.one_of(
    st.none(),
    st.tuples(st.just("sex"), st.sampled_from("fm")),
    st.tuples(st.just("district"), st.sampled_from([f"d{n:02}" for n in range(24)])),
    st.tuples(st.just("age"), st.integers(18, 90).map(lambda low: range(low, 100))),
)


def _also(predicate: Predicate, extra: tuple[str, object] | None) -> Predicate:
    if extra is None:
        return predicate
    (more,) = where(**{extra[0]: extra[1]})
    return tuple((*conjunction, *more) for conjunction in predicate)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(_cells, _filters, st.booleans()), max_size=14), st.booleans())
def test_whatever_is_asked_the_bounds_hold(
    asked: list[tuple[list[Predicate], tuple[str, object] | None, bool]], exact: bool
) -> None:
    people = People(700)
    desk = Desk(people, Policy(refusals=10**6))
    for cells, extra, merge in asked:
        table = [_also(cell, extra) for cell in cells]
        request = people.table(*table, noise=0.0 if exact else 24.0, merge=merge)
        sizes = np.bincount(request.codes[request.codes >= 0], minlength=len(table))
        decision = desk.decide(request)
        for size, outcome in zip(sizes, decision.outcomes, strict=True):
            assert (outcome.status is Status.WITHHELD) == (outcome.source == "")
            assert size >= 10 or outcome.status is not Status.SERVED
        assert desk.decide(request).charged is False
    leverage = desk.state.leverage
    assert leverage.h.max() <= 0.1 + 1e-9
    assert leverage.problem(1e-9) == ""
    rows = [leverage.columns.members(row) for row in range(leverage.rows)]
    for place, one in enumerate(rows):
        for other in rows[:place]:
            between = int((one ^ other).sum())
            assert between >= 10 or (between == 0 and not exact)


def test_many_collisions_take_few_passes_and_keep_the_bound() -> None:
    """Tables of 40 cells add 0.02 each for everybody, until one cell after another is too much."""
    draw = np.random.default_rng(3)
    world = World(draw.integers(0, 2, 2000), 0.0, policy=Policy(refusals=10**6, capacity=1.0))
    refused = []
    for _ in range(8):
        cells = draw.permutation(2000) % 40
        refused.append(world.ask(*(cells == number for number in range(40))).count(None))
        assert world.state.leverage.h.max() <= 0.1 + 1e-9
    # The last cell of every table but the first follows from the others and the first table.
    assert refused[:3] == [0, 1, 1]
    assert refused[-1] == 40
    assert world.state.leverage.problem(1e-9) == ""


def test_what_follows_by_data_alone_is_refused_and_what_follows_by_definition_is_free() -> None:
    people = People(3000)
    people.columns["age"] = np.minimum(people.columns["age"], 79)
    desk = Desk(people)
    bands: list[Predicate] = [where(age=range(18, 50)), where(age=range(50, 80))]
    desk.ask(*bands, noise=0.0)
    (whole,) = desk.ask(where(), noise=0.0)
    assert (whole.reason, whole.collides_with) == (Reason.COMBINATION, ("Q-1",))
    (known,) = desk.ask(where(age=range(18, 80)), noise=0.0)
    assert known.status is SERVED
    assert desk.state.leverage.rows == 2


def _four_small_districts() -> tuple[People, list[Predicate]]:
    people = People(4000)
    people.columns["district"][:] = 20
    people.columns["district"][:36] = np.repeat([8, 9, 10, 11], 9)
    people.columns["age"][:36] = 30
    return people, by("district", "d08", "d09", "d10", "d11")


def test_joined_cells_are_released_as_one_or_given_again() -> None:
    people, cells = _four_small_districts()
    desk = Desk(people)
    assert set(_statuses(desk.ask(*cells))) == {Status.MERGED}
    (together,) = desk.ask(where(district=("d08", "d09", "d10", "d11")))
    assert together.status is Status.CACHED
    assert set(_statuses(desk.ask(*cells))) == {Status.MERGED}
    assert (desk.state.leverage.rows, desk.refused) == (1, 0)


@pytest.mark.parametrize("apart", [0, 3])
def test_joined_cells_near_an_earlier_one_are_not_released(apart: int) -> None:
    people, cells = _four_small_districts()
    people.columns["age"][:apart] = 60
    desk = Desk(people)
    desk.ask(where(district=("d08", "d09", "d10", "d11"), age=range(18, 50)))
    for _ in range(2):
        assert {outcome.reason for outcome in desk.ask(*cells)} == {Reason.SMALL}
        assert set(_statuses(desk.ask(*cells))) == {Status.WITHHELD}
        assert (desk.state.leverage.rows, desk.refused) == (1, 0)


def test_a_table_with_too_many_cells_is_refused() -> None:
    desk = Desk(PEOPLE, Policy(max_cells=4))
    assert {outcome.reason for outcome in desk.ask(*by("age", *AGES))} == {Reason.CELLS}
