"""The shell: commands, statements over several lines, refusals, cancelling, exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from fusion.cli import terminal
from fusion.cli.shell import MAX_PENDING, Shell, run_piped
from fusion.errors import FusionError, InputInvalid, PartyUnreachable
from fusion.services.query_session import MAX_HISTORY_BYTES, typed_file
from tests.queries.answering import Answering

if TYPE_CHECKING:
    from pathlib import Path

    from tests.queries.world import Up

COUNT = "select count(*) as n from persons"


class Session:
    """A shell, what it was told, and what it says."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *, attended: bool) -> None:
        self.node = Answering()
        self.shell = Shell(self.node, rows=100, attended=attended)
        self._capsys = capsys

    def __call__(self, *lines: str) -> tuple[str, str]:
        """Feed lines; return what is on stdout and on stderr."""
        for line in lines:
            self.shell.feed(f"{line}\n")
        return tuple(self._capsys.readouterr())  # type: ignore[return-value]

    def typed(self, keys: str, history: Path) -> tuple[str, str]:
        """Type at a terminal until its user leaves."""
        with create_pipe_input() as pipe:
            pipe.send_text(keys)
            terminal.run(self.shell, "tax/persons", history, keys=pipe, to=DummyOutput())
        return tuple(self._capsys.readouterr())  # type: ignore[return-value]


@pytest.fixture
def attended(capsys: pytest.CaptureFixture[str]) -> Session:
    return Session(capsys, attended=True)


@pytest.fixture
def piped(capsys: pytest.CaptureFixture[str]) -> Session:
    return Session(capsys, attended=False)


def test_a_statement_runs_when_its_semicolon_is_there(attended: Session) -> None:
    assert attended("select count(*) as n", "  from persons") == ("", "")
    out, _ = attended("; select count(*) as n from persons;")
    assert out == "n\n1200\n" * 2
    assert [sql for sql, _ in attended.node.asked] == [
        "select count(*) as n\n  from persons",
        COUNT,
    ]


def test_a_refusal_stands_below_what_it_is_about(attended: Session) -> None:
    out, err = attended("select count(*),", "  avg(薪水)", "from persons;")
    assert out == ""
    assert err.splitlines()[:4] == [
        "   1 | select count(*),",
        "   2 |   avg(薪水)",
        "     |       ^^^^",
        "   3 | from persons",
    ]
    assert "Q-04: A name is not in the policy." in err
    assert "-> fusion query describe lists" in err
    # Somebody sits there: nothing has failed.
    assert attended.shell.exit_code == 0


def test_forms_of_answers(attended: Session) -> None:
    out, _ = attended("\\csv", f"{COUNT};")
    assert out == "n\n1200\n"
    out, _ = attended("\\json", f"{COUNT};")
    assert json.loads(out)["schema"] == "fusion.query-result/1"
    out, err = attended("\\table", "\\timing", "\\explain", "\\d", f"{COUNT};")
    assert "n\n1200" in out
    assert " ms" in err
    assert "answered by policy" in err
    assert "fewer people than 10 are left out, others are rounded, counts to multiples of 5" in err


def test_commands_show_what_the_node_tells(attended: Session) -> None:
    out, _ = attended("\\d")
    assert "persons" in out
    out, _ = attended("\\d PERSONS")
    assert "dimension, integer 0 to 120" in out
    assert "north, south" in out
    out, _ = attended("\\df")
    assert "avg, " in out
    attended("\\rows 20", f"{COUNT};")
    assert attended.node.asked[-1][1] == 20
    attended("\\rho 20000", f"{COUNT};", "\\rho", f"{COUNT};")
    assert attended.node.rho == [None, 20000, None]
    out, _ = attended("\\budget")
    assert "2099-01-01" in out
    out, _ = attended("\\history")
    assert COUNT in out
    out, _ = attended("\\?")
    assert "\\timing" in out


@pytest.mark.parametrize(
    "line", ["\\nothing", "\\d nowhere", "\\rows", "\\rows 0", "\\rows x", "\\rho 0", "\\rho x"]
)
def test_a_command_that_is_none_says_what_would_be(attended: Session, line: str) -> None:
    _, err = attended(line)
    assert "F-2" in err
    assert "-> " in err


def test_a_backslash_within_a_statement_is_not_a_command(attended: Session) -> None:
    attended("select '", "\\q", "' as a, count(*) from persons;")
    assert attended.node.asked[0][0] == "select '\n\\q\n' as a, count(*) from persons"


def test_an_interrupted_query_says_what_was_charged(attended: Session) -> None:
    attended.node.raises = KeyboardInterrupt()
    _, err = attended(f"{COUNT};")
    assert "cancelled" in err
    assert "charged since it was asked: 1 queries, 100 rows" in err
    attended.node.raises = None
    assert attended(f"{COUNT};")[0] == "n\n1200\n"


# ------------------------------------------------------------------------- piped


def test_piped_statements_run_one_after_the_other_and_a_refusal_shows_in_the_exit_code(
    piped: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["select income from persons;\n", "\\csv\n", f"{COUNT}\n", "-- the end without one\n"]
    assert run_piped(piped.shell, lines) == 4
    told = capsys.readouterr()
    assert told.out == "n\n1200\n"
    assert "Q-06: Rows do not leave." in told.err


def test_piped_without_a_refusal_ends_well_and_q_leaves(piped: Session) -> None:
    assert run_piped(piped.shell, [f"{COUNT};\n", "\\q\n", "select income from persons;\n"]) == 0
    assert len(piped.node.asked) == 1


def test_what_failed_outweighs_what_was_refused(piped: Session) -> None:
    assert run_piped(piped.shell, ["select income from persons;\n", "\\nothing\n"]) == 2


@pytest.mark.parametrize("error", [PartyUnreachable("gone"), KeyboardInterrupt()])
def test_piped_statements_stop_when_nobody_answers(piped: Session, error: BaseException) -> None:
    piped.node.raises = error
    with pytest.raises(type(error)):
        run_piped(piped.shell, [f"{COUNT};\n", f"{COUNT};\n"])
    assert len(piped.node.asked) == 1


def test_a_statement_without_end_is_given_up(piped: Session) -> None:
    with pytest.raises(InputInvalid):
        run_piped(piped.shell, ["select 1,\n" * 10_000])
    assert MAX_PENDING < 100_000
    # What comes next is not taken for the rest of it.
    assert piped(f"{COUNT};")[0] == "n\n1200\n"


# ---------------------------------------------------------------------- terminal


def test_at_a_terminal_enter_goes_on_until_the_semicolon(attended: Session, tmp_path: Path) -> None:
    history = tmp_path / "history"
    out, _ = attended.typed(f"\r{COUNT.replace(' from', chr(13) + 'from')};\r\\q\r", history)
    assert out == "n\n1200\n"
    assert attended.node.asked[0][0] == "select count(*) as n\nfrom persons"
    # The next session begins with what was typed in this one: up, up, then Enter.
    out, _ = attended.typed("\x1b[A\x1b[A\r\x04", history)
    assert out == "n\n1200\n"


def test_at_a_terminal_tab_completes(attended: Session, tmp_path: Path) -> None:
    attended.shell.describe()
    with create_pipe_input() as pipe:

        class Screen(DummyOutput):
            """Goes on typing once the table is offered."""

            shown = ""

            def write(self, data: str) -> None:
                before, self.shown = self.shown, self.shown + data
                if "by person_id" in self.shown and "by person_id" not in before:
                    pipe.send_text("\t;\r\x04")

        pipe.send_text("select count(*) as n from per")
        terminal.run(attended.shell, "tax/persons", tmp_path / "h", keys=pipe, to=Screen())
    assert attended.node.asked == [(COUNT, 100)]


def test_at_a_terminal_an_interrupt_drops_the_line_and_an_end_leaves(
    attended: Session, tmp_path: Path
) -> None:
    attended.typed(f"select income\x03{COUNT};\r\x04", tmp_path / "history")
    assert attended.node.asked == [(COUNT, 100)]


def test_an_error_does_not_end_the_session(attended: Session, tmp_path: Path) -> None:
    attended.node.raises = FusionError("something")
    _, err = attended.typed(f"{COUNT};\r{COUNT};\r\x04", tmp_path / "history")
    assert err.count("something") == 2


def test_what_was_typed_is_private_and_bounded(up: Up) -> None:
    path = typed_file(up.world.analyst)
    assert path.stat().st_mode & 0o777 == 0o600
    entry = b"\n# 2026-11-25 12:00:00.000000\n+select 1;\n"
    path.write_bytes(entry * (MAX_HISTORY_BYTES // len(entry) + 2))
    path.chmod(0o644)
    assert typed_file(up.world.analyst) == path
    kept = path.read_bytes()
    assert MAX_HISTORY_BYTES // 2 - len(entry) < len(kept) <= MAX_HISTORY_BYTES // 2
    assert kept.startswith(b"# 2026")
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
