"""What is printed where: results on stdout, the rest on stderr, nothing a terminal would obey."""

from __future__ import annotations

import csv
import io
import json
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cli import output
from fusion.cli.answers import show_table
from fusion.cli.files import read_bounded
from fusion.errors import InputInvalid, StudyInvalid
from fusion.services.query_messages import Table

if TYPE_CHECKING:
    from pathlib import Path


@given(st.text())
def test_clean_text_has_no_control_characters(text: str) -> None:
    shown = output.clean(text)
    assert len(shown) == len(text)
    assert not [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160]


def test_a_document_is_one_json_value_with_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    output.document("fusion.x/1", {"名": "值", "n": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"schema": "fusion.x/1", "名": "值", "n": 1}
    assert captured.err == ""


HOSTILE = "n\x1b[2K\x9b1A\u202e\u200b\U000e0041"


def test_names_move_no_cursor_either(capsys: pytest.CaptureFixture[str]) -> None:
    output.table([HOSTILE, "b"], [[HOSTILE, 1]])
    output.facts([(HOSTILE, HOSTILE)])
    output.sheet(HOSTILE, [(HOSTILE, HOSTILE)])
    output.document("fusion.x/1", {HOSTILE: HOSTILE})
    shown = capsys.readouterr().out
    assert not set(shown) & set(HOSTILE) - set("n[2K1A")
    assert json.loads(shown[shown.rindex('{\n  "schema"') :])[HOSTILE] == HOSTILE


def test_texts_are_left_and_numbers_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(
        ["name", "why", "n", "took", "left"],
        [["a", "because", 5, "9 ms", ""], ["bb", "no", 1200, "1.5 s", "-3"], ["c", "", "", "", ""]],
    )
    assert capsys.readouterr().out.splitlines() == [
        "name  why         n   took  left",
        "a     because     5   9 ms",
        "bb    no       1200  1.5 s    -3",
        "c",
    ]


def test_csv_has_no_formula_and_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(
        job=f"q-{'0' * 32}", policy="0" * 64, columns=["=1+1", HOSTILE], notes=[],
        rows=[["@x", "\t=cmd"], [-5, "\x1b[2Ka"], [" +1", "a=b"]],
    )  # fmt: skip
    show_table(table, "csv")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    heads, *rows = csv.reader(io.StringIO(shown))
    assert heads[0] == "'=1+1"
    assert rows[0][0] == "'@x"
    assert rows[0][1].startswith("'")
    assert rows[1][0] == "-5"
    assert rows[2] == ["' +1", "a=b"]


def test_an_error_is_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.failure(StudyInvalid("study.toml:3: no.", hint="write\x1b[31m yes"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "F-201: study.toml:3: no.\n-> write [31m yes\n"


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("who", "AUC"), [("a", "0.9"), ("longer", "0.85")])
    assert capsys.readouterr().out.splitlines() == ["who      AUC", "a        0.9", "longer  0.85"]


def test_progress_is_silent_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with output.progress("searching", stream) as show:
        show("3 s")
    assert stream.getvalue() == ""


class _Terminal(io.StringIO):
    """A terminal in memory, which tells when a count of seconds has come."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.endswith(" s"):
            self.counted.set()
        return super().write(text)


def test_what_takes_long_is_counted_on_a_terminal_and_wiped_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output, "_LOOK_SECONDS", 0.001)
    terminal, pipe = _Terminal(), io.StringIO()

    def given_up() -> None:
        with output.waiting("asking", terminal):
            assert terminal.counted.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        given_up()
    assert "asking: 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")
    with output.waiting("asking", pipe):
        pass
    assert pipe.getvalue() == ""


def test_a_file_over_its_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    with pytest.raises(InputInvalid, match="larger than 4 bytes"):
        read_bounded(file, 4)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"absent\.csr can't be read"):
        read_bounded(tmp_path / "absent.csr", 4)
