"""``fusion python`` as analyst and owner meet it: what is shown, and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fusion.services.python_shelf import Shelf
from tests.queries.python_world import BY_REGION, TOTAL, grant
from tests.queries.world import OWNER, PURPOSE, write_people

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.test_app import Terminal
    from tests.queries.world import Up

ASKS = ("--dataset", f"{OWNER}/commands", "--purpose", PURPOSE)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.py"
    path.write_text(BY_REGION, "utf-8")
    return path


def test_a_job_from_its_script_to_its_table(
    up: Up, home: Path, fusion: Terminal, script: Path
) -> None:
    grant(up, "commands")
    owner = ("--home", up.world.owner.path)
    # What for follows from the grants.
    asks = (*ASKS[:2], "--note", "by region", "--home", home)
    assert fusion("python", "submit", script, *asks) == 0
    job = fusion.out.strip()
    assert len(job) == 64
    assert "waiting: tax/commands at revision 1" in fusion.err
    assert fusion("python", "run", job[:12], "--home", home) == 4
    assert "P-02: The job waits for the owner's review.\n-> Run it once" in fusion.err
    # The owner: a list, the code with what it may return, the word.
    assert fusion("python", "review", *owner) == 0
    rows = [line.split()[:4] for line in fusion.out.splitlines()]
    assert [job[:16], "waiting", "bank", "commands"] in rows
    listed = fusion.document("python", "review", *owner)["jobs"]
    (mine,) = [each for each in listed if each["job"] == job]
    assert (mine["bytes"], mine["note"]) == (len(BY_REGION), "by region")
    assert fusion("python", "review", job, *owner) == 0
    assert "  reads   persons: region, income" in fusion.out
    assert "  region  category of persons.region" in fusion.out
    assert "mean of 0 to 200000" in fusion.out
    assert '  25 | persons = banyan.table("persons")' in fusion.out
    assert (
        fusion("python", "approve", job[:12], "--release", "automatic", "--runs", "2", *owner) == 0
    )
    assert "automatic, 2 runs, until" in fusion.out
    # The analyst: the table.
    assert fusion("python", "run", job, "--home", home, "--csv") == 0
    assert fusion.out.splitlines()[:2] == ["region,n,income", "east,300,32500"]
    document = fusion.document("python", "run", job, "--home", home)
    assert (document["schema"], document["state"]) == ("fusion.python-result/1", "released")
    assert document["rows"][0] == ["east", 300, 32500]
    lines = fusion.document("python", "history", "--home", home)["lines"]
    runs = [each for each in lines if each["job"] == job and each["outcome"] == "answered"]
    assert [bool(each["numbers"]) for each in runs] == [True, False]


def test_another_version_is_shown_with_what_is_new_in_it(
    up: Up, home: Path, fusion: Terminal, script: Path
) -> None:
    grant(up, "commands")
    owner = ("--home", up.world.owner.path)
    script.write_text(f"{BY_REGION}# first\n", "utf-8")
    job = fusion.document("python", "submit", script, *ASKS, "--home", home)["job"]
    assert fusion("python", "approve", job, *owner) == 0
    script.write_text(f"{BY_REGION}# second\n", "utf-8")
    sent = fusion.document("python", "submit", script, *ASKS, "--home", home)
    assert fusion("python", "review", sent["job"], *owner) == 0
    assert f"against {job}, which was approved before:" in fusion.out
    assert "-# first\n+# second\n" in fusion.out
    shown = fusion.document("python", "review", sent["job"], *owner)
    assert (shown["before"], shown["script"]) == (job, script.read_text("utf-8"))
    assert "+# second" in shown["diff"]
    assert fusion("python", "refuse", sent["job"], "--why", "it does not run", *owner) == 0
    assert fusion("python", "run", sent["job"], "--home", home) == 4
    assert "P-03: The owner has refused the job. it does not run" in fusion.err
    assert fusion("python", "history", "--home", home) == 0
    assert "P-03" in fusion.out
    said = fusion.document("python", "history", "--home", home)["lines"]
    outcomes = [each["outcome"] for each in said][-3:]
    assert outcomes == ["waiting", "waiting", "refused"]
    assert "32500" not in json.dumps(said)


def test_a_table_is_looked_at_and_collected(
    up: Up, home: Path, fusion: Terminal, script: Path
) -> None:
    grant(up, "commands")
    owner = ("--home", up.world.owner.path)
    script.write_text(f'{TOTAL}print("\\x1b[2J", [1])\n', "utf-8")
    job = fusion.document("python", "submit", script, *ASKS, "--home", home)["job"]
    assert fusion("python", "approve", job, "--release", "automatic", *owner) == 2
    assert fusion.document("python", "approve", job, "--runs", "2", *owner)["signed"]["runs"] == 2
    assert fusion("python", "run", job, "--home", home) == 0
    run = fusion.out.strip()
    assert f"fusion python collect {run}" in fusion.err
    assert fusion.document("python", "collect", run, "--home", home)["state"] == "held"
    # Standard error is the owner's, and moves no cursor.
    assert fusion("python", "runs", *owner) == 0
    assert run in fusion.out
    runs = fusion.document("python", "runs", *owner)["runs"]
    assert runs[-1]["state"] == "held"
    assert fusion("python", "runs", run, *owner) == 0
    assert "\x1b" not in fusion.out
    assert "[2J [1]" in fusion.out
    assert "[1]" in fusion.document("python", "runs", run, *owner)["log"]
    assert fusion("python", "release", run, *owner) == 0
    assert fusion.out == "n\n1200\n"
    held = fusion.document("python", "release", run, *owner)
    assert held["rows"] == [[1200]]
    assert fusion("python", "release", run, "--digest", "0" * 64, *owner) == 2
    assert fusion("python", "release", run, "--digest", held["digest"], "--withhold", *owner) == 2
    assert fusion("python", "release", run, "--digest", held["digest"], *owner) == 0
    assert fusion.out == f"{run} is released\n"
    assert fusion("python", "collect", run, "--home", home) == 0
    assert fusion.out == "n\n1200\n"
    # The other is kept back.
    second = fusion.document("python", "run", job, "--home", home)["run"]
    kept = fusion.document("python", "release", second, "--withhold", "--why", "no", *owner)
    assert kept["state"] == "withheld"
    assert fusion("python", "collect", second, "--home", home) == 4
    assert "P-09" in fusion.err
    assert Shelf(up.world.owner).runs()[-1].collected


def test_a_script_is_tried_on_a_sample(
    up: Up, fusion: Terminal, script: Path, tmp_path: Path
) -> None:
    del up  # nothing confines work where there is none
    sample = tmp_path / "sample"
    sample.mkdir()
    write_people(sample / "persons.csv", 400)
    tries = ("python", "try", script, "--mock", sample)
    assert fusion(*tries) == 0
    assert fusion.out.splitlines()[0].split() == ["region", "n", "income"]
    found = fusion.document(*tries, "--person", "person_id")
    assert [row[:2] for row in found["rows"]] == [
        [name, 100] for name in ("east", "north", "south", "west")
    ]
    declared = tmp_path / "returns.yaml"
    declared.write_text(
        "form: table\nreads: {persons: [income]}\ncolumns: [{name: n, kind: integer}]\n", "utf-8"
    )
    assert fusion(*tries, "--returns", declared) == 1
    assert "no table: the script failed after" in fusion.err
    assert "declared to return a table" in fusion.err
    # Fewer cells are declared than there are: with a code, and what to do.
    few = tmp_path / "few.py"
    few.write_text(script.read_text("utf-8").replace("max_rows = 10", "max_rows = 3"), "utf-8")
    assert fusion("python", "try", few, "--mock", sample) == 1
    assert "F-024: no table: there are 4 cells, and max_rows declares 3\n-> " in fusion.err
    assert fusion("python", "try", few, "--mock", sample, "--json") == 1
    assert json.loads(fusion.out)["code"] == "F-024"
    assert fusion(*tries, "--person", "nobody") == 2
    assert "--person COLUMN" in fusion.err
    (sample / "persons.csv").unlink()
    assert fusion(*tries) == 2


def test_what_is_asked_wrongly_is_said(home: Path, fusion: Terminal, tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_bytes(b"\xff\xfe")
    assert fusion("python", "submit", bad, *ASKS, "--home", home) == 2
    assert "UTF-8" in fusion.err
    bad.write_text("import banyan\n", "utf-8")
    assert fusion("python", "submit", bad, *ASKS, "--home", home) == 2
    assert "docs/python.md" in fusion.err
    for words in (("run", "0" * 64), ("collect", f"p-{'0' * 32}")):
        assert fusion("python", *words, "--home", home) == 2
        assert "fusion python history" in fusion.err
    for words in (("review", "0" * 64), ("approve", "0" * 64), ("release", "p-0"), ("runs", "p-0")):
        assert fusion("python", *words, "--home", home) == 2
