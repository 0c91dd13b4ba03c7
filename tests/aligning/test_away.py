"""Alignments with a party whose node is not up, or goes down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError, PartyUnreachable
from fusion.services import grants
from fusion.services.align_jobs import Job
from fusion.services.aligning import Operator
from fusion.services.conversing import Talk
from fusion.services.grants import folder_of
from tests.aligning.world import BANK, GOV, study_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aligning.world import World


def test_a_party_whose_node_is_down_is_named(world: World) -> None:
    with world.serving(BANK), pytest.raises(PartyUnreachable, match=GOV):
        world.align(study_text())
    with world.serving(GOV):
        world.nodes[BANK].ready.unlink()
        with pytest.raises(FusionError, match="not up"):
            world.align(study_text())


def test_a_revocation_ends_what_is_under_way_within_a_second(world: World) -> None:
    node = world.nodes[BANK]
    with world.serving(BANK) as found:
        # Its part has begun, and waits for a party that is not there.
        ordered = Operator(node, found[BANK], study_text(), "study.toml")
        ordered._begun(BANK)
        job = Job(node, ordered.job)
        _until((job.path / "session.sealed").exists, 10)
        _until(lambda: found[BANK].conversations.find(job.name, 1, GOV) is not None, 10)
        talk = found[BANK].conversations.find(job.name, 1, GOV)
        assert isinstance(talk, Talk)
        time.sleep(0.3)
        assert job.state.status == "running"
        for kept in folder_of(node).all():
            if kept.signed.grant.assigners == (BANK,):
                grants.revoke(node, kept.signed.id, "over")
        # From here on nothing is taken, made or sent.
        _until(lambda: talk.ended, 1.0)
        _until(lambda: job.state.status == "failed", 5.0)
        refusal = job.state.refusal
        assert refusal is not None
        assert refusal.code == "G-02"
        _until(lambda: not (job.path / "session.sealed").exists(), 5.0)


def _until(found: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.02)
