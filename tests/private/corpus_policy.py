"""The example's policy in mode ``dp``, with the values that its groups have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.reading import parse_policy
from tests.sandbox.asking import EXAMPLE

if TYPE_CHECKING:
    from sandbox.policy import Policy

VALUES = {
    "sex": "F, M",
    "region": "north, south, east, west, centre",
    "education": "none, primary, secondary, tertiary",
    "dept": "er, gp, onco, cardio, lab",
}


def listed() -> Policy:
    """Return the policy."""
    text = EXAMPLE.read_text("utf-8")
    budget = "budget: {grant_rho_micro: 100000, dataset_rho_micro: 400000}"
    text = text.replace("mode: sdc", f"mode: dp\n{budget}")
    for name, values in VALUES.items():
        own = f"{name}: {{class: dimension}}"
        text = text.replace(own, f"{name}: {{class: dimension, values: [{values}]}}")
    diagnosis = "diagnosis: {class: dimension, sensitive: true"
    text = text.replace(diagnosis, f"{diagnosis}, values: [D01, D02, D03]")
    return parse_policy(text, EXAMPLE.name)
