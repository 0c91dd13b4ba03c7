"""What is printed where: results on stdout, the rest on stderr, nothing a terminal would obey."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.cli import output
from fusion.cli.files import read_bounded
from fusion.errors import InputInvalid, StudyInvalid

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


def test_a_file_over_its_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    with pytest.raises(InputInvalid, match="larger than 4 bytes"):
        read_bounded(file, 4)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"absent\.csr can't be read"):
        read_bounded(tmp_path / "absent.csr", 4)
