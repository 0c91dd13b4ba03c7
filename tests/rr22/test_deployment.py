"""``fusion align`` by RR22 with every process as an organisation runs it, and spu itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.aligning.test_deployment import _grant
from tests.aligning.world import BANK, COMMON, GOV, KEYS
from tests.deployment.processes import Deployment
from tests.rr22.offering import rr22_text
from tests.rr22.python import NAMED, with_spu

pytestmark = [
    pytest.mark.deployment, pytest.mark.soak, pytest.mark.timeout(600), with_spu,
]  # fmt: skip


def _offer(found: Deployment, name: str) -> None:
    path = Path(found.node(name)) / "node.toml"
    lines = [each for each in path.read_text("utf-8").splitlines() if "rr22_" not in each]
    path.write_text(
        "\n".join([f'rr22_python = "{NAMED}"', f"rr22_parties = {[BANK, GOV]}", *lines]) + "\n",
        "utf-8",
    )


def test_two_organisations_align_by_it(tmp_path: Path) -> None:
    data = {}
    for name in (BANK, GOV):
        data[name] = tmp_path / f"{name}.csv"
        rows = [*KEYS[name], KEYS[name][0]]  # one of them twice
        lines = ["ID,age", *(f"{key},30" for key in rows)]
        data[name].write_text("\n".join(lines) + "\n", "utf-8")
    study = tmp_path / "study.toml"
    study.write_text(rr22_text(patience=40.0), "utf-8")
    with Deployment(tmp_path / "federation", [BANK, GOV], data=data) as found:
        for owner in (BANK, GOV):
            _grant(found, owner, ["both"])
        words = ("align", "--study", study, "--home", found.node(BANK))
        refused = found.fusion(*words, check=False)
        assert (refused.returncode, "A-20" in refused.stderr) == (4, True), refused.stderr
        for name in (BANK, GOV):
            _offer(found, name)
            found.terminate(name)
            found.start(name)
        found.wait_ready([BANK, GOV])
        made = found.json(*words)
        assert (made["common"], made["outcome"], made["attempts"]) == (COMMON, "both", 1)
        assert made["protocol"] == "rr22"
        for name in (BANK, GOV):
            (path,) = Path(found.node(name)).glob(f"alignments/{made['job']}/rows.json")
            keys = [KEYS[name][row] for row in json.loads(path.read_bytes())["rows"]]
            assert sorted(keys) == sorted(set(KEYS[BANK]) & set(KEYS[GOV]))
        bundles = []
        for name, home in (("hub", found.hub), (BANK, found.node(BANK)), (GOV, found.node(GOV))):
            bundles.append(found.folder / f"{name}.bundle")
            found.fusion("ledger", "export", home, "--out", bundles[-1])
        found.fusion("audit", *bundles, "--unwitnessed")
