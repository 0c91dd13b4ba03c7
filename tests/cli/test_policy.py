"""``fusion policy`` as an owner meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.restricted_query.make_data import make
from tests.cli.test_app import Terminal

POLICY = str(Path(__file__).parents[2] / "examples/restricted_query/policy.yaml")


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make(folder, 500, 2000)
    (folder / "questions.sql").write_text(
        "-- [fine] what is answered\n"
        "select sex, count(*) as n from persons group by sex order by sex\n"
        "\n"
        "-- [rows] what is not\n"
        "select income from persons\n"
        "-- a comment\n"
        "drop table persons\n",
        "utf-8",
    )
    return folder


def test_a_policy_to_begin_with_is_written_once(fusion: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    assert fusion("policy", "init", str(path)) == 0
    assert fusion("policy", "check", str(path)) == 0
    assert fusion("policy", "init", str(path)) == 2
    assert "there already" in fusion.err


def test_a_policy_is_shown(fusion: Terminal) -> None:
    assert fusion("policy", "show", POLICY) == 0
    assert "persons.income" in fusion.out
    assert fusion("policy", "show", POLICY, "--json") == 0
    document = json.loads(fusion.out)
    assert document["schema"] == "fusion.policy-status/1"
    assert document["policy"]["release"]["k"] == 10


def test_what_is_shown_of_a_column_is_what_holds_for_it(fusion: Terminal, tmp_path: Path) -> None:
    assert fusion("policy", "show", POLICY) == 0
    shown = {line.split()[0]: line.split()[1:] for line in fusion.out.splitlines() if "." in line}
    assert shown["persons.birth_year"] == ["dimension", "integer", "1900", "to", "2030"]
    assert shown["persons.income"][-3:] == ["bin", "500;", "sensitive"]
    assert shown["visits.visit_date"][:2] == ["date", "date"]
    assert shown["visits.visit_date"][-3:] == ["at", "the", "finest"]
    assert shown["visits.diagnosis"] == ["dimension", "text", "sensitive"]
    assert shown["regions.region"] == ["public", "text"]
    path, text = tmp_path / "policy.yaml", Path(POLICY).read_text("utf-8")
    text = text.replace(
        "mode: sdc", "mode: dp\nbudget: {grant_rho_micro: 9, dataset_rho_micro: 70}"
    )
    words = ", ".join(f"R{number:02}" for number in range(12))
    text = text.replace(
        "region: {class: dimension}", f"region: {{class: dimension, values: [{words}]}}"
    )
    path.write_text(text, "utf-8")
    assert fusion("policy", "show", str(path)) == 0
    assert "a grant 9, the dataset 70" in fusion.out
    assert "R08, R09 and 2 more" in fusion.out
    # What mode dp does not apply is not shown.
    assert "dominance" not in fusion.out


def test_a_mistake_is_named_with_its_line(fusion: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("schema: fusion.policy/1\ntitel: x\n", "utf-8")
    assert fusion("policy", "check", str(path)) == 2
    assert "policy.yaml:2" in fusion.err
    assert "Did you mean `title`?" in fusion.err


def test_what_is_weak_is_said(fusion: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(Path(POLICY).read_text("utf-8") + "release: {k: 3}\n", "utf-8")
    assert fusion("policy", "check", str(path)) == 0
    assert "k is 3" in fusion.err


def test_statements_are_tried(fusion: Terminal, data: Path) -> None:
    arguments = ("policy", "try", POLICY, "--data", str(data), "--file")
    assert fusion(*arguments, str(data / "questions.sql"), "--execute") == 0
    assert "\nline 2\nsex    n\nF    " in fusion.out
    assert fusion(*arguments, str(data / "questions.sql"), "--execute", "--json") == 0
    document = json.loads(fusion.out)
    assert document["schema"] == "fusion.policy-try/1"
    assert document["counts"] == {"accepted": 1, "refused": 2, "error": 0}
    first, second, third = document["statements"]
    assert (first["line"], first["class"], first["verdict"]) == (2, "fine", "accepted")
    assert [row[0] for row in first["rows"]] == ["F", "M"]
    assert all(row[1] % 5 == 0 for row in first["rows"])
    assert (second["line"], second["class"], second["code"]) == (5, "rows", "Q-06")
    assert (third["line"], third["verdict"], third["code"]) == (7, "refused", "Q-01")
    assert fusion(*arguments, str(data / "questions.sql")) == 0
    assert "Q-06" in fusion.out


def test_what_is_read_at_its_bin_is_said(fusion: Terminal, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "bins.sql"
    file.write_text("select avg(income) from persons\nselect avg(income * 2) from persons\n")
    arguments = ("policy", "try", POLICY, "--data", str(data), "--file", str(file))
    assert fusion(*arguments) == 0
    assert fusion.err.count("middle of its bin of 500") == 1
    assert "line 2: persons.income" in fusion.err
    assert fusion(*arguments, "--json") == 0
    first, second = json.loads(fusion.out)["statements"]
    assert "notes" not in first
    assert len(second["notes"]) == 1


def test_a_table_without_a_file_is_named(fusion: Terminal, data: Path, tmp_path: Path) -> None:
    arguments = ("policy", "try", POLICY, "--data", str(tmp_path), "--file")
    assert fusion(*arguments, str(data / "questions.sql")) == 2
    assert "persons" in fusion.err
