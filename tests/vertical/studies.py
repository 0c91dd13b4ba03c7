"""A vertical study over made-up people, as tests run it: tables, study, parties in one process."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from federated import seeds
from federated.protocols.vertical.outbox import MachineTalker
from federated.vertical.attempts import patience_of
from federated.vertical.job import BroughtToTrain, VerticalJob
from federated.vertical.keeping import Mark, MemoryKeeping
from federated.vertical.own_table import own_table
from federated.vertical.study import VerticalStudy, parse_vertical
from federated.vertical.tables import Label, read
from federated.vertical.work import DEALER, dealer_of
from fusion.services.alignment import Column
from tests.conversing.parties import talking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from federated.vertical.aligning import Aligned
    from federated.vertical.tables import Joined
    from tests.conversing.network import Network
    from tests.conversing.parties import Waiting

LABEL = "registry"

STUDY = """\
[study]
name = "made-up"
kind = "vertical"
operator = "{label}"
purpose = "dpv:ServiceProvision"
seed = 7
test_fraction = 0.25
patience = {patience}

[identifiers]
kind = "text"

[alignment]
set_size = 10000
minimum_intersection = 20

[[party]]
organisation = "{label}"
dataset = "people"
identifier = "id"
columns = ["r0", "r1"]
label = "over"
positive = {positive}
{others}
[model]
{model}
"""

PARTY = """
[[party]]
organisation = "{name}"
dataset = "people"
identifier = "id"
columns = ["{initial}0", "{initial}1", "{initial}word"]
"""

BOOSTING = """\
kind = "boosting"
backend = "{backend}"
trees = {trees}
depth = 3
bins = 8
min_leaf = 10
"""


def study_text(
    model: str,
    names: tuple[str, ...] = ("tax", "work"),
    *,
    patience: float = 60.0,
    positive: str = '"yes"',
    label: str = LABEL,
) -> str:
    """Return a study of the registry and others."""
    others = "".join(PARTY.format(name=name, initial=name[0]) for name in names)
    return STUDY.format(
        model=model, others=others, patience=patience, positive=positive, label=label
    )


def boosting(backend: str, trees: int = 4) -> str:
    """Return the section of a boosted model."""
    return BOOSTING.format(backend=backend, trees=trees)


def linear(kind: str = "logistic", epochs: int = 6, backend: str = "dealer") -> str:
    """Return the section of a linear model."""
    return f'kind = "{kind}"\nbackend = "{backend}"\nepochs = {epochs}\n'


def scorecard(epochs: int = 6, backend: str = "dealer", min_bin: int = 20) -> str:
    """Return the section of a scorecard."""
    return (
        f'kind = "scorecard"\nbackend = "{backend}"\nepochs = {epochs}\n'
        f"bins = 5\nmin_bin = {min_bin}\npoints = 500\n"
    )


def tables(
    folder: Path,
    names: tuple[str, ...] = ("tax", "work"),
    rows: int = 400,
    *,
    numbers: bool = False,
    label: str = LABEL,
) -> dict[str, Path]:
    """Write a table a party: each lacks some people, and has its own order of them."""
    draw = seeds.generator("tests-vertical-study", rows, *names)
    score = np.zeros(rows)
    found: dict[str, Path] = {}
    columns: dict[str, dict[str, list[object]]] = {}
    for name in (label, *names):
        columns[name] = {}
        initial = "r" if name == label else name[0]
        for number in range(2):
            values = np.round(draw.normal(size=rows) * 2) / 2
            score += values * (0.9 - 0.3 * number)
            columns[name][f"{initial}{number}"] = values.tolist()
        if name != label:
            words = draw.integers(0, 3, rows)
            score += (words == 1) * 0.8
            columns[name][f"{name[0]}word"] = [("a", "b", "c")[i] for i in words]
    pair: tuple[object, object] = (1, 0) if numbers else ("yes", "no")
    columns[label]["over"] = [pair[0] if each > 0 else pair[1] for each in score]
    folder.mkdir(exist_ok=True)
    for place, (name, table) in enumerate(columns.items()):
        order = [i for i in draw.permutation(rows).tolist() if i % 17 != place]
        found[name] = folder / f"{name}.csv"
        with found[name].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *table])
            for i in order:
                writer.writerow([f"P{i:05d}", *(table[column][i] for column in table)])
    return found


class Open:
    """A permission that is there until it is taken away."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.on_error: Callable[[], object] = lambda: None
        self.grant = ""
        self.begun = self.given_up = 0

    def watch(self) -> None:
        if self.error is not None:
            self.on_error()
            raise self.error

    def begin(self) -> None:
        self.begun += 1

    def give_up(self) -> None:
        self.given_up += 1


@dataclass
class Party:
    """One party: what it keeps survives its job."""

    name: str
    study: VerticalStudy
    path: Path
    permission: Open = field(default_factory=Open)
    keeping: MemoryKeeping = field(default_factory=MemoryKeeping)
    aligned: list[Aligned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def job(self, network: Network) -> VerticalJob:
        """Return a new job over what is kept, as after a start of its process."""
        return VerticalJob(
            BroughtToTrain(
                me=self.name,
                job="job-1",
                patience=patience_of(self.study),
                federation="f",
                study=self.study,
                table=own_table(self.study, self.name, self.path),
                permissions=(self.permission,),
                keeping=self.keeping,
                conversations=network.join(self.name),
                hold=lambda: None,
                log_aligned=lambda _, aligned: self.aligned.append(aligned),
                note=self.notes.append,
            )
        )


class Run:
    """All parties of a study in one process, and a dealer where there is one."""

    def __init__(self, folder: Path, text: str, network: Network, **made: Any) -> None:  # noqa: ANN401
        self.study = parse_vertical(text, "study.toml")
        cast = self.study.cast
        self.paths: Mapping[str, Path] = tables(folder, cast.features, **made)
        self.network = network
        self.parties = {n: Party(n, self.study, self.paths[n]) for n in cast.parties}
        self.jobs = {name: party.job(network) for name, party in self.parties.items()}
        self.while_waiting: Callable[[], object] = lambda: None
        self._dealers: list[Waiting] = []
        if cast.dealer is not None:
            self.hub = network.join(DEALER)

    def again(self, name: str) -> None:
        """Have a party's process begin anew."""
        self.jobs[name] = self.parties[name].job(self.network)

    def begin(self, attempt: int, start: Mark | None = None) -> None:
        """Begin an attempt at all parties; the dealer begins as soon as rows are known."""
        for job in self.jobs.values():
            job.begin(attempt, start)
        if self.study.cast.dealer is not None:
            label = self.jobs[LABEL]
            while (rows := label.standing()["rows"]) is None and not self.over():
                self.while_waiting()
                time.sleep(0.01)
            if rows is None:
                return
            machine = dealer_of(
                self.study.cast, self.study.model, rows[0], start.step if start else 0
            )
            peers = self.study.cast.peers(DEALER, linear=True)
            opening = machine.start() if hasattr(machine, "start") else []
            talker = MachineTalker(machine, peers, opening, lambda: machine.done)
            self._dealers.append(
                talking(
                    self.hub, talker, job="job-1.train", attempt=attempt,
                    patience=patience_of(self.study),
                )
            )  # fmt: skip

    def unheard(self, name: str) -> None:
        """Have nobody have heard a party for as long as they wait, however short that was."""
        talks = {who: job._talk for who, job in self.jobs.items() if who != name}
        talks |= {DEALER: self._dealers[-1].talk} if self._dealers and name != DEALER else {}
        for talk in talks.values():
            if talk is not None and name in talk.lines:
                talk.lines[name].excuse(-2 * self.study.patience)

    def unheard_when_failed(self, name: str) -> Callable[[], None]:
        """Return what has nobody have heard a party once it has failed, to be done again."""
        return lambda: self.unheard(name) if self.states()[name] == "failed" else None

    def alone(self, name: str) -> None:
        """Have a party have heard nobody for as long as it waits."""
        talk = self.jobs[name]._talk if name in self.jobs else None
        for line in () if talk is None else talk.lines.values():
            line.excuse(-2 * self.study.patience)

    def standings(self) -> dict[str, dict[str, Any]]:
        """Return how each party stands."""
        return {name: job.standing() for name, job in self.jobs.items()}

    def joined(self) -> Joined:
        """Return the tables as a simulation joins them."""
        (label, *others) = self.paths.items()
        return read(
            label, others, Column("id", "text", "refuse"), Label("over"),
            test_fraction=self.study.test_fraction, seed=self.study.seed, tell=lambda _: None,
        )  # fmt: skip

    def states(self) -> dict[str, str]:
        """Return what each party does."""
        return {name: job.standing()["state"] for name, job in self.jobs.items()}

    def over(self) -> bool:
        """Whether nobody works any more."""
        return not {"aligning", "training"} & set(self.states().values())

    def finish(self, seconds: float = 200.0) -> dict[str, str]:
        """Wait until nobody works any more; return how they ended."""
        until = time.monotonic() + seconds
        while not self.over():
            assert time.monotonic() < until, {n: j.standing() for n, j in self.jobs.items()}
            self.while_waiting()
            time.sleep(0.02)
        for dealer in self._dealers:
            dealer.stop.set()
            dealer.end()
        return self.states()

    def marks(self) -> list[Mark]:
        """Return the marks that all parties have."""
        found = [{tuple(m) for m in job.standing()["marks"]} for job in self.jobs.values()]
        return sorted(Mark(*mark) for mark in set.intersection(*found))
