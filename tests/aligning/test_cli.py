"""``fusion align --study`` as an operator meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.aligning.world import BANK, COMMON, GOV, KEYS, study_text
from tests.cli.test_app import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aligning.world import World


@pytest.fixture
def fusion(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_an_operator_aligns_and_sees_sizes(world: World, tmp_path: Path, fusion: Terminal) -> None:
    file, home = tmp_path / "study.toml", world.nodes[BANK].path
    file.write_text(study_text(), "utf-8")
    words = ("align", "--study", file, "--home", home)
    with world.serving(BANK, GOV):
        found = fusion.document(*words)
        assert found["schema"] == "fusion.align/1"
        assert found["common"] == COMMON
        assert found["report"]["keys"] == len(KEYS[BANK])
        assert [party["records"] for party in found["parties"]] == [60, 70]
        assert fusion(*words) == 0
        assert f"records of {GOV}" in fusion.out
        assert f"common                   {COMMON}" in fusion.out
        assert not any(key in fusion.out + fusion.err for key in KEYS[BANK])
        file.write_text(study_text(minimum_intersection=COMMON + 1), "utf-8")
        assert fusion(*words) == 4
        assert "A-14" in fusion.err
        file.write_text(study_text().replace("set_size", "size"), "utf-8")
        assert fusion(*words) == 2
        assert "study.toml:14" in fusion.err
    assert fusion("align", "--home", home) == 2
    assert "--study" in fusion.err
