"""What vertical models of UCI Adult tell: ``python -m benchmarks.leakage [--json]``.

Terms of boosting that protect, and terms that do not, each trained over the protocol and measured
by its leak report; beside the report's attacks on membership the likelihood-ratio attack of Carlini
et al. (IEEE S&P 2022, algorithm 1, one variance for all rows), whose shadow models are trained on
the pooled table: nobody in a federation could do that, so it shows what the report's attacks miss.
The registry has the label; the tax office and the employer have the other columns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from federated import seeds
from federated.metrics import auc
from federated.protocols.vertical import pooled
from federated.protocols.vertical.gradients import Goss, Loss
from federated.protocols.vertical.linear_terms import LinearTerms
from federated.protocols.vertical.trees import Growth
from federated.vertical import membership, simulation
from federated.vertical.simulation import Boosting, Costs
from federated.vertical.tables import Label, read
from fusion.services.alignment import Column
from tests.vertical import adult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from federated.vertical.tables import Joined
    from fusion.grants.leakage import LeakReport

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

ORGANISATIONS: Final = ("local", "state", "federal")


def terms(trees: int) -> dict[str, Growth]:
    """Return the terms that are compared, by name."""
    usual = Growth(trees=trees, depth=5)
    steep = Growth(trees=trees, depth=8, min_leaf=1, l2=0.0, learning_rate=0.5)
    return {
        "as by default": usual,
        "no tree alone": replace(usual, alone_trees=0),
        "half of the trees alone": replace(usual, alone_trees=max(1, trees // 2)),
        "depth 1": Growth(trees=trees, depth=1, learning_rate=0.3),
        "GOSS 0.2:0.1": replace(usual, goss=Goss(top=0.2, other=0.1)),
        "leaves of one, steep": steep,
    }


def measure(joined: Joined, trees: int, shadows: int, *, small: int = 20) -> list[dict[str, Any]]:
    """Return what each model tells.

    Args:
        joined: The aligned tables.
        trees: Of boosting.
        shadows: Models of the likelihood-ratio attack; none if 0.
        small: A leaf of fewer rows is small.
    """
    found = []
    for name, growth in terms(trees).items():
        plan = Boosting(growth=growth, backend="dealer")
        outputs, model = simulation.boost(joined, plan, Costs(lambda _: None))
        began = time.process_time()
        told = simulation.leak(joined, outputs, model, small=small, seed=0)
        seconds = time.process_time() - began
        entry = _entry(name, joined, outputs, told, seconds)
        if shadows:
            entry["likelihood_ratio"] = likelihood_ratio(joined, plan, outputs, shadows)
        found.append(entry)
    linear = LinearTerms(family="logistic", rows=int(joined.training.sum()))
    outputs, weights = simulation.linear(joined, linear, "dealer", Costs(lambda _: None))
    began = time.process_time()
    told = simulation.leak(joined, outputs, weights, small=small, seed=0)
    found.append(_entry("logistic", joined, outputs, told, time.process_time() - began))
    return found


def _entry(
    name: str, joined: Joined, outputs: Floats, told: LeakReport, seconds: float
) -> dict[str, Any]:
    held_out = ~joined.training
    return {
        "model": name,
        "auc_test": auc(outputs[held_out], joined.labels[held_out]),
        "cpu_s": seconds,
        "report": told.document(),
    }


def likelihood_ratio(
    joined: Joined, plan: Boosting, outputs: Floats, shadows: int
) -> dict[str, Any]:
    """Carry the attack out; return its AUC and its rates at few false positives.

    Args:
        joined: The aligned tables.
        plan: How shadow models are trained: as the model was.
        outputs: Of the model that is attacked.
        shadows: How many; each on as many rows as the model, drawn anew.
    """
    rows, columns = len(joined.labels), plan.binned(joined, len(joined.names))
    inside = np.zeros((shadows, rows), bool)
    said = np.zeros((shadows, rows))
    for number in range(shadows):
        draw = seeds.generator("bench-shadow", number).permutation(rows)
        inside[number, draw[: int(joined.training.sum())]] = True
        scores = pooled.boost(columns, joined.labels, inside[number], plan.growth).scores
        loss = Loss(plan.growth.objective, joined.labels, inside[number])
        said[number] = _confidence(loss.outputs(scores), joined.labels)
    known = inside.any(axis=0) & ~inside.all(axis=0)
    means = [_mean(said[:, known], which[:, known]) for which in (inside, ~inside)]
    variances = [
        float(np.mean((said[:, known] - mean)[which[:, known]] ** 2))
        for mean, which in zip(means, (inside, ~inside), strict=True)
    ]
    mine = _confidence(outputs, joined.labels)[known]
    ratio = sum(
        sign * (-((mine - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
        for sign, mean, variance in zip((1, -1), means, variances, strict=True)
    )
    members = joined.training[known]
    caught = membership.caught(-np.asarray(ratio), members)
    return {
        "shadows": shadows,
        "rows": int(known.sum()),
        "auc": auc(np.asarray(ratio), members.astype(np.float64)),
        "caught": {str(share): bounded.value for share, bounded in caught},
    }


def _confidence(outputs: Floats, labels: Floats) -> Floats:
    """Return the logit of the probability of the true label."""
    right = np.clip(np.where(labels > 0, outputs, 1 - outputs), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(right / (1 - right)))


def _mean(values: Floats, which: Bools) -> Floats:
    return np.asarray((values * which).sum(axis=0) / which.sum(axis=0))


def load(organisations: tuple[str, ...]) -> Joined:
    """Cut the demo's tables by columns, and align the parts."""
    with tempfile.TemporaryDirectory() as folder:
        files = adult.write(Path(folder), organisations)
        parties = [(name, files[name]) for name in ("tax", "employer")]
        column = Column("person", "text", "refuse", fold=False)
        return read(
            ("registry", files["registry"]), parties, column, Label("over50k"),
            test_fraction=0.3, seed=0, tell=lambda _: None,
        )  # fmt: skip


def show(document: dict[str, Any]) -> None:
    """Print the document for people."""
    print(
        f"UCI Adult, {document['rows']} rows, {document['trees']} trees; "
        f"advantage, AUC and gain with bounds at 95 %"
    )
    for each in document["models"]:
        report = each["report"]
        members = report["membership"]
        worst = max(
            (a["advantage"] for a in members["attacks"]), key=lambda measure: measure["high_micro"]
        )
        print(f"{each['model']}: test AUC {each['auc_test']:.4f}, report {each['cpu_s']:.1f} CPU s")
        print(f"  members: advantage {_text(worst)}, AUC {_text(members['auc'])}")
        ratio = each.get("likelihood_ratio")
        if ratio is not None:
            rates = ", ".join(f"{v:.4f} at {int(k) / 1e4:g} %" for k, v in ratio["caught"].items())
            print(
                f"  members by {ratio['shadows']} shadow models: AUC {ratio['auc']:.3f}, "
                f"told {rates}"
            )
        for told in report["labels"]:
            last = told["guesses"][-1]
            print(
                f"  labels by {told['party']:<9} {_text(told['alone'])} without, "
                f"{_text(last['auc'])} with, gain {_text(last['gain'])}, "
                f"{_text(last['held_out'])} of rows held out"
            )
        leaves = report["leaves"]
        if leaves is not None:
            print(
                f"  leaves: smallest {leaves['smallest']}, {leaves['small']} below {leaves['k']}, "
                f"{leaves['pure']} of one label ({leaves['pure_rows']} rows), "
                f"{leaves['singletons']} rows alone in one"
            )


def _text(measure: dict[str, int] | None) -> str:
    if measure is None:
        return "-"
    value, low, high = (measure[f"{k}_micro"] / 1e6 for k in ("value", "low", "high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leakage", description=__doc__)
    parser.add_argument("--trees", type=int, default=40)
    parser.add_argument("--shadows", type=int, default=16, help="0 leaves them out")
    parser.add_argument("--organisations", nargs="+", default=list(ORGANISATIONS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    joined = load(tuple(options.organisations))
    document = {
        "schema": "fusion.bench-leakage/1",
        "rows": len(joined.labels),
        "trees": options.trees,
        "models": measure(joined, options.trees, options.shadows),
    }
    if options.json:
        print(json.dumps(document, indent=2))
        return
    show(document)


if __name__ == "__main__":
    main()
