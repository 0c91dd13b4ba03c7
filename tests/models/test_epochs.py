"""Answers of a feature party: masks that meet, sizes that fit; one machine, no wire."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from federated.vertical import parts
from fusion.crypto.sealing import SealingKey
from fusion.errors import EnvironmentUnfit, ModelRefused
from fusion.identity.roster import sign_roster
from fusion.services import engines
from fusion.services.clock import SystemClock
from fusion.services.homes import HubHome
from fusion.services.ledger import Book
from fusion.services.models import find_model, keep_part
from fusion.services.score_epochs import Epochs, Making, Ready, masks
from tests.models.world import FIRST, LABEL, SECOND, facts, make_nodes, shared, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fusion.services.homes import NodeHome

PARTIES = (FIRST, SECOND, "employer")
WIDE = parts.bytes_of(
    parts.BoostingFeature(
        columns=(parts.Column(name="age"),),
        splits=tuple(
            parts.Split(tree=tree, node=node, column=0, at=parts.hexed(3), missing=False)
            for tree in range(9)
            for node in range(1, 1001)
        ),
    )
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NodeHome]:
    folder: Path = tmp_path_factory.mktemp("epochs")
    table = folder / "people.csv"
    write_table(table, {"age": np.arange(5.0)}, range(5))
    data = {name: {"people": table} for name in PARTIES}
    return {node.config.id: node for node in make_nodes(folder, data)[1]}


@pytest.fixture
def epochs(nodes: dict[str, NodeHome]) -> Iterator[dict[str, Any]]:
    made = {}
    for name, node in nodes.items():
        book = Book(node)
        made[name] = Epochs(node, engines.scoring(), SystemClock(), book, lambda _: None, pace=0.0)
    yield made
    for each in made.values():
        each.close()


def waited(each: Epochs, kept: Any, number: int) -> Ready | int:  # noqa: ANN401
    until = time.monotonic() + 100
    while time.monotonic() < until:
        found = each.look(kept, number)
        if not isinstance(found, Making):
            return found
        time.sleep(0.01)
    raise AssertionError


def part_of(number: int) -> bytes:
    """A linear part of one column; each party's is another."""
    design = parts.DesignPart(
        numbers=(parts.NumberColumn(name="age", fill=parts.hexed(0)),),
        levels=(),
        mean=parts.array(np.zeros(2)),
        scale=parts.array(np.ones(2)),
        rotation=parts.array(np.array([[1.0], [0.0]])),
        intercept=False,
    )
    weights = parts.array(np.array([float(number)]))
    return parts.bytes_of(parts.LinearFeature(design=design, weights=weights))


def keep(nodes: dict[str, NodeHome], name: str, made: Sequence[bytes], kind: str) -> None:
    of = shared({LABEL: b"label", **dict(zip(PARTIES, made, strict=False))}, name=name, kind=kind)
    for who, part in zip(PARTIES, made, strict=False):
        keep_part(nodes[who], facts(of, who), part)


def test_masks_of_three_parties_leave_only_their_sum(
    nodes: dict[str, NodeHome], epochs: dict[str, Any]
) -> None:
    keep(nodes, "three", [part_of(1), part_of(2), part_of(3)], "linear")
    keys = ["a", "b", "c"]
    plain = np.arange(3, dtype=">u8").tobytes()
    seen, pairings = [], set()
    for name in PARTIES:
        kept = find_model(nodes[name], "three")
        part = engines.scoring().open(kept.part(nodes[name]))
        pairing, hidden = epochs[name]._hidden(kept, 4, part, keys, plain)
        other = np.frombuffer(epochs[name]._hidden(kept, 5, part, keys, plain)[1], ">u8")
        words = np.frombuffer(hidden, ">u8").astype(np.uint64)
        # Masks are of one epoch, and no word is what it hides.
        assert not np.isin(words, np.frombuffer(plain, ">u8")).any()
        assert (words != other.astype(np.uint64)).all()
        seen.append(words)
        pairings.add(pairing)
    assert len(pairings) == 1
    assert np.array_equal(sum(seen), 3 * np.arange(3, dtype=np.uint64))
    # Two of three say nothing yet.
    assert not np.array_equal(seen[0] + seen[1], 2 * np.arange(3, dtype=np.uint64))


def test_no_mask_is_added_for_a_key_that_is_not_the_own(
    nodes: dict[str, NodeHome], epochs: dict[str, Any]
) -> None:
    """A hub that shows every party other keys of the others would take all masks off."""
    keep(nodes, "shown", [part_of(1), part_of(2)], "linear")
    node = nodes[FIRST]
    kept, before = find_model(node, "shown"), node.roster_file.read_bytes()
    part = engines.scoring().open(kept.part(node))
    hub = HubHome.open(node.path.parent / "hub")
    members = tuple(
        replace(each, keys=replace(each.keys, sealing_key=SealingKey.generate().public))
        for each in hub.roster().members
    )
    lying = sign_roster(replace(hub.roster(), members=members), hub.authority_key)
    node.roster_file.write_bytes(lying)
    try:
        with pytest.raises(ModelRefused) as error:
            epochs[FIRST]._hidden(kept, 1, part, ["a"], bytes(8))
    finally:
        node.roster_file.write_bytes(before)
    assert error.value.code == "M-17"
    assert epochs[FIRST]._hidden(kept, 1, part, ["a"], bytes(8))


@pytest.mark.parametrize("rubbish", [b"", b"-1", b"x", b"1 ", b"\xff", b"9" * 11])
def test_a_number_of_an_epoch_that_is_none_is_never_begun_again(
    nodes: dict[str, NodeHome], epochs: dict[str, Any], rubbish: bytes
) -> None:
    """From 0 again, one mask would hide two answers."""
    keep(nodes, "harmed", [part_of(5)], "linear")
    kept = find_model(nodes[FIRST], "harmed")
    folder = kept.path / "epochs"
    folder.mkdir(exist_ok=True)
    (folder / "begun").write_bytes(rubbish)
    for wanted in (None, 1, 2):
        with pytest.raises(EnvironmentUnfit, match="is no number"):
            epochs[FIRST].look(kept, wanted)


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"rubbish", None])
def test_an_epoch_on_disk_that_is_none_is_made_again(
    nodes: dict[str, NodeHome], epochs: dict[str, Any], rubbish: bytes | None
) -> None:
    keep(nodes, "again", [part_of(6)], "linear")
    kept = find_model(nodes[FIRST], "again")
    number = epochs[FIRST].look(kept, None)
    assert isinstance(waited(epochs[FIRST], kept, number), Ready)
    folder = kept.path / "epochs"
    for name in (f"{number}.json", f"{number}.set"):
        file = folder / name
        data = file.read_bytes()
        odd = data.replace(b'"key":"', b'"key":"0')
        file.write_bytes(odd if rubbish is None else rubbish)
        said: list[str] = []
        other = Epochs(
            nodes[FIRST], engines.scoring(), SystemClock(), Book(nodes[FIRST]), said.append,
            pace=0.0,
        )  # fmt: skip
        assert other.ready(kept) is None or odd == data
        assert other.look(kept, None) in (number, number + 1)
        assert said or odd == data
        other.close()
        file.write_bytes(data)


def test_masks_are_words_of_their_record_and_key() -> None:
    one = masks(bytes(32), ["a", "b", "a"])
    assert one[0] == one[2] != one[1]
    assert masks(b"\1" * 32, ["a"])[0] != one[0]


def test_answers_that_a_set_can_not_carry_are_not_published(
    nodes: dict[str, NodeHome], epochs: dict[str, Any]
) -> None:
    keep(nodes, "wide", [WIDE], "boosting")
    kept = find_model(nodes[FIRST], "wide")
    assert epochs[FIRST].look(kept, None) == 1
    with pytest.raises(ModelRefused) as error:
        waited(epochs[FIRST], kept, 1)
    assert error.value.code == "M-14"
    assert epochs[FIRST].look(kept, None) == 2


def test_an_epoch_is_made_once_and_loaded_after(
    nodes: dict[str, NodeHome], epochs: dict[str, Any]
) -> None:
    keep(nodes, "alone", [part_of(7)], "linear")
    kept = find_model(nodes[FIRST], "alone")
    ready = waited(epochs[FIRST], kept, 1)
    assert isinstance(ready, Ready)
    assert (ready.number, ready.published.total) == (1, 5)
    again = Epochs(
        nodes[FIRST], engines.scoring(), SystemClock(), Book(nodes[FIRST]), lambda _: None
    )
    found = again.look(kept, 1)
    assert isinstance(found, Ready)
    assert found.published.commitment == ready.published.commitment
    assert again.look(kept, None) == 1
    again.close()
