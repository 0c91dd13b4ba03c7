"""Who waits for a feature party that is frozen, and who does not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fusion.catalogue.descriptor import schema_digest
from fusion.connectors.schemas import read_schema
from fusion.errors import ModelRefused
from fusion.services import engines, score_asking
from fusion.services.models import find_model, keep_part, revoke_model
from fusion.services.scoring import NOT_OWN, Scorer
from tests.models.faults import between
from tests.models.world import FIRST, LABEL, SECOND, facts, identifier, served, shared
from tests.vertical import trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.models.world import Served

WAITED = 100.0
"""Nothing here takes so long, at whatever load, unless it waits for who is frozen."""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is frozen is not given up meanwhile."""
    monkeypatch.setattr(score_asking, "CALL_SECONDS", 3 * WAITED)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Models of three parties, and one (``pair``) without the first feature party."""
    model = trained.linear("logistic", (LABEL, FIRST, SECOND), [1, 1, 1], rows=60)
    pair = trained.linear("logistic", (LABEL, SECOND), [1, 1], rows=60)
    folder = tmp_path_factory.mktemp("waiting")
    with served(folder, model, "logistic", {}) as found:
        for name in ("first", "second"):
            keep(found, name, model.parts)
        keep(found, "pair", pair.parts)
        yield found


def keep(world: Served, name: str, parts: dict[str, bytes]) -> None:
    """Have the holders keep another model."""
    of = shared(parts, job=f"job-{name}", name=name, kind="logistic")
    for who, part in parts.items():
        node = world.nodes[who]
        digest = schema_digest(read_schema(node.config.data["people"]))
        columns = engines.scoring().open(part).columns
        keep_part(node, facts(of, who, columns=columns, schema_digest=digest), part)


class Frozen:
    """A feature party that takes questions and answers none of them, until it is let go."""

    def __init__(self, who: str) -> None:
        self._who = who
        self.asked, self.thawed = threading.Event(), threading.Event()

    def __call__(self, name: str, _: bytes, answer: bytes) -> bytes:
        if name == self._who:
            self.asked.set()
            assert self.thawed.wait(2 * WAITED)
        return answer


def scorer(world: Served, name: str) -> Scorer:
    node = world.nodes[LABEL]
    return Scorer(world.connection, node, find_model(node, name))


def test_a_frozen_party_of_one_model_does_not_delay_another(world: Served) -> None:
    """They share the node, its connection and a feature party."""
    frozen = Frozen(FIRST)
    with (
        between(world, frozen),
        scorer(world, "first") as first,
        scorer(world, "pair") as pair,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            waits = pool.submit(first.score, [identifier(1)])
            assert frozen.asked.wait(WAITED)
            began = time.monotonic()
            assert pair.score([identifier(2)])[0].scored
            # Nor a record of the same model about which nobody has to be asked.
            assert first.score(["nobody"])[0].missing == NOT_OWN
            assert time.monotonic() - began < WAITED
            assert not waits.done()
        finally:
            frozen.thawed.set()
        assert waits.result(WAITED)[0].scored


def test_who_waits_behind_another_sees_a_revocation(world: Served) -> None:
    frozen, node = Frozen(FIRST), world.nodes[LABEL]
    with (
        between(world, frozen),
        scorer(world, "second") as second,
        ThreadPoolExecutor(2) as pool,
    ):
        try:
            waits = pool.submit(second.score, [identifier(1)])
            assert frozen.asked.wait(WAITED)
            behind = pool.submit(second.score, [identifier(2)])
            while len(charged(world)) < 2:
                time.sleep(0.01)
            revoke_model(node, find_model(node, "second"), "a test")
            with pytest.raises(ModelRefused, match="revoked"):
                behind.result(WAITED)
            assert not waits.done()
        finally:
            frozen.thawed.set()
        with pytest.raises(ModelRefused, match="revoked"):
            waits.result(WAITED)


def charged(world: Served) -> list[Any]:
    """Return the label party's entries of questions about the model."""
    of = find_model(world.nodes[LABEL], "second").id
    return [e for e in world.logged(LABEL, "model-scored") if getattr(e, "model", "") == of]
