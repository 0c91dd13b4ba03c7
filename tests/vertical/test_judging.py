"""The label party is told the scores of a finished linear model: their sum, once, as in scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federated import seeds
from federated.protocols.vertical.conversation import converse
from federated.protocols.vertical.judging import BITS, JudgingFeature, JudgingLabel
from federated.protocols.vertical.messages import CHUNK_BYTES, Kind, decode
from federated.protocols.vertical.ring import fixed
from federated.vertical import leakage
from federated.vertical.keeping import JUDGED, MOST, MemoryKeeping, States
from federated.vertical.measures import METRICS, measure
from fusion.errors import MessageInvalid, Refused
from fusion.services import engines
from tests.conversing.network import network
from tests.vertical.studies import LABEL, Run, linear, study_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from federated.protocols.vertical.messages import Outgoing
    from federated.vertical.trained import Trained, Trees, Weights
    from fusion.grants.leakage import LeakReport

    Floats = NDArray[np.float64]
    Heard = dict[tuple[str, str], list[bytes]]


def judge(scores: dict[str, Floats]) -> tuple[Floats, Heard]:
    """Return the label party's scores of ``{party: partial scores}``, and all that was said."""
    label, *features = scores
    receiver = JudgingLabel(features, scores[label])
    machines: dict[str, JudgingLabel | JudgingFeature] = {
        label: receiver,
        **{name: JudgingFeature(name, label, features, scores[name]) for name in features},
    }
    heard: Heard = {}

    def note(sender: str, out: Outgoing) -> tuple[str, Outgoing]:
        heard.setdefault((sender, out.to), []).append(out.data)
        return sender, out

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def receive(self, sender: str, data: bytes) -> list[Outgoing]:
            return [note(self.name, out)[1] for out in machines[self.name].receive(sender, data)]

    first = [note(name, out) for name, each in machines.items() for out in each.start()]
    converse({name: Noted(name) for name in machines}, first)
    assert all(each.done for each in machines.values())
    return receiver.scores, heard


@pytest.mark.parametrize("features", [1, 2, 3])
def test_the_label_party_gets_the_sum(features: int) -> None:
    draw = seeds.generator("tests-judging", features)
    rows = CHUNK_BYTES // 8 + 5  # travels in two pieces
    scores = {f"p{i}": draw.normal(size=rows) for i in range(features + 1)}
    found, _ = judge(scores)
    assert np.abs(found - sum(scores.values())).max() < (features + 1) * 2.0**-BITS


def test_of_two_feature_parties_only_the_sum_opens() -> None:
    rows = 4096
    scores = {name: np.full(rows, float(i)) for i, name in enumerate(("l", "helper", "p", "q"))}
    _, heard = judge(scores)
    assert set(heard) == {
        ("p", "helper"), ("q", "helper"), ("p", "l"), ("q", "l"), ("helper", "l")
    }  # fmt: skip
    for (_, receiver), said in heard.items():
        (words,) = decode(said[0]).arrays
        # Of three parties' equal scores nobody sees one: every message is uniform words.
        bits = np.unpackbits(words.view(np.uint8)).mean()
        assert abs(bits - 0.5) < 0.01, receiver
        for partial in scores.values():
            assert not np.isin(fixed(partial, BITS)[:1], words).any()


def test_a_piece_of_another_size_or_twice_is_refused() -> None:
    label = JudgingLabel(["p"], np.zeros(3))
    assert label.start() == []
    party = JudgingFeature("p", "l", ["p"], np.zeros(4))
    (out,) = party.start()
    with pytest.raises(MessageInvalid, match="sizes due"):
        label.receive("p", out.data)
    label = JudgingLabel(["p"], np.zeros(4))
    label.start()
    label.receive("p", out.data)
    assert label.done
    with pytest.raises(MessageInvalid, match="after the end"):
        label.receive("p", out.data)
    assert decode(out.data).kind is Kind.SHARE


@pytest.mark.parametrize("kind", ["logistic", "linear", "poisson"])
def test_scores_at_the_end_of_training_are_those_of_scoring(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measures and attacks are of what scoring gives, row by row; and there is a report."""
    names = ("tax", "work") if kind == "logistic" else ("tax",)
    promise = "\n[leakage]\nmembership_permille = 1000\nlabel_leak_permille = 1000\n"
    told: list[Trained] = []
    real = leakage.report

    def noted(trained: Trained, model: Trees | Weights, *, small: int | None = None) -> LeakReport:
        told.append(trained)
        return real(trained, model, small=small)

    monkeypatch.setattr(leakage, "report", noted)
    with network() as net:
        text = study_text(linear(kind) + promise, names, positive="1")
        run = Run(tmp_path, text, net, numbers=True)
        run.begin(1)
        assert set(run.finish().values()) == {"done"}, run.standings()
        quality = run.standings()[LABEL]["quality"]
        parts = {name: job.part or b"" for name, job in run.jobs.items()}
        leaks = run.jobs[LABEL].leaks
    joined = run.joined()
    rows = list(range(len(joined.labels)))
    engine = engines.scoring()
    opened = {name: engine.open(part) for name, part in parts.items()}
    given = {
        name: engine.answers(opened[name], table, rows)
        for name, table in zip(names, joined.tables[1:], strict=True)
    }
    scored = engine.scores(opened[LABEL], joined.tables[0], rows, given)
    outputs = np.array([each.output for each in scored])
    (trained,) = told
    assert np.abs(trained.outputs - outputs).max() < 1e-6
    expected = measure(METRICS[kind], outputs, joined.labels, joined.training)
    assert quality["joint"] == pytest.approx(expected, abs=1e-6)
    assert leaks is not None
    assert leaks["verdict"]["released"]
    report = leaks["report"]
    assert report["membership"]["rows_in"] == int(joined.training.sum())
    assert [each["party"] for each in report["labels"]] == list(names)
    assert all(each["sees"] == "weights" for each in report["labels"])
    assert report["rows_told"] == len(rows)


def test_a_linear_model_that_tells_more_than_was_promised_is_kept_by_nobody(tmp_path: Path) -> None:
    promise = "\n[leakage]\nlabel_leak_permille = 100\n"
    with network() as net:
        run = Run(tmp_path, study_text(linear() + promise, ("tax",)), net)
        run.begin(1)
        run.finish()
        failure = run.standings()[LABEL]["failure"]
        assert (failure["code"], failure["kind"]) == ("L-02", "final")
        # What was measured is the label party's alone.
        detail = "a gain of tax in guessing labels"
        assert detail not in failure["message"]
        assert any(detail in note for note in run.parties[LABEL].notes)
        assert run.jobs[LABEL].part is None


def test_scores_are_told_a_few_times_a_run() -> None:
    states = States(MemoryKeeping())
    for _ in range(MOST[JUDGED]):
        states.count(JUDGED)
        states.aligned(1, b"")
    with pytest.raises(Refused, match="judged 3 times"):
        states.count(JUDGED)
