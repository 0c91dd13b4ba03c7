"""Decisions over a grant's limits and the record of earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.alignment import controls
from fusion.alignment.controls import Limits, Run
from fusion.errors import AlignmentRefused
from fusion.grants.document import Align
from tests.alignment.parties import terms

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = bytes(32)


def sketched(keys: set[str]) -> bytes:
    return controls.sketch(SECRET, sorted(keys))


def run_of(keys: set[str], field: str = "ID") -> Run:
    return Run("job", field, len(keys), 10, "0" * 64, sketched(keys))


PEOPLE = {f"p{at}" for at in range(50)}


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(max_size=3), max_size=12), st.sets(st.text(max_size=3), max_size=12))
def test_sketches_differ_as_the_sets_do(one: set[str], other: set[str]) -> None:
    folded = [{key.casefold() for key in each} for each in (one, other)]
    assert controls.difference(sketched(one), sketched(other)) == len(folded[0] ^ folded[1])


def test_a_sketch_is_of_its_secret() -> None:
    assert sketched(PEOPLE) != controls.sketch(b"\1" * 32, sorted(PEOPLE))
    assert len(sketched(PEOPLE)) == 50 * controls.SKETCH_BYTES


def code_of(decide: Callable[[], None]) -> str | None:
    try:
        decide()
    except AlignmentRefused as error:
        return error.code
    return None


def refused(limits: Limits, earlier: list[Run], keys: set[str]) -> str | None:
    return code_of(lambda: controls.before(limits, earlier, sketched(keys)))


def test_runs_are_counted_whatever_the_field() -> None:
    earlier = [run_of(PEOPLE), run_of(PEOPLE, "phone")]
    assert refused(Limits(2, 10), earlier, PEOPLE) == "A-15"
    assert refused(Limits(3, 10), earlier, PEOPLE) is None


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (PEOPLE, None),
        (PEOPLE - {"p1"}, "A-16"),
        (PEOPLE | {"new"}, "A-16"),
        (PEOPLE - {"p1"} | {"new"}, "A-16"),
        ({f"p{at}" for at in range(41)}, "A-16"),
        ({f"p{at}" for at in range(40)}, None),
    ],
)
def test_a_set_is_the_same_or_differs_by_enough(keys: set[str], code: str | None) -> None:
    assert refused(Limits(9, 10), [run_of(PEOPLE)], keys) == code


def test_every_earlier_run_counts_whatever_its_identifiers_are_called() -> None:
    far = {f"q{at}" for at in range(50)}
    near = PEOPLE - {"p1"}
    assert refused(Limits(9, 10), [run_of(PEOPLE), run_of(far)], near) == "A-16"
    # Who orders a run says of which kind its identifiers are, and whether case counts.
    assert refused(Limits(9, 10), [run_of({key.upper() for key in PEOPLE})], near) == "A-16"
    assert refused(Limits(9, 10), [run_of(PEOPLE, "text")], near) == "A-16"
    assert refused(Limits(9, 10), [run_of(PEOPLE)], far) is None


@pytest.mark.parametrize(
    ("own", "peer", "code"),
    [
        (10, 10, None),
        (0, 10, "A-17"),
        (10, 0, "A-17"),
        (101, 10, "A-11"),
        (10, 101, "A-12"),
        (10, 100, "A-13"),
        (20, 100, None),
        (4, 4, "A-14"),
    ],
)
def test_sizes(own: int, peer: int, code: str | None) -> None:
    agreed = terms(set_size=100, minimum_overlap_permille=200, minimum_intersection=5)
    assert code_of(lambda: controls.sizes(agreed, own, peer)) == code


@pytest.mark.parametrize(("common", "code"), [(20, None), (19, "A-13"), (0, "A-13"), (100, None)])
def test_release(common: int, code: str | None) -> None:
    agreed = terms(minimum_overlap_permille=200, minimum_intersection=5)
    assert code_of(lambda: controls.release(agreed, common, 100, 50)) == code


def test_terms_stay_within_the_grant() -> None:
    permission = Align(set_size=100, outcomes=("size",), minimum_intersection=1, runs=3)
    assert code_of(lambda: controls.granted(permission, terms(set_size=100))) is None
    assert code_of(lambda: controls.granted(permission, terms(set_size=101))) == "A-19"
