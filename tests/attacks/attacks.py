"""Attacks on one person's bit through the whole pipeline, each as an analyst would mount it.

Each takes somebody who asks, and some targets, and returns an estimate of each target's bit: None
where it was not to be had, which is a guess. The attacker knows everybody's key attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import numpy as np

from tests.attacks.people import LOW, REGIONS, STEP, People, Person
from tests.attacks.pipeline import Question

if TYPE_CHECKING:
    from numpy.random import Generator

    from tests.attacks.pipeline import Attacker

Estimates = list[float | None]
Attack = Callable[["Attacker", People, Sequence[Person], "Generator"], Estimates]

ILL: Final = "count(*) filter (where ill)"


def _of(region: str) -> str:
    return f"region = '{region}'"


def _keyed(who: Attacker, key: str) -> dict[int | str, float]:
    """Ask for everybody, by a key."""
    return who.tables([Question(ILL, "born >= 0", key=key)])[0]


def _without(
    who: Attacker, targets: Sequence[Person], key: str, cell_of: Callable[[Person], int | str]
) -> list[float | None]:
    """Ask for each target's cell without her; targets of different cells are left out together."""
    waiting: dict[int | str, list[Person]] = {}
    for each in targets:
        waiting.setdefault(cell_of(each), []).append(each)
    found: dict[int, float | None] = {}
    rounds = [list(some) for some in zip_longest(*waiting.values())]
    together = [[each for each in some if each is not None] for some in rounds]
    asked = [
        Question(ILL, f"born not in ({', '.join(str(each.born) for each in some)})", key=key)
        for some in together
    ]
    for some, cells in zip(together, who.tables(asked), strict=True):
        found |= {each.born: cells.get(cell_of(each)) for each in some}
    return [found[each.born] for each in targets]


def _differences(
    who: Attacker, targets: Sequence[Person], key: str, cell_of: Callable[[Person], int | str]
) -> Estimates:
    whole = _keyed(who, key)
    rest = _without(who, targets, key, cell_of)
    return [_minus(whole.get(cell_of(t)), found) for t, found in zip(targets, rest, strict=True)]


def _region(person: Person) -> str:
    return person.region


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def differencing(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """Regions, and each region without one of its people."""
    return _differences(who, targets, "region", _region)


_HERSELF: Final = "from persons where income >= 0 and born"
_FLAG: Final = "max(case when born = {b} and income >= 0 then 1 else 0 end) as flag"
_FLAGGED: Final = f"(select person_id, {_FLAG} from persons group by person_id) t"  # noqa: S608 - made up
_OTHERS: Final = "(select person_id, income as x from persons where born <> {b}) t"
_SAME: Final = "exists (select 1 from persons q where q.person_id = p.person_id and q.income >= 0"
WORDS: Final = (
    ("{r} and not (born = {b} and income >= 0)", "persons"),
    ("{r} and (born <> {b} or (ill and not ill))", "persons"),
    ("{r} and case when born = {b} then income < 0 else true end", "persons"),
    (f"{{r}} and person_id in (select person_id {_HERSELF} <> {{b}})", "persons"),
    (f"{{r}} and person_id not in (select person_id {_HERSELF} = {{b}})", "persons"),
    (f"{{r}} and {_SAME} and q.born <> {{b}})", "persons p"),
    ("p.{r} and t.flag = 0", f"persons p join {_FLAGGED} using (person_id)"),
    ("p.{r} and t.x is not null", f"persons p left join {_OTHERS} using (person_id)"),
    ("{r} and coalesce(nullif(born, {b}), income - income - 1) >= 0", "persons"),
    ("{r} and income * (born - {b}) <> 0", "persons"),
)


def other_words(who: Attacker, _: People, targets: Sequence[Person], draw: Generator) -> Estimates:
    """The same, with her hidden in a condition on something sensitive."""
    whole = _keyed(who, "region")
    asked = []
    for each in targets:
        where, source = (
            text.replace("{r}", _of(each.region)).replace("{b}", str(each.born))
            for text in WORDS[draw.integers(len(WORDS))]
        )
        ill = ILL.replace("ill", "p.ill") if " p" in source else ILL
        asked.append(Question(ill, where, source))
    rest = who.numbers(asked)
    return [_minus(whole.get(t.region), found) for t, found in zip(targets, rest, strict=True)]


def tracker(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """Denning, Denning & Schwartz 1979: two sets that overlap in her alone, less everybody."""
    asked = [Question(ILL, "born >= 0")]
    for each in targets:
        other = REGIONS[(REGIONS.index(each.region) + 1) % len(REGIONS)]
        asked += [
            Question(ILL, f"({_of(other)} or born = {each.born})"),
            Question(ILL, f"(region <> '{other}' or born = {each.born})"),
        ]
    everybody, *answers = who.numbers(asked)
    return [
        None if one is None else _minus(_minus(one, everybody), None if rest is None else -rest)
        for one, rest in zip(answers[::2], answers[1::2], strict=True)
    ]


def k_wise(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """Six sets, no two of which are near each other."""
    asked = []
    for each in targets:
        a, b, c, d, e = (region for region in REGIONS if region != each.region)
        her = f"born = {each.born}"
        sets = [
            f"(region in ('{a}', '{b}') or {her})", f"region in ('{b}', '{c}')",
            f"(region in ('{c}', '{a}') or {her})", f"region in ('{a}', '{d}')",
            f"region in ('{d}', '{e}')", f"region in ('{e}', '{a}')",
        ]  # fmt: skip
        asked += [Question(ILL, where) for where in sets]
    answers = who.numbers(asked)
    found: Estimates = []
    for first in range(0, len(answers), 6):
        known = [answer for answer in answers[first : first + 6] if answer is not None]
        signs = (0.5, -0.5, 0.5, -0.5, 0.5, -0.5)
        found.append(float(np.dot(known, signs)) if len(known) == 6 else None)
    return found


def total_minus_cells(
    who: Attacker, _: People, targets: Sequence[Person], __: Generator
) -> Estimates:
    """A table in which she is alone in a cell; what it hides beside it is known from another."""
    whole = _keyed(who, "region")
    asked = [
        Question(ILL, "born >= 0", key=f"case when born = {each.born} then 'x' else region end")
        for each in targets
    ]
    cells = who.tables(asked)
    return [
        _minus(whole.get(each.region), own.get(each.region))
        for each, own in zip(targets, cells, strict=True)
    ]


def averaging(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """The mean of three differences, each of two sets that differ in her alone."""
    three = [
        _differences(who, targets, "region", _region),
        _differences(who, targets, "born // 200", lambda each: each.born // 200),
        _differences(who, targets, "(born + 100) // 240", lambda each: (each.born + 100) // 240),
    ]
    found: Estimates = []
    for own in zip(*three, strict=True):
        known = [each for each in own if each is not None]
        found.append(float(np.mean(known)) if known else None)
    return found


MASKS: Final = (
    "covar_pop(income, case when born = {b} then 1 else 0 end)",
    "corr(income, case when born = {b} then 1 else 0 end)",
    "regr_slope(income, case when born = {b} then 1 else 0 end)",
    "covar_samp(case when born = {b} then 5 else 2 end, income)",
)


def mask_vector(who: Attacker, _: People, targets: Sequence[Person], draw: Generator) -> Estimates:
    """A vector that is 1 for her and 0 for all others, as a weight (DataSHIELD, dsBase 250)."""
    asked = [
        Question(MASKS[draw.integers(len(MASKS))].replace("{b}", str(each.born)), _of(each.region))
        for each in targets
    ]
    # Above 0 if she earns more than the mean of the others.
    return [None if found is None else float(found > 0) for found in who.numbers(asked)]


def covariances(
    who: Attacker, people: People, targets: Sequence[Person], draw: Generator
) -> Estimates:
    """Huth et al. 2023: covariances with vectors that the attacker makes up, and least squares."""
    rows, answers = [], []
    for _turn in range(len(targets)):
        low, high = sorted(int(each) for each in draw.integers(0, len(people.persons), 2))
        vector = [low <= each.born <= high for each in people.persons]
        made = f"case when born between {low} and {high} then 1 else 0 end"
        (answer,) = who.numbers([Question(f"covar_pop(income, {made})", "born >= 0")])
        if answer is not None:
            rows.append(np.array(vector, dtype=float) - np.mean(vector))
            answers.append(answer * len(vector))
    if not rows:
        return [None] * len(targets)
    known = np.array([LOW + STEP / 2 + 10 * each.born for each in people.persons])
    left = np.array(answers) - np.array(rows) @ known
    found = np.linalg.lstsq(np.array(rows), left, rcond=None)[0]
    places = {each.born: place for place, each in enumerate(people.persons)}
    return [0.5 + float(found[places[each.born]]) / STEP for each in targets]


def noise_exploitation(
    who: Attacker, _: People, targets: Sequence[Person], __: Generator
) -> Estimates:
    """Gadotti et al. 2019: noise that sticks to a set tells whether the set is another.

    Two answers without her secret are equal; with it they are about other people.
    """
    pairs = _differences(who, targets, "region", _region)
    return [None if pair is None else float(pair != 0) for pair in pairs]


def subset_sums(
    who: Attacker, people: People, targets: Sequence[Person], draw: Generator
) -> Estimates:
    """Dinur & Nissim 2003: sums over random halves, and least squares over bits."""
    asked, rows = [], []
    for _turn in range(len(targets) // 2):
        inside = draw.random(len(people.persons)) < 0.5
        listed = ", ".join(
            str(p.born) for p, here in zip(people.persons, inside, strict=True) if here
        )
        asked.append(Question(ILL, f"born in ({listed})"))
        rows.append(inside.astype(float))
    answers = who.numbers(asked)
    kept = [place for place, answer in enumerate(answers) if answer is not None]
    if not kept:
        return [None] * len(targets)
    matrix = np.array([rows[place] for place in kept])
    heard = np.array([answers[place] for place in kept], dtype=float)
    gram = matrix @ matrix.T + 1e-6 * np.eye(len(kept))
    found = matrix.T @ np.linalg.solve(gram, heard - matrix.sum(axis=1) / 2) + 0.5
    places = {each.born: place for place, each in enumerate(people.persons)}
    return [float(found[places[each.born]]) for each in targets]


ERRORS: Final = (
    "1 // (case when income = {v} then 0 else 1 end) = 1",
    "1 % (case when income = {v} then 0 else 1 end) = 0",
    "1 / (case when income = {v} then 0 else 1 end) = 1",
    "sqrt(case when income = {v} then -1 else 1 end) = 1",
    "ln(case when income = {v} then 0.0 else 1.0 end) = 0",
    "case when income = {v} then income * 1000 * 1000 * 1000 else 1 end > 0",
    "cast(case when income = {v} then region else '1' end as int) = 1",
    "left(region, case when income = {v} then -1 else 1 end) = 'a'",
    "pow(case when income = {v} then income else 1 end, 40) > 0",
)


def error_bits(who: Attacker, _: People, targets: Sequence[Person], draw: Generator) -> Estimates:
    """A statement that fails if she earns what she may earn."""
    found: Estimates = []
    for each in targets:
        error = ERRORS[draw.integers(len(ERRORS))].replace("{v}", str(each.income(1)))
        question = Question("count(*)", f"{_of(each.region)} and {error}")
        said = who.ask(question.sql(0))
        # A refusal of the statement comes whoever is in the data; only a failure would tell.
        found.append(1.0 if said.refused is not None and said.refused[0][0] != "Q" else None)
    return found


CARRIERS: Final = (
    "sum(case when income = {v} then 150000 else 1 end)",
    "avg(case when income = {v} then 150000 else 1 end)",
    "sum(case when income = {v} then 150000 else 0 end)",
    "stddev_pop(case when income = {v} then 150000 else 1 end)",
    "sum(1 + abs(case when income = {v} then income else 1 end))",
)


def count_in_sum(
    who: Attacker, people: People, targets: Sequence[Person], draw: Generator
) -> Estimates:
    """One person's weight in a sum, larger than everything else in it."""
    sizes = {region: len(people.among(region)) for region in REGIONS}
    carriers = [CARRIERS[draw.integers(len(CARRIERS))] for _ in targets]
    asked = [
        Question(carrier.replace("{v}", str(each.income(1))), _of(each.region))
        for each, carrier in zip(targets, carriers, strict=True)
    ]
    found: Estimates = []
    for each, carrier, answer in zip(targets, carriers, who.numbers(asked), strict=True):
        mean = carrier.startswith(("avg", "stddev"))
        most = 75_000 / (sizes[each.region] if mean else 1)
        found.append(None if answer is None else float(answer > most))
    return found


def rows_added_up(
    who: Attacker, people: People, targets: Sequence[Person], draw: Generator
) -> Estimates:
    """Rows of two kinds, each for all of a region; then those of both kinds, less hers."""
    source = "visits v join persons p using (person_id)"
    asked, forms = [], []
    for each in targets:
        one, other = sorted(people.visited[each.born])[:2]
        measure = ("sum(v.cost)", "sum(p.income)", "count(*) filter (where p.ill)")[
            draw.integers(3)
        ]
        times = int(draw.integers(1, 3))
        own = f"p.{_of(each.region)}"
        last = (
            f"(v.dept = '{one}' or (v.dept = '{other}' and p.born <> {each.born})) and {own}"
            if times == 1
            else f"v.dept in ('{one}', '{other}') and {own} and p.born <> {each.born}"
        )
        wheres = [f"v.dept = '{one}' and {own}", f"v.dept = '{other}' and {own}", last]
        asked += [Question(measure, where, source) for where in wheres]
        forms.append((measure, times))
    answers = who.numbers(asked)
    found: Estimates = []
    for place, (each, (measure, times)) in enumerate(zip(targets, forms, strict=True)):
        first, second, both = answers[3 * place : 3 * place + 3]
        if first is None or second is None or both is None:
            found.append(None)
            continue
        least, unit = {
            "sum(v.cost)": (200, 400),
            "sum(p.income)": (each.income(0), STEP),
        }.get(measure, (0, 1))
        found.append(((first + second - both) / times - least) / unit)
    return found


def rare_value(who: Attacker, people: People, targets: Sequence[Person], _: Generator) -> Estimates:
    """Everybody but who has a value that only she can have, where one more shows in the rounding.

    Not claimed: the attacker knows that nobody else has the value.
    """
    ordered = sorted(each.born for each in people.persons)
    asked = []
    for each in targets:
        place = ordered.index(each.born)
        low = min(max(0, place - 150), len(ordered) - 303)
        # 303 are rounded to 305, 302 to 300.
        where = f"born between {ordered[low]} and {ordered[low + 302]}"
        asked.append(Question(f"count(*) filter (where income <> {each.income(1)})", where))
    return [None if n is None else float(n < 303) for n in who.numbers(asked)]


def two_analysts(who: Attacker, _: People, targets: Sequence[Person], __: Generator) -> Estimates:
    """One asks about a region, a colleague about the region without her."""
    colleague = who.colleague
    assert colleague is not None
    whole = _keyed(who, "region")
    rest = _without(colleague, targets, "region", _region)
    return [_minus(whole.get(t.region), found) for t, found in zip(targets, rest, strict=True)]
