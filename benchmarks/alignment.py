"""What an alignment of two costs: CPU of both sides, and of each step an item.

``python -m benchmarks.alignment [--items 100000] [--engines ifma,sodium] [--workers 1]
[--no-peers] [--spu PYTHON] [--json]``

Both sets have as many items, half of them in common; both sides of the protocol run in one
process, every message made and taken as it would be on a wire. With ``--workers`` above 1 threads
(kernels) or processes (sodium) share each side's work; the two sides still take turns, so that the
clock shows what sharing brings. Beside it, where it is installed, OpenMined's PSI
(``openmined_psi``), which is optional and in no lock, and SecretFlow's spu in an environment of its
own (``benchmarks/peers-spu.txt``), whose two parties are two processes; and its RR22 as alignments
use it, in two sandboxes (:mod:`benchmarks.rr22_confined`).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from benchmarks import rr22_confined, spu_peer
from benchmarks.timing import available_cores
from fusion.alignment.session import Session
from fusion.alignment.terms import Terms, field_of
from fusion.crypto.ristretto import selection
from fusion.crypto.ristretto.group import LocalMasker, Scalar
from fusion.services.maskers import ProcessMasker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusion.alignment.session import Maskers
    from fusion.crypto.ristretto.group import Group

PARTIES: Final = ("first", "second")
STEPS_AT: Final = 4096
"""Points, at most, by which single steps are measured."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--items", type=int, default=100_000, help="of each set")
    parser.add_argument("--engines", default=",".join(selection.NAMES))
    parser.add_argument("--workers", type=int, default=1, help="of each side")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--spu", default="", help="a Python that has SecretFlow's spu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    made = document(
        options.items,
        options.engines.split(","),
        options.workers,
        peers=not options.no_peers,
        spu=options.spu,
    )
    print(json.dumps(made, indent=2) if options.json else table(made))


def document(
    items: int, engines: Sequence[str], workers: int, *, peers: bool, spu: str = ""
) -> dict[str, Any]:
    """Return what was measured."""
    results, missing = [], []
    for name in engines:
        reason = selection.unavailable(name)
        if reason is None:
            _say(f"{name}: {items:,} and {items:,} items ...")
            results.append(_ours(selection.named(name, workers), items, workers))
        else:
            missing.append({"system": f"banyan {name}", "reason": reason})
    if peers:
        try:
            library = importlib.import_module("private_set_intersection.python")
        except ImportError:
            missing.append({"system": "openmined_psi", "reason": "not installed"})
        else:
            _say(f"openmined_psi: {items:,} and {items:,} items ...")
            results.append(_openmined(library, items))
        if not spu:
            missing.append({"system": "spu", "reason": spu_peer.MISSING})
        for protocol in spu_peer.PSI_PROTOCOLS if spu else ():
            _say(f"spu {protocol}: {items:,} and {items:,} items ...")
            results.append(spu_peer.psi(spu, items, protocol))
        if spu:
            _say(f"rr22, confined: {items:,} and {items:,} items ...")
            results.append(rr22_confined.psi(spu, items))
    return {
        "schema": "fusion.bench-alignment/1",
        "items": items,
        "cores": available_cores(),
        "workers": workers,
        "results": results,
        "missing": missing,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _sets(items: int) -> tuple[list[str], list[str]]:
    """Return 18-digit keys of two sets of which half are common."""
    first = [f"99000019{at:010d}" for at in range(items)]
    return first, [f"99000019{at:010d}" for at in range(items // 2, items + items // 2)]


def _ours(group: Group, items: int, workers: int) -> dict[str, Any]:
    keys = _sets(items)
    terms = Terms(
        field=field_of("benchmark", "job", "ID", "text"),
        parties=PARTIES,
        outcome="one",
        set_size=items,
    )
    open_masker: Maskers = partial(_masker, group)
    if workers > 1 and group.name == "sodium":
        os.environ[selection.VARIABLE] = group.name  # what the workers take
        open_masker = partial(ProcessMasker, workers)
    began, clock = _cpu(), time.perf_counter()
    sessions = [
        Session.begin(terms, name, own, open_masker)
        for name, own in zip(PARTIES, keys, strict=True)
    ]
    sent = _carry(*sessions)
    cpu, wall = _cpu() - began, time.perf_counter() - clock
    outcome = sessions[0].outcome()
    if outcome is None or outcome.size != items - items // 2:
        raise SystemExit("the intersection is wrong")
    return {
        "system": "banyan",
        "engine": group.name,
        "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3),
        "us_an_item": round(1e6 * cpu / items, 1),
        "bytes_an_item": round(sent / items, 1),
        "steps_us": _steps(group, min(items, STEPS_AT)),
    }


def _masker(group: Group, scalar: Scalar) -> LocalMasker:
    return LocalMasker(scalar, group)


def _carry(one: Session, other: Session) -> int:
    sent, count, moved = 0, {one.me: 0, other.me: 0}, True
    while moved:
        moved = False
        for speaker, listener in ((one, other), (other, one)):
            while count[speaker.me] < speaker.ready:
                message = speaker.message(count[speaker.me])
                listener.take(message)
                sent += len(message)
                count[speaker.me] += 1
                moved = True
    return sent


def _steps(group: Group, count: int) -> dict[str, float]:
    """Return microseconds of CPU an item of each step."""
    field = field_of("benchmark", "job", "ID", "text")
    keys = [f"99000019{at:010d}" for at in range(count)]
    digests = field.digests(keys)
    points = group.from_uniform(digests)
    scalar = Scalar.fresh()
    steps: dict[str, Callable[[], object]] = {
        "hash": lambda: field.digests(keys),
        "to_group": lambda: group.from_uniform(digests),
        "multiply": lambda: group.multiply(scalar, points),
        "sha512_alone": lambda: [hashlib.sha512(key.encode()).digest() for key in keys],
    }
    return {name: round(1e6 * _seconds(step) / count, 2) for name, step in steps.items()}


def _openmined(library: Any, items: int) -> dict[str, Any]:  # noqa: ANN401 - an optional library
    """Return the cost of OpenMined's PSI with raw points, which has no false positives."""
    first, second = _sets(items)
    began, clock = _cpu(), time.perf_counter()
    client, server = (
        library.client.CreateWithNewKey(True),
        library.server.CreateWithNewKey(True),
    )
    setup = server.CreateSetupMessage(1e-9, items, second, library.DataStructure.RAW)
    request = client.CreateRequest(first)
    response = server.ProcessRequest(request)
    found = client.GetIntersection(setup, response)
    cpu, wall = _cpu() - began, time.perf_counter() - clock
    if len(found) != items - items // 2:
        raise SystemExit("openmined_psi: the intersection is wrong")
    sent = sum(len(each.SerializeToString()) for each in (setup, request, response))
    return {
        "system": "openmined_psi",
        "engine": "P-256",
        "cpu_s": round(cpu, 3),
        "wall_s": round(wall, 3),
        "us_an_item": round(1e6 * cpu / items, 1),
        "bytes_an_item": round(sent / items, 1),
        "steps_us": {},
    }


def _cpu() -> float:
    """Return seconds of CPU of this process and of those that have ended."""
    return sum(os.times()[:4])


def _seconds(step: Callable[[], object]) -> float:
    """Return the best CPU time of three."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        step()
        best = min(best, time.process_time() - began)
    return best


def table(made: dict[str, Any]) -> str:
    """Return the document as lines for a terminal."""
    setting = f"CPU of both sides, {made['workers']} workers each"
    lines = [f"{made['items']:,} items a side, half in common; {setting}"]
    for each in made["results"]:
        lines.append(
            f"{each['system'] + ' ' + each['engine']:<24} {each['cpu_s']:>9.2f} s "
            f"[{each['wall_s']:.1f} by the clock] "
            f"{each['us_an_item']:>8.1f} us an item {each['bytes_an_item']:>7.1f} bytes an item"
        )
        lines.extend(
            f"  {name:<22} {cost:>9.2f} us an item" for name, cost in each["steps_us"].items()
        )
    lines.extend(f"left out: {gone['system']}: {gone['reason']}" for gone in made["missing"])
    return "\n".join(lines)


if __name__ == "__main__":
    main()
