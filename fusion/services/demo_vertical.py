"""The demo's vertical study: three organisations as a registry, a tax office and an employer.

Three of the demo's organisations get, beside their own table, columns of people that all three
know, each with a grant of its own; the run is ordered as every other.
"""

from __future__ import annotations

import csv
import json
import threading
import time
import tomllib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.files import read_table
from fusion.errors import FusionError, PartyFailed
from fusion.services import grants
from fusion.services.clock import SystemClock, timestamp
from fusion.services.grants import schema_of
from fusion.services.homes import HubHome, NodeHome
from fusion.services.models import model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusion.engine_ports import TrainingEngine
    from fusion.services.processes import Children

_VERB_SECONDS: Final = 120.0
ROLES: Final = {
    "federal": {"en": "a registry", "zh": "登记机关"},
    "state": {"en": "a tax office", "zh": "税务机关"},
    "enterprise": {"en": "an employer", "zh": "用人单位"},
}
"""What the demo's organisations play in it; its study says the same."""
_PEOPLE: Final = 1000
"""People of each of the demo's tables; together they are those of the study."""


def write_tables(
    text: str, tables: Mapping[str, Path], folder: Path
) -> dict[str, tuple[str, Path]]:
    """Write each party's columns; return its dataset and file.

    Each party lacks some people, and has its own order of them.

    Args:
        text: The study.
        tables: The demo's tables, by organisation.
        folder: A new folder for the files.
    """
    folder.mkdir(mode=0o700)
    parties = tomllib.loads(text)["party"]
    names = [name for party in parties for name in _columns(party)]
    parts = [read_table(path, names, text=["income"]) for path in tables.values()]
    people = [
        {name: part[name][row] for name in names}
        for part in parts
        for row in range(min(_PEOPLE, part.rows))
    ]
    found = {}
    for number, party in enumerate(parties):
        path = folder / f"{party['dataset']}.csv"
        order = range(len(people))[:: -1 if number % 2 else 1]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([party["identifier"], *_columns(party)])
            for i in order:
                if i % 100 != number:  # not everybody is known everywhere
                    cells = (people[i][name] for name in _columns(party))
                    writer.writerow([f"P{i:06d}", *("" if c is None else c for c in cells)])
        found[str(party["organisation"])] = (str(party["dataset"]), path)
    return found


def _columns(party: Mapping[str, Any]) -> list[str]:
    return [*party["columns"], *([party["label"]] if "label" in party else [])]


def grant(text: str, nodes: Mapping[str, Path]) -> list[str]:
    """Have each owner grant its own table to the operator; return the grants' ids."""
    study = tomllib.loads(text)
    operator = NodeHome.open(nodes[study["study"]["operator"]])
    found = []
    for party in study["party"]:
        owner = NodeHome.open(nodes[party["organisation"]])
        kept = grants.propose(owner, json.dumps(_document(study, party, owner)), "grant.yaml")
        if owner.path != operator.path:
            kept = grants.sign(operator, kept.signed.envelope)
            grants.add(owner, kept.signed.envelope)
        found.append(kept.signed.id)
    return found


def _document(
    study: Mapping[str, Any], party: Mapping[str, Any], owner: NodeHome
) -> dict[str, Any]:
    """Return the least grant under which the study can be run once, for a day from now."""
    now, head, operator = SystemClock().now(), study["study"], study["study"]["operator"]
    align = {name: study["alignment"][name] for name in ("set_size", "minimum_intersection")}
    return {
        "schema": "fusion.grant/1",
        "title": "The demo's vertical study",
        "assigners": [party["organisation"]],
        "assignee": operator,
        "dataset": {
            "id": party["dataset"],
            "columns": [party["identifier"], *_columns(party)],
            "schema_digest": schema_digest(schema_of(owner, party["dataset"])),
        },
        "permissions": {
            "align": {**align, "outcomes": ["both"], "runs": 1},
            "train": {
                "models": [study["model"]["kind"]],
                "k": len(study["party"]),
                "rounds": study["model"]["trees"],
                "runs": 1,
                **study["leakage"],
            },
        },
        "purpose": head["purpose"],
        "fee": {"kind": "public-interest"},
        "not_before": timestamp(now - timedelta(minutes=5)),
        "not_after": timestamp(now + timedelta(days=1)),
        "signers": [
            {"role": "owner", "organisation": party["organisation"]},
            {"role": "operator", "organisation": operator},
        ],
    }


def run(
    study: Path,
    hub: Path,
    node: Path,
    children: Children,
    engine: TrainingEngine,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Have the operator order the run; return its record once it is over.

    Raises:
        PartyFailed: It did not end well.
        FusionError: Its record breaks off.
    """
    began = time.monotonic()
    words = ("train", study, "--home", node, "--detach", "--json")
    started = children.start("train-columns", *words)
    job = str(json.loads(children.finish([started], seconds=_VERB_SECONDS)[0])["job"])
    home, end, over = HubHome.open(hub), {}, threading.Event()

    def quiet(_: float) -> None:
        if stop():
            over.set()

    for event in engine.follow(home, job, stop=over, on_quiet=quiet):
        if event.get("event") == "end":
            end = dict(event)
    if not end:
        raise FusionError("The record of the vertical run breaks off.")
    if end.get("status") != "done":
        raise PartyFailed(
            str(end.get("message") or "The vertical run did not end well."),
            code=str(end.get("code") or "F-100"),
            exit_code=int(end.get("exit_code") or 1),
        )
    wall = round(time.monotonic() - began, 2)
    return {**engine.result(home, job), "roles": ROLES, "wall_seconds": wall}


def leakage(node: NodeHome, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the leak report that the label party kept of the model."""
    kept = model_of(node, str(record["model_kept"]["model"]))
    return None if kept is None else kept.facts.leakage


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``fusion demo --json`` prints of it."""
    return {
        "parties": record["organisations"],
        "rows": record["rows"],
        "quality": record["quality"],
        "sent": record["model_kept"]["sent"],
        "columns_alone": record["baselines"],
        "model": record["model_kept"]["model"],
        "seconds": record["wall_seconds"],
    }
