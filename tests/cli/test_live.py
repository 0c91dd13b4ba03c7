"""The view of a run: a line an event in a log, a table on a terminal, and no obeyed escapes."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fusion.cli.live import TrainingView
from fusion.cli.progress import Progress, line, size_words
from tests.reports.records import ORGANISATIONS, events

HOSTILE = "evil\x1b[2J\x07\r\n[bold red]name[/]\u202e"


def plain(run: list[dict[str, Any]]) -> list[str]:
    """Return what the view writes where there is no terminal."""
    stream = io.StringIO()
    with TrainingView(stream) as view:
        for event in run:
            view.feed(event)
    return stream.getvalue().splitlines()


def drawn(run: list[dict[str, Any]]) -> str:
    """Return the table that a terminal would show in the end."""
    view = TrainingView(io.StringIO())
    for event in run:
        view.progress.apply(event)
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(view.render())
    return console.export_text()


def test_a_log_has_one_line_an_event_but_for_phases() -> None:
    run = events()
    assert len(plain(run)) == len([e for e in run if e["event"] != "phase"])


def test_the_lines_say_who_how_good_and_how_it_ended() -> None:
    lines = plain(events(rounds=2))
    assert lines[0].endswith("federal, state, local, enterprise; 2 rounds; key 3072 bits, 3 of 4")
    assert any(text.endswith("set-up   local ready") for text in lines)
    assert any("AUC 0.5800" in text for text in lines)
    assert lines[-1].startswith("end      done")


def test_who_is_absent_is_named_in_log_and_table() -> None:
    run = events(absent="state")
    assert any(
        "absent: state since 2026-01-02T03:04:05Z (did not submit in time)" in text
        for text in plain(run)
    )
    table = drawn(run[: 5 + 3 * 3])
    assert re.search(r"- state +absent", table)
    assert "did not submit in time" in table


def test_the_table_shows_everyone_the_rounds_and_the_model() -> None:
    table = drawn(events(rounds=3))
    for name in ORGANISATIONS:
        assert name in table
    assert "3/3" in table
    assert "AUC 0.6200" in table
    assert "480.0 kB" in table


def test_waiting_is_shown_while_it_lasts() -> None:
    table = drawn(events()[:6])
    assert "+ federal     answered" in table
    assert ". enterprise  waiting" in table
    assert "round 0: train" in table


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_table_and_keeps_its_last_state() -> None:
    screen = Screen()
    with TrainingView(screen) as view:
        for event in events(rounds=1):
            view.feed(event)
    shown = screen.getvalue()
    assert "set-up   local ready" not in shown
    assert shown.count("enterprise") >= 1
    assert shown.rindex("done") > shown.rindex("seconds")


def test_a_refusal_names_the_party_and_the_code() -> None:
    event = {"event": "refusal", "organisation": "state", "code": "F-401", "message": "too few"}
    assert line(event) == "refusal  state F-401: too few"
    assert "F-401 too few" in drawn([event])


def test_hostile_names_move_no_cursor_and_style_nothing() -> None:
    run = events()
    run[0] = {**run[0], "study": HOSTILE, "organisations": [HOSTILE]}
    for shown in (*plain(run), *drawn(run).splitlines()):
        assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e"}
    assert any("[bold red]name[/]" in shown for shown in plain(run))


@given(st.lists(st.sampled_from(events(absent="local")), max_size=30))
def test_events_in_any_order_are_shown(run: list[dict[str, Any]]) -> None:
    assert len(plain(run)) == len([e for e in run if e["event"] != "phase"])
    assert drawn(run)


def test_an_unknown_event_changes_nothing() -> None:
    progress = Progress()
    progress.apply({"event": "surprise", "round": "x"})
    assert progress == Progress()
    assert line({"event": "surprise"}) is None


def test_the_end_decides_the_exit_code() -> None:
    progress = Progress()
    progress.apply({"event": "end", "status": "failed", "message": "no quorum", "exit_code": 6})
    assert (progress.status, progress.exit_code) == ("failed", 6)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e6, "2.0 MB")]
)
def test_sizes_are_readable(size: float, words: str) -> None:
    assert size_words(size) == words


ALIGNMENT: list[dict[str, Any]] = [
    {"event": "start", "kind": "alignment", "job": "job-1", "study": "people", "outcome": "size",
     "organisations": ["bank", "gov"], "operator": "bank"},
    {"event": "setup", "organisation": "bank", "status": "ready", "message": ""},
    {"event": "attempt", "number": 1, "step": 0, "reason": ""},
    {"event": "attempt", "number": 2, "step": 0, "reason": "gov was started anew."},
    {"event": "sent", "bytes": 2_500_000},
    {"event": "told", "organisation": "bank", "told": "00ff"},
    {"event": "end", "status": "done", "message": "", "exit_code": 0},
]  # fmt: skip


def test_an_alignment_says_how_far_it_is_and_no_size_of_a_set() -> None:
    lines = plain(ALIGNMENT)
    assert len(lines) == len(ALIGNMENT)
    assert "alignment, outcome size" in lines[0]
    assert "attempt  1 begins" in lines[2]
    assert "attempt  2 goes on: gov was started anew." in lines[3]
    assert "2.5 MB sent" in lines[4]
    assert "00ff" not in "".join(lines)
    table = drawn(ALIGNMENT)
    assert "aligning people" in table
    assert "2.5 MB travelled" in table
    assert "bank" in table
    assert "no model" not in table
