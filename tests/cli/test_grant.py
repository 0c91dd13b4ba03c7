"""``fusion grant`` as a user meets it: from a file on one's desk to a grant that holds."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from fusion.services import node as node_service
from fusion.services.homes import HubHome
from tests.cli.test_app import Terminal
from tests.deployment.walk import commands
from tests.link.federation import admit, make_hub, serving

if TYPE_CHECKING:
    from pathlib import Path

GRANT = """\
schema: fusion.grant/1
title: Overdue firms
assigners: [tax]
assignee: bank
dataset: {id: firms, columns: [region, overdue], schema_digest: DIGEST}
permissions:
  train: {models: [logistic], k: 3, rounds: 10, runs: 5}
purpose: dpv:CreditChecking
fee: {kind: public-interest}
not_before: 2020-01-01T00:00:00Z
not_after: 2120-01-01T00:00:00Z
duties:
  - {kind: attribute, text: Data of the tax office}
signers:
  - {role: owner, organisation: tax}
  - {role: operator, organisation: bank}
"""
REQUEST = """\
job: job-1
assignee: bank
party: tax
action: train
dataset: firms
columns: [region, overdue]
schema_digest: DIGEST
purpose: dpv:CreditChecking
model: logistic
k: 3
rounds: 10
"""


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@pytest.fixture
def world(tmp_path: Path, fusion: Terminal) -> Path:
    """A hub, two members, a grant and a request on the desk."""
    hub = make_hub(tmp_path / "hub")
    (tmp_path / "tax.csv").write_text("region,overdue\nnorth,no\n", "utf-8")
    for name in ("tax", "bank"):
        data = {"firms": tmp_path / "tax.csv"}
        admit(hub, node_service.init(tmp_path / name, hub=str(hub.invitation), org=name, data=data))
    for name in ("tax", "bank"):
        shutil.copy(hub.roster_file, tmp_path / name / "roster.json")
    shown = fusion.document("grant", "schema", "firms", "--home", tmp_path / "tax")
    digest = str(shown["schema_digest"])
    (tmp_path / "grant.yaml").write_text(GRANT.replace("DIGEST", digest), "utf-8")
    (tmp_path / "request.yaml").write_text(REQUEST.replace("DIGEST", digest), "utf-8")
    return tmp_path


def test_from_a_file_to_a_grant_that_holds(world: Path, fusion: Terminal) -> None:
    tax, bank = ("--home", world / "tax"), ("--home", world / "bank")
    offer, full = world / "offer.json", world / "full.json"
    assert fusion("grant", "propose", world / "grant.yaml", *tax, "--out", offer) == 0
    assert "OFFERED" in fusion.out
    assert fusion("grant", "show", offer, *bank) == 0
    assert "to be signed by" in fusion.out
    assert fusion.document("grant", "list", *bank)["grants"] == []
    signed = fusion.document("grant", "sign", offer, *bank, "--out", full)
    assert signed["schema"] == "fusion.grant-status/1"
    assert (signed["standing"], signed["missing"]) == ("FINALIZED", [])
    assert fusion("grant", "add", full, *tax) == 0
    listed = fusion.document("grant", "list", *tax)
    assert [each["standing"] for each in listed["grants"]] == ["FINALIZED"]
    assert fusion("grant", "show", str(signed["id"])[:8], *tax) == 0
    assert "attribute" in fusion.out
    assert "k: 3" in fusion.out
    assert "(" not in fusion.out
    policies = fusion.document("grant", "show", full, "--odrl", *bank)
    assert [each["@type"] for each in policies["@graph"]] == ["odrl:Agreement"]
    allowed = fusion.document("grant", "check", world / "request.yaml", *tax)
    assert (allowed["permitted"], allowed["grant"]) == (True, signed["id"])

    gone = world / "gone.json"
    words = ("--reason", "no longer needed", "--out", gone)
    assert fusion("grant", "revoke", str(signed["id"]), *tax, *words) == 0
    assert "TERMINATED" in fusion.out
    assert fusion("grant", "add", gone, *bank) == 0
    assert fusion("grant", "list", *bank) == 0
    assert "TERMINATED" in fusion.out


def test_the_commands_of_the_page_lead_where_it_says(
    world: Path, fusion: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    grant = ""
    with serving(HubHome.open(world / "hub"), 1) as port:
        for name in ("tax", "bank"):
            file = world / name / "node.toml"
            file.write_text(file.read_text("utf-8").replace(":0", f":{port.port}"), "utf-8")
        # Those that the text speaks of come after the block, and once there is a grant.
        for line in commands("docs/grants.md"):
            if not line.startswith("fusion grant "):
                continue  # what an operator does is run by tests/deployment
            if "9ab7cf49" in line or " ID" in line:
                known = fusion.document("grant", "list", "--home", "tax")["grants"]
                grant = grant or known[0]["id"]
            filled = line.replace("9ab7cf49", grant[:8]).replace(" ID", f" {grant} --home tax")
            filled = filled.replace("DATASET", "firms --home tax").replace("FILE", "full.json")
            filled = filled.replace("add full.json", "add full.json --home tax")
            if filled == "fusion grant fetch":
                filled += " --home tax"
            assert fusion(*shlex.split(filled)[1:]) == 0, (line, fusion.err)
    listed = fusion.document("grant", "list", "--home", "tax")
    assert listed["grants"][0]["standing"] == "TERMINATED"


def test_a_refusal_says_what_would_pass_in_both_languages(world: Path, fusion: Terminal) -> None:
    tax, bank = ("--home", world / "tax"), ("--home", world / "bank")
    offer = world / "offer.json"
    assert fusion("grant", "propose", world / "grant.yaml", *tax, "--out", offer) == 0
    signed = fusion.document("grant", "sign", offer, *bank)
    text = (world / "request.yaml").read_text("utf-8")
    (world / "request.yaml").write_text(text.replace("rounds: 10", "rounds: 30"), "utf-8")
    assert fusion("grant", "check", world / "request.yaml", *bank) == 4
    assert "G-24" in fusion.out
    assert "ask for rounds = 10." in fusion.out
    assert "轮数 30 过多；至多 10" in fusion.out
    assert fusion("grant", "check", world / "request.yaml", *bank, "--json") == 4
    said = json.loads(fusion.out)
    assert (said["schema"], said["permitted"], said["code"]) == ("fusion.decision/1", False, "G-24")
    assert said["grant"] == signed["id"]
    assert said["repair"] == [
        {"target": "request", "op": "replace", "path": "/rounds", "value": 10}
    ]


def test_a_mistake_in_a_grant_is_named_with_its_line(world: Path, fusion: Terminal) -> None:
    path = world / "grant.yaml"
    path.write_text(path.read_text("utf-8").replace("runs: 5", "runs: five"), "utf-8")
    assert fusion("grant", "propose", path, "--home", world / "tax") == 2
    assert f"F-203: {path}:7: `runs`" in fusion.err


def test_who_is_not_asked_does_not_sign(world: Path, fusion: Terminal) -> None:
    assert fusion("grant", "propose", world / "grant.yaml", "--home", world / "hub") == 5
    assert "F-501: hub is not one of the signers" in fusion.err
    assert "-> It is signed by bank, tax." in fusion.err


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("id: firms", "id: frims", "no dataset called `frims`"),
        ("[region, overdue]", "[region, overdu]", "no column called `overdu`"),
        ("schema_digest: ", "schema_digest: 00000000", "another schema"),
        (
            "not_after: 2120",
            "not_after: 2021",
            "`not_after` is 2021-01-01T00:00:00Z, which is past",
        ),
    ],
)
def test_at_the_owners_node_a_grant_of_what_is_not_there_is_not_proposed(
    world: Path, fusion: Terminal, before: str, after: str, said: str
) -> None:
    """Found by name, with the line, before anybody has signed."""
    text = (world / "grant.yaml").read_text("utf-8")
    changed = text.replace(before, after)
    if "schema_digest" in before:
        digest = text.split("schema_digest: ")[1][:64]
        changed = text.replace(digest, "ab" * 32)
    (world / "other.yaml").write_text(changed, "utf-8")
    assert fusion("grant", "propose", world / "other.yaml", "--home", world / "tax") == 2
    assert said in fusion.err
    assert "F-203" in fusion.err
    assert "other.yaml:" in fusion.err
    assert not list((world / "tax/grants").glob("*"))
    # Where it can't be known it is not refused; of a time that is past it is said.
    assert fusion("grant", "propose", world / "other.yaml", "--home", world / "bank") == 0
    assert ("such a grant permits nothing" in fusion.err) == ("past" in said)


def test_a_grant_of_what_a_policy_names_is_proposed(world: Path, fusion: Terminal) -> None:
    """The tables of a policy may be in a database: then their schema is known from the policy."""
    (world / "policy.yaml").write_text(
        "schema: fusion.policy/1\ntitle: Firms\ntables:\n  firms:\n    entity: id\n    rows: 1\n"
        "    columns:\n      id: {class: key, type: integer}\n"
        "      region: {class: dimension, values: [north, south], complete: true}\n",
        "utf-8",
    )
    rows = "".join(f"{n},north\n" for n in range(40))
    (world / "firms.csv").write_text(f"id,region\n{rows}", "utf-8")
    tax = ("--home", world / "tax")
    found = fusion.document(
        "policy",
        "add",
        world / "policy.yaml",
        "--dataset",
        "asked",
        "--data",
        world,
        *tax,
    )
    text = (world / "grant.yaml").read_text("utf-8")
    digest = text.split("schema_digest: ")[1][:64]
    text = text.replace("id: firms", "id: asked").replace("[region, overdue]", "[region]")
    (world / "asked.yaml").write_text(text.replace(digest, str(found["schema_digest"])), "utf-8")
    assert fusion("grant", "propose", world / "asked.yaml", *tax) == 0
