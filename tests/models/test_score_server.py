"""What the socket for single records says when something fails."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest

from fusion.services.score_server import serving
from tests.models.local import Local

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.services.scoring import Row


class Failing:
    """A scorer that fails in a way that nobody foresaw, with the identifier in its words."""

    def score(self, identifiers: Sequence[object]) -> list[Row]:
        raise KeyError(identifiers[0])


def test_no_identifier_is_written_when_something_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "score.sock"
    scorer: Any = Failing()
    with serving(path, scorer, {}):
        assert path.stat().st_mode & 0o777 == 0o600
        client = Local(path)
        client.request("POST", "/v1/score", b'{"id": "11010519491231002X"}')
        with pytest.raises(http.client.HTTPException):
            client.getresponse()
        client.close()
    said = "".join((*capfd.readouterr(), caplog.text))
    assert "KeyError" in said
    assert "11010519491231002X" not in said
