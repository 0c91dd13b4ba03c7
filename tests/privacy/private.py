"""A private study for tests: the made-up federation's, with noise."""

from __future__ import annotations

from tests.federation import STUDY

PRIVACY = """\
[privacy]
epsilon_micro = 1000000
delta = 1e-6
clip_norm = 1.0

[aggregation]
value_bits = 28
score_bins = 16

[key]
"""

PRIVATE = (
    STUDY.replace("steps = 5", "steps = 1")
    .replace("batch = 32", "batch = 512")
    .replace("[key]\n", PRIVACY)
)
