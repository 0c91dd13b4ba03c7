"""Kept object code is loaded only if it is whole, ours, and for the same key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.crypto.paillier.engines import objects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = b"a generator, a shape, a size"


class Maker:
    """Counts how often the object had to be made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return b"object code" * 100


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _only(where: Path) -> Path:
    (path,) = where.iterdir()
    return path


def test_what_was_made_is_found_again(make: Maker, where: Path) -> None:
    first = objects.kept(KEY, make, where)
    assert objects.kept(KEY, make, where) == first
    assert make.made == 1
    assert where.stat().st_mode & 0o777 == 0o700
    assert _only(where).stat().st_mode & 0o777 == 0o600


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def _in_a_folder_writable_by_others(path: Path) -> None:
    path.parent.chmod(0o777)


def _a_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


@pytest.mark.parametrize(
    "spoil",
    [_cut, _flip, _empty, _writable_by_others, _in_a_folder_writable_by_others, _a_link],
)
def test_a_spoiled_object_is_not_loaded_but_made_again(
    make: Maker, where: Path, spoil: Callable[[Path], None]
) -> None:
    sound = objects.kept(KEY, make, where)
    spoil(_only(where))
    assert objects.kept(KEY, make, where) == sound
    assert make.made == 2


def test_an_object_for_another_key_is_not_loaded(make: Maker, where: Path) -> None:
    objects.kept(KEY, make, where)
    path = _only(where)
    objects.kept(b"another key", make, where)
    other = next(p for p in where.iterdir() if p != path)
    path.write_bytes(other.read_bytes())
    objects.kept(KEY, make, where)
    assert make.made == 3


def test_without_a_folder_nothing_is_kept(make: Maker, tmp_path: Path) -> None:
    objects.kept(KEY, make, None)
    objects.kept(KEY, make, None)
    assert make.made == 2
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_made_only_costs_time(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert objects.kept(KEY, make, tmp_path / "file" / "cache") == make()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FUSION_PAILLIER_CACHE": "off", "HOME": "/h"}, None),
        ({"FUSION_PAILLIER_CACHE": "/c"}, "/c"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/banyan/paillier"),
        ({"HOME": "/h"}, "/h/.cache/banyan/paillier"),
        ({}, None),
    ],
)
def test_the_environment_says_where(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str | None
) -> None:
    for name in ("FUSION_PAILLIER_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = objects.folder()
    assert (None if found is None else str(found)) == expected
