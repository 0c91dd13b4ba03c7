"""What SecretFlow's spu does, run by a Python that has it: no part of Banyan is imported here.

``python spu_side.py psi RANK ITEMS PROTOCOL FOLDER PORT PORT`` is one party of a set intersection;
``python spu_side.py logistic ROWS COLUMNS EPOCHS PROTOCOL`` is all parties of a logistic model,
with links in memory, as spu's own simulator does it. Prints one JSON document on a line of its
own. Started by :mod:`benchmarks.spu_peer`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LEARNING_RATE, MOMENTUM = 2.0, 0.7
MARK = "document: "
"""Before the document: spu logs to the same place."""


def psi(rank: int, items: int, protocol: str, folder: Path, ports: list[int]) -> dict[str, Any]:
    """Take part in a set intersection, half of both sets in common."""
    library, link = importlib.import_module("spu.psi"), importlib.import_module("spu.libspu").link
    desc = link.Desc()
    for other, port in enumerate(ports):
        desc.add_party(f"party-{other}", f"127.0.0.1:{port}")
    first = rank * (items // 2)
    table = folder / f"in-{rank}.csv"
    lines = (f"99000019{at:010d}\n" for at in range(first, first + items))
    table.write_text("ID\n" + "".join(lines), "utf-8")
    parameters: dict[str, Any] = {"receiver_rank": 0, "broadcast_result": False}
    if protocol == "ECDH":
        parameters["ecdh_params"] = library.EcdhParams(curve=library.EllipticCurveType.CURVE_25519)
    config = library.PsiExecuteConfig(
        protocol_conf=library.PsiProtocolConfig(
            protocol=getattr(library.PsiProtocol, f"PROTOCOL_{protocol}"), **parameters
        ),
        input_params=library.InputParams(path=str(table), selected_keys=["ID"], keys_unique=True),
        output_params=library.OutputParams(
            path=str(folder / f"out-{rank}.csv"), disable_alignment=True
        ),
    )
    context = link.create_brpc(desc, rank)
    began, clock = time.process_time(), time.perf_counter()
    report = library.psi_execute(config, context)
    cpu, wall = time.process_time() - began, time.perf_counter() - clock
    context.stop_link()
    return {"cpu_s": cpu, "wall_s": wall, "size": int(report.intersection_count)}


def logistic(rows: int, columns: int, epochs: int, protocol: str) -> dict[str, Any]:
    """Train with gradient descent over all rows; return what each further epoch took."""
    jax, library = importlib.import_module("jax"), importlib.import_module("spu.libspu")
    simulation = importlib.import_module("spu.utils.simulation")
    config = library.RuntimeConfig(
        protocol=getattr(library.ProtocolKind, protocol), field=library.FieldType.FM64
    )
    simulator = simulation.Simulator(2, config)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows, columns))
    score = x @ draw.normal(size=columns) / np.sqrt(columns)
    y = (draw.random(rows) < 1 / (1 + np.exp(-score))).astype(float)

    def steps(sigmoid: Any, count: int) -> Any:  # noqa: ANN401
        def run(x: Any, y: Any, weights: Any) -> Any:  # noqa: ANN401
            before = weights
            for _ in range(count):
                slope = x.T @ (sigmoid(x @ weights) - y) / rows
                step = MOMENTUM * (weights - before) - LEARNING_RATE * slope
                weights, before = weights + step, weights
            return weights

        return run

    start, cpu, error = np.zeros(columns), [], 0.0
    for count in (1, 1 + epochs):
        began = time.process_time()
        found = simulation.sim_jax(simulator, steps(jax.nn.sigmoid, count))(x, y, start)
        cpu.append(time.process_time() - began)
        expected = steps(lambda z: 1 / (1 + np.exp(-z)), count)(x, y, start)
        error = float(np.abs(found - expected).max())
    return {"cpu_s_an_epoch": (cpu[1] - cpu[0]) / epochs, "max_weight_error": error}


def main(words: list[str]) -> None:
    """Do one of them."""
    if words[0] == "psi":
        rank, items, protocol, folder, *ports = words[1:]
        made = psi(int(rank), int(items), protocol, Path(folder), [int(p) for p in ports])
    else:
        rows, columns, epochs, protocol = words[1:]
        made = logistic(int(rows), int(columns), int(epochs), protocol)
    print(f"\n{MARK}{json.dumps(made)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
