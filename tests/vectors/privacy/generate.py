"""Writes accounting.json: what dp-accounting says of the noise that this project would add.

``pip install dp-accounting==0.6.0`` into an environment of its own (it brings SciPy), then
``python -m tests.vectors.privacy.generate``. The file is committed; the tests only read it.
"""

from __future__ import annotations

import importlib
import json
import math
from decimal import Decimal
from pathlib import Path

from federated.privacy.accounting import rho_of

CASES = [(100_000, 1e-9), (500_000, 1e-6), (1_000_000, 1e-6), (2_000_000, 1e-5), (8_000_000, 1e-6)]


def main() -> None:
    """Write the file."""
    events = importlib.import_module("dp_accounting")
    rdp = importlib.import_module("dp_accounting.rdp")
    pld = importlib.import_module("dp_accounting.pld")
    orders = [1 + 1.002**step / 100 for step in range(6_000)]
    cases = []
    for epsilon_micro, delta in CASES:
        rho = float(rho_of(epsilon_micro, Decimal(repr(delta))))
        # Twenty rounds of a twentieth each: composition is part of what is compared.
        event = events.SelfComposedDpEvent(events.GaussianDpEvent(math.sqrt(20 / (2 * rho))), 20)
        by_rdp, by_pld = rdp.RdpAccountant(orders), pld.PLDAccountant()
        by_rdp.compose(event)
        by_pld.compose(event)
        cases.append(
            {
                "epsilon_micro": epsilon_micro,
                "delta": delta,
                "rho": rho,
                "rdp_epsilon": float(by_rdp.get_epsilon(delta)),
                "pld_epsilon": float(by_pld.get_epsilon(delta)),
            }
        )
    document = {"made_with": "dp-accounting 0.6.0", "cases": cases}
    path = Path(__file__).with_name("accounting.json")
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
