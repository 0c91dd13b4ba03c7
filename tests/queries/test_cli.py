"""``fusion query`` and ``fusion policy add`` as analyst and owner meet them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.queries.interrupts import SECONDS, Held, holding, interrupted
from tests.queries.world import BY_REGION, OWNER, POLICY, PURPOSE, write_people

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.test_app import Terminal
    from tests.queries.world import Up

ASKS = ("--dataset", f"{OWNER}/typed", "--purpose", PURPOSE)


def test_a_policy_is_added_asked_and_refused(
    up: Up, home: Path, fusion: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, "utf-8")
    owner = up.world.owner.path
    added = fusion.document("policy", "add", file, "--dataset", "typed", "--home", owner)
    assert (added["dataset"], added["revision"]) == (f"{OWNER}/typed", 1)
    up.world.grant("typed", runs=4)
    at = (*ASKS, "--home", home)
    assert (
        fusion("query", f"{BY_REGION} order by region", *at, "--csv", "--explain", "--budget") == 0
    )
    assert fusion.out.splitlines()[:2] == ["region,n,mean", "east,300,32500"]
    assert "3 queries and 900 rows left" in fusion.err
    assert "answered by policy" in fusion.err
    # Whose data it is may stand in the statement; what for follows from the one grant.
    by_name = "select region, avg(income) as mean from tax/typed group by region order by region"
    assert fusion("query", by_name, "--home", home) == 0
    assert "32500" in fusion.out
    question = tmp_path / "q.sql"
    question.write_text(f"{BY_REGION}\norder by region\n", "utf-8")
    document = fusion.document("query", "--file", question, *at, "--rows", "4")
    assert document["schema"] == "fusion.query-result/1"
    assert document["rows"][0] == ["east", 300, 32500]
    # Refused: the statement, the rule, what would pass.
    assert fusion("query", "select income from persons", *at) == 4
    assert "   1 | select income from persons\nQ-06: Rows do not leave.\n-> Ask for" in fusion.err
    question.write_text("select region,\n  avg(salary)\nfrom persons group by region", "utf-8")
    assert fusion("query", "--file", question, *at) == 4
    assert "   2 |   avg(salary)\n     |       ^^^^^^\n   3 | from persons" in fusion.err
    assert "Q-04: A name is not in the policy." in fusion.err
    left = fusion.document("query", "budget", "--dataset", f"{OWNER}/typed", "--home", home)
    assert left["grants"][0]["runs"] == 1
    # Without a dataset: of all that grants are about.
    everything = fusion.document("query", "budget", "--home", home)["grants"]
    assert {"dataset": f"{OWNER}/typed", **left["grants"][0]} in everything
    assert fusion("query", "budget", "--home", home) == 0
    assert f"{OWNER}/typed" in fusion.out
    assert fusion("query", "history", "--home", home) == 0
    assert "Q-06" in fusion.out
    said = fusion.document("query", "history", "--home", home)["queries"][-4:]
    outcomes = [each["outcome"] for each in said]
    assert outcomes == ["answered", "answered", "refused", "refused"]
    assert "32500" not in json.dumps(said)


def test_a_note_names_an_earlier_answer_by_its_number(up: Up, home: Path, fusion: Terminal) -> None:
    up.world.grant("numbered", title="Numbered")
    at = ("--dataset", f"{OWNER}/numbered", "--purpose", PURPOSE, "--home", home)
    first = fusion.document("query", BY_REGION, *at)
    assert len(first["numbers"]) >= 1
    # These cells have been given: nothing new was decided.
    assert fusion.document("query", BY_REGION, *at)["numbers"] == []
    less = "select count(*) as n from persons where region = 'north' and age <> 20"
    near = fusion.document("query", less, *at)
    assert near["rows"] == [[None]]
    (number,) = re.findall(r"\(no\. (\d+)\)", near["notes"][0]["message"])
    assert int(number) in first["numbers"]
    assert fusion("query", "history", "--home", home) == 0
    lines = [each.split() for each in fusion.out.splitlines() if f"{OWNER}/numbered" in each]
    assert number in lines[0][:4]
    said = fusion.document("query", "history", "--home", home)["queries"]
    assert [each["numbers"] for each in said if each["dataset"] == f"{OWNER}/numbered"][:2] == [
        first["numbers"], [],
    ]  # fmt: skip


def test_a_noisy_answer_says_its_accuracy_and_its_price(
    up: Up, home: Path, fusion: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    budget = "budget: {grant_rho_micro: 50000, dataset_rho_micro: 50000}"
    file.write_text(POLICY.replace("tables:", f"mode: dp\n{budget}\ntables:", 1), "utf-8")
    assert fusion("policy", "check", file) == 0
    owner = up.world.owner.path
    assert fusion("policy", "add", file, "--dataset", "told", "--home", owner) == 0
    query = {"outputs": ["table"], "rows": 1000, "epsilon_micro": 9_000_000, "runs": 9}
    up.world.grant("told", permissions={"query": query})
    at = ("--dataset", f"{OWNER}/told", "--purpose", PURPOSE, "--home", home)
    count = "select count(*) as n from persons"
    asked = fusion("query", count, *at, "--rho-micro", "5000", "--explain", "--budget")
    assert asked == 0, fusion.err
    assert "n: noise with a standard deviation of 10" in fusion.err
    assert "spent 5000 millionths of rho" in fusion.err
    assert "45000 millionths of rho, of the dataset 45000" in fusion.err
    document = fusion.document("query", count, *at, "--rho-micro", "5000")
    assert (document["again"], document["rho_micro"]) == (True, 5000)
    assert document["noise"] == [
        {"column": "n", "of": "count", "sd": pytest.approx(10), "itself": True}
    ]
    assert fusion("query", count, *at, "--rho-micro", "45001") == 4
    assert "-> Ask with --rho-micro 45000" in fusion.err
    assert fusion("query", "budget", "--dataset", f"{OWNER}/told", "--home", home) == 0
    assert "45000 millionths of rho left, an epsilon of 1." in fusion.err
    left = fusion.document("query", "budget", "--dataset", f"{OWNER}/told", "--home", home)
    assert left["grants"][0]["privacy"]["delta_exponent"] == 9
    statements = tmp_path / "all.sql"
    statements.write_text(f"{count}\nselect median(income) from persons\n", "utf-8")
    write_people(tmp_path / "persons.csv", 300)
    words = ("policy", "try", file, "--data", tmp_path, "--file", statements, "--execute")
    tried = fusion.document(*words)["statements"]
    assert [each["verdict"] for each in tried] == ["accepted", "refused"]
    assert abs(tried[0]["rows"][0][0] - 300) < 1000
    assert tried[0]["noise"][0]["column"] == "n"


@pytest.mark.soak
def test_a_query_that_is_given_up_is_remembered_with_its_charge(
    up: Up, home: Path, fusion: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    up.world.grant("given-up")
    keys = io.StringIO()
    monkeypatch.setattr(keys, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keys)
    at = ("--dataset", f"{OWNER}/given-up", "--purpose", PURPOSE, "--rows", "7", "--home", home)
    with interrupted(up, answered=True) as held:
        assert fusion("query", "select count(*) as given_up from persons;", *at) == 130
        assert held.told.wait(60)
    assert "cancelled: the owner's node was told" in fusion.err
    assert "charged since it was asked: 1 queries, 7 rows" in fusion.err
    last = fusion.document("query", "history", "--home", home)["queries"][-1]
    assert last["statement"] == "select count(*) as given_up from persons"
    assert (last["outcome"], last["code"], last["rows"]) == ("interrupted", "", 0)


def test_what_is_asked_wrongly_is_said(home: Path, fusion: Terminal) -> None:
    assert fusion("query", *ASKS, "--home", home) == 2
    assert fusion("query", "select 1", "--dataset", "persons", *ASKS[2:], "--home", home) == 2
    assert "OWNER/ID" in fusion.err
    assert (
        fusion("query", "select 1", "--dataset", "nobody/persons", *ASKS[2:], "--home", home) == 5
    )


def test_what_may_be_asked_about_is_shown(up: Up, home: Path, fusion: Terminal) -> None:
    up.world.grant("shelled", title="Shown")
    words = ("query", "describe", "--dataset", f"{OWNER}/shelled", "--home", home)
    assert fusion(*words) == 0
    assert "persons.age" in fusion.out
    assert "north, south, east, west" in fusion.out
    assert "functions: abs, " in fusion.out
    document = fusion.document(*words)
    assert (document["schema"], document["k"]) == ("fusion.query-description/1", 10)
    assert document["tables"][0]["columns"][2]["class"] == "key"
    assert fusion("query", "describe", "--dataset", f"{OWNER}/nowhere", "--home", home) == 4
    assert "G-00" in fusion.err


def test_statements_from_stdin_run_one_after_the_other(
    up: Up, home: Path, fusion: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    up.world.grant("shelled", title="Piped")
    words = ("query", "shell", "--dataset", f"{OWNER}/shelled", *ASKS[2:], "--home", home)
    text = f"\\csv\n{BY_REGION}\n order by region;\nselect income from persons;\n\\budget\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert fusion(*words) == 4
    assert fusion.out.startswith("region,n,mean\neast,300,")
    assert "grant " in fusion.out
    assert "   1 | select income from persons\nQ-06" in fusion.err
    monkeypatch.setattr("sys.stdin", io.StringIO("select count(*) as n from persons"))
    assert fusion(*words) == 0
    assert fusion.out == "n\n1200\n"


def test_a_session_at_a_terminal(up: Up, home: Path) -> None:
    """Complete a table, ask, be refused, give a query up, leave: at a real terminal."""
    up.world.grant("shelled", title="Typed", runs=100, rows=10_000)
    words = ("--dataset", f"{OWNER}/shelled", *ASKS[2:], "--home", str(home))
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "fusion.cli", "query", "shell", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
        env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
    ) as process:
        os.close(slave)
        try:
            _hold(up, process, _Screen(master))
        finally:
            process.kill()
    os.close(master)
    assert "count(*) as n from persons;" in (home / "queries/typed.history").read_text("utf-8")
    # The next session knows it.
    assert (home / "queries/typed.history").stat().st_mode & 0o077 == 0


def _hold(up: Up, process: subprocess.Popen[bytes], screen: _Screen) -> None:
    ready = f"{OWNER}/shelled>"
    screen.until(ready)
    screen.type("select count(*) as n from per", "by person_id")
    screen.type("\t;\r", "1200")
    screen.until(ready)
    screen.type("select avg(salary) from persons;\r", "^^^^^^")
    screen.until("Q-04")
    screen.until(ready)
    held = Held()
    with holding(up, held, answered=True):
        screen.type(f"{BY_REGION};\r", "")
        assert held.came.wait(60)
        # Python drops what is raised in a callback of the collector: then it is pressed again.
        for _ in range(3):
            screen.type("\x03", "")
            if held.told.wait(SECONDS / 4):
                break
        screen.until("charged since it was asked: 1 queries, 100 rows")
    screen.until(ready)
    screen.type("\x04", "")
    assert process.wait(60) == 0


class _Screen:
    """What a terminal shows, and its keys."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._shown = ""

    def type(self, keys: str, then: str) -> None:
        """Type, and wait for something to appear."""
        self._shown = ""
        os.write(self._master, keys.encode())
        if then:
            self.until(then)

    def until(self, *texts: str) -> str:
        """Wait until one of some texts appears after the last that was waited for; return it."""
        end = time.monotonic() + 60
        while True:
            plain = _PLAIN.sub("", self._shown)
            for text in texts:
                if text in plain:
                    self._shown = plain.partition(text)[2]
                    return text
            assert time.monotonic() < end, repr(self._shown[-2000:])
            if select.select([self._master], [], [], 0.5)[0]:
                self._shown += os.read(self._master, 65536).decode("utf-8", "replace")


_PLAIN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


def test_a_policy_is_attached_to_what_is_there(up: Up, fusion: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, "utf-8")
    owner = up.world.owner.path
    assert fusion("policy", "add", file, "--dataset", "nowhere", "--home", owner) == 2
    assert "--data DIR" in fusion.err
    two = POLICY + "  regions: {public: true, columns: {region: {class: public}}}\n"
    file.write_text(two, "utf-8")
    assert fusion("policy", "add", file, "--dataset", "typed", "--home", owner) == 2
    (tmp_path / "persons.csv").write_text("person_id,sex,region,age,income\n", "utf-8")
    (tmp_path / "regions.csv").write_text("region\nnorth\n", "utf-8")
    words = ("--dataset", "pair", "--data", tmp_path, "--home", owner)
    assert fusion("policy", "add", file, *words) == 0
    assert "persons.income" in fusion.out
