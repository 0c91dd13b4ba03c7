"""An alignment with every process as an organisation runs it: hub, nodes, the verbs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.aligning.world import BANK, COMMON, GOV, KEYS, PURPOSE, study_text
from tests.deployment.processes import Deployment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.deployment, pytest.mark.soak, pytest.mark.timeout(600)]


def _grant(found: Deployment, owner: str, outcomes: Sequence[str] = ("size",)) -> None:
    """Have an owner and the operator sign, with the verbs that they would use."""
    schema: dict[str, Any] = found.json("grant", "schema", "people", "--home", found.node(owner))
    document = {
        "schema": "fusion.grant/1",
        "title": "The same people",
        "assigners": [owner],
        "assignee": BANK,
        "dataset": {
            "id": "people",
            "columns": ["ID"],
            "schema_digest": schema["schema_digest"],
        },
        "permissions": {
            "align": {
                "set_size": 1000,
                "outcomes": list(outcomes),
                "minimum_intersection": 10,
                "runs": 5,
            }
        },
        "purpose": PURPOSE,
        "fee": {"kind": "public-interest"},
        "not_before": "2020-01-01T00:00:00Z",
        "not_after": "2099-01-01T00:00:00Z",
        "signers": [
            {"role": "owner", "organisation": owner},
            {"role": "operator", "organisation": BANK},
        ],
    }
    file, offer, full = (found.folder / f"{owner}.{n}" for n in ("yaml", "offer", "full"))
    file.write_text(json.dumps(document), "utf-8")
    found.fusion("grant", "propose", file, "--home", found.node(owner), "--out", offer)
    if owner != BANK:
        found.fusion("grant", "sign", offer, "--home", found.node(BANK), "--out", full)
        found.fusion("grant", "add", full, "--home", found.node(owner))


def test_an_alignment_is_ordered_and_ends(tmp_path: Path) -> None:
    data = {}
    for name in (BANK, GOV):
        data[name] = tmp_path / f"{name}.csv"
        lines = ["ID,age", *(f"{key},30" for key in KEYS[name])]
        data[name].write_text("\n".join(lines) + "\n", "utf-8")
    study = tmp_path / "study.toml"
    study.write_text(study_text(patience=40.0), "utf-8")
    with Deployment(tmp_path / "federation", [BANK, GOV], data=data) as found:
        for owner in (BANK, GOV):
            _grant(found, owner)
        words = ("align", "--study", study, "--home", found.node(BANK))
        first = found.json(*words)
        assert first["common"] == COMMON
        # A node that is started again answers for what it did before, and goes on.
        found.kill(GOV)
        found.start(GOV)
        found.wait_ready([GOV])
        assert found.json(*words)["common"] == COMMON
        # One that is killed, or stopped, while it is asked to take part, or just after, goes on.
        for end in (found.kill, found.terminate):
            job = found.json(*words, "--detach")["job"]
            end(GOV)
            found.start(GOV)
            found.wait_ready([GOV])
            followed = found.json("align", "--follow", job, "--home", found.node(BANK))
            assert followed["common"] == COMMON
        states = found.json("hub", "status", found.hub)["jobs"]
        assert [each["status"] for each in states] == ["done"] * 4
        bundles = []
        found.fusion("ledger", "export", found.hub, "--out", found.folder / "hub.bundle")
        bundles.append(found.folder / "hub.bundle")
        for name in (BANK, GOV):
            bundles.append(found.folder / f"{name}.bundle")
            found.fusion("ledger", "export", found.node(name), "--out", bundles[-1])
            text = bundles[-1].read_text("utf-8")
            assert text.count("set-committed") == 4
            assert text.count("set-aligned") == 4
        found.fusion("audit", *bundles, "--unwitnessed")
