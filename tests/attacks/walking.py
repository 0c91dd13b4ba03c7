"""A threshold that is walked: values of a group, though not whose, found question by question.

A target is a group. How many of it have more than x is told while they are k; so the greatest x at
which it is tells the k-th highest value. The bit is in which half of its bin that value is.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from sandbox.rounding import round_up
from tests.attacks.people import People, Person
from tests.attacks.pipeline import Question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

    from tests.attacks.attacks import Estimates
    from tests.attacks.pipeline import Attacker, Columns, Owner

K, SIZE, BIN = 10, 40, 500
LOWEST, SPAN = 20_000, 2**14
ALONE, MORE, CROWD = 30_000, 24, 20_000
"""Least of a bin with one person, how many of a group have more, and people of no group."""
_POLICY: Final = """\
schema: fusion.policy/1
title: People with incomes
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {{class: key, type: integer}}
      region: {{class: dimension, values: [{regions}], complete: true}}
      income: {{class: number, low: 0, high: 200000, bin: 500}}
"""
SHARP: Final = "release: {conditions: exact}\n"
WORDS: Final = (
    "income + 0 > {x}",
    "sign(income - {x}) = 1",
    "abs(income - {x}) + income > {x}",
    "least(greatest((income - {x}) * 100, 0), 1) = 1",
    "nullif(greatest(income, {x}), {x}) is not null",
    "cast(income - {x} as integer) >= 1",
    "case when income < {x} then false else income <> {x} end",
    "person_id in (select person_id from persons group by person_id having sum(income) > {x})",
)
"""Other words for more than x."""


def make(owner: Owner, count: int, release: str, seed: int, rank: int = K) -> People:
    """Make groups of people up; somebody stands for each, whose bit is of the value of a rank."""
    draw = np.random.default_rng([29, seed])
    regions = [f"r{number}" for number in range(count // SIZE)]
    incomes = {each: draw.integers(LOWEST, LOWEST + SPAN, SIZE) for each in regions}
    rows = [(each, int(income)) for each, own in incomes.items() for income in own]
    columns: Columns = {
        "person_id": list(range(len(rows))),
        "region": [region for region, _ in rows],
        "income": [income for _, income in rows],
    }
    text = _POLICY.format(regions=", ".join(regions)) + (SHARP if release == "sharp" else "")
    found = [
        Person(number, each, int(np.sort(incomes[each])[-rank] % BIN >= BIN // 2))
        for number, each in enumerate(regions)
    ]
    return People(owner.dataset(text, {"persons": columns}), found, {})


def plainly(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """With a comparison."""
    return _walked(who, targets, ["income > {x}"] * len(targets))


def in_other_words(
    who: Attacker, _: People, targets: Sequence[Person], draw: Generator
) -> Estimates:
    """With what means the same."""
    return _walked(who, targets, [WORDS[draw.integers(len(WORDS))] for _ in targets])


def by_a_factor(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """The third largest, as what a sum is rounded by: where, times a factor, it passes a digit.

    Up to 100,000 a sum is rounded to 500,000 and less, from there on to 1,000,000: sums over parts
    of a group that have its largest values in common are all multiples of that.
    """
    found: Estimates = []
    for target in targets:
        low, high = 2_600_000, 5_200_000
        while high - low > 1:
            middle = (low + high) // 2
            asked = [
                Question(f"sum(income * {middle / 1e6:.6f})", f"region = '{target.region}' and "
                         f"income >= {LOWEST + BIN * part}")
                for part in range(0, 16, 2)
            ]  # fmt: skip
            sums = [each for each in who.numbers(asked) if each is not None]
            wide = all(round(each) % 1_000_000 == 0 for each in sums)
            low, high = (low, middle) if wide else (middle, high)
        value = round(100_000 / (high / 1e6))
        found.append(float(value % BIN >= BIN // 2))
    return found


def make_thirds(owner: Owner, count: int, release: str, seed: int) -> People:
    """Make the same groups up; the bit is of the third largest value."""
    return make(owner, count, release, seed, 3)


def make_alone(owner: Owner, count: int, release: str, seed: int) -> People:
    """Make groups up in each of which one person is alone in a bin, and a crowd with no group.

    How many of a group have more is always the same, as if everybody knew it.
    """
    draw = np.random.default_rng([31, seed])
    regions = [f"r{number}" for number in range(count // SIZE)]
    rows: list[tuple[str, int, int]] = []
    found = []
    for number, each in enumerate(regions):
        alone = ALONE + int(draw.integers(BIN))
        more = draw.integers(ALONE + BIN, LOWEST + SPAN, MORE)
        less = draw.integers(LOWEST, ALONE, SIZE - MORE - 1)
        rows += [(each, CROWD, int(income)) for income in (alone, *more, *less)]
        found.append(Person(number, each, int(alone % BIN >= BIN // 2)))
    rows += [("crowd", born, LOWEST) for born in range(CROWD)]
    columns: Columns = {
        "person_id": list(range(len(rows))),
        "region": [region for region, _, _ in rows],
        "born": [born for _, born, _ in rows],
        "income": [income for _, _, income in rows],
    }
    born = (
        f"      born: {{class: dimension, type: integer, low: 0, high: {CROWD}, complete: true}}\n"
    )
    text = _POLICY.format(regions=", ".join([*regions, "crowd"])) + born
    text += SHARP if release == "sharp" else ""
    return People(owner.dataset(text, {"persons": columns}), found, {})


def by_a_count(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """The sum from a multiple of the bin on, and from the next, as what an average is rounded by.

    Rows of the crowd add 0 and move how many there are, and with it where the average of a release
    that rounds after the division passes from one multiple of its step to the next.
    """
    found: Estimates = []
    for target in targets:
        sums = [_total(who, target, least) for least in (ALONE, ALONE + BIN)]
        known = [each for each in sums if each is not None]
        alone = known[0] - known[1] - ALONE if len(known) == 2 else None
        found.append(None if alone is None else float(alone >= BIN / 2))
    return found


def _total(who: Attacker, target: Person, least: int) -> float | None:
    """Return the sum of what is at least so much, bisected by averages over more and more rows."""
    low, high = MORE * float(ALONE), (MORE + 1) * float(LOWEST + SPAN)
    counts = np.arange(SIZE, SIZE + CROWD, K)
    # By five of the third largest, 40,000 when it is made round; one digit again by the average.
    steps = np.array([float(round_up(Fraction(200_000, int(each)))) for each in counts])
    for _ in range(16):
        middle = (low + high) / 2
        borders = counts * steps * (np.floor(middle / (counts * steps)) + 0.5)
        best = int(np.argmin(np.abs(borders - middle)))
        if not low < borders[best] < high:
            break
        paid = f"case when income >= {least} then income else 0 end"
        (answer,) = who.numbers([
            Question(f"avg({paid})", f"region = '{target.region}' or region = 'crowd' and "
                     f"born < {counts[best] - SIZE}")
        ])  # fmt: skip
        if answer is None:
            return None
        above = answer * counts[best] > borders[best]
        low, high = (borders[best], high) if above else (low, borders[best])
    return (low + high) / 2


def _walked(who: Attacker, targets: Sequence[Person], words: Sequence[str]) -> Estimates:
    steps = [_step(who, target, text) for target, text in zip(targets, words, strict=True)]
    low, high = [LOWEST - BIN] * len(targets), [LOWEST + SPAN + BIN] * len(targets)
    while open_ := [n for n, step in enumerate(steps) if high[n] - low[n] > step]:
        middle = {n: (low[n] + high[n]) // 2 // steps[n] * steps[n] for n in open_}
        middle = {n: x if x > low[n] else x + steps[n] for n, x in middle.items()}
        asked = [_question(targets[n], words[n], x) for n, x in middle.items()]
        for (n, x), answer in zip(middle.items(), who.numbers(asked), strict=True):
            # Fewer than k of them: missing.
            low[n], high[n] = (low[n], x) if answer is None else (x, high[n])
    return [
        None if step > 1 else float(value % BIN >= BIN // 2)
        for step, value in zip(steps, high, strict=True)
    ]


def _step(who: Attacker, target: Person, words: str) -> int:
    """Return what a threshold can be walked in: multiples of the bin if others are refused."""
    return BIN if who.ask(_question(target, words, LOWEST + 1).sql(0)).refused else 1


def _question(target: Person, words: str, x: int) -> Question:
    more = words.replace("{x}", str(x))
    return Question(f"count(*) filter (where {more})", f"region = '{target.region}'")
