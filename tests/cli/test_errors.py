"""How a command line fails: one document with ``--json``, output that can't be written, typos."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import typer

from fusion.cli.app import app
from fusion.services.organisations import change_passphrase
from tests.cli.test_app import Terminal
from tests.link.federation import admit, make_hub, make_node

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = Path("/dev/full")


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def _verbs(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every verb of the command table that has ``--json``."""
    if any("--json" in parameter.opts for parameter in command.params):
        yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from _verbs(below, (*words, name))


@functools.cache
def _command(words: tuple[str, ...]) -> Any:  # noqa: ANN401 - click's
    found: Any = typer.main.get_command(app)
    for word in words:
        found = found.commands[word]
    return found


VERBS = sorted(_verbs(typer.main.get_command(app)))


def _failing(words: tuple[str, ...], nowhere: Path) -> list[str] | None:
    """Return a call of a verb that can only fail: every folder and file it names is not there."""
    line = [*words]
    led_astray = False
    for parameter in _command(words).params:
        if isinstance(parameter, click.Argument):
            line.append(str(nowhere))
            led_astray = True
        elif {"--home", "--hub"} & set(parameter.opts):
            line += [parameter.opts[0], str(nowhere)]
            led_astray = True
        elif parameter.required:
            line += [parameter.opts[0], str(nowhere)]
    return [*line, "--json"] if led_astray else None


def _checked(fusion: Terminal, code: int) -> None:
    """Check that stdout is one document about the error, and stderr says the same to people."""
    document = json.loads(fusion.out)
    assert set(document) == {"schema", "code", "message", "hint", "exit_code"}
    assert document["schema"] == "fusion.error/1"
    assert document["exit_code"] == code != 0
    assert document["message"].splitlines()[0] in fusion.err


def test_there_are_verbs_with_documents() -> None:
    assert len(VERBS) > 40
    assert ("grant", "list") in VERBS


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_call_that_can_not_be_parsed_prints_one_document(
    fusion: Terminal, words: tuple[str, ...]
) -> None:
    code = fusion(*words, "--json", "--no-such-option")
    assert code == 2
    _checked(fusion, code)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verb_that_fails_prints_one_document(
    fusion: Terminal, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = _failing(words, tmp_path / "nowhere" / "x")
    if line is None:
        pytest.skip("it names no folder and no file")
    code = fusion(*line)
    _checked(fusion, code)


def test_what_nobody_expected_is_a_document_too(
    fusion: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fusion.services.homes.open_home", broken)
    assert fusion("grant", "list", "--home", tmp_path, "--json") == 1
    _checked(fusion, 1)
    assert "ZeroDivisionError" in fusion.out


def test_without_json_an_error_prints_nothing_to_stdout(fusion: Terminal, tmp_path: Path) -> None:
    assert fusion("grant", "list", "--home", tmp_path) == 2
    assert fusion.out == ""


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
@pytest.mark.parametrize("words", [["--help"], ["doctor", "--json"]], ids=" ".join)
def test_output_that_can_not_be_written_is_said(words: list[str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fusion.cli", *words],
            check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == (
        "F-300: The output could not be written: No space left on device.\n"
        "-> Is there room where it goes? What was printed is not whole.\n"
    )


def test_what_may_have_been_meant_is_said_once(fusion: Terminal) -> None:
    assert fusion("python", "trry") == 2
    assert fusion.err.count("Did you mean 'try'?") == 1
    assert fusion("gramt") == 2
    assert fusion.err.count("Did you mean 'grant'?") == 1


def test_a_folder_that_is_in_use_is_called_what_it_is(fusion: Terminal, tmp_path: Path) -> None:
    init = ("org", "init", tmp_path / "gov", "--id", "gov", "--no-passphrase")
    assert fusion(*init) == 0, fusion.err
    assert fusion(*init) == 2
    assert "is an organisation already" in fusion.err


def test_a_wrong_passphrase_is_no_refusal_of_the_owner(
    fusion: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = make_hub(tmp_path / "hub")
    tax, bank = (admit(hub, make_node(hub, tmp_path / name, name)) for name in ("tax", "bank"))
    bank.keep_epoch(hub.roster(), hub.roster_file.read_bytes())
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(b"correct horse battery")
    wrong.write_bytes(b"another one altogether")
    change_passphrase(bank.path, right, unencrypted=False)
    monkeypatch.setenv("FUSION_PASSPHRASE_FILE", str(wrong))
    asked = ("--dataset", f"{tax.config.id}/people", "--purpose", "dpv:PublicBenefit")
    assert fusion("query", "select 1", *asked, "--home", bank.path) == 4
    assert fusion.err == (
        f"F-416: The passphrase from {wrong} does not open the private keys in {bank.keys}.\n"
        "-> Name the file that holds theirs: --passphrase-file FILE or FUSION_PASSPHRASE_FILE.\n"
    )
    (kept,) = fusion.document("query", "history", "--home", bank.path)["queries"]
    assert (kept["outcome"], kept["code"]) == ("failed", "F-416")
