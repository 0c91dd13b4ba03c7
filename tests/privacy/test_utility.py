"""A private model on real rows is still worth having."""

from __future__ import annotations

import pytest

from benchmarks import noise, private_training
from benchmarks.private_training import study_of, train


@pytest.mark.parametrize(("epsilon", "floor"), [(1.0, 0.885), (8.0, 0.89)])
def test_the_private_demo_study_learns(epsilon: float, floor: float) -> None:
    """Measured: 0.899 with either; without privacy the demo has 0.90."""
    made = train(study_of("study-private.toml", epsilon=epsilon))
    assert made.exact > floor
    assert abs(made.told - made.exact) < 0.03


def test_the_benchmarks_print_their_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "SAMPLES", 1000)
    monkeypatch.setattr(private_training, "SEEDS", (7,))
    monkeypatch.setattr(private_training, "EPSILONS", (1.0,))
    noise.main()
    private_training.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(noise.SIGMAS) + 3
    assert lines[-1].strip().startswith("1.0  0.")
