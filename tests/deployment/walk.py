"""The commands of a page, run in its order as a reader would, on machines played by folders.

What stands for something is replaced by it: the hub's address by one on this machine, INVITATION,
HEX and JOB by what an earlier command printed, an absolute path by one in the machine's folder, and
what one organisation does is done by all four.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import tomllib
from typing import TYPE_CHECKING

from federated.engine import ENGINE
from fusion.link.loopback import free_port
from fusion.services.demo_grants import grant_text
from tests.docs.sources import ROOT, shown_commands
from tests.federation import STUDY, write_table

if TYPE_CHECKING:
    from pathlib import Path

ROOT_FOLDER = "/srv/banyan"
"""Where a page puts a machine's files."""
OFFICES = dict(
    zip(
        ("tax.example", "health.example", "grid.example", "bank.example"),
        ("federal", "state", "local", "enterprise"),
        strict=True,
    )
)


class Walk:
    """Runs the commands; knows what they printed."""

    def __init__(
        self,
        folder: Path,
        address: str,
        page: str,
        *,
        label: str = "rich",
        bits: int | None = None,
    ) -> None:
        """Lay out the machines.

        Args:
            folder: Holds a folder for each machine.
            address: The hub's address as the page has it.
            page: Which page; what it shows before its first command makes that one be found.
            label: Label of the study that the page simulates.
            bits: A shorter key than the page has: its primes are found sooner.
        """
        self.hub = folder / "hub-machine"
        self.dealer = folder / "dealer-machine"
        self.desk = folder / "desk"
        self.machines = {org: folder / org for org in OFFICES}
        self.operator = self.machines["bank.example"]
        for place in (self.hub, self.dealer, self.desk, *self.machines.values()):
            place.mkdir()
        self.started: list[subprocess.Popen[bytes]] = []
        self.lines: list[tuple[str, Path]] = []
        self.words = {address: f"127.0.0.1:{free_port()}"}
        for name in ("passphrase", "next"):
            (folder / name).write_text(f"five words of the {name}, in short\n", "utf-8")
            self.words[f"/etc/banyan/{name}"] = str(folder / name)
        self.passphrases = dict.fromkeys(
            (self.hub, self.dealer, self.desk, *self.machines.values()), folder / "passphrase"
        )
        self._bits = bits
        self._shell = shell_of(page)
        self._prepare(label)

    def close(self) -> None:
        """Stop what was started."""
        for process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
        for process in self.started:
            process.wait(60)

    def _prepare(self, label: str) -> None:
        files = ENGINE.demo_files()
        for org, name in OFFICES.items():
            (self.machines[org] / "data").mkdir()
            shutil.copy(files["tables"][name], self.machines[org] / "adult.parquet")
            shutil.copy(files["tables"][name], self.machines[org] / "data" / "adult.parquet")
        text = files["study"].read_text("utf-8")
        for org, name in OFFICES.items():
            text = text.replace(f'"{name}"', f'"{org}"')
        text = re.sub(r"(?m)^rounds = \d+", "rounds = 1", text)
        if self._bits is not None:
            text = re.sub(r"(?m)^bits = \d+", f"bits = {self._bits}", text)
        for machine in (self.hub, self.operator):
            (machine / "study.toml").write_text(text, "utf-8")
        for number, name in enumerate(("a", "b", "c")):
            table = write_table(self.desk / f"{name}.csv", rows=80, seed=number)
            table.write_text(table.read_text("utf-8").replace("rich", "y", 1), "utf-8")
        study = STUDY.replace('label = "rich"', f'label = "{label}"')
        (self.desk / "study.toml").write_text(study, "utf-8")

    def run(self, line: str) -> None:  # noqa: C901, PLR0912, PLR0915 - one case a command
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
                self._admit(line)
            case ["hub" | "node" | "key" | "org", "status" | "show"]:
                self._look(line)
            case ["org", "rotate" | "passphrase"]:
                self._keys(line)
            case ["hub", "roster"]:
                self._roster(line)
            case ["org" | "node", "init"]:
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
            case ["key", "import"] if "key.json" in line:
                # For a member without a share; a holder may have it as well.
                machine = self.machines["tax.example"]
                shutil.copy(self.dealer / "shares" / "key.json", machine)
                self._fusion(line, machine)
            case ["key", "import"]:
                for org, machine in self.machines.items():
                    shutil.copy(self.dealer / "shares" / f"{org}.share", machine)
                    self._fusion(line.replace("tax.example", org), machine)
            case ["doctor", *_]:
                self._examine(line)
            case ["ledger", verb]:
                self._ledger(line, verb)
            case ["audit", *_]:
                self._audit(line)
            case ["grant", verb]:
                self._grant(verb, line)
            case ["train", "--follow"]:
                assert "done" in self._fusion(line, self.hub)
            case ["train", "--stop"]:
                self._stop(line)
            case ["order", "sign"]:
                self._fusion(line, self.operator)
                shutil.copy(self.operator / "order.json", self.hub)
            case ["train", _]:
                self._wait([m / "node" / "ready.json" for m in self.machines.values()])
                printed = self._fusion(line, self.operator if " --home " in line else self.hub)
                self.words["JOB"] = re.findall(r"job-[0-9a-f]+", printed)[0]
            case words:
                message = f"the page shows a command that no test runs: {words}"
                raise AssertionError(message)

    def _keys(self, line: str) -> None:
        """Have one organisation's keys rotated, or their passphrase changed."""
        tax = self.machines["tax.example"]
        assert self._fusion(line, tax)
        if " rotate " in line:
            shutil.copy(tax / "node" / "rotation.json", self.hub)
        else:
            self.passphrases[tax] = tax.parent / "next"
            self._restart(tax)

    def _roster(self, line: str) -> None:
        """Grant a rotation, which its node takes up; revoke somebody who is in no study."""
        if " revoke " in line:
            self._fusion(f"fusion org init {self.desk}/left --id left.example", self.desk)
            request = self.desk / "left" / "request.csr"
            self._fusion(f"fusion hub admit {request} --hub {ROOT_FOLDER}/hub", self.hub)
            line = line.replace("grid.example", "left.example")
        assert self._fusion(line, self.hub)
        if " rotate " in line:
            tax = self.machines["tax.example"]
            self._restart(tax)
            assert not (tax / "node" / "rotation.json").exists()

    def _restart(self, place: Path) -> None:
        """Start a node again, and wait until it is up."""
        ready = place / "node" / "ready.json"
        (number,) = [n for n, (_, where) in enumerate(self.lines) if where == place]
        line, _ = self.lines.pop(number)
        process = self.started.pop(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        self._start(line, place)
        self._wait([ready])

    def _environment(self, place: Path) -> dict[str, str]:
        # Some verbs are called within the folder of a hub or node itself.
        file = self.passphrases.get(place) or self.passphrases[place.parent]
        return {**self._shell, "FUSION_PASSPHRASE_FILE": str(file)}

    def _admit(self, line: str) -> None:
        """Admit everyone: one request a call, or all of them by the names that the page gives."""
        files = [word for word in shlex.split(line) if word.endswith(".csr")]
        machines = list(self.machines.values())
        for number, machine in enumerate(machines):
            shutil.copy(machine / "node" / "request.csr", self.hub / files[number % len(files)])
            if number % len(files) == len(files) - 1:
                self._fusion(line, self.hub)

    def _look(self, line: str) -> None:
        place = self.hub if " hub " in line else self.machines["tax.example"]
        if len(shlex.split(line)) == 3:
            # The verb alone, as in "`fusion hub status` shows it": it takes the folder it is in.
            place /= "hub" if " hub " in line else "node"
            line += " --node ." if " key " in line else ""
        assert self._fusion(line, place)

    def _stop(self, line: str) -> None:
        """Have a long run stopped."""
        text = (self.hub / "study.toml").read_text("utf-8")
        study = self.operator / "long.toml"
        study.write_text(text.replace("rounds = 1", "rounds = 500"), "utf-8")
        command = "fusion train long.toml --home node --detach --json"
        self.words["JOB"] = json.loads(self._fusion(command, self.operator))["job"]
        assert "was stopped after round" in self._fusion(line, self.hub, code=1)

    def _examine(self, line: str) -> None:
        """Have the machine examined, the hub, or every node."""
        match shlex.split(line):
            case [_, _]:
                self._fusion(line, self.desk)
            case [_, _, folder] if folder.endswith("hub"):
                assert "is served by this hub" in self._fusion(line, self.hub)
            case _:
                # A node that has just been started may not have met its hub yet.
                self._wait([m / "node" / "ready.json" for m in self.machines.values()])
                for machine in self.machines.values():
                    self._fusion(line, machine)

    def _ledger(self, line: str, verb: str) -> None:
        """Look at a log; or hand bundles of three to the auditor, once they are witnessed."""
        if verb == "stamp":
            return  # needs a time stamping authority: tests/cli/test_stamp.py makes one
        if verb != "export":
            assert self._fusion(line, self.machines["tax.example"])
            return
        folders = {"tax": self.machines["tax.example"], "bank": self.machines["bank.example"]}
        for name, machine in {**folders, "hub": self.hub}.items():
            home = "hub" if name == "hub" else "node"
            verify = f"fusion ledger verify {ROOT_FOLDER}/{home} --json"
            until = time.monotonic() + 120
            while (seen := json.loads(self._fusion(verify, machine)))["witnessed"] < seen[
                "entries"
            ]:
                assert time.monotonic() < until, seen
            export = line.replace("tax.bundle", f"{name}.bundle")
            self._fusion(export.replace(f"{ROOT_FOLDER}/node", f"{ROOT_FOLDER}/{home}"), machine)
            shutil.copy(machine / f"{name}.bundle", self.desk)
        shutil.copy(self.desk / "tax.bundle", self.desk / "tax-last-month.bundle")

    def _audit(self, line: str) -> None:
        if "--tsa-certificate" in line:
            return  # needs a time stamping authority: tests/cli/test_stamp.py makes one
        status = self._fusion(f"fusion hub status {self.hub / 'hub'}", self.hub)
        self.words["HEX"] = re.findall(r"authority key\s+([0-9a-f]{64})", status)[0]
        assert self._fusion(line, self.desk)

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
                # The pages start more runs than one, and a long one to stop it.
                text = text.replace("rounds: 1, runs: 1", "rounds: 500, runs: 9")
                (first / "grant.yaml").write_text(text, "utf-8")
            case "propose":
                self._fusion(line, first)
            case "sign":
                place = first
                for machine in (*others, self.hub):
                    shutil.copy(place / "grant.json", machine)
                    own = line.replace("/node", "/hub").replace(" node", " hub")
                    self._fusion(own if machine == self.hub else line, machine)
                    place = machine
            case _:
                for machine in self.machines.values():
                    shutil.copy(self.hub / "grant.json", machine)
                    self._fusion(line, machine)

    def _ceremony(self, line: str) -> None:
        status = self._fusion(f"fusion hub status {self.hub / 'hub'}", self.hub)
        self.words["HEX"] = re.findall(r"authority key\s+([0-9a-f]{64})", status)[0]
        for file in (self.hub / "hub" / "roster.json", self.hub / "study.toml"):
            shutil.copy(file, self.dealer)
        if (self.dealer / "shares").exists():
            # A page's second ceremony shows another way to ask for one; its key is not used.
            line = line.replace(" 3072 ", " 2048 ").replace("--out shares", "--out others")
            self._fusion(line, self.dealer)
        else:
            printed = self._fusion(line, self.dealer)
            self.transcript = re.findall(r"transcript\s+([0-9a-f ]{79})", printed)[0]
        self.words["HEX"] = self.transcript

    def _command(self, line: str, place: Path) -> list[str]:
        words = [self.words.get(word, word) for word in shlex.split(line)[1:]]
        here = [word.replace(ROOT_FOLDER, str(place)) for word in words]
        return ["fusion", *here]

    def _fusion(self, line: str, place: Path, *, code: int = 0) -> str:
        command = self._command(line, place)
        done = subprocess.run(
            command,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self._environment(place),
        )
        assert done.returncode == code, f"{line}: {done.stderr}"
        return done.stdout

    def _start(self, line: str, place: Path) -> None:
        self.lines.append((line, place))
        with (place / "log").open("wb") as log:
            self.started.append(
                subprocess.Popen(
                    self._command(line, place),
                    cwd=place,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(place),
                )
            )

    def _wait(self, files: list[Path]) -> None:
        until = time.monotonic() + 120
        while not all(file.exists() for file in files):
            assert time.monotonic() < until, [file for file in files if not file.exists()]
            time.sleep(0.1)


def commands(page: str) -> list[str]:
    """Return the calls of the command line that a page shows."""
    return [line for line in shown_commands(ROOT / page) if line.startswith("fusion ")]


def shell_of(page: str) -> dict[str, str]:
    """Return the environment of a clean shell in which what a page shows first has been typed.

    That is what it shows before its first ``fusion``, of lines that set up a shell.
    """
    shown = shown_commands(ROOT / page)
    before = shown[: next(n for n, line in enumerate(shown) if line.startswith("fusion "))]
    typed = "\n".join(line for line in before if line.startswith(". .venv"))
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        ["/bin/sh", "-euc", f"{typed}\ncommand -v fusion >&2\nenv -0"],
        cwd=ROOT,
        env={**clean, **{k: v for k, v in os.environ.items() if k.startswith(("LC_", "LANG"))}},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, f"{page}: no `fusion` after {typed!r}: {done.stderr.decode()}"
    found = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    # What a run of the tests sets for all processes goes on.
    kept = {k: v for k, v in os.environ.items() if k not in {"PATH", "VIRTUAL_ENV"}}
    return {**kept, **{k: found[k] for k in ("PATH", "VIRTUAL_ENV") if k in found}}
