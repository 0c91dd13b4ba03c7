"""The app bundle (FAB) that makes a Flower run ours: a few lines that name installed code.

Flower wants a bundle for each run. Ours holds no logic, is the same bytes on every machine with
this release, and is what a node compares a run's bundle digest with before it does anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Final

from flwr.cli.build import build_fab_from_files

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "banyan-training"
version = "{version}"
description = "Runs the installed Banyan round engine"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "banyan"
fab-include = ["**/*.py"]

[tool.flwr.app.components]
serverapp = "banyan_bundle.server:app"
clientapp = "banyan_bundle.client:app"

[tool.flwr.app.config]
job = ""
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A FAB and its SHA-256 in hexadecimal."""

    content: bytes
    digest: str


@lru_cache(maxsize=1)
def bundle() -> Bundle:
    """Return this release's bundle."""
    files: dict[str, bytes] = {
        "pyproject.toml": _PYPROJECT.format(version=version("banyan-fusion")).encode(),
        "banyan_bundle/__init__.py": b"",
        "banyan_bundle/server.py": b"from federated.server_app import app as app\n",
        "banyan_bundle/client.py": b"from federated.client_app import app as app\n",
    }
    content, _ = build_fab_from_files(files)
    return Bundle(content, hashlib.sha256(content).hexdigest())
