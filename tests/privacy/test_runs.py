"""Private runs as a whole: what leaves, what is spent and told, what a study may not say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from federated.comparison import compare
from federated.records import record
from federated.simulation import simulate
from federated.study import Study, parse_study
from federated.work import model_document, privacy_facts
from fusion.cli.progress import privacy_facts as closing_lines
from fusion.errors import FusionError, StudyInvalid
from fusion.reports.training import render
from fusion.stores.journal import SqliteJournal
from tests.federation import NAMES, STUDY, federation, write_table
from tests.privacy.private import PRIVATE

if TYPE_CHECKING:
    from pathlib import Path

    from federated.cohort import Reply, Request
    from tests.keys import Dealt


def test_a_private_run_is_done_and_tells_its_epsilon(tmp_path: Path, dealt: Dealt) -> None:
    made = federation(tmp_path, dealt, study=PRIVATE)
    engine = made.run()
    parameters = engine.run()
    spent = [event["epsilon_micro"] for event in made.of("round")]
    assert [event["round"] for event in made.of("round")] == [0, 1, 2, 3]
    assert spent == sorted(spent)
    assert spent[0] < spent[-1] == 1_000_000
    document = json.loads(model_document(made.study, engine._run.model, parameters, engine._run))
    assert document["privacy"] == privacy_facts(made.study)["privacy"]
    assert document["privacy"]["epsilon_micro"] == 1_000_000
    assert document["privacy"]["unit"] == "row"


def test_every_sum_of_a_private_run_is_one_that_has_noise(tmp_path: Path, dealt: Dealt) -> None:
    """No loss, no count of clipped coordinates, no scores while it trains, no time of training."""
    made = federation(tmp_path, dealt, study=PRIVATE)
    replies: list[tuple[Request, Reply]] = []

    def look(request: Request, reply: Reply) -> Reply:
        replies.append((request, reply))
        return reply

    for name in NAMES:
        made.parties[name].instead = look
    engine = made.run()
    engine.run()
    noise = made.study.noise
    assert noise is not None
    layouts = engine._run.terms.layouts
    assert {
        purpose: [tensor.name for tensor in layout.tensors] for purpose, layout in layouts.items()
    } == {
        "moments": ["moments", "rows"],
        "train": ["update", "rows"],
        "evaluate": ["histogram"],
    }
    assert set(noise.releases) == set(layouts)
    assert [event["round"] for event in made.of("metrics")] == [2]
    for request, reply in replies:
        if request.kind == "contribute":
            assert set(reply.head) == {"commitment", "seconds"}
            assert reply.head["seconds"]["train"] == 0.0
        else:
            assert not set(reply.head) - {"cosigned", "engine", "log_keys", "submission"}


def test_a_second_judgement_is_refused(tmp_path: Path, dealt: Dealt) -> None:
    """A hub that asks for scores in place of training would spend epsilon that nobody counts."""
    made = federation(tmp_path, dealt, study=PRIVATE)
    engine = made.run()
    engine._set_up_all()
    standardisation = {"mean": [50.0], "scale": [20.0]}
    with pytest.raises(FusionError):
        engine._sums.run("evaluate", 1, bytes(8 * 4), standardisation)
    said = [event["message"] for event in made.of("refusal")]
    assert len(said) >= len(NAMES)
    assert all("only the last sum judges" in message for message in said)


def test_tables_of_one_class_or_few_rows_take_part(tmp_path: Path, dealt: Dealt) -> None:
    """To refuse them would tell how many rows, or classes, there are."""
    few, poor = tmp_path / "few.csv", tmp_path / "poor.csv"
    few.write_text("age,work,rich\n40,desk,yes\n", "utf-8")
    poor.write_text("age,work,rich\n" + "40,desk,no\n50,field,no\n" * 20, "utf-8")
    made = federation(tmp_path, dealt, study=PRIVATE, tables={NAMES[0]: few, NAMES[1]: poor})
    made.run().run()
    assert all(event["contributors"] == sorted(NAMES) for event in made.of("round"))


def test_a_restarted_hub_tells_the_same_epsilon(tmp_path: Path, dealt: Dealt) -> None:
    made = federation(tmp_path, dealt, study=PRIVATE)
    made.run().run()
    first = made.of("round")[-1]["epsilon_micro"]
    made.events.clear()
    made.run().run()
    assert made.of("round")[-1]["epsilon_micro"] == first


def test_a_masked_private_run_is_done(tmp_path: Path, dealt: Dealt) -> None:
    masked = PRIVATE.replace("value_bits = 28", "value_bits = 28\nmasks = true")
    made = federation(tmp_path, dealt, study=masked)
    made.run().run()
    assert made.of("round")[-1]["epsilon_micro"] == 1_000_000


def test_a_party_lost_in_mid_round_takes_its_noise_along_and_the_run_goes_on(
    tmp_path: Path, dealt: Dealt
) -> None:
    made = federation(tmp_path, dealt, study=PRIVATE)
    south = made.parties[NAMES[2]]
    south.away = lambda request: request.kind == "submit" and "submit" in south.asked[:-1]
    made.run().run()
    left = [event for event in made.of("round") if str(NAMES[2]) not in event["contributors"]]
    assert left
    assert all(event["attempts"] == 1 or event["attempts"] == 2 for event in made.of("round"))
    assert made.of("round")[-1]["epsilon_micro"] == 1_000_000


def test_a_private_run_is_compared_by_quality_alone(tmp_path: Path, dealt: Dealt) -> None:
    made = federation(tmp_path, dealt, study=PRIVATE)
    made.journal = SqliteJournal(tmp_path / "journal.sqlite")
    made.run().run()
    tables = {str(name): tmp_path / f"{name}.csv" for name in NAMES}
    found = compare(made.study, tables, tmp_path / "journal.sqlite")
    assert set(found) == {"organisations", "auc"}
    assert 0 < found["auc"]["joint"] <= 1


def _simulated(folder: Path, text: str) -> dict[str, object]:
    paths = [(name, write_table(folder / f"{name}.csv", seed=i)) for i, name in enumerate(NAMES)]
    return simulate(text, "study.toml", paths, label=None, on_event=lambda _: None)


def test_a_simulation_is_private_in_the_same_way_and_reports_it(tmp_path: Path) -> None:
    result = _simulated(tmp_path, PRIVATE)
    privacy = result["privacy"]
    assert isinstance(privacy, dict)
    assert privacy["spent_micro"] == privacy["epsilon_micro"] == 1_000_000
    assert closing_lines(result) == [("privacy", "epsilon 1 of 1 at delta 1e-06, for each row")]
    page = render(result)
    assert "Differential privacy" in page
    assert "差分隐私" in page
    assert "from any 2 of 4 organisations" in page


def test_a_run_without_privacy_says_nothing_of_it(tmp_path: Path) -> None:
    result = _simulated(tmp_path, STUDY)
    assert "privacy" not in result
    assert closing_lines(result) == []
    assert "Differential privacy" not in render(result)


def test_a_run_that_was_stopped_has_spent_what_was_opened() -> None:
    start = {"event": "start", "at": "", "privacy": {"epsilon_micro": 9, "delta": 1e-6}}
    seconds = dict.fromkeys(
        ("train", "encrypt", "wait", "aggregate", "decrypt", "combine", "total"), 0.0
    )
    opened = [
        {"event": "round", "round": n, "bytes": 0, "seconds": seconds, "epsilon_micro": 2 + n}
        for n in range(3)
    ]
    assert record([start, *opened])["privacy"]["spent_micro"] == 4
    assert record([start])["privacy"]["spent_micro"] == 0


# ----------------------------------------------------------------------------------- the study


def test_a_study_without_privacy_has_the_digest_that_it_had() -> None:
    study = parse_study(STUDY, "study.toml")
    assert b"privacy" not in study.canonical()
    assert study.noise is None


def test_a_private_study_comes_back_from_the_wire() -> None:
    study = parse_study(PRIVATE, "study.toml")
    assert Study.from_canonical(study.canonical()) == study
    assert Study.from_canonical(study.canonical()).noise == study.noise


BROKEN = {
    "more steps": (("steps = 1", "steps = 2"), "`steps` has to be 1"),
    "batches": (("batch = 512", "batch = 511"), "`batch` has to be at least `max_rows`"),
    "proximal": (("learning_rate = 0.3", "learning_rate = 0.3\nproximal = 0.1"), "`proximal`"),
    "penalty": (('kind = "logistic"', 'kind = "logistic"\nl2 = 0.1'), "`l2` has to be 0"),
    "clip": (("value_bits = 28", "value_bits = 28\nclip = 1.0"), "`clip` is left out"),
    "norm": (("value_bits = 28", "value_bits = 28\nmax_norm = 1.0"), "`max_norm` is left out"),
    "colluders": (("delta = 1e-6", "delta = 1e-6\ncolluders = 3"), "`colluders` is 3"),
    "delta": (("max_rows = 512", "max_rows = 262144"), "`delta` allows one row to be shown"),
    "too few bits": (("value_bits = 28", "value_bits = 16"), "it takes 2"),
    "tiny epsilon": (("epsilon_micro = 1000000", "epsilon_micro = 9999"), "epsilon_micro"),
    "large delta": (("delta = 1e-6", "delta = 1e-4"), "delta"),
    "no clip": (("clip_norm = 1.0\n", ""), "lacks `clip_norm`"),
    "unknown": (("clip_norm = 1.0", "clip_norm = 1.0\nclip_nrom = 1.0"), "is no key of [privacy]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_a_private_study_may_not_say_is_refused_with_its_line(case: str) -> None:
    (before, after), message = BROKEN[case]
    assert before in PRIVATE
    with pytest.raises(StudyInvalid) as caught:
        parse_study(PRIVATE.replace(before, after), "study.toml")
    assert message in caught.value.message
    assert caught.value.message.startswith("study.toml:")
