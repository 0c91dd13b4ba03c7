"""An environment with a stand-in for spu, and one with spu where a setting names it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

NAMED = os.environ.get("BANYAN_SPU_PYTHON", "")
"""A Python that has spu 0.9.5."""

with_spu = pytest.mark.skipif(
    not NAMED,
    reason="set BANYAN_SPU_PYTHON to a Python that has spu (benchmarks/peers-spu.txt)",
)


def stand_in(folder: Path) -> Path:
    """Make a virtual environment that has the stand-in and nothing else; return its Python."""
    real = Path(sys.executable).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    shutil.copytree(Path(__file__).parent / "stand_in" / "spu", packages / "spu")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(real)
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\n", "utf-8")
    return folder / "bin" / "python"
