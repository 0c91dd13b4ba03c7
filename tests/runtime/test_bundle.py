"""The bundle that a run comes with: the same bytes everywhere, and nothing in it that decides."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile

from federated.runtime.bundle import bundle

_DIGEST = "from federated.runtime.bundle import bundle; print(bundle().digest)"


def test_the_digest_is_that_of_the_content() -> None:
    made = bundle()
    assert made.digest == hashlib.sha256(made.content).hexdigest()


def test_another_process_at_another_place_makes_the_same_bytes() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Shanghai", "LC_ALL": "C"}
    found = subprocess.run(
        [sys.executable, "-c", _DIGEST], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == bundle().digest


def test_it_only_names_installed_code() -> None:
    with zipfile.ZipFile(io.BytesIO(bundle().content)) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    code = {name: text for name, text in files.items() if name.endswith(".py")}
    assert sorted(code.values()) == [
        "",
        "from federated.client_app import app as app\n",
        "from federated.server_app import app as app\n",
    ]
    assert 'serverapp = "banyan_bundle.server:app"' in files["pyproject.toml"]
