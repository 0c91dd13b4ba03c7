"""Odd statements are answered or refused by a rule, as they stand: nothing else ever happens."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fusion.errors import QueryRefused
from sandbox.disclosure import Rules
from sandbox.engine import execute
from sandbox.query import compile_statement, finish
from sandbox.refusals import RULES, RefusedOnData
from tests.sandbox.asking import EXACT, PUBLIC, corpus, exact, write
from tests.sandbox.odd import Odd
from tests.sandbox.test_neighbours import tables

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {"results", "cells", "null", "empty", "order", "frame", "malformed"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], bytes]:
    """Run requests on small data."""
    inputs = write(tmp_path_factory.mktemp("odd"), tables(7, with_target=True))
    return partial(execute, inputs=inputs)


def _outcome(sql: str, run: Callable[[bytes], bytes]) -> str:
    """Return whether a statement was answered or refused, or what else happened."""
    try:
        compiled = compile_statement(sql, exact(), public=PUBLIC)
    except QueryRefused as refused:
        return "refused" if refused.code in RULES else f"unlisted {refused.code}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a hole
        return f"analysis: {error!r}"
    try:
        finish(compiled, run(compiled.asked.request), Rules(EXACT))
    except QueryRefused as refused:
        large = refused.code == "Q-16" and not isinstance(refused, RefusedOnData)
        return "answered" if large else f"refused late: {refused}"
    except Exception as error:  # noqa: BLE001 - as above
        notes: Any = getattr(error, "__notes__", "")
        return f"run: {error!r} {notes}"
    return "answered"


@pytest.mark.parametrize(
    "count", [300, pytest.param(12_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_odd_statements_are_answered_or_refused(run: Callable[[bytes], bytes], count: int) -> None:
    plain = [each.sql for each in corpus("legit.txt")]
    holes, counts = [], Counter[tuple[str, str]]()
    for kind, sql in Odd(5, plain).statements(count):
        found = _outcome(sql, run)
        counts[kind, found] += 1
        if found not in {"answered", "refused"}:
            holes.append((found, sql))
    assert holes == []
    # Of every kind some are answered and some are not, or nothing was tried.
    for kind in KINDS:
        assert counts[kind, "refused"], kind
    answered = {kind: counts[kind, "answered"] for kind in KINDS}
    assert answered["results"] > count // 20
    assert answered["cells"] > count // 40
    assert all(answered[kind] for kind in ("null", "order", "frame"))
