"""A study's scorecard: from tables to points, between parties; what it says is what was judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.protocols.vertical import linear_pooled, scorecards
from federated.protocols.vertical.binning import bin_columns
from federated.protocols.vertical.linear_terms import Target
from federated.vertical.keeping import COUNTED, COUNTS, MOST, Mark
from federated.vertical.measures import measure
from federated.vertical.model_section import Scorecard
from federated.vertical.options import check
from federated.vertical.simulation import simulate
from federated.vertical.tables import coded
from fusion.crypto.paillier.keys import PrivateKey
from fusion.errors import InputInvalid
from fusion.services import engines
from fusion.services.alignment import Column
from tests.conversing.network import network
from tests.vertical.studies import LABEL, Run, scorecard, study_text, tables

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.keys import Dealt

    Floats = NDArray[np.float64]

PROMISE = """
[leakage]
membership_permille = 1000
label_leak_permille = 1000
smallest_leaf = 20
"""


@pytest.fixture
def _keys(monkeypatch: pytest.MonkeyPatch, dealt: Dealt) -> None:
    """Keys are made of primes that are there: making safe ones takes seconds."""

    def key(bits: int) -> PrivateKey:
        assert bits == 2048
        return PrivateKey(*dealt.primes)

    monkeypatch.setattr("federated.vertical.scorecard_work.own_key", key)


def scored(run: Run) -> tuple[Floats, list[Any]]:
    """Return points of all common rows by the parts that were kept, and labels."""
    joined = run.joined()
    label, *others = joined.names
    engine = engines.scoring()
    opened = {name: engine.open(job.part or b"") for name, job in run.jobs.items()}
    rows = list(range(len(joined.labels)))
    given = {
        name: engine.answers(opened[name], table, rows)
        for name, table in zip(others, joined.tables[1:], strict=True)
    }
    found = engine.scores(opened[label], joined.tables[0], rows, given)
    return np.array([each.score for each in found]), [*opened.values()]


def pooled(run: Run) -> Floats:
    """Return chances by the best scorecard of all columns in one table, events as they are."""
    joined, model = run.joined(), run.study.model
    assert isinstance(model, Scorecard)
    training, pieces = joined.training, []
    for table in joined.tables:
        fine = bin_columns(coded(table, training), training, model.bins)
        columns = scorecards.enough(fine, training, model.min_bin)
        found = scorecards.weights_of_evidence(columns, joined.labels)
        pieces.append(scorecards.replaced(columns, found))
    block = np.hstack([np.ones((len(training), 1)), *pieces])
    target = Target.of("logistic", joined.labels[training])
    weights = linear_pooled.fit(block[training], target, 1e-4)
    return target.outputs(block @ weights)


@pytest.mark.usefixtures("_keys")
@pytest.mark.parametrize("names", [("tax",), ("tax", "work")])
def test_points_are_those_of_a_scorecard(tmp_path: Path, names: tuple[str, ...]) -> None:
    with network() as net:
        text = study_text(scorecard(epochs=30) + PROMISE, names, positive="1", patience=60.0)
        run = Run(tmp_path, text, net, numbers=True)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        quality, leaks = run.standings()[LABEL]["quality"], run.jobs[LABEL].leaks
        points, opened = scored(run)
    joined = run.joined()
    scale = scorecards.Scale(points=500)
    chances = 1 / (1 + np.exp((points - scale.offset) / scale.factor))
    expected = measure("auc", chances, joined.labels, joined.training)
    assert quality["joint"] == pytest.approx(expected, abs=1e-9)
    assert quality["joint"]["test"] > quality["alone"]["test"]
    in_one_place = measure("auc", pooled(run), joined.labels, joined.training)
    assert quality["joint"]["train"] == pytest.approx(in_one_place["train"], abs=0.01)
    # Points say chances: of everybody together as many as there are.
    training = joined.training
    assert chances[training].mean() == pytest.approx(joined.labels[training].mean(), abs=0.01)
    assert leaks is not None
    assert leaks["verdict"]["released"]
    assert {each["party"] for each in leaks["report"]["weights"]} == {LABEL, *names}
    assert all(each["smallest"] >= 20 for each in leaks["report"]["weights"])
    tables = [each.points for each in opened]
    assert [len(table) for table in tables] == [2, *(3 for _ in names)]


@pytest.mark.usefixtures("_keys")
def test_a_run_goes_on_without_counting_again(tmp_path: Path) -> None:
    with network() as net:
        text = study_text(scorecard(), ("tax",), positive="1", patience=60.0)
        run = Run(tmp_path, text, net, numbers=True)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        first, _ = scored(run)
        kept = run.parties["tax"].keeping.get(COUNTS)
        start = Mark(5, 1)
        assert start in run.marks()
        run.again("tax")
        run.begin(2, start)
        assert set(run.finish().values()) == {"done"}, run.standings()
        again, _ = scored(run)
        assert np.abs(first - again).max() < 1.0  # points; rounding of shares is another one
        assert run.parties["tax"].keeping.get(COUNTS) == kept
        assert run.parties["tax"].keeping.get(COUNTED) == b"1" != str(MOST[COUNTED]).encode()


def test_a_party_without_a_bin_of_enough_rows_says_so(tmp_path: Path) -> None:
    with network() as net:
        text = study_text(scorecard(min_bin=300), ("tax",), positive="1")
        run = Run(tmp_path, text, net, numbers=True)
        run.while_waiting = run.unheard_when_failed("tax")
        run.begin(1)
        run.finish()
        # What of its table does not fit is in its own log, and said to nobody else.
        detail = "No value of a column of tax is that of 300 common rows."
        assert detail not in run.standings()["tax"]["failure"]["message"]
        assert any(detail in note for note in run.parties["tax"].notes)
        assert run.jobs[LABEL].part is None


@pytest.mark.usefixtures("_keys")
def test_a_simulation_is_as_good_as_one_place_and_better_than_alone(tmp_path: Path) -> None:
    paths = tables(tmp_path, numbers=True)
    options = {"test_fraction": 0.25, "seed": 7, "bins": 5, "epochs": 30}
    found = simulate(
        (LABEL, paths[LABEL]), [(name, paths[name]) for name in ("tax", "work")],
        identifier=Column("id", "text", "refuse"), label="over", model="scorecard", options=options,
    )  # fmt: skip
    assert (found["backend"], found["metric"], found["epochs"]) == ("dealer", "auc", 30)
    assert found["auc"]["train"] == pytest.approx(found["auc_pooled"]["train"], abs=0.002)
    assert found["auc"]["test"] > found["auc_label_party_alone"]["test"]
    assert {"tax to registry", "registry to tax", "dealer to tax"} <= set(found["bytes"])
    assert {each["party"] for each in found["leak"]["report"]["labels"]} == {"tax", "work"}
    for changes in ({"bins": 1}, {"epochs": 0}, {"backend": "plain"}, {"goss": (0.2, 0.1)}):
        with pytest.raises(InputInvalid):
            check("scorecard", {**options, **changes})
