"""What vertical learning costs: ``python -m benchmarks.vertical [--json]``.

Boosting of 30,000 rows, 20 columns at one feature party and 3 at the label party, 32 bins, depth 5;
an epoch of a logistic model of 100,000 rows by 30 + 300 columns with a dealer, and of 30,000 by
10 + 20 without anybody; beside it spu's, where its Python is named (``--spu``,
``benchmarks/peers-spu.txt``); encrypted sums by bin beside sf-heu's, where that is installed
(``benchmarks/peers.txt``). Seconds of CPU of all parties in
this process together, the key and everything that is done once a run apart; bytes between them. The
trees are compared with those of the pooled table in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.party_clock import Clock
from benchmarks.timing import available_cores, output_kept_clean, progress
from benchmarks.vertical_linear import measure_dealt, measure_encrypted, measure_peers
from benchmarks.vertical_sums import measure_sums
from federated import seeds
from federated.protocols.vertical import pooled
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.dealt import Dealer, DealtFeatureSide, DealtLabelSide
from federated.protocols.vertical.encrypted import EncryptedFeatureSide, EncryptedLabelSide
from federated.protocols.vertical.feature_party import FeatureParty
from federated.protocols.vertical.label_party import LabelParty
from federated.protocols.vertical.sides import PlainFeatureSide, PlainLabelSide
from federated.protocols.vertical.trees import Growth
from fusion.crypto.paillier.engines.selection import current
from fusion.crypto.paillier.keys import PrivateKey
from fusion.crypto.paillier.primes import safe_prime
from fusion.crypto.paillier.randomisers import Exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.protocols.vertical.binning import Columns

OWN_COLUMNS: Final = 3
TERMS: Final = bytes(32)


def table(rows: int, columns: int) -> tuple[list[Columns], NDArray[np.float64]]:
    """Make columns and a label that depends on both parties'."""
    draw = seeds.generator("bench-vertical", rows, columns)
    values = draw.normal(size=(rows, OWN_COLUMNS + columns))
    score = values @ draw.normal(size=values.shape[1]) / 4
    labels = (draw.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
    every = np.ones(rows, bool)
    parts = (range(OWN_COLUMNS), range(OWN_COLUMNS, values.shape[1]))
    return [bin_columns({f"c{i}": values[:, i] for i in p}, every, 32) for p in parts], labels


def boosting(
    backend: str,
    columns: list[Columns],
    labels: NDArray[np.float64],
    trees: int,
    key: PrivateKey | None,
) -> tuple[Clock, dict[str, int], bool]:
    """Grow joint trees; return the times, the bytes, and whether they are the pooled table's."""
    rows = len(labels)
    growth = Growth(trees=trees, depth=5, alone_trees=0, learning_rate=0.3)
    machines: dict[str, Any] = {}
    label_side: Any
    side: Any
    if backend == "paillier":
        assert key is not None  # noqa: S101 - made before
        label_side = EncryptedLabelSide(key, Exact(key), growth, rows)
        side = EncryptedFeatureSide(columns[1], growth, rows)
    elif backend == "dealer":
        label_side = DealtLabelSide("dealer", ["feature"], rows)
        side = DealtFeatureSide(columns[1], growth, rows, "dealer", "label", 0)
        machines["dealer"] = Dealer("label", ["feature"])
    else:
        label_side, side = PlainLabelSide(), PlainFeatureSide(columns[1], growth, rows)
    training = np.ones(rows, bool)
    label = LabelParty(["feature"], columns[0], labels, training, growth, TERMS, label_side)
    feature = FeatureParty("label", columns[1], growth, TERMS, side)
    machines |= {"label": label, "feature": feature}
    clock = Clock()
    sent = converse(machines, [("feature", o) for o in feature.offer()], timed=clock.timed)
    expected = pooled.boost(columns, labels, training, growth)
    return (
        clock,
        {f"{a} to {b}": n for (a, b), n in sent.items()},
        bool(np.array_equal(label.scores, expected.scores)),
    )


def measure_boosting(rows: int, columns: int, trees: int, key: PrivateKey) -> list[dict[str, Any]]:
    """Measure each back end: a tree is what a run of more trees takes beyond a run of one."""
    parts, labels = table(rows, columns)
    found = []
    for backend in ("paillier", "dealer", "plain"):
        progress(f"boosting with {backend}")
        first, sent_first, _ = boosting(backend, parts, labels, 1, key)
        clock, sent, equal = boosting(backend, parts, labels, 1 + trees, key)
        by_party = clock.less(first, trees)
        found.append(
            {
                "backend": backend,
                "rows": rows,
                "columns": columns,
                "cpu_s_a_tree": round(sum(by_party.values()), 4),
                "cpu_s_by_party": by_party,
                "bytes_a_tree": {n: (sent[n] - sent_first.get(n, 0)) // trees for n in sent},
                "equal_to_pooled": equal,
            }
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--trees", type=int, default=2)
    parser.add_argument("--sum-rows", type=int, default=2_000)
    parser.add_argument("--linear-rows", type=int, default=100_000)
    parser.add_argument("--linear-columns", type=int, default=300)
    parser.add_argument("--encrypted-rows", type=int, default=30_000)
    parser.add_argument("--encrypted-columns", type=int, default=20)
    parser.add_argument("--spu", default="", help="a Python that has SecretFlow's spu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    key = PrivateKey(safe_prime(1024), safe_prime(1024))
    encrypted = (10, options.encrypted_columns)
    with output_kept_clean():
        document = {
            "schema": "fusion.bench-vertical/1",
            "engine": current().name,
            "cores": available_cores(),
            "load_before": round(os.getloadavg()[0], 2),
            "sums": measure_sums(key, options.sum_rows, options.columns),
            "boosting": measure_boosting(options.rows, options.columns, options.trees, key),
            "linear": measure_dealt(options.linear_rows, (30, options.linear_columns), 8),
            "linear_encrypted": measure_encrypted(options.encrypted_rows, encrypted, 2, key),
            "linear_peers": measure_peers(options.spu, options.encrypted_rows, encrypted, 2),
            "load_after": round(os.getloadavg()[0], 2),
        }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    show(document)


def show(document: dict[str, Any]) -> None:
    """Print the document for people."""
    load = f"{document['load_before']} to {document['load_after']}"
    print(f"engine {document['engine']}, {document['cores']} cores, load {load}")
    for each in document["sums"]["results"]:
        name = " ".join(filter(None, (each["system"], each["engine"])))
        print(f"sums by bin, {name}: {each['us_a_row_and_column']:.2f} us a row and column")
    for gone in document["sums"]["missing"]:
        print(f"left out: {gone['system']}: {gone['reason']}")
    print(f"{'boosting':<10} {'CPU s a tree':>13} {'MB a tree':>10} {'as pooled':>10}   by party")
    for each in document["boosting"]:
        size = sum(each["bytes_a_tree"].values()) / 1e6
        parties = ", ".join(f"{p} {s:.3f}" for p, s in each["cpu_s_by_party"].items())
        print(
            f"{each['backend']:<10} {each['cpu_s_a_tree']:>13.3f} {size:>10.1f} "
            f"{each['equal_to_pooled']!s:>10}   {parties}"
        )
    for name, label in (("linear", "dealer"), ("linear_encrypted", "paillier")):
        found = document[name]
        once, epoch = (sum(found[k].values()) / 1e6 for k in ("bytes_once", "bytes_an_epoch"))
        parties = ", ".join(f"{p} {s:.3f}" for p, s in found["cpu_s_by_party"].items())
        print(
            f"logistic with {label}, {found['rows']} x {sum(found['columns'])}: "
            f"{found['cpu_s_an_epoch']:.3f} CPU s an epoch ({parties}), {found['cpu_s_once']:.1f} "
            f"once; {epoch:.1f} MB an epoch, {once:.1f} once"
        )
    for each in document["linear_peers"]["results"]:
        print(
            f"logistic with {each['system']}, {each['rows']} x {each['columns']}: "
            f"{each['cpu_s_an_epoch']:.3f} CPU s an epoch"
        )
    for gone in document["linear_peers"]["missing"]:
        print(f"left out: {gone['system']}: {gone['reason']}")


if __name__ == "__main__":
    main()
