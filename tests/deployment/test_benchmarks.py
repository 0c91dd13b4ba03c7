"""The benchmarks run, in a short form: what they print is not judged here.

Those that take long even so are run by `./dev soak`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.docs.sources import ROOT

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        pytest.param(
            "benchmarks.exchange --nodes 1 --count 2 --settle 0 --idle 0.1",
            "mean",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "benchmarks.encryption --parameters 200 --clients 2 --seconds 0.01",
            "security",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "benchmarks.encryption --parameters 99 --engines gmp --seconds 0.01 --json",
            "schema",
            marks=pytest.mark.soak,
        ),
        pytest.param("benchmarks.kernels --seconds 0.001", "", marks=pytest.mark.soak),
        pytest.param("benchmarks.contributions --ciphertexts 4", "prove", marks=pytest.mark.soak),
        pytest.param(
            "benchmarks.isolation --count 1 --rows 100 --settle 0", "none", marks=pytest.mark.soak
        ),
        pytest.param(
            "benchmarks.isolation --count 1 --rows 100 --settle 0 --json",
            "fusion.bench-isolation/1",
            marks=pytest.mark.soak,
        ),
        ("benchmarks.ledger --entries 200", "audit of 200 entries"),
        ("benchmarks.evidence --rounds 5", "shown to a holder"),
        pytest.param("benchmarks.relay --megabytes 8", "round_trip_p50_ms", marks=pytest.mark.soak),
        (
            "benchmarks.history --entities 2000 --cells 60 --tables 2 --json",
            "fusion.bench-history/1",
        ),
        pytest.param(
            "benchmarks.history_attacks --targets 1 --groups 1",
            "differencing",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_a_benchmark_prints_its_table(line: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *line.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
