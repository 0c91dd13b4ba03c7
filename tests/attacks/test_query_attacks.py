"""Attacks through the whole pipeline: a few targets here, two thousand in the soak.

Each is run without the history too, where it has to succeed: else it would be no attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from fusion.errors import InputInvalid
from tests.attacks import walking
from tests.attacks.harness import CASES, GUESS, tail
from tests.attacks.people import make
from tests.attacks.pipeline import BANK, OTHER, asking
from tests.attacks.pipeline import owner as an_owner

if TYPE_CHECKING:
    from tests.attacks.harness import Arena, Case
    from tests.attacks.pipeline import Owner

CLAIMED: Final = [case for case in CASES if case.bound is not None]
QUICK: Final = [
    case
    for case in CLAIMED
    # The noise only adds to what is bounded without it; it takes as long again.
    if (case.release != "noise" or case.name == "noise exploitation") and case.name != "factor walk"
]
FEW, MANY = 24, 2000
WALK: Final = "threshold walk"
REAL: Final = {
    "differencing (exact)": 1.0,
    "differencing, in other words (exact)": 1.0,
    "tracker (exact)": 1.0,
    "k-wise (exact)": 1.0,
    "totals minus cells (exact)": 0.8,
    "mask vector (exact)": 1.0,
    "rows added up (exact)": 1.0,
    "averaging (exact)": 1.0,
    "noise exploitation (noise)": 0.6,
    "random subset sums (exact)": 0.8,
}
"""At least so often the attack succeeds where there is no history."""


def _title(case: Case) -> str:
    return case.title


def _holds(arena: Arena, case: Case, targets: int) -> None:
    found = arena.run(case, targets)
    assert found.holds, found
    if (case.bound == GUESS and case.release in {"exact", "pooled"}) or case.name == WALK:
        # Not even a wrong estimate: the last answer was never given, or a threshold is refused.
        assert found.done == 0, found


@pytest.mark.parametrize("case", QUICK, ids=_title)
def test_no_attack_succeeds_beyond_its_bound(arena: Arena, case: Case) -> None:
    # Walks ask hundreds of questions a target.
    _holds(arena, case, 6 if case.part < 30 or case.name.startswith(WALK) else FEW)


@pytest.mark.parametrize("case", [each for each in CASES if each.title in REAL], ids=_title)
def test_without_a_history_the_same_attack_succeeds(arena: Arena, case: Case) -> None:
    found = arena.run(case, FEW, guarded=False)
    assert found.success >= REAL[case.title], found


def test_two_organisations_that_pool_are_not_covered(arena: Arena) -> None:
    """Stated on the page of claims; should this fail, the page has to say better of it."""
    case = next(each for each in CASES if each.title == "analysts of two organisations (exact)")
    assert arena.run(case, 4).success == 1


@pytest.mark.parametrize(("name", "targets"), [("", 2), (", in other words", 2)])
def test_a_threshold_finds_values_where_conditions_know_them(
    arena: Arena, name: str, targets: int
) -> None:
    """Where conditions know bins alone, the same walk is among the attacks with a bound."""
    case = next(each for each in CASES if each.title == f"threshold walk{name} (sharp)")
    found = arena.run(case, targets)
    assert (found.success, found.done) == (1, 1)


def test_what_is_read_at_its_bin_is_said_beside_the_answer(owner: Owner) -> None:
    who = walking.make(owner, 80, "rules", 9).dataset.attacker()
    plain, made = (
        who.ask(f"select avg({each}) as a from persons")  # noqa: S608 - of our own making
        for each in ("income", "income * 2")
    )
    who.close()
    assert plain.notes == []
    ((message, hint),) = made.notes
    assert message == "persons.income is computed with as the middle of its bin of 500."
    assert hint


def test_a_pool_that_is_made_later_counts_what_all_were_given() -> None:
    """Attached anew with both in one pool: what one has and what the other would get are one."""
    with an_owner() as tax:
        people = make(tax, 200, "exact", 5)
        (target,) = [each for each in people.persons if each.born == 100]
        whole = f"select count(*) as n from persons where region = '{target.region}'"  # noqa: S608 - of our own making
        before = asking(people.dataset)
        assert before[BANK].ask(whole).rows[0][0] is not None
        pooled = tax.again(people.dataset, f'pools: [["{BANK}", "{OTHER}"]]\n')
        after = asking(pooled)
        less = after[OTHER].ask(f"{whole} and born <> {target.born}")
        assert less.rows == [[None]]
        assert "earlier" in less.notes[0][0]
        # What was one history stays one.
        with pytest.raises(InputInvalid, match="takes apart"):
            tax.again(people.dataset, "")


def test_a_tail_of_a_binomial_distribution() -> None:
    assert tail(2, 2, 0.5) == pytest.approx(0.25)
    assert tail(0, 5, 0.5) == 1
    assert tail(20, 20, 0.5) < 1e-6 < tail(1070, 2000, 0.5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", CLAIMED, ids=_title)
def test_two_thousand_targets(arena: Arena, case: Case) -> None:
    _holds(arena, case, MANY)
