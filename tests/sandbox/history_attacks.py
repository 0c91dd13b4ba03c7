"""Attacks on one person's bit, each as an analyst would run it; what each returns is its estimate.

All with exact knowledge of who is in which set. ``None``: the attack could not be completed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.sandbox.history_world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Attack = Callable[[World, int, Generator], float | None]

PEOPLE = 1200


def _random(draw: Generator, target: int, *, inside: bool) -> Mask:
    members = draw.random(PEOPLE) < draw.uniform(0.1, 0.8)
    members[target] = inside
    return np.asarray(members)


def _but(members: Mask, *people: int) -> Mask:
    out = members.copy()
    out[list(people)] = False
    return out


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _combined(answers: list[float | None], factors: Sequence[float]) -> float | None:
    known = [answer for answer in answers if answer is not None]
    if len(known) < len(answers):
        return None
    return float(np.dot(known, factors))


def differencing(world: World, target: int, draw: Generator) -> float | None:
    """With and without the target."""
    members = _random(draw, target, inside=True)
    return _difference(world.ask(members)[0], world.ask(_but(members, target))[0])


def tracker(world: World, target: int, draw: Generator) -> float | None:
    """A set and its complement, both with the target, less everybody."""
    half = _random(draw, target, inside=False)
    one, other = half.copy(), ~half
    one[target] = True
    sets = (one, other, np.ones(PEOPLE, dtype=np.bool_))
    return _combined([world.ask(members)[0] for members in sets], [1, 1, -1])


def k_wise(world: World, target: int, draw: Generator) -> float | None:
    """Six sets, no two of which are near each other."""
    blocks = draw.integers(0, 5, PEOPLE)
    blocks[target] = 9
    parts = [blocks == number for number in range(5)]
    me = blocks == 9
    a, b, c, d, e = parts
    sets = [a | b | me, b | c, c | a | me, a | d, d | e, e | a]
    answers = [world.ask(members)[0] for members in sets]
    return _combined(answers, [0.5, -0.5, 0.5, -0.5, 0.5, -0.5])


def total_minus_cells(world: World, target: int, draw: Generator) -> float | None:
    """A table whose smallest cell is withheld, and its total; the four others there are known."""
    cells = draw.integers(0, 9, PEOPLE)
    others = draw.choice(np.delete(np.arange(PEOPLE), target), 4, replace=False)
    cells[others] = cells[target] = 9
    table = world.ask(*(cells == number for number in range(10)))[:9]
    total = world.ask(np.ones(PEOPLE, dtype=np.bool_))
    found = _combined([*total, *table], [1] + [-1] * 9)
    return None if found is None else found - float(world.bits[others].sum())


def isolate(world: World, target: int, draw: Generator) -> float | None:
    """Leave out the target and one to eight people whose bits are known."""
    others = draw.choice(np.delete(np.arange(PEOPLE), target), draw.integers(1, 9), replace=False)
    members = draw.random(PEOPLE) < 0.5
    members[others] = members[target] = True
    less = _but(members, target, *others.tolist())
    found = _difference(world.ask(members)[0], world.ask(less)[0])
    return None if found is None else found - float(world.bits[others].sum())


def telescoping(world: World, target: int, draw: Generator) -> float | None:
    """Differences of sets that are far apart, the steps between which cancel."""
    order = draw.permutation(np.delete(np.arange(PEOPLE), target))
    p, r, base = order[:30], order[30:60], order[60:600]

    def made(*parts: NDArray[np.int64]) -> Mask:
        members = np.zeros(PEOPLE, dtype=np.bool_)
        members[np.concatenate([base, *parts])] = True
        return members

    me = np.array([target])
    sets = [made(p, me), made(), made(p, r), made(r)]
    return _combined([world.ask(members)[0] for members in sets], [1, -1, -1, 1])


def averaging(world: World, target: int, draw: Generator) -> float | None:
    """The mean of twenty differences."""
    found = [differencing(world, target, draw) for _ in range(20)]
    known = [item for item in found if item is not None]
    return float(np.mean(known)) if known else None


def averaging_apart(world: World, target: int, draw: Generator) -> float | None:
    """Twenty differences of sets that also differ by sixty others, and a ridge regression."""
    rows, answers = [], []
    for _ in range(20):
        members = _random(draw, target, inside=True)
        other = members ^ (draw.random(PEOPLE) < 60 / PEOPLE)
        other[target] = False
        for asked in (members, other):
            answer = world.ask(asked)[0]
            if answer is not None:
                rows.append(asked.astype(float))
                answers.append(answer)
    return float(ridge(np.array(rows), np.array(answers), world.noise)[target]) if rows else None


def ridge(
    rows: NDArray[np.float64], answers: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """Return the posterior mean of fair bits given noisy sums."""
    gram = rows @ rows.T + max(noise, 1e-6) * np.eye(len(rows))
    return np.asarray(rows.T @ np.linalg.solve(gram, answers - rows.sum(axis=1) / 2) + 0.5)


ATTACKS: dict[str, Attack] = {
    "differencing": differencing,
    "tracker": tracker,
    "k-wise": k_wise,
    "total minus cells": total_minus_cells,
    "isolate 2 to 9": isolate,
    "telescoping": telescoping,
    "averaging": averaging,
    "averaging apart": averaging_apart,
}


def run(
    attack: Attack, targets: int, noise: float, *, guarded: bool = True, shared: bool = False
) -> tuple[float, float]:
    """Return the share of bits guessed right, and of attacks that gave an estimate."""
    right = done = 0
    for seed in range(targets):
        draw = np.random.default_rng([7, seed])
        bits = draw.integers(0, 2, PEOPLE)
        world = World(bits, noise, seed=seed, guarded=guarded)
        background = draw.integers(0, 6, PEOPLE)
        world.ask(*(background == number for number in range(6)))
        target = int(draw.integers(PEOPLE))
        if shared:  # a colleague has asked for the same kind of thing before
            attack(world, target, draw)
        estimate = attack(world, target, draw)
        guess = int(draw.integers(2)) if estimate is None else int(estimate > 0.5)
        right += guess == bits[target]
        done += estimate is not None
    return right / targets, done / targets


def subsets(
    queries: int, groups: int, noise: float, *, guarded: bool = True
) -> tuple[float, float]:
    """Random subset sums over 128 people: the share of bits guessed right, and of sums answered."""
    people = 128
    right = answered = 0
    for seed in range(groups):
        draw = np.random.default_rng([11, seed])
        bits = draw.integers(0, 2, people)
        world = World(bits, noise, seed=seed, guarded=guarded)
        rows, answers = [], []
        for _ in range(queries):
            members = draw.random(people) < 0.5
            answer = world.ask(members)[0]
            if answer is not None:
                rows.append(members.astype(float))
                answers.append(answer)
        answered += len(rows)
        guess = ridge(np.array(rows), np.array(answers), noise) > 0.5 if rows else bits * 0 == 1
        right += int((guess == (bits == 1)).sum())
    return right / (people * groups), answered / (queries * groups)
