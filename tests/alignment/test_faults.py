"""Any fault at any message of an alignment: a named error, or the right result.

``./dev soak`` runs every case, ``./dev test`` some: see ``faults.py``. Connections that break, and
parties that are killed or stand still, are in ``tests/conversing/``.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.alignment.faults import PROTOCOLS, cases

SOME = 151
"""One of so many cases is run in every test run."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "every", [SOME, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_a_fault_is_refused_by_name_or_makes_no_difference(protocol: str, every: int) -> None:
    said: Counter[str] = Counter()
    for case in cases(protocol, lambda number, place: (37 * number + place) % every == 0):
        assert not case.wrong, case
        said[case.ended] += 1
    print(f"{protocol}: {said.total()} faults, {dict(said)}")  # noqa: T201 - of a long walk
    assert said["refused"] > said.total() / 2
