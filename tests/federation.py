"""A federation in this process, over tables made up for the purpose; real keys, real sums."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from federated.cohort import InProcessCohort, Reply, Request
from federated.party import Party, Seat
from federated.rounds import RoundEngine
from federated.run import Run
from federated.seeds import generator
from federated.study import Study, parse_study
from federated.tables import read_columns
from federated.terms import agree
from fusion.crypto.signing import SigningKey
from fusion.identity.roster import Roster
from fusion.services.clock import SystemClock
from fusion.stores.memory import MemoryJournal, MemoryRoundLog
from fusion.types import OrgId
from tests.members import light_member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusion.crypto.paillier.threshold import ThresholdKey
    from fusion.ports import RunJournal
    from tests.keys import Dealt

NAMES = tuple(map(OrgId, ("north", "east", "south", "west")))

STUDY = """\
[study]
name = "made-up"
dataset = "people"
label = "rich"
positive = "yes"
organisations = ["north", "east", "south", "west"]
quorum = 3
rounds = 2
holdout = 0.25
seed = 7
max_rows = 512

[model]
kind = "logistic"

[local]
steps = 5
batch = 32
learning_rate = 0.3

[optimiser]
kind = "fedavg"

[key]
bits = 2048
threshold = 3
holders = ["north", "east", "south", "west"]

[deadlines]
setup = 1
train = 5
submit = 5
decrypt = 5

[[columns]]
name = "age"
type = "number"
min = 0
max = 100

[[columns]]
name = "work"
type = "category"
categories = ["desk", "field"]
"""


def write_table(path: Path, *, rows: int = 120, seed: int = 0) -> Path:
    """Write a table in which the older and the desk workers are richer."""
    random = generator(seed, "table")
    lines = ["age,work,rich"]
    for _ in range(rows):
        age, desk = random.uniform(18, 90), random.random() < 0.5
        rich = random.random() < 1 / (1 + math.exp(-(age - 55) / 12 - (0.8 if desk else -0.8)))
        lines.append(f"{age:.1f},{'desk' if desk else 'field'},{'yes' if rich else 'no'}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@dataclass(frozen=True)
class Keyring:
    """One organisation's view of the test key."""

    dealt: ThresholdKey
    own: int | None
    fingerprint: str

    def key(self, fingerprint: str) -> tuple[ThresholdKey, tuple[str, ...]]:
        assert fingerprint == self.fingerprint
        return self.dealt, NAMES

    def share(self, fingerprint: str) -> int | None:
        assert fingerprint == self.fingerprint
        return self.own


@dataclass
class Flaky:
    """A party that can be away, or answer otherwise than it should."""

    party: Party
    away: Callable[[Request], bool] = lambda _: False
    instead: Callable[[Request, Reply], Reply] | None = None
    asked: list[str] = field(default_factory=list)

    def handle(self, request: Request) -> Reply:
        self.asked.append(request.kind)
        if self.away(request):
            raise TimeoutError
        reply = self.party.handle(request)
        return reply if self.instead is None else self.instead(request, reply)


@dataclass
class Federation:
    """Everything a run needs, and everything a test looks at."""

    study: Study
    roster: Roster
    hub: SigningKey
    parties: dict[OrgId, Flaky]
    key: ThresholdKey
    journal: RunJournal
    notes: dict[OrgId, list[str]]
    events: list[dict[str, Any]] = field(default_factory=list)

    def run(self, job: str = "job") -> RoundEngine:
        """Return an engine ready to run."""
        terms, model = agree(self.study, job, self.roster, self.key, NAMES)
        clock = SystemClock()

        def emit(event: Mapping[str, Any]) -> None:
            self.events.append(dict(event))

        return RoundEngine(
            Run(
                study=self.study,
                terms=terms,
                model=model,
                authority=self.hub,
                cohort=InProcessCohort(self.parties),
                journal=self.journal,
                clock=clock,
                emit=emit,
                pause=lambda _: None,
            )
        )

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [event for event in self.events if event["event"] == kind]


def federation(
    folder: Path, dealt: Dealt, *, study: str = STUDY, tables: Mapping[str, Path] | None = None
) -> Federation:
    """Make a federation of four with tables in ``folder``."""
    parsed = parse_study(study, "study.toml")
    hub = SigningKey.generate()
    signing = {name: SigningKey.generate() for name in NAMES}
    members = tuple(light_member(name, signing[name].public) for name in sorted(NAMES))
    roster = Roster(federation="test", epoch=1, authority_key=hub.public, members=members)
    notes: dict[OrgId, list[str]] = {name: [] for name in NAMES}
    paths = {
        name: (tables or {}).get(name) or write_table(folder / f"{name}.csv", seed=index)
        for index, name in enumerate(NAMES)
    }

    def seat(index: int, name: OrgId) -> Seat:
        fingerprint = dealt.key.public.fingerprint
        return Seat(
            organisation=name,
            key=signing[name],
            roster=lambda: roster,
            keyring=Keyring(dealt.key, dealt.shares[index], fingerprint),
            log=MemoryRoundLog(),
            read=lambda study: read_columns(study, paths[name]),
            min_group=3,
            clock=SystemClock(),
            note=notes[name].append,
            desk=None,
        )

    parties = {name: Flaky(Party(seat(i, name))) for i, name in enumerate(NAMES)}
    return Federation(parsed, roster, hub, parties, dealt.key, MemoryJournal(), notes)


def with_deadlines(study: Study, seconds: float) -> Study:
    """Return the study with short deadlines."""
    short = dict.fromkeys(("setup", "train", "submit", "decrypt"), seconds)
    return replace(study, deadlines=study.deadlines.model_copy(update=short))
