"""Organisations that may pool what they are given have one history."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.errors import InputInvalid, PolicyInvalid
from sandbox.history.request import Reason, Scope, Status
from sandbox.history.thresholds import Policy
from sandbox.policy import EVERYBODY
from sandbox.pools import group_of, next_group
from sandbox.reading import parse_policy
from sandbox.template import TEMPLATE
from tests.sandbox.history_node import COHORT, PEOPLE, Node
from tests.sandbox.history_people import DEFINED, by, where

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.policy import Policy as Document

BANK = Scope("tax", "persons", "bank", "income", "r1")
INSURER = Scope("tax", "persons", "insurer", "income", "r1")
TOGETHER = Scope("tax", "persons", "pool", "income", "r2")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def _policy(pools: str) -> Document:
    return parse_policy(f"{TEMPLATE}\npools: {pools}\n", "policy.yaml")


ALONE = _policy("[]")
TWO = _policy("[[bank.example, insurer.example]]")
THREE = _policy("[[insurer.example, bank.example, shop.example]]")
ALL = _policy('[["*"]]')


def test_those_of_a_pool_are_one_group_and_everybody_else_is_one_alone() -> None:
    assert group_of(ALONE, "bank.example") == "bank.example"
    assert group_of(TWO, "bank.example") == group_of(TWO, "insurer.example") != "bank.example"
    assert group_of(TWO, "shop.example") == "shop.example"
    assert group_of(TWO, "bank.example") != group_of(THREE, "bank.example")
    assert {group_of(ALL, each) for each in ("bank.example", "shop.example")} == {EVERYBODY}
    swapped = _policy("[[insurer.example, bank.example]]")
    assert group_of(TWO, "bank.example") == group_of(swapped, "bank.example")


def test_a_pool_grows_and_is_never_taken_apart() -> None:
    two, three = group_of(TWO, "bank.example"), group_of(THREE, "bank.example")
    assert next_group(ALONE, TWO, "bank.example") == two
    assert next_group(ALONE, TWO, "shop.example") == "shop.example"
    assert next_group(TWO, THREE, two) == three
    assert next_group(THREE, ALL, three) == next_group(ALL, ALL, EVERYBODY) == EVERYBODY
    for before, after, group in ((TWO, ALONE, two), (THREE, TWO, three), (ALL, TWO, EVERYBODY)):
        with pytest.raises(InputInvalid, match="takes apart") as caught:
            next_group(before, after, group)
        assert "may get more members" in caught.value.hint


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ("[[bank.example, bank.example]]", "in one pool, once"),
        ("[[bank.example, shop.example], [shop.example, tax.example]]", "in one pool, once"),
        ("[[bank.example]]", "two organisations or more"),
        ("[['*', bank.example]]", "the only pool"),
        ("[['*'], [bank.example, tax.example]]", "the only pool"),
        ("[[Bank, tax.example]]", "not an organisation identifier"),
        ("all", "`pools`"),
    ],
)
def test_a_pool_that_is_none_is_refused_by_its_line(pools: str, message: str) -> None:
    with pytest.raises(PolicyInvalid, match=message):
        _policy(pools)


def _join(node: Node) -> None:
    node.history.carry([BANK, INSURER], TOGETHER, "2000-01", DEFINED, COHORT)


def test_joined_histories_count_what_any_of_them_released(node: Node) -> None:
    """As if one group had asked all of it; what both had counts once."""
    one = Scope("tax", "persons", "one", "income", "r1")
    for cells in (by("sex", "f", "m"), by("region", "north", "south")):
        for scope in (BANK, one):
            node.ask(*cells, scope=scope, noise=0.0)
    for cells in (by("sex", "f", "m"), [where(age=range(18, 45))]):
        for scope in (INSURER, one):
            node.ask(*cells, scope=scope, noise=0.0)
    _join(node)
    found, expected = node.history.meter(TOGETHER), node.history.meter(one)
    # The south follows from the others: it has a row in one order of asking and none in another.
    assert found.largest == pytest.approx(expected.largest, abs=1e-12)
    assert found.used == pytest.approx(expected.used, abs=1e-12)
    node.again()
    assert node.history.verify() == 4


def test_noisy_cells_of_both_are_counted_twice(node: Node) -> None:
    for scope in (BANK, INSURER):
        node.ask(*by("sex", "f", "m"), scope=scope)
    _join(node)
    assert node.history.meter(TOGETHER).cells == 4
    assert node.history.meter(TOGETHER).largest > node.history.meter(BANK).largest


def test_what_is_too_near_to_what_the_other_has_is_held_back_once_they_are_joined(
    node: Node,
) -> None:
    oldest = int(np.sort(PEOPLE.columns["age"])[-5])
    near = where(age=range(18, oldest))
    node.ask(where(), scope=BANK, noise=0.0)
    node.ask(where(sex="f"), scope=INSURER, noise=0.0)
    _join(node)
    (outcome,) = node.ask(near, scope=TOGETHER, noise=0.0).decision.outcomes
    assert (outcome.status, outcome.reason) == (Status.WITHHELD, Reason.PAIR)
    # The insurer's own history, before, knew nothing of the total.
    assert node.ask(near, scope=INSURER, noise=0.0).values != (None,)


def test_histories_that_single_somebody_out_together_do_not_become_one(node: Node) -> None:
    oldest = int(np.sort(PEOPLE.columns["age"])[-5])
    node.ask(where(), scope=BANK, noise=0.0)
    node.ask(where(age=range(18, oldest)), scope=INSURER, noise=0.0)
    with pytest.raises(InputInvalid, match="singles somebody out"):
        _join(node)
    # Nothing of the attempt is left.
    assert TOGETHER.text() not in node.history.heads()
    assert node.ask(where(), scope=BANK, noise=0.0).query == ""


def test_only_ledgers_of_one_dataset_and_epoch_become_one(node: Node) -> None:
    later = Scope("tax", "persons", "insurer", "income", "r3")
    elsewhere = Scope("tax", "visits", "insurer", "income", "r1")
    for scope in (BANK, later, elsewhere):
        node.ask(where(), scope=scope)
    for wrong in ([BANK, later], [BANK, elsewhere], []):
        with pytest.raises(InputInvalid, match="another epoch of the same"):
            node.history.carry(wrong, TOGETHER, "2000-01", DEFINED, COHORT)


def _collide(node: Node, scope: Scope) -> None:
    """Be refused once, for a difference of a few."""
    oldest = int(np.sort(PEOPLE.columns["age"])[-5])
    node.ask(where(), scope=scope, noise=0.0)
    assert node.ask(where(age=range(18, oldest)), scope=scope, noise=0.0).decision.charged


@pytest.mark.parametrize("refusals", [2, 3])
def test_a_pool_that_is_made_or_grows_has_the_refusals_of_its_members(
    tmp_path: Path, refusals: int
) -> None:
    node = Node(tmp_path, Policy(refusals=refusals))
    for scope in (BANK, INSURER):
        _collide(node, scope)
    _join(node)
    larger = replace(TOGETHER, group="larger", epoch="r3")
    node.history.carry([TOGETHER], larger, "2000-01", DEFINED, COHORT)
    for scope in (TOGETHER, larger):
        (outcome,) = node.ask(where(sex="f"), scope=scope, noise=0.0).decision.outcomes
        assert (outcome.reason is Reason.BUDGET) is (refusals == 2)
    node.again()
    assert node.history.verify() == 4
    # The next month is a new one.
    request = PEOPLE.table(where(sex="f"), scope=larger, noise=0.0, month="2026-12")
    (found,) = node.history.release(request, DEFINED, COHORT, node.answer).decision.outcomes
    assert found.reason is not Reason.BUDGET


def test_refusals_that_come_with_two_datasets_come_once(tmp_path: Path) -> None:
    """They are a group's, over all of an owner's datasets."""
    node = Node(tmp_path, Policy(refusals=2))
    visits = replace(BANK, dataset="visits")
    _collide(node, BANK)
    node.ask(where(), scope=visits, noise=0.0)
    for scope in (BANK, visits):
        after = replace(scope, group="pool", epoch="r2")
        node.history.carry([scope], after, "2000-01", DEFINED, COHORT)
        (outcome,) = node.ask(where(sex="f"), scope=after, noise=0.0).decision.outcomes
        assert outcome.reason is not Reason.BUDGET


def test_histories_that_are_too_much_for_one_do_not_become_one(tmp_path: Path) -> None:
    node = Node(tmp_path, Policy(capacity=0.005))
    (one,) = node.ask(where(sex="f"), scope=BANK, noise=0.0).decision.outcomes
    (other,) = node.ask(where(region="north"), scope=INSURER, noise=0.0).decision.outcomes
    assert one.status is other.status is Status.SERVED
    with pytest.raises(InputInvalid, match="room for"):
        _join(node)
    assert TOGETHER.text() not in node.history.heads()
