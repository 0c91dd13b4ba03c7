"""Ports of this machine: free ones, of those that nobody is handed by chance."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from fusion.link import loopback
from fusion.link.loopback import free_port

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def _range(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    file = tmp_path / "range"
    file.write_text(text, "ascii")
    monkeypatch.setattr(loopback, "_EPHEMERAL", file)


def test_a_port_is_free_and_below_those_that_the_system_hands_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _range(monkeypatch, tmp_path, "32768\t60999\n")
    for _ in range(50):
        port = free_port()
        assert loopback._LOWEST <= port < 32768
        with socket.socket() as own:
            own.bind(("127.0.0.1", port))


def test_one_that_is_taken_is_not_returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(loopback, "_LOWEST", port)
        _range(monkeypatch, tmp_path, f"{port + 1} 65535")
        assert free_port() != port


def test_where_the_system_hands_out_all_it_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for text in ("1024 65535", "", "no numbers"):
        _range(monkeypatch, tmp_path, text)
        assert 0 < free_port() < 65536
    monkeypatch.setattr(loopback, "_EPHEMERAL", tmp_path / "nothing")
    assert 0 < free_port() < 65536
