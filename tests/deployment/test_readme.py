"""The commands of the README, run in its order as a reader would, on machines played by folders.

What stands for something is replaced by it: the hub's address by one on this machine, INVITATION
and HEX by what an earlier command printed, and what one organisation does is done by all four.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from typing import TYPE_CHECKING

import pytest

from federated.engine import ENGINE
from fusion.link.loopback import free_port
from fusion.services.demo_grants import grant_text
from tests.docs.sources import ROOT, shown_commands
from tests.federation import STUDY, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(240)]

OFFICES = dict(
    zip(
        ("tax.example", "health.example", "grid.example", "bank.example"),
        ("federal", "state", "local", "enterprise"),
        strict=True,
    )
)


class Walk:
    """Runs the commands; knows what they printed."""

    def __init__(self, folder: Path) -> None:
        self.hub = folder / "hub-machine"
        self.dealer = folder / "dealer-machine"
        self.desk = folder / "desk"
        self.machines = {org: folder / org for org in OFFICES}
        for place in (self.hub, self.dealer, self.desk, *self.machines.values()):
            place.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []
        self.words = {"hub.example:8443": f"127.0.0.1:{free_port()}"}
        self._prepare()

    def _prepare(self) -> None:
        files = ENGINE.demo_files()
        for org, name in OFFICES.items():
            shutil.copy(files["tables"][name], self.machines[org] / "adult.parquet")
        text = files["study"].read_text("utf-8")
        for org, name in OFFICES.items():
            text = text.replace(f'"{name}"', f'"{org}"')
        text = re.sub(r"(?m)^rounds = \d+", "rounds = 1", text)
        (self.hub / "study.toml").write_text(text, "utf-8")
        for number, name in enumerate(("a", "b")):
            table = write_table(self.desk / f"{name}.csv", rows=80, seed=number)
            table.write_text(table.read_text("utf-8").replace("rich", "y", 1), "utf-8")
        (self.desk / "study.toml").write_text(STUDY, "utf-8")

    def run(self, line: str) -> None:  # noqa: C901, PLR0912 - one case a command
        """Run one of the README's commands wherever it belongs."""
        match shlex.split(line)[1:3]:
            case ["simulate", _]:
                self._fusion(line, self.desk)
            case ["hub", "up"]:
                self._start(line, self.hub)
            case ["hub", "init"]:
                printed = self._fusion(line, self.hub)
                self.words["INVITATION"] = re.findall(r"https://\S+#[0-9a-f]{64}", printed)[0]
            case ["hub", "admit"]:
                for machine in self.machines.values():
                    shutil.copy(machine / "node" / "request.csr", self.hub / "request.csr")
                    self._fusion(line, self.hub)
            case ["node", "init"]:
                for org, machine in self.machines.items():
                    self._fusion(line.replace("tax.example", org), machine)
            case ["node", "up"]:
                for machine in self.machines.values():
                    self._start(line, machine)
            case ["key", "ceremony"]:
                self._ceremony(line)
            case ["key", "import"] if "--hub" in line:
                shutil.copy(self.dealer / "shares" / "key.json", self.hub)
                self._fusion(line, self.hub)
            case ["key", "import"]:
                for org, machine in self.machines.items():
                    shutil.copy(self.dealer / "shares" / f"{org}.share", machine)
                    self._fusion(line.replace("tax.example", org), machine)
            case ["doctor", _]:
                for machine in self.machines.values():
                    self._fusion(line, machine)
                served = self._fusion(line.replace("node", "hub"), self.hub)
                assert "is served by this hub" in served
            case ["grant", verb]:
                self._grant(verb, line)
            case ["train", _]:
                self._wait([m / "node" / "ready.json" for m in self.machines.values()])
                self._fusion(line, self.hub)
            case words:
                message = f"the README shows a command that no test runs: {words}"
                raise AssertionError(message)

    def _grant(self, verb: str, line: str) -> None:
        """One writes the grant, it goes round, and everyone takes the complete one over."""
        first, *others = self.machines.values()
        self._wait([machine / "node" / "roster.json" for machine in self.machines.values()])
        match verb:
            case "schema":
                printed = {self._fusion(line, machine) for machine in self.machines.values()}
                (digest,) = {re.findall(r"[0-9a-f]{64}", text)[0] for text in printed}
                study = tomllib.loads((self.hub / "study.toml").read_text("utf-8"))
                text = grant_text(study, list(self.machines), digest)
                (first / "grant.yaml").write_text(text, "utf-8")
            case "propose":
                self._fusion(line, first)
            case "sign":
                place = first
                for machine in (*others, self.hub):
                    shutil.copy(place / "grant.json", machine)
                    own = line.replace("--home node", "--home hub")
                    self._fusion(own if machine == self.hub else line, machine)
                    place = machine
            case _:
                for machine in self.machines.values():
                    shutil.copy(self.hub / "grant.json", machine)
                    self._fusion(line, machine)

    def _ceremony(self, line: str) -> None:
        status = self._fusion("fusion hub status hub", self.hub)
        self.words["HEX"] = re.findall(r"authority key\s+([0-9a-f]{64})", status)[0]
        for file in (self.hub / "hub" / "roster.json", self.hub / "study.toml"):
            shutil.copy(file, self.dealer)
        printed = self._fusion(line, self.dealer)
        self.words["HEX"] = re.findall(r"transcript\s+([0-9a-f ]{79})", printed)[0]

    def _command(self, line: str) -> list[str]:
        words = shlex.split(line)[1:]
        return [sys.executable, "-m", "fusion.cli", *(self.words.get(word, word) for word in words)]

    def _fusion(self, line: str, place: Path) -> str:
        done = subprocess.run(
            self._command(line), cwd=place, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def _start(self, line: str, place: Path) -> None:
        with (place / "log").open("wb") as log:
            self.started.append(
                subprocess.Popen(
                    self._command(line), cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def _wait(self, files: list[Path]) -> None:
        until = time.monotonic() + 60
        while not all(file.exists() for file in files):
            assert time.monotonic() < until, [file for file in files if not file.exists()]
            time.sleep(0.1)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    walking = Walk(tmp_path)
    yield walking
    for process in reversed(walking.started):
        process.send_signal(signal.SIGTERM)
    for process in walking.started:
        process.wait(30)


def _commands(page: str) -> list[str]:
    return [line for line in shown_commands(ROOT / page) if line.startswith("fusion ")]


def test_the_readmes_commands_lead_to_a_trained_model(walk: Walk) -> None:
    for line in _commands("README.md"):
        walk.run(line)
    assert "<svg" in (walk.hub / "report.html").read_text("utf-8")
    assert "<svg" in (walk.desk / "report.html").read_text("utf-8")


def test_the_chinese_readme_shows_the_same_commands() -> None:
    assert _commands("README.zh-CN.md") == _commands("README.md")
