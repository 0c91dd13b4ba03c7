"""The benchmarks run, in a short form: what they print is not judged here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.docs.sources import ROOT

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("benchmarks.exchange --nodes 1 --count 2 --settle 0 --idle 0.1", "mean"),
        ("benchmarks.encryption --parameters 200 --clients 2 --seconds 0.01", "security"),
        ("benchmarks.encryption --parameters 99 --engines gmp --seconds 0.01 --json", "schema"),
        ("benchmarks.kernels --seconds 0.001", ""),
        ("benchmarks.contributions --ciphertexts 4", "prove"),
        ("benchmarks.isolation --count 1 --rows 100 --settle 0", "none"),
        ("benchmarks.isolation --count 1 --rows 100 --settle 0 --json", "fusion.bench-isolation/1"),
        ("benchmarks.ledger --entries 2000", "audit of 2,000 entries"),
        ("benchmarks.evidence --rounds 5", "shown to a holder"),
        ("benchmarks.relay --megabytes 8", "round_trip_p50_ms"),
        (
            "benchmarks.history --entities 2000 --cells 60 --tables 2 --json",
            "fusion.bench-history/1",
        ),
        ("benchmarks.history_attacks --targets 1 --groups 1", "differencing"),
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
