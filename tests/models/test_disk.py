"""A disk that is full: each writer says so by name, nothing is half there, and all goes on after.

A child may make no file longer than so many bytes: the system itself refuses, in the middle of a
write.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from federated.vertical.keeping import Mark, SealedKeeping, States
from fusion.errors import EnvironmentUnfit, FusionError, SealBroken
from fusion.ledger import entry as entries
from fusion.services.files import make_folder, write_atomic
from fusion.services.ledger import Book
from fusion.services.models import find_model, keep_part, kept_models, model_of, revoke_model
from tests.faulting import forked
from tests.models.world import FIRST, LABEL, facts, make_nodes, shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fusion.services.homes import NodeHome

LIMITS = (0, 1, 100, 700, 3000, 20_000)
PARTS = {LABEL: b"leaves", FIRST: b"splits" * 1000}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeHome:
    return make_nodes(tmp_path_factory.mktemp("models"), {FIRST: {}})[1][0]


def full(act: Callable[[], object], limit: int) -> str:
    """Do something where no file may be longer than so many bytes; return the error's name."""

    def tried() -> tuple[str, str]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            act()
        except FusionError as error:
            return "refused", type(error).__name__
        except BaseException as error:  # noqa: BLE001 - what is looked for
            return "raised", repr(error)
        return "done", ""

    found = forked("", tried)
    assert not found.wrong, found
    return found.what


def _drafts(folder: Path) -> list[Path]:
    return [each for each in folder.rglob(".*") if each.name != ".models.lock"]


def test_a_file_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    write_atomic(file, b"old")
    assert full(lambda: write_atomic(file, bytes(5000)), 4096) == "EnvironmentUnfit"
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(EnvironmentUnfit, match="can't be written: Not a directory"):
        make_folder(file / "below")
    with pytest.raises(EnvironmentUnfit, match="can't be written: Is a directory"):
        write_atomic(tmp_path, b"new")


def test_states_are_whole_or_as_they_were(node: NodeHome) -> None:
    keeping = SealedKeeping(node, "job-1")
    states = States(keeping)
    states.aligned(1, b"rows" * 100)
    states.keep(Mark(1, 1), b"first" * 100)
    for limit in LIMITS[:4]:
        assert full(lambda: states.keep(Mark(2, 1), b"second" * 1000), limit) == "EnvironmentUnfit"
        assert full(lambda: states.count("tried"), min(limit, 1)) == "EnvironmentUnfit"
    assert states.marks() == [Mark(0, 1), Mark(1, 1)]
    assert states.state(Mark(1, 1)) == b"first" * 100
    assert not _drafts(node.path / "jobs")
    states.keep(Mark(2, 1), b"second")
    assert states.state(Mark(2, 1)) == b"second"
    keeping.clear()


@pytest.mark.parametrize("rubbish", [b"", b"x", bytes(40), bytes(100), bytes(5000)])
def test_a_state_that_does_not_open_is_as_good_as_not_there(node: NodeHome, rubbish: bytes) -> None:
    keeping = SealedKeeping(node, "job-2")
    keeping.put("rows", b"rows")
    keeping.put("table", b"table")
    file = node.path / "jobs" / "job-2" / "rows.sealed"
    whole = file.read_bytes()
    other = (node.path / "jobs" / "job-2" / "table.sealed").read_bytes()
    for data in (rubbish, whole[:-1], whole + b"x", other):
        file.write_bytes(data)
        assert keeping.get("rows") is None
    keeping.clear()


def test_a_part_is_kept_whole_or_not_at_all(node: NodeHome) -> None:
    for number, limit in enumerate(LIMITS):
        of = shared(PARTS, job=f"job-{number}", name=f"full-{number}")
        mine = facts(of, FIRST)
        known = len(kept_models(node))
        assert full(lambda m=mine: keep_part(node, m, PARTS[FIRST]), limit) == "EnvironmentUnfit"  # type: ignore[misc]
        # The log can be full after the part is kept: it is kept again, and logged then.
        assert len(kept_models(node)) in (known, known + 1)
        assert not _drafts(node.path / "models")
        assert keep_part(node, mine, PARTS[FIRST]) == 1
        kept = find_model(node, of.id)
        assert kept.part(node) == PARTS[FIRST]
        with Book(node) as book:
            logged = [entries.decode(e) for e in book.ledger.entries(0, book.ledger.size())]
        assert sum(getattr(entry, "model", None) == of.id for entry in logged) == 1
        assert full(lambda k=kept: revoke_model(node, k, "a test"), 1) == "EnvironmentUnfit"  # type: ignore[misc]
        assert not kept.revoked
        revoke_model(node, kept, "a test")
        assert kept.revoked


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"[" * 5000, b"\xff" * 50])
def test_facts_that_are_none_hide_no_other_model(node: NodeHome, rubbish: bytes) -> None:
    mark = f"{len(rubbish)}"
    of, other = (shared(PARTS, job=f"{n}-{mark}", name=f"{n}-{mark}") for n in ("harmed", "whole"))
    for each in (of, other):
        keep_part(node, facts(each, FIRST), PARTS[FIRST])
    harmed = find_model(node, of.name)
    file = harmed.path / "facts.json"
    before = file.read_bytes()
    file.write_bytes(rubbish)
    try:
        assert find_model(node, other.name).part(node) == PARTS[FIRST]
        assert model_of(node, other.id) == find_model(node, other.name)
        with pytest.raises(FusionError, match=f"{of.name}/1"):
            find_model(node, of.name)
        newer = shared(PARTS, job=f"newer-{mark}", name=of.name)
        assert keep_part(node, facts(newer, FIRST), PARTS[FIRST]) == 2
    finally:
        file.write_bytes(before)
    harmed = find_model(node, f"{of.name}/1")
    sealed = harmed.path / "part.sealed"
    sealed.write_bytes(rubbish)
    with pytest.raises(SealBroken):
        harmed.part(node)
