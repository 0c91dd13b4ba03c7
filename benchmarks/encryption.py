"""What encrypting, adding and opening a large update costs: ours beside phe, sf-heu and TenSEAL.

``python -m benchmarks.encryption [--bits 2048|3072] [--parameters N] [--clients N]
[--engines gmp,avx2,ifma] [--threads 1|all] [--memory] [--json]``

One run measures everything on the same numbers: on one core, and on all cores for those that can
use them. It prints a table, or with ``--json`` one document of schema
``fusion.bench-encryption/1``. How to read it: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import ours
from benchmarks.peers import PEERS
from benchmarks.table import table
from benchmarks.timing import available_cores, output_kept_clean, progress
from benchmarks.workload import VALUE_BITS, Workload
from fusion.crypto.paillier import vectors
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.randomisers import base_powers
from fusion.errors import EnvironmentUnfit
from tests.engine_choice import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA: Final = "fusion.bench-encryption/1"
INSTALL: Final = "python -m pip install -r benchmarks/peers.txt"

NOTES: Final = (
    "Seconds are of CPU, all threads together, for the whole vector; wall_s is by the clock.",
    "The key is a public test key, tests/vectors/paillier/: no prime is searched, none is secret.",
    "Tables that are built once a key are built before anything is timed.",
    "encrypt: quantise, pack, encrypt and serialise one client's update.",
    "aggregate: read, add and serialise all clients'; check: that all are valid, which peers skip.",
    "decrypt: with the primes, unpacked; partial: one holder; combine: three holders' partials.",
    "exact needs the primes; djn-half needs the public key alone.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = read_options(arguments)
    with output_kept_clean():
        found = document(options)
    print(json.dumps(found, indent=1) if options.json else table(found))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encryption",
        description=(__doc__ or "").partition("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--bits", type=int, default=2048, choices=(2048, 3072))
    parser.add_argument("--parameters", type=_positive, default=1_000_000)
    parser.add_argument("--clients", type=_positive, default=10)
    parser.add_argument("--engines", default=",".join(NAMES), help="names, with commas")
    parser.add_argument("--threads", choices=("1", "all"), help="both, if not given")
    parser.add_argument("--seconds", type=float, default=1.5, help="CPU for one measurement")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--memory", action="store_true", help="also the peak of encrypting")
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(text)
    return number


def document(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that the options ask for."""
    work = Workload(options.bits, options.parameters, options.clients, options.seconds)
    everywhere = available_cores()
    threads = {None: sorted({1, everywhere}), "1": [1], "all": [everywhere]}[options.threads]
    machine = _machine(everywhere)  # its load before ours
    memory = _memory(work) if options.memory else None  # first: a peak never falls again
    results: list[dict[str, Any]] = []
    missing: list[dict[str, str]] = []
    for name in filter(None, options.engines.split(",")):
        try:
            results.extend(ours.results(work, name.strip(), threads))
        except EnvironmentUnfit as error:
            missing.append({"system": f"banyan {name}", "reason": error.message})
    for name, peer in {} if options.no_peers else PEERS.items():
        try:
            results.extend(peer(work, threads))
        except ImportError as error:
            missing.append({"system": name, "reason": f"not installed ({error}); {INSTALL}"})
    layout = work.layout(1)
    return {
        "schema": SCHEMA,
        "bits": work.bits,
        "parameters": work.parameters,
        "clients": work.clients,
        "value_bits": VALUE_BITS,
        "guard_bits": layout.guard_bits,
        "slots": layout.slots,
        "ciphertexts": layout.plaintexts,
        "key": f"tests/vectors/paillier/{work.bits}.json",
        "machine": machine,
        "notes": list(NOTES),
        "results": results,
        "missing": missing,
        **({} if memory is None else {"memory": memory}),
    }


def _machine(cores: int) -> dict[str, Any]:
    """Name the processor and the libraries, not the host."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    versions = {}
    for package in ("gmpy2", "llvmlite", "numpy", "phe", "sf-heu", "tenseal"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": next(models, platform.machine()),
        "cores": cores,
        "load_before": round(os.getloadavg()[0], 2),
        "python": sys.version.split()[0],
        "versions": versions,
    }


def _memory(work: Workload) -> dict[str, Any]:
    """Return what encrypting holds on top of what the process held before."""
    key, engine = work.keys.public, current().name
    layout = work.layout(1)
    progress(f"memory, {engine}: encrypting {work.parameters} parameters")
    base_powers(key, engine)  # the table of powers, once a key
    slots = work.slots(layout, 0)
    before = _peak_bytes()
    made = len(vectors.encrypt(key, layout, bytes(32), slots).to_bytes())
    grown = _peak_bytes() - before
    return {
        "engine": engine,
        "ciphertext_bytes": made,
        "peak_above_start_bytes": grown,
        "times_the_ciphertext": round(grown / made, 2),
    }


def _peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
