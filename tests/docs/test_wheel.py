"""What is installed from a wheel: the demonstration's data and the licence travel with the code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.docs.sources import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_wheel_carries_the_demonstration(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=200,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    names = ("federal", "state", "local", "enterprise")
    tables = [sizes[f"federated/demo/{name}.parquet"] for name in names]
    assert sum(tables) < 1_000_000
    assert {"federated/demo/study.toml", "federated/demo/ATTRIBUTION.md"} <= set(sizes)
    assert any(name.endswith("licenses/LICENSE") for name in sizes)
    assert not [name for name in sizes if name.startswith("tests/")]
