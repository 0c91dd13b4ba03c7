"""``fusion org`` and ``fusion hub roster`` as a user meets them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fusion.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORG = "tax.city.example"


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set first, so that what a command line sets is undone."""
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", "")


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def document(found: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = found
    assert code == 0, err
    content: dict[str, Any] = json.loads(out)
    return content


def test_from_keys_without_a_hub_to_a_member(
    fusion: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    org, hub = tmp_path / "org", tmp_path / "hub"
    made = document(fusion("org", "init", org, "--id", ORG, "--no-passphrase", "--json"))
    assert (made["schema"], made["id"], made["encrypted"]) == ("fusion.org/1", ORG, False)
    invitation = document(fusion("hub", "init", hub, "--no-passphrase", "--json"))["invitation"]
    node = document(fusion("node", "init", org, "--hub", invitation, "--json"))
    assert (node["id"], node["request"]) == (ORG, made["request"])
    assert fusion("hub", "admit", made["request"], "--hub", hub, "--until", "2030-01-31")[0] == 0
    roster = document(fusion("hub", "roster", "show", "--hub", hub, "--json"))
    assert (roster["schema"], roster["epoch"]) == ("fusion.roster/2", 2)
    (member,) = roster["members"]
    assert member["keys"] == made["keys"]
    assert (member["status"], member["valid_until"]) == ("active", "2030-01-31T23:59:59Z")
    code, out, _ = fusion("org", "show", org)
    assert (code, ORG in out, "NOT encrypted" in out) == (0, True, True)


def test_rotate_extend_revoke_and_look_back(
    fusion: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    org, hub = tmp_path / "org", tmp_path / "hub"
    fusion("org", "init", org, "--id", ORG, "--no-passphrase")
    fusion("hub", "init", hub, "--no-passphrase")
    fusion("hub", "admit", org / "request.csr", "--hub", hub)
    assert fusion("org", "rotate", org)[0] == 2
    asked = document(fusion("org", "rotate", org, "--sealing", "--tls", "--json"))
    assert asked["keys"] == ["sealing", "tls"]
    granted = document(fusion("hub", "roster", "rotate", asked["request"], "--hub", hub, "--json"))
    assert len(granted["members"][0]["rotations"]) == 1
    assert fusion("hub", "roster", "extend", ORG, "--until", "2031-01-01", "--hub", hub)[0] == 0
    assert fusion("hub", "roster", "extend", ORG, "--until", "soon", "--hub", hub)[0] == 2
    code, out, _ = fusion("hub", "roster", "revoke", ORG, "--reason", "left", "--hub", hub)
    assert (code, "revoked" in out, "left" in out) == (0, True, True)
    assert fusion("hub", "roster", "revoke", ORG, "--reason", "left", "--hub", hub)[0] == 4
    assert fusion("hub", "roster", "revoke", "z", "--reason", "left", "--hub", hub)[0] == 5
    told = document(fusion("hub", "roster", "history", "--hub", hub, "--json"))["epochs"]
    assert [c["what"] for epoch in told for c in epoch["changes"]] == [
        "admitted", "rotated: ca, sealing_key", "valid until 2031-01-01T23:59:59Z", "revoked: left",
    ]  # fmt: skip
    code, out, _ = fusion("hub", "roster", "history", "--hub", hub)
    assert (code, out.count("epoch ")) == (0, 5)
    assert fusion("hub", "roster", "show", "--hub", hub)[1].count(ORG) == 1


def test_no_key_is_made_without_a_passphrase_or_an_explicit_choice(
    fusion: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for words in (
        ("org", "init", tmp_path / "x", "--id", ORG),
        ("hub", "init", tmp_path / "x"),
        ("node", "init", tmp_path / "x", "--hub", "x", "--org", ORG),
    ):
        code, _, err = fusion(*words)
        assert (code, "--no-passphrase" in err) == (3, True)
    assert not (tmp_path / "x").exists()


def test_keys_under_a_passphrase_and_its_change(
    fusion: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    first, second, hub = tmp_path / "first", tmp_path / "second", tmp_path / "hub"
    first.write_text("five words of one passphrase\n", "utf-8")
    second.write_text("and of quite another one\n", "utf-8")
    given = ("--passphrase-file", first)
    assert fusion(*given, "hub", "init", hub)[0] == 0
    assert b"ENCRYPTED" in (hub / "keys" / "authority.pem").read_bytes()
    assert fusion(*given, "org", "init", tmp_path / "o", "--id", ORG, "--no-passphrase")[0] == 2
    assert fusion(*given, "org", "init", tmp_path / "o", "--id", ORG)[0] == 0
    request = tmp_path / "o" / "request.csr"
    code, _, err = fusion("--passphrase-file", second, "hub", "admit", request, "--hub", hub)
    assert (code, "does not open" in err) == (4, True)
    assert fusion(*given, "hub", "admit", request, "--hub", hub)[0] == 0
    changed = fusion(*given, "org", "passphrase", hub, "--new-passphrase-file", second, "--json")
    assert document(changed)["encrypted"]
    assert fusion(*given, "hub", "roster", "revoke", ORG, "--reason", "x", "--hub", hub)[0] == 4
    revoke = ("hub", "roster", "revoke", ORG, "--reason", "x", "--hub", hub)
    assert fusion("--passphrase-file", second, *revoke)[0] == 0
    code, out, _ = fusion("--passphrase-file", second, "org", "passphrase", hub, "--no-passphrase")
    assert (code, "NOT encrypted" in out) == (0, True)


def test_a_hub_with_encrypted_keys_needs_a_file_to_serve(
    fusion: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "first"
    file.write_text("five words of one passphrase\n", "utf-8")
    assert fusion("--passphrase-file", file, "hub", "init", tmp_path / "hub")[0] == 0
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", "")
    code, _, err = fusion("hub", "up", tmp_path / "hub")
    assert (code, "--passphrase-file" in err) == (3, True)
