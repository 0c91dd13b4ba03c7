"""A scorecard that a study trained is scored as the study judged it, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federated.protocols.vertical.judging import JudgingLabel
from federated.vertical.scorecard_work import ScorecardWork
from fusion.crypto.paillier.keys import PrivateKey
from tests.conversing.network import network
from tests.models.world import identifier, served
from tests.vertical.studies import LABEL, Run, scorecard, study_text
from tests.vertical.trained import Trained

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from federated.protocols.vertical.scripts import Scripted
    from tests.keys import Dealt


def trained(folder: Path, judged: dict[str, Scripted]) -> Trained:
    """Train a study's scorecard; its scores are those that its label party judged."""
    with network() as net:
        text = study_text(scorecard(), ("tax", "work"), positive="1", patience=60.0)
        run = Run(folder, text, net, numbers=True)
        run.begin(1)
        assert set(run.finish(60).values()) == {"done"}, run.standings()
    joined, judge = run.joined(), judged[LABEL]
    assert isinstance(judge, JudgingLabel)
    parts = {name: run.jobs[name].part or b"" for name in joined.names}
    tables = [dict(table) for table in joined.tables]
    return Trained(joined.names, tables, joined.labels, parts, judge.scores, judge.scores)


def test_a_score_is_what_training_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dealt: Dealt
) -> None:
    """Of every record, with several feature parties, whose points only their sum shows."""
    judged: dict[str, Scripted] = {}
    whole = ScorecardWork.judging

    def judging(self: ScorecardWork) -> tuple[Scripted, frozenset[str]]:
        judge, peers = whole(self)
        judged[self._me] = judge
        return judge, peers

    # Looked at, not changed; but keys are made of primes that are there.
    monkeypatch.setattr(ScorecardWork, "judging", judging)
    monkeypatch.setattr(
        "federated.vertical.scorecard_work.own_key", lambda _: PrivateKey(*dealt.primes)
    )
    model = trained(tmp_path / "study", judged)
    rows = len(model.labels)
    with (
        served(tmp_path, model, "scorecard", {"tax": {3}}) as world,
        world.scorer() as scorer,
    ):
        found = scorer.score([identifier(row) for row in range(rows)])
        assert [i for i, row in enumerate(found) if row.scored is None] == [3]
        scored = [(i, row.scored) for i, row in enumerate(found) if row.scored is not None]
        differences = [each.score - model.scores[i] for i, each in scored]
        assert np.abs(differences).max() < 1e-6
        known = {*model.tables[0], "tax + work"}
        reasons = [reason for _, each in scored for reason in each.reasons]
        assert {name for name, _ in reasons} == known
        assert all(amount > 0 for _, amount in reasons)
        for name in world.model.names:
            assert len(world.logged(name, "model-scored")) == 1
            world.audited(name)
