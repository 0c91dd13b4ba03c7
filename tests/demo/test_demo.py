"""The demo's own judgements: what it finds at the hub, what it leaves behind, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusion.errors import InputInvalid
from fusion.services import demo
from tests.doctor.homes import member
from tests.link.federation import make_hub

if TYPE_CHECKING:
    from tests.keys import Dealt


@pytest.fixture
def federation(tmp_path: Path, dealt: Dealt) -> Path:
    """Make a hub, and a node that holds a share."""
    member(make_hub(tmp_path / "hub"), tmp_path, tmp_path / "table.csv", dealt)
    return tmp_path


def holds(federation: Path) -> bool:
    return demo.hub_holds_share(federation / "hub", [federation / "a"])


def test_a_hub_without_a_share_is_believed(federation: Path) -> None:
    assert not holds(federation)


@pytest.mark.parametrize("how", ["raw", "within", "hex", "decimal", "sealed", "named"])
def test_a_share_is_found_wherever_it_lies(federation: Path, dealt: Dealt, how: str) -> None:
    share = dealt.shares[0]
    raw = share.to_bytes((share.bit_length() + 7) // 8, "big")
    sealed = next((federation / "a" / "paillier").glob("*/share")).read_bytes()
    name, content = {
        "raw": ("share", raw),
        "within": ("anything", b"before" + raw + b"after"),
        "hex": ("hub.log", b"the share is " + raw.hex().encode()),
        "decimal": ("x.json", str(share).encode()),
        "sealed": ("x", sealed),
        "named": ("state.share", b"sealed"),
    }[how]
    folder = federation / "hub" / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    assert holds(federation)


def test_without_shares_there_is_nothing_to_compare(federation: Path) -> None:
    for path in (federation / "a").rglob("share"):
        path.unlink()
    with pytest.raises(InputInvalid, match="No node holds a share"):
        holds(federation)


def test_private_keys_do_not_stay_behind(federation: Path) -> None:
    (federation / "logs").mkdir()
    (federation / "report.html").write_text("", "utf-8")
    demo.sweep(federation)
    assert [path.name for path in federation.iterdir()] == ["report.html"]


def test_after_a_failure_the_logs_stay_and_nothing_else(federation: Path) -> None:
    (federation / "logs").mkdir()
    demo.sweep(federation)
    assert [path.name for path in federation.iterdir()] == ["logs"]


def test_nothing_stays_behind_when_nothing_began(federation: Path) -> None:
    demo.sweep(federation)
    assert not federation.exists()


@pytest.mark.parametrize("rounds", [0, -1])
def test_a_run_has_at_least_one_round(tmp_path: Path, rounds: int) -> None:
    refused(demo.Wishes(rounds=rounds, keep=tmp_path / "kept"), "at least one round")
    assert not (tmp_path / "kept").exists()


def refused(wishes: demo.Wishes, why: str) -> None:
    """Have the demo refuse before it does anything."""
    said: list[str] = []
    watcher = demo.Watcher(
        step=lambda words, _: said.append(words), event=lambda _: None, say=said.append
    )
    with pytest.raises(InputInvalid, match=why):
        demo.run(wishes, watcher)
    assert said == []


def test_more_rounds_than_a_study_may_have_are_refused_at_once(tmp_path: Path) -> None:
    refused(demo.Wishes(rounds=99_999, keep=tmp_path / "kept"), r"^study\.toml:\d+: `rounds`")
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_can_not_be_kept_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    refused(demo.Wishes(keep=tmp_path / "file"), "in use")
    refused(demo.Wishes(keep=tmp_path), "in use")
    refused(demo.Wishes(keep=tmp_path / "file" / "below"), "in use")
    refused(demo.Wishes(keep=Path("/proc/nowhere/here")), "can't be made")
    assert (tmp_path / "file").read_text("utf-8") == "mine"
