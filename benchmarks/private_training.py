"""How good a private model is: ``python -m benchmarks.private_training``.

The demo's four organisations and its private study, with several epsilons and seeds, and the
demo's plain study beside it. Sums are added in the clear: encryption changes no integer of them.
"Exact" is the AUC of the model on all hold-outs; "told" is what the noisy histogram says.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from federated.baselines import evaluate, federate
from federated.data import Standardiser, moments_names, prepare
from federated.layouts import layouts
from federated.models.registry import build
from federated.optimisers import make
from federated.privacy.contribution import Part
from federated.privacy.reading import quality_of, read_moments, rows_of
from federated.study import parse_study
from federated.tables import read_columns
from fusion.crypto.paillier.packing import read_sum

if TYPE_CHECKING:
    from federated.data import Prepared
    from federated.privacy.contribution import Incoming
    from federated.privacy.plan import Purpose
    from federated.study import Study

DEMO = Path(str(files("federated").joinpath("demo")))
EPSILONS = (0.5, 1.0, 2.0, 8.0)
SEEDS = (7, 8, 9)


@dataclass(frozen=True)
class Trained:
    """A private model's quality.

    Attributes:
        exact: AUC on the union of the hold-outs.
        told: What its noisy histogram says.
    """

    exact: float
    told: float


def study_of(name: str, *, seed: int = 7, epsilon: float = 1.0) -> Study:
    """Return one of the demo's studies with another seed and epsilon."""
    study = parse_study((DEMO / name).read_text("utf-8"), name)
    if study.privacy is None:
        return replace(study, seed=seed)
    micro = {"epsilon_micro": round(epsilon * 1_000_000)}
    return replace(study, seed=seed, privacy=study.privacy.model_copy(update=micro))


def data_of(study: Study) -> dict[str, Prepared]:
    """Read and split the demo's tables."""
    return {
        org: prepare(study, read_columns(study, DEMO / f"{org}.parquet"))
        for org in study.organisations
    }


def train(study: Study) -> Trained:
    """Run a private study with all its sums in the clear.

    Raises:
        ValueError: The study is not private.
    """
    if study.noise is None:
        msg = "The study has no [privacy]."
        raise ValueError(msg)
    data, model = data_of(study), build(study, study.features)
    parts = {org: Part(study, model, each, lambda: None) for org, each in data.items()}
    layout = layouts(
        study, parameters=model.initial(study.seed).size, moments=len(moments_names(study))
    )

    def summed(
        purpose: Purpose, incoming: dict[str, Incoming] | None
    ) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        slots = [
            part.slots(layout[purpose], purpose, None if incoming is None else incoming[org])
            for org, part in parts.items()
        ]
        total = np.asarray(np.sum(slots, axis=0), np.uint64)
        return read_sum(layout[purpose], total, len(parts))

    standardiser = Standardiser.from_sums(
        study, read_moments(study.noise, summed("moments", None), len(parts))
    )
    rows = {
        org: (standardiser.apply(each.train_x), standardiser.apply(each.holdout_x))
        for org, each in data.items()
    }
    params, optimiser = model.initial(study.seed), make(study)
    for _ in range(study.rounds):
        totals = summed("train", {org: (params, *each) for org, each in rows.items()})
        rate = study.local.learning_rate / rows_of(totals, len(parts))
        params = optimiser.step(params, totals["update"] * rate)
    told, _ = quality_of(summed("evaluate", {org: (params, *each) for org, each in rows.items()}))
    return Trained(_known(evaluate(study, params, standardiser, data)), _known(told.auc))


def _known(area: float | None) -> float:
    """Return an AUC as a number: NaN where a class is missing, as noise may have it."""
    return math.nan if area is None else area


def main() -> None:
    """Print a table."""
    plain = []
    for seed in SEEDS:
        study = study_of("study.toml", seed=seed)
        data = data_of(study)
        run = federate(study, data)
        plain.append(_known(evaluate(study, run.params, run.standardiser, data)))
    print(f"{'epsilon':>10}  {'exact AUC':>22}  {'told AUC':>22}")
    print(f"{'none':>10}  {_spread(plain)}")
    for epsilon in EPSILONS:
        made = [train(study_of("study-private.toml", seed=s, epsilon=epsilon)) for s in SEEDS]
        exact, told = [each.exact for each in made], [each.told for each in made]
        print(f"{epsilon:>10}  {_spread(exact)}  {_spread(told)}")


def _spread(values: list[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.4f} ({min(values):.4f}–{max(values):.4f})"


if __name__ == "__main__":
    main()
