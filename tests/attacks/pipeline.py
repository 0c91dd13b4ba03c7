"""The whole way of a permitted query in one process: permit, engine, history, release, rest.

Everything is what a node runs, but for the process around the engine: a process for each of many
thousand statements that a test wrote takes hours, and confines nothing.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import FusionError
from fusion.grants.decide import State, decide
from fusion.grants.permit import Permit
from fusion.grants.request import Request
from fusion.services import node as node_service
from fusion.types import OrgId
from sandbox import ledgers, runner
from sandbox.attached import Origin, attach
from sandbox.history.guard import History
from sandbox.history.thresholds import Policy as Bounds
from sandbox.query import answer
from sandbox.sources.files import Files
from tests.grants.grants import document, grant_from, signed_by
from tests.link.federation import admit, make_hub
from tests.sandbox.asking import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fusion.grants.signing import SignedGrant
    from fusion.services.homes import NodeHome
    from sandbox.attached import Attached

OWNER: Final = "tax"
BANK: Final = "bank"
OTHER: Final = "customs"
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
PURPOSE: Final = "dpv:CreditChecking"
DATASETS: Final = 256
ROWS: Final = 10_000
TOGETHER: Final = 10
"""Questions of one statement."""

Columns = dict[str, list[Any]]


class InProcess:
    """Runs what :class:`sandbox.isolate.Isolation` runs in a worker, here."""

    def run(
        self, entry: str, request: bytes, inputs: Mapping[str, Path], *_: object, **__: object
    ) -> bytes:
        """Return what the function returns."""
        module, _colon, name = entry.partition(":")
        return bytes(getattr(import_module(module), name)(request, inputs))


@contextmanager
def owner() -> Iterator[Owner]:
    """A node of an owner, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Owner(Path(name))


class Owner:
    """A node with datasets to attach policies to."""

    def __init__(self, folder: Path) -> None:
        """Make its home."""
        self.folder = folder
        hub = make_hub(folder / "hub")
        names = [f"d{number}" for number in range(DATASETS)]
        nothing = folder / "nothing.csv"
        nothing.write_text("a\n1\n", "utf-8")
        made = node_service.init(
            folder / OWNER, hub=str(hub.invitation), org=OWNER, data=dict.fromkeys(names, nothing)
        )
        self.node: NodeHome = admit(hub, made)
        self.numbers = count()
        self._datasets = count()

    def dataset(self, policy: str, tables: Mapping[str, Columns]) -> Dataset:
        """Attach a policy to tables, as ``fusion policy attach`` does."""
        number = next(self._datasets)
        data = self.folder / f"data{number}"
        data.mkdir()
        write(data, tables)
        return self._attached(f"d{number}", policy, data)

    def again(self, dataset: Dataset, more: str) -> Dataset:
        """Attach the policy to the same tables once more, with some lines added."""
        return self._attached(dataset.attached.dataset, dataset.text + more, dataset.data)

    def _attached(self, name: str, policy: str, data: Path) -> Dataset:
        found = attach(self.node, policy, "policy.yaml", name, Origin(data))
        grants = {each: _grant(found, each) for each in (BANK, OTHER)}
        return Dataset(self, found, grants, policy, data)


def _grant(found: Attached, assignee: str) -> SignedGrant:
    return signed_by(
        grant_from(
            document(
                {
                    "/assigners": [OWNER],
                    "/assignee": assignee,
                    "/dataset": {
                        "id": found.dataset,
                        "columns": list(found.columns),
                        "schema_digest": found.schema_digest,
                    },
                    "/permissions": {
                        "query": {
                            "outputs": ["table"],
                            "rows": 10**9,
                            "epsilon_micro": 10**9,
                            "runs": 10**6,
                        }
                    },
                    "/signers": [
                        {"role": "owner", "organisation": OWNER},
                        {"role": "operator", "organisation": assignee},
                    ],
                }
            )
        )
    )


@dataclass
class Dataset:
    """A policy with its frozen tables, and a grant for all of it to each organisation."""

    owner: Owner
    attached: Attached
    grants: dict[str, SignedGrant]
    text: str
    data: Path
    attackers: int = 0

    def attacker(self, *, guarded: bool = True) -> Attacker:
        """Return somebody with an empty history of her own, in it a colleague of hers."""
        self.attackers += 1
        secret = self.attackers.to_bytes(32, "big")
        history = self._history(secret)
        colleague = Attacker(self, secret, history, guarded)
        return Attacker(self, secret, history, guarded, colleague)

    def two_organisations(self) -> Attacker:
        """Return somebody whose colleague is of another organisation."""
        found = self.attacker()
        assert found.colleague is not None
        found.colleague.organisation = OTHER
        return found

    def _history(self, secret: bytes) -> History:
        number = next(self.owner.numbers)
        k = max(2, self.attached.policy.release.k)
        path = self.owner.folder / f"history{number}.sqlite"
        return History(path, secret, Bounds(k=k, h_max=1 / k))

    def permit(self, prepared: runner.Prepared, organisation: str) -> Permit:
        """Return a permit for a statement."""
        found = self.attached
        read = prepared.columns()
        request = Request(
            job="q-1", assignee=OrgId(organisation), party=OrgId(OWNER), action="query",
            dataset=found.dataset, columns=read, needed=read, schema_digest=found.schema_digest,
            purpose=PURPOSE, epsilon_micro=1, rows=ROWS, output="table", study=prepared.study,
        )  # fmt: skip
        permit = decide(self.grants[organisation], request, State(), NOW)
        assert isinstance(permit, Permit), permit
        return permit


def asking(dataset: Dataset) -> dict[str, Attacker]:
    """Return both organisations, with the history that the owner's node has of each."""
    node, found = dataset.owner.node, dataset.attached
    secret, history = ledgers.secret_of(node), ledgers.history_of(node, found)
    return {each: Attacker(dataset, secret, history, organisation=each) for each in (BANK, OTHER)}


@dataclass(frozen=True)
class Question:
    """What is asked for one number, or for one of each value of a key."""

    measure: str
    where: str
    source: str = "persons"
    key: str = ""

    def sql(self, place: int) -> str:
        """Return it as SELECT of its place, key and number."""
        key = self.key or "''"
        select = f"select {place} as q, {key} as k, {self.measure} as v"
        group = " group by 2" if self.key else ""
        return f"{select} from {self.source} where {self.where}{group}"


@dataclass
class Said:
    """What came back: a table, or a refusal's code and text."""

    rows: list[list[Any]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    refused: tuple[str, str, str] | None = None


@dataclass
class Attacker:
    """An organisation that asks, and what it was given before.

    Every question is of a month of its own, so that the refusals of a month bound nobody here: the
    attacker is as patient as can be.
    """

    dataset: Dataset
    secret: bytes
    history: History
    guarded: bool = True
    colleague: Attacker | None = None
    organisation: str = BANK
    known: dict[Question, dict[Any, float]] = field(default_factory=dict)
    months: int = 0
    asked: int = 0
    answered: int = 0

    def close(self) -> None:
        """Let go of the history."""
        self.history.close()
        if self.colleague is not None:
            self.colleague.close()

    def ask(self, statement: str) -> Said:
        """Ask."""
        self.asked += 1
        try:
            found = self._asked(statement) if self.guarded else self._unguarded(statement)
        except FusionError as error:
            return Said(refused=(error.code, error.message, error.hint))
        self.answered += any(cell is not None for row in found.rows for cell in row)
        return found

    def _asked(self, statement: str) -> Said:
        self.months += 1
        prepared = runner.prepare(statement, self.dataset.attached, self.secret)
        isolation: Any = InProcess()
        source = Files(self.dataset.attached, isolation)
        released = runner.run(
            self.dataset.permit(prepared, self.organisation),
            prepared,
            source,
            self.history,
            secret=self.secret,
            month=f"{2000 + self.months // 12:04d}-{1 + self.months % 12:02d}",
            stop=threading.Event(),
            seconds=60,
        )
        return Said(released.answer.rows, released.notes)

    def _unguarded(self, statement: str) -> Said:
        """Answer as the release rules alone would."""
        attached = self.dataset.attached
        engine = import_module("sandbox.engine")
        found = answer(
            statement,
            attached.policy,
            lambda request: engine.execute(request, attached.inputs),
            secret=ledgers.noise_secret(self.secret),
        )
        return Said(found.rows)

    def numbers(self, questions: Sequence[Question]) -> list[float | None]:
        """Ask each question for one number, none of them twice."""
        fresh = list(dict.fromkeys(each for each in questions if each not in self.known))
        for first in range(0, len(fresh), TOGETHER):
            some = fresh[first : first + TOGETHER]
            for each, cells in zip(some, self._together(some), strict=True):
                self.known[each] = cells
        return [self.known[each].get("") for each in questions]

    def tables(self, questions: Sequence[Question]) -> list[dict[Any, float]]:
        """Ask each question for the cells of its key that are shown."""
        self.numbers(questions)
        return [self.known[each] for each in questions]

    def _together(self, some: Sequence[Question]) -> list[dict[Any, float]]:
        """Ask many in one statement, as who is in a hurry would; one that is refused, alone."""
        said = self.ask(" union all ".join(each.sql(place) for place, each in enumerate(some)))
        if said.refused is not None and len(some) > 1:
            half = len(some) // 2
            return [*self._together(some[:half]), *self._together(some[half:])]
        self.asked += len(some) - 1
        found: list[dict[Any, float]] = [{} for _ in some]
        for place, key, cell in said.rows:
            if isinstance(cell, int | float):
                found[place][key] = float(cell)
        return found
