"""The ceremony's command line: a study says what is dealt, and options may not contradict it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fusion.cli.app import run
from tests.federation import NAMES, STUDY
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from pathlib import Path

GOOD = ("--bits", "2048", "--holders", ",".join(NAMES), "--threshold", "3")


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """What is carried to the dealer's machine: a roster, and a study beside it."""
    hub = make_hub(tmp_path / "hub")
    for name in NAMES:
        admit(hub, make_node(hub, tmp_path / name, name))
    folder = tmp_path / "offline"
    folder.mkdir()
    (folder / "roster.json").write_bytes(hub.roster_file.read_bytes())
    (folder / "study.toml").write_text(STUDY, "utf-8")
    (folder / "authority").write_text(hub.authority_key.public.hex, "ascii")
    return folder


def test_a_study_says_what_is_dealt(offline: Path) -> None:
    authority = (offline / "authority").read_text("ascii")
    words = ("key", "ceremony", "--study", "study.toml", *GOOD, "--authority", authority, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "fusion.cli", *words],
        cwd=offline,
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == "fusion.ceremony/1"
    assert (document["bits"], document["threshold"]) == (2048, 3)
    assert document["holders"] == list(NAMES)
    assert sorted(path.name for path in (offline / "shares").iterdir()) == sorted(
        ["key.json", *(f"{name}.share" for name in NAMES)]
    )
    # Nothing but its lines of progress is on stderr, and no carriage return in a pipe.
    assert "\r" not in done.stderr
    assert done.stderr.startswith("searching for two safe primes")


@pytest.mark.parametrize(
    ("given", "said", "meant"),
    [
        (("--bits", "3072"), "--bits says 3072", "says 2048"),
        (("--threshold", "4"), "--threshold says 4", "says 3"),
        (("--threshold", "0"), "--threshold says 0", "says 3"),
        (("--holders", "east,north"), "--holders says east,north", "says east,north,south,west"),
    ],
)
def test_an_option_that_differs_from_the_study_is_refused(
    offline: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str], said: str, meant: str
) -> None:
    study, roster = str(offline / "study.toml"), str(offline / "roster.json")
    words = ["key", "ceremony", "--study", study, "--roster", roster, *given]
    assert run([*words, "--out", str(offline / "shares")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert meant in error
    assert not (offline / "shares").exists()


def test_without_a_study_the_holders_have_to_be_named(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roster = ["--roster", str(offline / "roster.json")]
    for given in ([], ["--holders", "north"], ["--threshold", "1"]):
        assert run(["key", "ceremony", *roster, *given]) == 2
        assert "Nothing says who holds the key" in capsys.readouterr().err


def test_a_study_that_is_wrong_is_refused_by_the_line(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = offline / "study.toml"
    study.write_text(STUDY.replace("bits = 2048", "bits = 1024"), "utf-8")
    assert run(["key", "ceremony", "--study", str(study)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("F-201: ")
    assert "study.toml:" in error
