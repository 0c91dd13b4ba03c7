"""The demo's grant: written, proposed, signed by all and handed round, with the verbs of a user.

The four organisations own the tables; one of them operates; the data authority signs as well.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fusion.catalogue.descriptor import schema_digest
from fusion.errors import FusionError
from fusion.grants.signing import Standing
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import write_atomic
from fusion.services.grants import GRANT_SUFFIX, folder_of, schema_of
from fusion.services.homes import HubHome, NodeHome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fusion.services.grants import Home
    from fusion.services.processes import Children

_VERB_SECONDS: Final = 120.0
_ROUND_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.1
_TEMPLATE: Final = """\
# What the demo's organisations allow each other; every field is on docs/grants.md.
schema: fusion.grant/1
title: The demo's study
assigners: [{owners}]
assignee: {operator}
dataset:
  id: {dataset}
  columns: [{columns}]
  schema_digest: "{schema_digest}"
permissions:
  train: {{models: [{model}], k: {k}, rounds: {rounds}, runs: 1}}
purpose: {purpose}
fee: {{kind: public-interest}}
not_before: {begin}
not_after: {end}
signers:
{signers}
"""


def grant_text(study: Mapping[str, Any], owners: list[str], schema_digest: str) -> str:
    """Return the least grant under which a study can be run once, for a day from now.

    Args:
        study: The study's document.
        owners: The data owners.
        schema_digest: Of everybody's table.
    """
    section = study["study"]
    now = SystemClock().now()
    columns = [*(str(column["name"]) for column in study["columns"]), str(section["label"])]
    signers = [("owner", owner) for owner in owners]
    signers += [("operator", str(section["operator"])), ("authority", "hub")]
    return _TEMPLATE.format(
        owners=", ".join(owners),
        operator=section["operator"],
        dataset=section["dataset"],
        columns=", ".join(map(json.dumps, columns)),
        schema_digest=schema_digest,
        model=study["model"]["kind"],
        k=section["quorum"],
        rounds=section["rounds"],
        purpose=section["purpose"],
        begin=timestamp(now - timedelta(minutes=5)),
        end=timestamp(now + timedelta(days=1)),
        signers="\n".join(f"  - {{role: {role}, organisation: {name}}}" for role, name in signers),
    )


def grant_study(
    study: Mapping[str, Any], hub: Path, nodes: Mapping[str, Path], children: Children, folder: Path
) -> dict[str, Any]:
    """Have everybody sign the study's grant; return what it is and where it stands.

    Hub and nodes are up: what one signs reaches the others over the hub's port.

    Args:
        study: The study's document.
        hub: The hub's folder.
        nodes: Each data owner's folder.
        children: Runs the verbs.
        folder: A new folder for the grant as somebody wrote it.

    Raises:
        FusionError: A verb failed, the tables differ in their schema, or the grant did not get
            round.
    """
    folder.mkdir(mode=0o700)
    homes: dict[str, Home] = {name: NodeHome.open(path) for name, path in nodes.items()}
    dataset = str(study["study"]["dataset"])
    digests = {
        schema_digest(schema_of(home, dataset))
        for home in homes.values()
        if isinstance(home, NodeHome)
    }
    if len(digests) != 1:
        raise FusionError("The demo's tables differ in their columns.")
    written = folder / "grant.yaml"
    write_atomic(written, grant_text(study, list(nodes), digests.pop()).encode())
    (first, where), *others = nodes.items()
    words = ("grant", "propose", written, "--home", where, "--json")
    proposed = children.start(f"{first}-grant", *words)
    found = json.loads(children.finish([proposed], seconds=_VERB_SECONDS)[0])
    homes["hub"] = HubHome.open(hub)
    _await(homes, lambda home: (home.grants / f"{found['id']}{GRANT_SUFFIX}").exists())
    signing = [
        children.start(f"{name}-grant", "grant", "sign", found["id"], "--home", path, "--json")
        for name, path in [*others, ("hub", hub)]
    ]
    children.finish(signing, seconds=_VERB_SECONDS)
    _await(homes, lambda home: folder_of(home).get(found["id"]).standing is Standing.FINALIZED)
    kept = folder_of(homes[first]).get(found["id"])
    return {
        "id": kept.signed.id,
        "standing": kept.standing.value,
        "assigners": list(kept.signed.grant.assigners),
        "assignee": kept.signed.grant.assignee,
        "purpose": kept.signed.grant.purpose,
        "signed": sorted(kept.signed.signed),
    }


def _await(homes: Mapping[str, Home], there: Callable[[Home], bool]) -> None:
    """Wait until it is so everywhere.

    Raises:
        FusionError: It was not in time.
    """
    until = time.monotonic() + _ROUND_SECONDS
    while missing := [name for name, home in homes.items() if not there(home)]:
        if time.monotonic() > until:
            raise FusionError(f"The grant did not get to {', '.join(missing)} in time.")
        time.sleep(_LOOK_SECONDS)
