"""What an epoch of a logistic model costs: with a dealer, without anybody, and with spu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks import spu_peer
from benchmarks.party_clock import Clock
from benchmarks.timing import progress
from federated import seeds
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.linear import LinearFeatureParty, LinearLabelParty
from federated.protocols.vertical.linear_dealing import LinearDealer
from federated.protocols.vertical.linear_encrypted import (
    EncryptedLinearFeature,
    EncryptedLinearLabel,
)
from federated.protocols.vertical.linear_terms import LinearTerms

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusion.crypto.paillier.keys import PrivateKey

    Machines = dict[str, Any]

NAMES: Final = ("label", "feature")
PROTOCOLS: Final = ("CHEETAH", "SEMI2K")
"""Of spu: of two parties alone, and with numbers that a third deals."""


def measure_dealt(rows: int, widths: tuple[int, int], epochs: int) -> dict[str, Any]:
    """Measure with a dealer."""
    progress("a logistic model with a dealer")

    def machines(terms: LinearTerms, blocks: list[Any], labels: Any) -> Machines:  # noqa: ANN401
        return {
            "label": LinearLabelParty("label", ["feature"], "dealer", terms, blocks[0], labels),
            "feature": LinearFeatureParty("feature", NAMES, "dealer", terms, blocks[1]),
            "dealer": LinearDealer(terms, "label", ["feature"]),
        }

    return _measured(machines, rows, widths, epochs)


def measure_encrypted(
    rows: int, widths: tuple[int, int], epochs: int, key: PrivateKey
) -> dict[str, Any]:
    """Measure without anybody; one key does for both parties, since it is only measured."""
    progress("a logistic model with Paillier")

    def machines(terms: LinearTerms, blocks: list[Any], labels: Any) -> Machines:  # noqa: ANN401
        return {
            "label": EncryptedLinearLabel("label", ["feature"], terms, blocks[0], labels, key),
            "feature": EncryptedLinearFeature("feature", NAMES, terms, blocks[1], key),
        }

    return _measured(machines, rows, widths, epochs)


def measure_peers(python: str, rows: int, widths: tuple[int, int], epochs: int) -> dict[str, Any]:
    """Measure spu, if its Python is named; return results, and what is missing and why."""
    if not python:
        return {"results": [], "missing": [{"system": "spu", "reason": spu_peer.MISSING}]}
    results = []
    for protocol in PROTOCOLS:
        progress(f"a logistic model with spu, {protocol}")
        results.append(spu_peer.logistic(python, rows, sum(widths), epochs, protocol))
    return {"results": results, "missing": []}


def _measured(
    machines: Callable[..., Machines], rows: int, widths: tuple[int, int], epochs: int
) -> dict[str, Any]:
    """Measure an epoch: what a run of more epochs takes beyond a run of one."""
    first, sent_first = _run(machines, rows, widths, 1)
    clock, sent = _run(machines, rows, widths, 1 + epochs)
    by_party = clock.less(first, epochs)
    each = {n: (sent[n] - sent_first.get(n, 0)) // epochs for n in sent}
    an_epoch = round(sum(by_party.values()), 4)
    return {
        "rows": rows,
        "columns": list(widths),
        "cpu_s_an_epoch": an_epoch,
        "cpu_s_by_party": by_party,
        "cpu_s_once": round(max(0.0, sum(first.cpu.values()) - an_epoch), 3),
        "bytes_an_epoch": each,
        "bytes_once": {n: sent_first[n] - each.get(n, 0) for n in sent_first},
    }


def _run(
    make: Callable[..., Machines], rows: int, widths: tuple[int, int], epochs: int
) -> tuple[Clock, dict[str, int]]:
    """Train a model of made-up columns."""
    draw = seeds.generator("bench-linear", rows, *widths)
    blocks = [draw.normal(size=(rows, width)) for width in widths]
    labels = (draw.random(rows) < 0.5).astype(float)
    terms = LinearTerms(family="logistic", rows=rows, epochs=epochs)
    machines, clock = make(terms, blocks, labels), Clock()
    first = [
        (name, out)
        for name, machine in machines.items()
        for out in clock.timed(name, machine.start)
    ]
    sent = converse(machines, first, timed=clock.timed)
    return clock, {f"{a} to {b}": n for (a, b), n in sent.items()}
