"""The demo's joint models are as good as pooled data gives, and better than anyone's own."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import resources

import numpy as np
import pytest

from federated.baselines import alone, evaluate, federate, mean_update, pooled, prepare_all
from federated.models.registry import build
from federated.optimisers import make
from federated.study import Study, parse_study
from fusion.connectors.files import Table, read_table
from tests.federated_study.studies import study, table

DEMO = resources.files("federated") / "demo"


def demo(name: str) -> tuple[Study, dict[str, Table]]:
    described = parse_study((DEMO / name).read_text("utf-8"), name)
    columns = [*(column.name for column in described.columns), described.label]
    with ExitStack() as files:
        return described, {
            org: read_table(
                files.enter_context(resources.as_file(DEMO / f"{org}.parquet")), columns
            )
            for org in described.organisations
        }


@pytest.mark.parametrize("name", ["study.toml", "study-mlp.toml"])
def test_the_joint_model_is_as_good_as_pooled_data_and_better_than_anyone_alone(name: str) -> None:
    described, tables = demo(name)
    data = prepare_all(described, tables)
    run = federate(described, data)
    joint = evaluate(described, run.params, run.standardiser, data)
    assert joint is not None
    assert pooled(described, data) == pytest.approx(joint, abs=0.002)
    assert all(joint > (alone(described, org, data) or 1.0) for org in data)
    assert run.largest_delta < described.aggregation.clip


def test_the_demo_data_fit_the_study_without_a_notice() -> None:
    described, tables = demo("study.toml")
    data = prepare_all(described, tables)
    assert {org: tables[org].rows for org in tables} == {
        "federal": 1432, "state": 1981, "local": 3136, "enterprise": 39463,
    }  # fmt: skip
    assert not any(part.notices for part in data.values())
    assert not any(part.clipped_values for part in data.values())


def test_the_demo_data_are_small_and_attributed() -> None:
    files = [file for file in DEMO.iterdir() if file.name.endswith(".parquet")]
    assert sum(len(file.read_bytes()) for file in files) < 1024 * 1024
    attribution = (DEMO / "ATTRIBUTION.md").read_text("utf-8")
    assert "10.24432/C5XW20" in attribution
    assert "CC BY 4.0" in attribution


def test_the_mean_update_is_that_of_the_run() -> None:
    small = study()
    data = prepare_all(small, {"north": table(40), "south": table(80), "west": table(120)})
    run = federate(small, data)
    params, optimiser = build(small, small.features).initial(small.seed), make(small)
    for number in range(1, small.rounds + 1):
        mean = mean_update(small, params, run.standardiser, data, number)
        params = optimiser.step(params, mean)
    assert (params == run.params).all()


def test_an_organisation_counts_by_its_rows() -> None:
    small = study(("rounds = 3", "rounds = 1"))
    data = prepare_all(small, {"north": table(40), "south": table(400)})
    by = federate(small, data).standardiser
    start = build(small, small.features).initial(0)
    both = mean_update(small, start, by, data, 1)
    each = [mean_update(small, start, by, {org: data[org]}, 1) for org in data]
    assert both == pytest.approx((30 * each[0] + 300 * each[1]) / 330)


def test_what_exceeds_the_clip_is_cut_as_in_the_sum() -> None:
    small = study(
        ("[key]", "[aggregation]\nclip = 0.000001\n[key]"), ("max_rows = 1000", "max_rows = 30")
    )
    data = prepare_all(small, {"north": table(40)})
    run = federate(small, data)
    start = build(small, small.features).initial(0)
    mean = mean_update(small, start, run.standardiser, data, 1)
    assert np.abs(mean).max() == pytest.approx(0.000001)
    assert run.largest_delta > 0.000001
