"""Parts of models on disk: whole, sealed, versioned, revoked; each in the log once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import InputInvalid, MessageInvalid, SealBroken, VerificationFailed
from fusion.ledger import entry as entries
from fusion.services.ledger import Book
from fusion.services.model_facts import facts_of, model_name
from fusion.services.models import (
    find_model,
    keep_part,
    kept_models,
    model_of,
    revoke_model,
)
from tests.models.world import FIRST, LABEL, facts, make_nodes, shared

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.services.homes import NodeHome

PARTS = {LABEL: b"leaves", FIRST: b"splits"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeHome:
    return make_nodes(tmp_path_factory.mktemp("models"), {FIRST: {}})[1][0]


def test_a_part_is_kept_sealed_and_read_back(node: NodeHome) -> None:
    of = shared(PARTS)
    assert keep_part(node, facts(of, FIRST), b"splits") == 1
    kept = find_model(node, "credit")
    assert kept.part(node) == b"splits"
    assert b"splits" not in (kept.path / "part.sealed").read_bytes()
    assert (kept.id, kept.name, kept.role, kept.revoked) == (of.id, "credit/1", "feature", False)
    # A run that goes on after a crash keeps it again.
    assert keep_part(node, facts(of, FIRST), b"splits") == 1
    assert find_model(node, of.id[:12]).id == of.id


def test_another_job_is_another_version(node: NodeHome) -> None:
    other = shared(PARTS, job="job-2", name="other")
    third = shared(PARTS, job="job-3", name="other")
    assert keep_part(node, facts(other, FIRST), b"splits") == 1
    assert keep_part(node, facts(third, FIRST), b"splits") == 2
    assert find_model(node, "other").version == 2
    assert find_model(node, "other/1").id == other.id
    assert model_of(node, third.id) == find_model(node, "other/2")
    assert [each.name for each in kept_models(node) if "other" in each.name] == [
        "other/1",
        "other/2",
    ]
    for name in ("nobody", "other/3", "other/x", "../other", "ffffffffff"):
        with pytest.raises(InputInvalid, match="no model"):
            find_model(node, name)


def test_what_is_not_this_partys_is_not_kept(node: NodeHome) -> None:
    of = shared(PARTS, job="job-4")
    with pytest.raises(InputInvalid, match="not the one"):
        keep_part(node, facts(of, FIRST), b"other")
    with pytest.raises(InputInvalid, match="holds no part"):
        keep_part(node, facts(of, LABEL), b"leaves")
    label = facts(of, LABEL).model_copy(
        update={"own": facts(of, LABEL).own.model_copy(update={"label": None})}
    )
    with pytest.raises(MessageInvalid, match="names a label"):
        facts_of(label.canonical())


def test_a_changed_file_does_not_open(node: NodeHome) -> None:
    of = shared(PARTS, job="job-5", name="changed")
    keep_part(node, facts(of, FIRST), b"splits")
    kept = find_model(node, "changed")
    file = kept.path / "part.sealed"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SealBroken):
        kept.part(node)
    public = node.sealing_key.public
    file.write_bytes(public.seal(b"other", b"banyan model 1, part " + kept.id.encode()))
    with pytest.raises(VerificationFailed, match="not the one that was kept"):
        kept.part(node)


def test_a_revoked_part_stays_revoked_and_the_log_says_all(node: NodeHome) -> None:
    of = shared(PARTS, job="job-6", name="ended")
    keep_part(node, facts(of, FIRST), b"splits")
    kept = find_model(node, "ended")
    with pytest.raises(InputInvalid, match="reason"):
        revoke_model(node, kept, "")
    revoke_model(node, kept, "the study is over")
    revoke_model(node, kept, "again")
    assert kept.revoked
    assert (kept.revocation or {})["reason"] == "the study is over"
    with Book(node) as book:
        found = [entries.decode(each) for each in book.ledger.entries(0, book.ledger.size())]
    about = [e for e in found if getattr(e, "model", None) == of.id]
    assert [e.kind for e in about] == ["model-kept", "model-revoked"]


def test_a_name_is_one_for_folders() -> None:
    assert model_name("Credit of Small Firms, 2026", "ab" * 32) == "credit-of-small-firms-2026"
    assert model_name("小微信贷", "ab" * 32) == "model-abababababab"


def test_the_folder_is_nobody_elses(node: NodeHome) -> None:
    def open_to_others(path: Path) -> bool:
        return bool(path.stat().st_mode & 0o077)

    assert not [p for p in (node.path / "models").rglob("*") if open_to_others(p)]
