"""Whether the time of an answer tells if one person is in the data, with the whole service.

``python -m benchmarks.query_timing [--pairs 500] [--visits 500] [--attack NAME] [--json]``

``same``: two datasets that differ in one person with so many rows; one statement, asked again and
again, multiplies her rows by themselves and asks about her alone. A threshold is chosen on the
first half of the pairs and used on the second.

``chosen``: half of as many people as there are pairs are in the data. The statement about each is
one that was never asked, and multiplies a thousand rows by themselves, in as many terms as make the
work, on data of the attacker's own, outlast the step in which an answer about nobody leaves. Who is
answered late is taken to be there. When no late answer is left, or no work of one person outlasts
the least step any longer, a coin decides about the others.

``replayed``: ``chosen``, with as many people as there are pairs, in the steps and the account of
events of a real node, but on a clock that does not wait: seconds of work are drawn from those that
were measured, and those that her rows add are made as many as outlast the least step.

Of each: ``now`` is the time until the answer, ``steps`` that of answers which leave at the end of
whatever step the work ends in, ``bare`` the work itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import QueryFailed, QueryRefused
from fusion.services.query_messages import Asked, Reply, reply_of, to_bytes
from sandbox.attached import Origin, attach
from sandbox.lateness import least_step
from sandbox.policy import Time
from sandbox.service import Service
from tests.queries.world import ANALYST, PURPOSE, make_world
from tests.sandbox.asking import write
from tests.sandbox.late_node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.attacks.pipeline import Columns
    from tests.queries.world import World

ATTACKS: Final = ("same", "chosen", "replayed")
HER: Final = 5000
PRESENT, ABSENT = "bare", "typed"
PEOPLE: Final = 300
"""Of whom half are there; more than the attacker has late answers for."""

OWN_TRIES: Final = 5
REPLAYED_TERMS: Final = 32
BEFORE: Final = 50
"""Pairs of the attacker's own data that say what steps alone would tell."""

MOST_TERMS: Final = 32
POLICY: Final = """\
schema: fusion.policy/1
title: People and their visits
tables:
  persons:
    entity: person_id
    rows: 1
    columns:
      person_id: {class: key, type: integer}
      born: {class: dimension, type: integer, low: 0, high: 9999, complete: true}
      income: {class: number, low: 0, high: 200000}
  visits:
    entity: person_id
    rows: 1000
    columns:
      person_id: {class: key, type: integer}
      dept: {class: dimension, values: [er, gp, card], complete: true}
      cost: {class: number, low: 0, high: 1000}
"""
UNBOUNDED: Final = "time: {late: 100000}\n"
_NUMBERS: Final = itertools.count()


class Asking:
    """A service, and an analyst who has all grants and notes times."""

    def __init__(self, world: World) -> None:
        """Note also how long the work alone takes, and the events that the owner is told of."""
        self.world = world
        self.service = Service(world.owner, self._told)
        self.bare, self.events = 0.0, 0
        self._works = self.service._released  # noqa: SLF001 - the work between the two waits
        setattr(self.service, "_released", self._noted)  # noqa: B010 - it is no public name

    def _told(self, line: str) -> None:
        self.events += "late answers" in line

    def _noted(self, *given: Any) -> bytes:  # noqa: ANN401 - handed on
        began = time.monotonic()
        try:
            return self._works(*given)
        finally:
            self.bare = time.monotonic() - began

    def ask(self, dataset: str, statement: str) -> tuple[float, Reply]:
        """Return the seconds until the reply, and the reply."""
        asked = Asked(
            kind="query", dataset=dataset, statement=statement, purpose=PURPOSE, rows=1, seconds=60
        )
        began = time.monotonic()
        data = self.service.reply(ANALYST, to_bytes(asked), threading.Event())
        return time.monotonic() - began, reply_of(data)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--visits", type=int, default=500)
    parser.add_argument("--attack", choices=ATTACKS, action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {
        "schema": "fusion.bench-query-timing/2",
        "pairs": options.pairs,
        "visits": options.visits,
        "fair_sd": round(0.5 / math.sqrt(options.pairs), 4),
    }
    for name in options.attack or ATTACKS:
        with tempfile.TemporaryDirectory() as folder:
            where = Path(folder)
            if name == "same":
                found[name] = same(where, options.pairs, options.visits)
            else:
                found[name] = (chosen if name == "chosen" else replayed)(where, options.pairs)
    if options.json:
        print(json.dumps(found))
        return
    print(f"a fair guess: .500, standard deviation {found['fair_sd']}")
    for name in ATTACKS:
        for how, each in found.get(name, {}).items():
            print(f"{name:8} {how:6}", each)


def same(folder: Path, pairs: int, visits: int) -> dict[str, Any]:
    """Ask one statement of data with and without her, again and again."""
    asking = _asking(
        folder,
        {
            name: (POLICY, _tables([HER] if there else [], visits))
            for name, there in ((PRESENT, True), (ABSENT, False))
        },
        pairs,
    )
    statement, draw, pair = _statement(HER, 1, "n"), np.random.default_rng(3), 0
    times = np.zeros((pairs, 2, 2))
    try:
        for name in (PRESENT, ABSENT) * 2:
            asking.ask(name, statement)
        for pair in range(pairs):
            for place in draw.permutation(2):
                took, reply = asking.ask((ABSENT, PRESENT)[place], statement)
                if reply.table is None or reply.table.rows != [[None, None]]:
                    message = f"not what was expected: {reply}"
                    raise AssertionError(message)
                times[pair, place] = took, asking.bare
            if pair % 20 == 19:
                told = _all_told(times[: pair + 1])
                print(f"{pair + 1} of {pairs} pairs: {told}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        times = times[:pair]  # of as many as there was time for
    finally:
        asking.service.close()
    return {"pairs": len(times), **_all_told(times)}


def _all_told(times: NDArray[np.float64]) -> dict[str, Any]:
    """Return what time tells of pairs × (absent, present) × (until the answer, of the work)."""
    return {
        "now": _told(times[:, :, 0]),
        "steps": _told(np.vectorize(_step)(times[:, :, 1])),
        "bare": _told(times[:, :, 1]),
    }


def chosen(folder: Path, pairs: int) -> dict[str, Any]:
    """Ask about one person after the other, each time what no one has asked."""
    draw = np.random.default_rng(7)
    there = set(draw.permutation(PEOPLE)[: PEOPLE // 2].tolist())
    asking = _asking(
        folder,
        {
            PRESENT: (POLICY, _tables([HER + each for each in sorted(there)], 1000)),
            # The attacker's own, about as large.
            ABSENT: (POLICY + UNBOUNDED, _tables(range(HER, HER + PEOPLE // 2), 1000)),
        },
        pairs,
    )
    asked, right, late, terms, floor = 0, 0, 0, 0, 0
    before: list[tuple[float, float]] = []
    try:
        for target in range(PEOPLE):
            step = least_step(Time(), late)
            if step != floor:
                floor = step
                terms, outlasts = _tuned(asking, floor / 1000)
                before = before or _own(asking, terms, BEFORE)
                if not outlasts:
                    break
            before_it = asking.events
            _, reply = asking.ask(PRESENT, _statement(HER + target, terms, f"n{target}"))
            if reply.refusal is not None and reply.refusal.code == "Q-25":
                break
            _check_run(reply)
            asked += 1
            # At which step it left the attacker reads without an error.
            events = asking.events - before_it
            guess, late = events > 0, late + events
            right += guess == (target in there)
            print(f"{asked} asked, {late} late, {right} right", file=sys.stderr, flush=True)
    finally:
        asking.service.close()
    own_times = np.array(before)
    return {
        "now": {
            "success": round((right + (pairs - asked) / 2) / pairs, 4),
            "asked": asked,
            "right": right,
            "late": late,
            "least_step_ms": floor,
            "bound": round(0.5 + Time().late / pairs, 4),
        },
        "steps": _told(np.vectorize(_step)(own_times)),
        "bare": _told(own_times),
    }


def replayed(folder: Path, pairs: int) -> dict[str, Any]:
    """Ask about as many people as there are pairs, with work as long as it was measured."""
    people = range(HER, HER + PEOPLE // 2)
    asking = _asking(folder, {ABSENT: (POLICY + UNBOUNDED, _tables(people, 1000))}, BEFORE)
    try:
        own = np.array(_own(asking, REPLAYED_TERMS, BEFORE))
    finally:
        asking.service.close()
    node, draw, right, asked = Node(folder), np.random.default_rng(9), 0.0, 0
    adds = float(np.median(own[:, 1] - own[:, 0]))
    for target in range(pairs):
        there = bool(draw.integers(2))
        least = least_step(node.time, node.events()) / 1000
        without, with_her = own[draw.integers(len(own))]
        more = max(0.0, float(with_her - without)) * 1.5 * least / max(adds, 0.001)
        work = float(without) + (more if there else 0.0)
        before = node.events()
        try:
            node.ask(work, f"select {'ab'[target % 2]} as n{target}")
        except QueryRefused:
            right += 0.5
            continue
        asked += 1
        right += (node.events() > before) == there
    return {
        "now": {"success": round(right / pairs, 4), "asked": asked, "late": node.events()},
        "steps": _told(np.vectorize(_step)(own)),
        "bare": _told(own),
    }


def _tuned(asking: Asking, floor: float) -> tuple[int, bool]:
    """Return how many terms make the work, where she is there, outlast a step; whether they do."""
    terms = 1
    while True:
        absent, present = np.median(np.array(_own(asking, terms, OWN_TRIES)), axis=0)
        print(f"{terms} terms: {absent:.3f} s, {present:.3f} s", file=sys.stderr, flush=True)
        if present > max(1.5 * floor, 2 * absent) or terms >= MOST_TERMS:
            return terms, present > floor
        terms *= 2


def _own(asking: Asking, terms: int, pairs: int) -> list[tuple[float, float]]:
    """Return seconds of work about nobody, and about somebody, on data of the attacker's own."""
    own = []
    for _ in range(pairs):
        times = []
        for who in (HER - 1, HER):
            # Its name is new, so that nothing is remembered of its step.
            _, reply = asking.ask(ABSENT, _statement(who, terms, f"own{next(_NUMBERS)}"))
            _check_run(reply)
            times.append(asking.bare)
        own.append((times[0], times[1]))
    return own


def _check_run(reply: Reply) -> None:
    """Refuse to measure what was not run: whatever is refused is refused without data."""
    if reply.refusal is not None and reply.refusal.code != QueryFailed.code:
        message = f"not what was expected: {reply.refusal}"
        raise AssertionError(message)


def _statement(who: int, terms: int, name: str) -> str:
    # True of all rows, which an engine does not see beforehand. One condition: of several it
    # thinks that they leave few rows.
    work = " + ".join(
        f"case when sqrt(a.cost * b.cost + {each}) > 1 then 1 else 0 end"
        for each in range(1, terms + 1)
    )
    work += " >= 1"
    return (
        f"select count(*) as {name}, sum(a.cost + b.cost) as s from visits a"  # noqa: S608 - ours
        " join visits b using (person_id) join persons p using (person_id)"
        f" where p.born = {who} and {work}"
    )


def _asking(folder: Path, data: dict[str, tuple[str, dict[str, Columns]]], asks: int) -> Asking:
    world = make_world(folder / "world", ())
    for name, (policy, tables) in data.items():
        own = folder / name
        own.mkdir()
        write(own, tables)
        found = attach(world.owner, policy, "policy.yaml", name, Origin(own))
        world.attached = {"columns": list(found.columns), "schema_digest": found.schema_digest}
        for number in range(1 + asks // 900):  # a grant has room for a thousand of them
            world.grant(name, runs=10**6, rows=10**6, title=f"{name}, {number + 1}")
    return Asking(world)


def _tables(others: Sequence[int], hers: int) -> dict[str, Columns]:
    draw = np.random.default_rng(5)
    persons = [*range(1200), *others]
    who = [int(n) for n in draw.integers(0, 1200, 5000)]
    who += [each for each in others for _ in range(hers)]
    return {
        "persons": {
            "person_id": persons,
            "born": persons,
            "income": [20_000 + 10 * (n % 977) for n in persons],
        },
        "visits": {
            "person_id": who,
            "dept": [("er", "gp", "card")[n % 3] for n in range(len(who))],
            "cost": [1 + n % 900 for n in range(len(who))],
        },
    }


def _step(seconds: float) -> float:
    """Return the end of the step in which work ends: 0.25, 0.5, 1 s, and so on."""
    return float(0.25 * 2 ** max(0, math.ceil(math.log2(seconds / 0.25))))


def _told(times: NDArray[np.float64]) -> dict[str, float]:
    """Return how often a threshold tells present from absent, pairs × (absent, present)."""
    half = len(times) // 2
    first, second = times[:half], times[half:]

    def right(of: NDArray[np.float64], border: float) -> float:
        return float(((of[:, 1] > border).mean() + (of[:, 0] <= border).mean()) / 2)

    border = max(np.unique(first), key=lambda each: right(first, float(each)))
    return {
        "success": round(right(second, float(border)), 4),
        "absent_s": round(float(np.median(times[:, 0])), 4),
        "present_s": round(float(np.median(times[:, 1])), 4),
    }


if __name__ == "__main__":
    main()
