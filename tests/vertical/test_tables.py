"""Joint models of real tables that come inside Python packages, if these are installed.

``pip install scikit-learn statsmodels`` into the environment, then ``./dev soak``. The tables are
read where they are; none is kept here.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.vertical.simulation import simulate
from fusion.services.alignment import Column

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.soak

CASES = [
    ("breast", "logistic", "dealer"),
    ("breast", "boosting", "dealer"),
    ("fair", "logistic", "dealer"),
    ("fair", "boosting", "paillier"),
    ("diabetes", "linear", "dealer"),
    ("diabetes", "boosting", "dealer"),
    ("randhie", "poisson", "dealer"),
    ("randhie", "boosting", "dealer"),
]
OWN = {"breast": 10, "diabetes": 4, "fair": 2, "randhie": 4}
"""Columns of the label party; the other has the rest."""


def table(name: str) -> tuple[Any, Any]:
    """Return columns (a data frame) and label of a table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        if name in {"breast", "diabetes"}:
            data = pytest.importorskip("sklearn.datasets")
            load = data.load_breast_cancer if name == "breast" else data.load_diabetes
            found = load(as_frame=True)
            return found.data, found.target
        pytest.importorskip("statsmodels")
        data = importlib.import_module(f"statsmodels.datasets.{name}").load_pandas().data
    label = {"fair": "affairs", "randhie": "mdvis"}[name]
    values = (data[label] > 0).astype(int) if name == "fair" else data[label]
    return data.drop(columns=label), values


@pytest.mark.parametrize(("name", "model", "backend"), CASES)
def test_joint_is_pooled_and_better_than_alone(
    name: str, model: str, backend: str, tmp_path: Path
) -> None:
    columns, label = table(name)
    columns.insert(0, "id", [f"R{i}" for i in range(len(columns))])
    own, other = columns.iloc[:, : OWN[name] + 1].copy(), columns.copy()
    own["y"] = np.asarray(label)
    other = other.drop(columns=list(own.columns[1:-1])).iloc[::-1]
    files = {"own": tmp_path / "own.csv", "other": tmp_path / "other.csv"}
    own.to_csv(files["own"], index=False)
    other.to_csv(files["other"], index=False)
    options = {"test_fraction": 0.2, "seed": 0, "backend": backend, "trees": 15, "epochs": 60}
    found = simulate(
        ("own", files["own"]), [("other", files["other"])],
        identifier=Column("id", "text", "refuse"), label="y", model=model, options=options,
    )  # fmt: skip
    for part in ("train", "test"):
        if model == "boosting":
            assert found["auc"][part] == found["auc_pooled"][part]
        else:
            assert abs(found["auc"][part] - found["auc_pooled"][part]) <= 0.002
        assert found["auc"][part] > found["auc_label_party_alone"][part]
