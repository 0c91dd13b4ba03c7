"""A study tried on one machine: any number of parties, the study's own rules, one record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from federated.simulation import simulate
from fusion.errors import DataInvalid, FusionError, InputInvalid, PartyFailed, StudyInvalid
from tests.federation import STUDY, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def tables(folder: Path, *names: str) -> list[tuple[str, Path]]:
    """Write one table a party."""
    return [
        (name, write_table(folder / f"{name}.csv", seed=index)) for index, name in enumerate(names)
    ]


def run(
    parties: Sequence[tuple[str, Path]], *, study: str = STUDY, label: str | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a simulation's record and what was told while it ran."""
    events: list[dict[str, Any]] = []
    record = simulate(
        study, "study.toml", parties, label=label, on_event=lambda event: events.append(dict(event))
    )
    return record, events


@pytest.mark.parametrize(
    ("names", "threshold"), [(("a.example", "b.example"), 2), (("a", "b", "c"), 2)]
)
def test_two_or_three_parties_learn_together(
    tmp_path: Path, names: tuple[str, ...], threshold: int
) -> None:
    study = STUDY.replace("quorum = 3", f"quorum = {len(names)}")
    record, events = run(tables(tmp_path, *names), study=study)
    assert (record["status"], record["exit_code"], record["message"]) == ("done", 0, "")
    # The study names four others; here it is run by those whose tables were given.
    assert record["organisations"] == list(names)
    assert record["key"] == {
        "bits": 2048,
        "holders": len(names),
        "threshold": threshold,
        "randomiser": "djn-half",
    }
    assert record["quorum"] == len(names)
    assert [event["round"] for event in record["rounds"]] == [0, 1, 2, 3]
    assert all(event["contributors"] == sorted(names) for event in record["rounds"])
    assert [event["round"] for event in record["metrics"]] == [0, 1, 2]
    assert record["metrics"][-1]["auc"] > 0.65
    assert record["metrics"][-1]["loss"] < record["metrics"][0]["loss"]
    assert (record["study"], record["job"]) == ("made-up", "simulation")
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")
    assert all(event["at"] for event in events)


@pytest.mark.parametrize("operator", ["a", "elsewhere", "hub"])
def test_whoever_operates_orders_the_run_here_too(tmp_path: Path, operator: str) -> None:
    """Each party verifies the order; without one none would take part."""
    ordered = STUDY.replace("quorum = 3", f'quorum = 2\noperator = "{operator}"')
    record, _ = run(tables(tmp_path, "a", "b"), study=ordered.replace("rounds = 2", "rounds = 1"))
    assert (record["status"], record["message"]) == ("done", "")


@pytest.mark.soak
def test_masked_sums_are_tried_the_same_way(tmp_path: Path) -> None:
    masked = STUDY.replace("[deadlines]", "[aggregation]\nmasks = true\n\n[deadlines]")
    parties = tables(tmp_path, "a", "b", "c")
    record, events = run(parties, study=masked)
    bare, _ = run(parties)
    assert record["status"] == "done"
    assert record["metrics"][-1]["auc"] == bare["metrics"][-1]["auc"]
    assert any(event.get("phase") == "join" for event in events)


def test_the_label_can_be_another_column(tmp_path: Path) -> None:
    parties = tables(tmp_path, "a", "b", "c")
    for _, path in parties:
        text = path.read_text("utf-8")
        path.write_text(text.replace("age,work,rich", "age,work,wealthy", 1), "utf-8")
    record, _ = run(parties, label="wealthy", study=STUDY.replace("rounds = 2", "rounds = 1"))
    assert (record["status"], len(record["metrics"])) == ("done", 2)
    with pytest.raises(FusionError, match="rich"):
        run(parties)


@pytest.mark.parametrize(
    "names", [(), ("a",), ("a", "a"), ("a", "B"), ("a", ""), ("a", "b/../c"), ("a", "b" * 64)]
)
def test_what_is_no_federation_is_refused_before_anything_is_made(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = write_table(tmp_path / "table.csv")
    events: list[object] = []
    with pytest.raises(InputInvalid):
        simulate(STUDY, "s.toml", [(n, path) for n in names], label=None, on_event=events.append)
    assert events == []


def test_a_mistake_in_the_study_is_named_with_its_line(tmp_path: Path) -> None:
    text = STUDY.replace("rounds = 2", "rounds = 0")
    line = next(i for i, each in enumerate(text.splitlines(), 1) if each.startswith("rounds"))
    with pytest.raises(StudyInvalid, match=f"^study.toml:{line}: "):
        run(tables(tmp_path, "a", "b"), study=text)


@pytest.mark.parametrize("what", ["missing", "a column less"])
def test_a_party_whose_table_does_not_fit_ends_it_by_name(tmp_path: Path, what: str) -> None:
    parties = tables(tmp_path, "a", "b", "c")
    if what == "missing":
        parties[1][1].unlink()
    else:
        parties[1][1].write_text("age,rich\n40,yes\n", "utf-8")
    events: list[dict[str, Any]] = []
    with pytest.raises(PartyFailed, match=r"^b: ") as refused:
        simulate(STUDY, "s", parties, label=None, on_event=lambda event: events.append(dict(event)))
    assert refused.value.exit_code == DataInvalid.exit_code
    assert events[-1]["event"] == "end"
    assert (events[-1]["status"], events[-1]["exit_code"]) == ("failed", DataInvalid.exit_code)
    assert events[-1]["message"] == str(refused.value)


def line_of(start: str, text: str = STUDY) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def test_a_quorum_that_the_parties_can_not_meet_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(StudyInvalid, match=f"^study.toml:{line_of('quorum')}: .*is 3, but 2 "):
        run(tables(tmp_path, "a", "b"))


def test_a_quorum_that_nodes_refuse_by_default_is_said(tmp_path: Path) -> None:
    _, two = run(tables(tmp_path, "a", "b"), study=STUDY.replace("quorum = 3", "quorum = 2"))
    (notice,) = (event["message"] for event in two if event["event"] == "notice")
    assert notice.startswith(f"study.toml:{line_of('quorum')}: a node refuses a quorum below 3")
    _, three = run(tables(tmp_path, "a", "b", "c"))
    assert all(event["event"] != "notice" for event in three)


@pytest.mark.parametrize("label", ["work", "", "x" * 201])
def test_a_label_that_can_be_none_is_refused_before_anything_starts(
    tmp_path: Path, label: str
) -> None:
    events: list[object] = []
    parties = tables(tmp_path, "a", "b", "c")
    with pytest.raises(InputInvalid, match=r"^--label") as refused:
        simulate(STUDY, "study.toml", parties, label=label, on_event=events.append)
    assert not events
    assert "columns." not in str(refused.value)


def test_every_party_that_refuses_is_named_with_the_line_of_the_study(tmp_path: Path) -> None:
    parties = tables(tmp_path, "a", "b", "c", "d")
    good = parties[0][1].read_text("utf-8")
    parties[1][1].write_text(good.replace("work", "job"), "utf-8")
    parties[2][1].write_text(good.replace("desk", "moon"), "utf-8")
    parties[3][1].write_text(good.replace("rich", "poor", 1), "utf-8")
    with pytest.raises(PartyFailed) as refused:
        run(parties)
    message = str(refused.value)
    work = next(i for i, line in enumerate(STUDY.splitlines(), 1) if line == 'name = "work"')
    assert f"b: study.toml:{work}: " in message
    assert f"c: study.toml:{work}: " in message
    assert f"d: study.toml:{line_of('label')}: " in message
    assert "a: " not in message
    assert "moon" not in message


def test_a_label_that_a_party_lacks_is_that_of_the_option(tmp_path: Path) -> None:
    parties = tables(tmp_path, "a", "b", "c")
    with pytest.raises(PartyFailed, match=r"a: --label: .*has no column 'wealthy'"):
        run(parties, label="wealthy")
