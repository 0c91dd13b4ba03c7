"""The demo's grant: written, proposed, signed by all and handed round, with the verbs of a user.

The four organisations own the tables; one of them operates; the data authority signs as well.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from fusion.errors import FusionError
from fusion.services.clock import SystemClock, timestamp
from fusion.services.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fusion.services.processes import Child, Children

_VERB_SECONDS: Final = 120.0
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

    Args:
        study: The study's document.
        hub: The hub's folder.
        nodes: Each data owner's folder.
        children: Runs the verbs.
        folder: A new folder for the files that are handed round.

    Raises:
        FusionError: A verb failed, or the tables differ in their schema.
    """

    def verb(name: str, *words: str | Path) -> Child:
        return children.start(f"{name}-grant", "grant", *words)

    def finish(started: list[Child]) -> list[dict[str, Any]]:
        return [json.loads(text) for text in children.finish(started, seconds=_VERB_SECONDS)]

    folder.mkdir(mode=0o700)
    dataset = str(study["study"]["dataset"])
    shown = finish(
        [verb(n, "schema", dataset, "--home", home, "--json") for n, home in nodes.items()]
    )
    digests = {str(each["schema_digest"]) for each in shown}
    if len(digests) != 1:
        raise FusionError("The demo's tables differ in their columns.")
    written = folder / "grant.yaml"
    write_atomic(written, grant_text(study, list(nodes), digests.pop()).encode())
    first, *others = nodes.items()
    offer = folder / f"{first[0]}.json"
    finish([verb(first[0], "propose", written, "--home", first[1], "--out", offer, "--json")])
    signing = [*others, ("hub", hub)]
    files = [offer, *(folder / f"{name}.json" for name, _ in signing)]
    finish(
        [
            verb(name, "sign", offer, "--home", home, "--out", file, "--json")
            for (name, home), file in zip(signing, files[1:], strict=True)
        ]
    )
    added = finish([verb(n, "add", *files, "--home", h, "--json") for n, h in [first, *signing]])
    standing = added[0]["grants"][-1]
    return {
        "id": standing["id"],
        "standing": standing["standing"],
        "assigners": standing["grant"]["assigners"],
        "assignee": standing["grant"]["assignee"],
        "purpose": standing["grant"]["purpose"],
        "signed": standing["signed"],
    }
