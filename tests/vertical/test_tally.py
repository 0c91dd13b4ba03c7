"""What parties have sent is added up over attempts, and over starts of the hub."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from federated.vertical.standings import Standing
from federated.vertical.tally import Tally
from fusion.errors import EnvironmentUnfit

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Standing(
    state="ready", attempt=0, step=0, rows=None, bytes=0, aligning=0, part="", quality=None,
    told="", failure=None, marks=(),
)  # fmt: skip


def said(attempt: int, aligning: int, training: int) -> Standing:
    return replace(NOTHING, attempt=attempt, aligning=aligning, bytes=aligning + training)


def test_attempts_are_added_up_whoever_is_started_anew(tmp_path: Path) -> None:
    file = tmp_path / "sent.json"
    tally = Tally(file)
    assert (tally.total(), tally.totals()) == (0, {})
    tally.begin(1)
    tally.hear({"a": said(1, 10, 0), "b": None})
    tally.hear({"a": said(1, 30, 5), "b": said(1, 7, 0)})
    tally = Tally(file)  # the hub is started anew in an attempt that goes on
    tally.hear({"a": said(1, 30, 6), "b": NOTHING})  # b was started anew as well
    tally.begin(2)
    tally.hear({"a": said(1, 30, 6), "b": said(2, 0, 1)})  # a still tells of the first one
    tally.hear({"a": said(2, 0, 2), "b": said(2, 0, 1)})
    assert tally.totals() == {
        "a": {"aligning": 30, "training": 8}, "b": {"aligning": 7, "training": 1},
    }  # fmt: skip
    assert Tally(file).total() == tally.total() == 46


def test_bytes_are_counted_once_whatever_they_are_said_to_be_of(tmp_path: Path) -> None:
    """An alignment on its own says when it is over that it aligns no more."""
    tally = Tally(tmp_path / "sent.json")
    tally.begin(1)
    tally.hear({"a": said(1, 30, 0)})
    tally.hear({"a": replace(said(1, 0, 40), state="done")})
    assert tally.totals() == {"a": {"aligning": 30, "training": 10}}


def test_what_a_party_says_is_never_less_than_nothing(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "sent.json")
    tally.begin(1)
    tally.hear({"a": replace(NOTHING, attempt=1, aligning=9, bytes=2)})
    assert Tally(tmp_path / "sent.json").totals() == {"a": {"aligning": 9, "training": 0}}


@pytest.mark.parametrize("data", [b"", b"{}", b'{"attempt":1,"now":{"a":[1]},"before":{}}'])
def test_a_damaged_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "sent.json").write_bytes(data)
    with pytest.raises(EnvironmentUnfit, match=r"sent\.json"):
        Tally(tmp_path / "sent.json").totals()
    with pytest.raises(EnvironmentUnfit, match=r"sent\.json"):
        Tally(tmp_path / "sent.json").begin(1)
    assert (tmp_path / "sent.json").read_bytes() == data
