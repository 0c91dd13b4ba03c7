"""The command line as a user meets it: what is printed where, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fusion.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path

BITS = "2048"


class Terminal:
    """Runs command lines and keeps what each printed."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.out = self.err = ""

    def __call__(self, *words: str | Path) -> int:
        code = run([str(word) for word in words])
        self.out, self.err = self._capture.readouterr()
        return code

    def document(self, *words: str | Path) -> dict[str, Any]:
        """Return the one document of a call with ``--json``."""
        assert self(*words, "--json") == 0, self.err
        document: dict[str, Any] = json.loads(self.out)
        return document


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def invited(fusion: Terminal, folder: Path, *organisations: str) -> str:
    """Make a hub and nodes; return the invitation."""
    words = ("hub", "init", folder / "hub", "--address", "127.0.0.1:8443", "--no-passphrase")
    invitation = str(fusion.document(*words)["invitation"])
    for org in organisations:
        node = ("node", "init", folder / org, "--hub", invitation, "--org", org, "--no-passphrase")
        assert fusion(*node, "--data", f"adult={folder / org}.csv") == 0
    return invitation


def test_help_and_version_are_results(fusion: Terminal) -> None:
    assert fusion("--help") == 0
    assert "simulate" in fusion.out
    assert fusion.err == ""
    assert fusion("--version") == 0
    assert fusion.out.startswith("banyan-fusion ")


@pytest.mark.parametrize("words", [("node", "init"), ("key", "import"), ("hub", "admit")])
def test_help_shows_brackets_as_brackets(fusion: Terminal, words: tuple[str, ...]) -> None:
    assert fusion(*words, "--help") == 0
    assert "[required]" in fusion.out
    assert "\\" not in fusion.out


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("hub", "admit"),
        ("demo", "--model", "tree"),
        ("demo", "--rounds", "many"),
        ("train", "--nonsense"),
        ("key", "import"),
    ],
)
def test_wrong_usage_is_exit_2_and_on_stderr(fusion: Terminal, words: tuple[str, ...]) -> None:
    assert fusion(*words) == 2
    assert fusion.out == ""
    assert "Error" in fusion.err


@pytest.mark.parametrize("verb", ["hub", "node"])
@pytest.mark.parametrize("action", ["status", "up"])
def test_a_folder_that_is_none_is_named(
    fusion: Terminal, tmp_path: Path, verb: str, action: str
) -> None:
    assert fusion(verb, action, tmp_path) == 2
    assert fusion.out == ""
    assert fusion.err.startswith(f"F-200: {tmp_path} is no {verb}")
    assert f"-> Name the folder that `fusion {verb} init` made." in fusion.err


def test_errors_show_a_traceback_only_when_asked(fusion: Terminal, tmp_path: Path) -> None:
    fusion("hub", "status", tmp_path)
    assert "Traceback" not in fusion.err
    assert fusion("--debug", "hub", "status", tmp_path) == 2
    assert "Traceback" in fusion.err


def test_a_federation_by_hand(fusion: Terminal, tmp_path: Path) -> None:
    invitation = invited(fusion, tmp_path, "state", "local")
    requests = [tmp_path / org / "request.csr" for org in ("state", "local")]
    admitted = fusion.document("hub", "admit", *requests, "--hub", tmp_path / "hub")
    assert [m["id"] for m in admitted["members"]] == ["state", "local"]
    status = fusion.document("hub", "status", tmp_path / "hub")
    assert status["invitation"] == invitation
    assert [m["id"] for m in status["members"]] == ["local", "state"]
    assert status["up"] is False
    node = fusion.document("node", "status", tmp_path / "state")
    assert (node["id"], node["admitted"], node["up"]) == ("state", False, False)
    assert list(node["datasets"]) == ["adult"]
    for words in (("hub", "status", tmp_path / "hub"), ("node", "status", tmp_path / "state")):
        assert fusion(*words) == 0
        assert "state" in fusion.out


def test_an_invitation_is_all_of_stdout(fusion: Terminal, tmp_path: Path) -> None:
    assert fusion("hub", "init", tmp_path / "hub", "--no-passphrase") == 0
    assert fusion.out.startswith("https://127.0.0.1:8443#")
    assert fusion.out.count("\n") == 1


def test_an_address_without_a_port_to_dial_is_refused(fusion: Terminal, tmp_path: Path) -> None:
    assert (
        fusion("hub", "init", tmp_path / "hub", "--address", "127.0.0.1:0", "--no-passphrase") == 2
    )
    assert "F-200: 127.0.0.1:0 has no port" in fusion.err
    assert not (tmp_path / "hub").exists()


def test_a_hub_is_not_made_twice(fusion: Terminal, tmp_path: Path) -> None:
    assert fusion("hub", "init", tmp_path / "hub", "--no-passphrase") == 0
    assert fusion("hub", "init", tmp_path / "hub", "--no-passphrase") == 2
    assert "->" in fusion.err


@pytest.mark.parametrize("data", ["adult", "=x.csv", "adult=", "adult=a.csv --data adult=b.csv"])
def test_a_dataset_has_a_name_and_a_file(fusion: Terminal, tmp_path: Path, data: str) -> None:
    words = ["--data", *data.split(" ")]
    assert fusion("node", "init", tmp_path / "n", "--hub", "x", "--org", "state", *words) == 2
    assert "NAME=FILE" in fusion.err
    assert not (tmp_path / "n").exists()


def test_a_forged_request_is_exit_5(fusion: Terminal, tmp_path: Path) -> None:
    invited(fusion, tmp_path, "state")
    forged = tmp_path / "forged.csr"
    forged.write_bytes(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")
    assert fusion("hub", "admit", forged, "--hub", tmp_path / "hub") == 5
    assert fusion.err.startswith("F-50")
    huge = tmp_path / "huge.csr"
    huge.write_bytes(b"x" * (1 << 20))
    assert fusion("hub", "admit", huge, "--hub", tmp_path / "hub") == 2


def test_a_key_from_ceremony_to_import(fusion: Terminal, tmp_path: Path) -> None:
    organisations = ("federal", "local", "state")
    invited(fusion, tmp_path, *organisations)
    requests = [tmp_path / org / "request.csr" for org in organisations]
    assert fusion("hub", "admit", *requests, "--hub", tmp_path / "hub") == 0
    roster, shares = tmp_path / "hub" / "roster.json", tmp_path / "shares"
    holders = ("--holders", ",".join(organisations))
    terms = (*holders, "--bits", BITS, "--roster", roster, "--out", shares)
    # No majority: refused by a rule, before any prime is looked for.
    assert fusion("key", "ceremony", *terms, "--threshold", "1") == 4
    dealt = fusion.document("key", "ceremony", *terms, "--threshold", "2")
    assert (dealt["bits"], dealt["security_bits"], dealt["threshold"]) == (2048, 112, 2)
    assert "searching for two safe primes of 1024 bits" in fusion.err
    assert "2048 bits are the weakest key" in fusion.err
    transcript = ("--transcript", dealt["transcript"])
    state = ("--node", tmp_path / "state")
    mine = dealt["files"]["state"]
    assert fusion("key", "import", mine, *state, "--transcript", "00" * 32) == 4
    assert fusion("key", "import", dealt["files"]["local"], *state, *transcript) == 4
    assert fusion("key", "import", mine, *state, *transcript) == 0
    assert re.search(r"share held here +│ yes", fusion.out)
    hub = ("--hub", tmp_path / "hub")
    assert fusion("key", "import", dealt["document"], *hub, *transcript) == 0
    keys = fusion.document("key", "show", *hub)["keys"]
    assert [(k["bits"], k["share"]) for k in keys] == [(2048, False)]
    assert set(keys[0]) == {
        "fingerprint", "bits", "security_bits", "scheme", "ciphertext_bytes", "proof_roots",
        "randomiser", "threshold", "holders", "share", "transcript", "imported_at",
    }  # fmt: skip
    assert fusion("key", "show", *hub) == 0
    shown = " ".join(fusion.out.replace("│", " ").split())
    assert "2048 bits: 112-bit security strength (NIST SP 800-57)" in shown
    assert " ".join(dealt["transcript"][at : at + 4] for at in range(0, 64, 4)) in shown
    for word in ("djn-half", "2 of 3", "federal, local, state", dealt["fingerprint"]):
        assert word in shown


def test_a_folder_without_keys_shows_none(fusion: Terminal, tmp_path: Path) -> None:
    invited(fusion, tmp_path)
    assert fusion.document("key", "show", "--hub", tmp_path / "hub")["keys"] == []
    assert fusion("key", "show", "--hub", tmp_path / "hub") == 0
    assert (fusion.out, fusion.err) == ("", "no key was imported here\n")


def test_a_roster_on_its_own_needs_the_authority(fusion: Terminal, tmp_path: Path) -> None:
    invited(fusion, tmp_path)
    alone = tmp_path / "roster.json"
    alone.write_bytes((tmp_path / "hub" / "roster.json").read_bytes())
    words = ("key", "ceremony", "--roster", alone, "--holders", "a", "--threshold", "1")
    out = ("--out", tmp_path / "shares")
    assert fusion(*words, *out) == 2
    assert "--authority" in fusion.err
    # With the right key the roster opens, and does not name the holder.
    authority = fusion.document("hub", "status", tmp_path / "hub")["authority_key"]
    assert fusion(*words, *out, "--authority", authority) == 5
    assert fusion.err.startswith("F-504")
    other = authority[:-2] + ("00" if authority[-2:] != "00" else "11")
    assert fusion(*words, *out, "--authority", other) in {4, 5}


@pytest.mark.parametrize("where", [(), ("--node", "a", "--hub", "b")])
def test_a_key_is_in_one_folder(fusion: Terminal, where: tuple[str, ...]) -> None:
    assert fusion("key", "show", *where) == 2
    assert "--node DIR or --hub DIR" in fusion.err


def test_training_needs_a_study_or_a_job(fusion: Terminal, tmp_path: Path) -> None:
    invited(fusion, tmp_path)
    hub = ("--hub", tmp_path / "hub")
    assert fusion("train", *hub) == 2
    assert fusion("train", tmp_path / "none.toml", *hub) == 2
    assert "none.toml can't be read" in fusion.err
    assert fusion("train", "--follow", "job-none", *hub) == 2
    assert "job-none" in fusion.err


def test_a_study_that_is_no_text_is_refused(fusion: Terminal, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_bytes(b"\xff\xfe")
    assert fusion("simulate", "horizontal", "--party", "a.csv", "--party", "b.csv", study) == 2
    assert "not UTF-8" in fusion.err


def test_two_parties_of_one_name_are_refused(fusion: Terminal, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text("", "utf-8")
    parties = ("--party", "x/a.csv", "--party", "y/a.csv")
    assert fusion("simulate", "horizontal", *parties, study) == 2
    assert "same id" in fusion.err


def test_the_demo_does_not_write_into_a_folder_in_use(fusion: Terminal, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("", "utf-8")
    assert fusion("demo", "--keep", tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_as_a_process_it_says_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fusion.cli", "hub", "status", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("F-200: ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fusion.cli.app import run; run(['--help']); "
        "sys.exit(bool({'numpy', 'flwr', 'pyarrow', 'pydantic', 'rich.live'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
